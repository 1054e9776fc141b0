"""A quantity of a stage, computed only where it is looked at: a slice costs what a slice costs, not what a volume does.

`Inspection.get` makes whole arrays; here the same numbers come for a box of voxels. The viewer shows a slice of each
level within milliseconds that way, whatever the volume's size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.data import Grid
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.quantities import QUANTITIES, Stage, missing
from napari_ran.introspect.sources import TraceSource

Where = tuple[range, ...]
"""Voxels of a grid: along each axis those of a range, in rising order."""

_OF_IMAGES = ("warped", "difference")
_COMPUTED = (*_OF_IMAGES, "increment", "jacobian")


def everywhere(shape: Sequence[int]) -> Where:
    """Return all voxels of a grid of this shape."""
    return tuple(range(n) for n in shape)


class Lookup:
    """One quantity of one stage in one direction, made where it is asked for.

    Parameters
    ----------
    inspection : Inspection
        What is inspected.
    quantity : str
        Its name.
    stage : int
        Position among the stages.
    direction : {"forward", "inverse"}
        Which field.

    Attributes
    ----------
    grid : Grid
        Where the quantity lies; that of `Inspection.get`.
    channels : int
        How many numbers a voxel has.
    local : bool
        Whether a box costs less than the whole; False for another tool's field, which is warped in one go.

    Raises
    ------
    InputError
        The stage has no such quantity; the message says why.
    """

    def __init__(self, inspection: Inspection, quantity: str, stage: int, direction: str = "forward") -> None:
        reason = inspection.why_not(quantity, stage, direction)
        if reason:
            raise missing(quantity, reason)
        self._inspection, self._quantity, self._direction = inspection, quantity, direction
        self._stage: Stage = inspection.stages[stage]
        self.local = inspection.trace is not None or quantity not in _OF_IMAGES
        left, grid = inspection.source.array("field" if quantity in _COMPUTED else quantity, self._stage, direction)
        self.grid: Grid = inspection.trace.grid if inspection.trace is not None and quantity in _OF_IMAGES else grid
        self.channels = 1 if QUANTITIES[quantity].kind in ("scalar", "image") else int(left.shape[0])

    @torch.no_grad()
    def at(self, where: Where, channels: slice = slice(None)) -> Tensor:
        """Return the numbers (C, *T) at some voxels, T the lengths of the ranges; do not write to them."""
        quantity, source = self._quantity, self._inspection.source
        if quantity == "field":
            return picked(self._field(), where)[channels]
        if quantity not in _COMPUTED:
            return picked(source.array(quantity, self._stage, self._direction)[0][channels], where)
        if quantity == "jacobian" and where != everywhere(self.grid.shape):
            return _determinant(self._field(), where)[channels]
        if not isinstance(source, TraceSource) or where == everywhere(self.grid.shape):
            return picked(self._inspection.get(quantity, self._stage.index, self._direction).data[channels], where)
        if quantity == "increment":
            return _increment(source, self._stage, self._direction, where)[channels]
        trace = source.trace
        own, other = (trace.fixed, trace.moving) if self._direction == "forward" else (trace.seen, trace.fixed)
        here = torch.stack(torch.meshgrid(*(index.to(other.dtype) for index in _index(where)), indexing="ij"))
        warped = F.sample(other, (here + _on_image(source, self._stage, self._direction, where))[None])[0]
        return (warped - picked(own[0], where) if quantity == "difference" else warped)[channels]

    def _field(self) -> Tensor:
        """Return the whole field (D, *S) of the stage: the network's as it is, what is made of it from the cache."""
        source, stage, direction = self._inspection.source, self._stage, self._direction
        if isinstance(source, TraceSource) and not source.is_whole(stage, direction):
            return self._inspection.get("field", stage.index, direction).data
        return source.array("field", stage, direction)[0]


def picked(values: Tensor, where: Sequence[range | Tensor]) -> Tensor:
    """Return (C, *T) of (C, *S): along each axis a range, which copies nothing, or the positions of a tensor."""
    for axis, chosen in enumerate(where, start=1):
        if isinstance(chosen, range):
            steps = [slice(None)] * axis + [slice(chosen.start, chosen.stop, chosen.step)]
            values = values[tuple(steps)]
    listed = [axis for axis, chosen in enumerate(where, start=1) if isinstance(chosen, Tensor)]
    # the axis that leaves least comes first, so that the others have little to copy
    for axis in sorted(listed, key=lambda axis: len(where[axis - 1]) / values.shape[axis]):
        values = values.index_select(axis, torch.as_tensor(where[axis - 1]))
    return values


def between(values: Tensor, positions: Sequence[Tensor]) -> Tensor:
    """Interpolate (C, *S) linearly at every combination of positions along its axes, in voxels; (C, *T).

    Beyond the first and the last voxel their values hold. One axis after the other: for a whole volume that is several
    times faster than a lookup of eight neighbours per voxel.
    """
    steps = []
    for axis, wanted in enumerate(positions, start=1):
        last = values.shape[axis] - 1
        wanted = wanted.clamp(0, last)
        low = wanted.floor().long()
        high = (low + 1).clamp(max=last)
        first, stop = int(low[0]), int(high[-1]) + 1  # positions rise
        values = values.narrow(axis, first, stop - first)
        shape = [-1 if a == axis else 1 for a in range(values.ndim)]
        steps.append((axis, low - first, high - first, (wanted - low).to(values.dtype).view(shape)))
    # axes that grow least come first, so that the later ones have less to do
    for axis, low, high, weight in sorted(steps, key=lambda step: len(step[1]) / values.shape[step[0]]):
        values = torch.lerp(values.index_select(axis, low), values.index_select(axis, high), weight)
    return values


def _index(where: Sequence[range]) -> list[Tensor]:
    return [torch.arange(chosen.start, chosen.stop, chosen.step) for chosen in where]


def _on_image(source: TraceSource, stage: Stage, direction: str, where: Where) -> Tensor:
    """Return a stage's displacement (D, *T) in voxels of the network's images; see `TraceSource.image_field`."""
    field, _ = source.padded_field(stage, direction)
    shape = source.trace.grid.shape
    ratios = [float(stage.pool_size)] * len(shape)
    if stage.level is None:
        ratios = [new / old for new, old in zip(shape, field.shape[1:], strict=True)]
    own = picked(field, where) if all(ratio == 1 for ratio in ratios) else _resized(field, ratios, where)
    return own if source.is_whole(stage, direction) else own + source.started(own, 1, _index(where))


def _resized(field: Tensor, ratios: Sequence[float], where: Where) -> Tensor:
    """Return a field (D, *S) at voxels of a grid that has `ratios` as many of them along the axes, (D, *T)."""
    positions = [(index + 0.5) / ratio - 0.5 for index, ratio in zip(_index(where), ratios, strict=True)]
    return between(field, positions) * torch.tensor(ratios).view(-1, *[1] * len(ratios))


def _increment(source: TraceSource, stage: Stage, direction: str, where: Where) -> Tensor:
    field, grid = source.padded_field(stage, direction)
    here = picked(field, where)
    if stage.kind == "start" or stage.level == 0:
        return here
    earlier = source.stages[stage.index - 1]
    if stage.kind == "instance":
        before, there = source.array("field", earlier, direction)
        ratios = [new / old for new, old in zip(grid.shape, there.shape, strict=True)]
        return here - _resized(before, ratios, where)
    before, _ = source.padded_field(earlier, direction)
    factor = earlier.pool_size // stage.pool_size
    return here - factor * picked(before, [index // factor for index in _index(where)])


def _determinant(field: Tensor, where: Where) -> Tensor:
    """Return the Jacobian determinant (1, *T) of a field (D, *S); see `functional.jacobian`."""
    columns = []
    for axis, index in enumerate(_index(where)):
        last = field.shape[axis + 1] - 1
        low, high = (index - 1).clamp(min=0), (index + 1).clamp(max=last)
        width = (high - low).clamp(min=1).to(field.dtype).view([-1 if a == axis + 1 else 1 for a in range(field.ndim)])
        ends = [picked(field, [*where[:axis], end, *where[axis + 1 :]]) for end in (high, low)]
        columns.append((ends[0] - ends[1]) / width)
    matrix = torch.stack(columns, dim=1)
    identity = torch.eye(len(where), dtype=field.dtype).view(len(where), len(where), *[1] * len(where))
    return F.determinant((matrix + identity)[None])
