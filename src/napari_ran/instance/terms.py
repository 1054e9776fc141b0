"""What the optimisation compares at one level: image features on a grid, sampled at points or in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_ran import functional, losses
from napari_ran.instance.known import known
from napari_ran.instance.rows import mean_square, rows_of

BLOCK = 16
"""Side in voxels of the blocks in which local NCC is evaluated on grids too large to be evaluated whole."""


@dataclass(frozen=True)
class Sampled:
    """Part of the fixed image.

    Attributes
    ----------
    points : (1, D, *T) tensor
        Voxel coordinates on the level's grid.
    values : (1, C, *T) tensor
        Features of the fixed image there.
    weight : (1, 1, *T) tensor
        Weight of each point.
    whole : bool
        Whether the points are the whole grid, in order.
    index : (P,) tensor of int64, optional
        The numbers of the points' voxels in the order of memory, where they are voxels.
    """

    points: Tensor
    values: Tensor
    weight: Tensor
    whole: bool = False
    index: Tensor | None = None

    def displacement(self, control: Tensor, shape: Sequence[int]) -> Tensor:
        """Interpolate a control grid (1, D, *K) at the points, which lie on a grid of `shape`; see `at_points`."""
        if self.whole:
            return functional.resize(control, shape)
        if self.index is not None and tuple(control.shape[2:]) == tuple(shape):
            return control.flatten(2)[:, :, self.index].view(self.points.shape)
        return at_points(control, self.points, shape)


class Term:
    """Similarity of the fixed and the moving image on the grid of one level; smaller is better.

    Parameters
    ----------
    fixed, moving : (1, C, *S) tensors
        Features on the level's grid.
    weight : (1, 1, *S) tensor
        Weight of each voxel of the fixed image; zero leaves it out.
    window : int
        Side of the local NCC's window in voxels; 0 compares by mean squares.
    points : int
        Largest number of voxels compared in one step.
    generator : torch.Generator
        Draws which.
    """

    def __init__(
        self, fixed: Tensor, moving: Tensor, weight: Tensor, window: int, points: int, generator: torch.Generator
    ) -> None:
        self.shape = tuple(fixed.shape[2:])
        self.window = window
        self._fixed, self._moving, self._weight, self._generator = fixed, moving, weight, generator
        self._blocks = window > 0 and fixed[0, 0].numel() > points and min(self.shape) >= BLOCK
        self._count = points
        self._whole: Sampled | None = None
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._table = False
        if window == 0:
            self._table = fixed.device.type == "cpu"
            self._fixed = rows_of(fixed)
            # reading all channels of a point at once is several times as fast
            self._moving = rows_of(moving) if self._table else _channels_last(moving)
            self._parts = self._split(points)

    def _split(self, points: int) -> list[tuple[Tensor, Tensor]]:
        """Divide the voxels with weight into random parts of at most `points`: their numbers, and their places."""
        weight = self._weight[0, 0]
        places = (weight if bool(weight.any()) else torch.ones_like(weight)).nonzero().T.int()
        count = -(-places.shape[1] // points)
        if count == 1:
            return [(_numbers(places, self.shape), places)]
        order = torch.randperm(places.shape[1], generator=self._generator).to(places.device)
        # memory is read in order
        parts = [places[:, index.sort().values] for index in torch.tensor_split(order, count)]
        return [(_numbers(part, self.shape), part) for part in parts]

    @property
    def in_parts(self) -> bool:
        """Whether a step compares only some of the voxels."""
        return self._blocks or len(self._parts) > 1

    def draw(self) -> Sampled:
        """Return the next part of the fixed image."""
        if self._blocks:
            return self._draw_blocks()
        if self._whole is None and self.window:
            grid = functional.voxel_grid(self.shape, self._fixed)
            self._whole = Sampled(grid, self._fixed, self._weight, whole=True)
        if self._whole is not None:
            return self._whole
        self._parts.append(self._parts.pop(0))
        part = self._rows_at(*self._parts[-1])
        if len(self._parts) == 1:
            self._whole = part
        return part

    def _rows_at(self, index: Tensor, places: Tensor) -> Sampled:
        """Return the voxels with these numbers, at these places."""
        tail = [1] * (len(self.shape) - 1)
        values = self._fixed.index_select(0, index).T
        weight = self._weight.flatten()[index].view(1, 1, -1, *tail)
        points = places.to(weight.dtype).view(1, len(places), -1, *tail)
        return Sampled(points, values.view(1, len(values), -1, *tail), weight, index=index)

    def _draw_blocks(self) -> Sampled:
        """Return blocks at random places."""
        ndim = len(self.shape)
        number = max(1, self._count // BLOCK**ndim)
        corners = torch.stack(
            [torch.randint(0, n - BLOCK + 1, (number,), generator=self._generator) for n in self.shape], 1
        ).to(self._fixed)
        local = functional.voxel_grid([BLOCK] * ndim, self._fixed)
        points = local + corners.view(number, ndim, *[1] * ndim)
        points = points.movedim(1, 0).reshape(1, ndim, number * BLOCK, *[BLOCK] * (ndim - 1))
        return Sampled(points, functional.sample(self._fixed, points), functional.sample(self._weight, points))

    def __call__(self, part: Sampled, displacement: Tensor) -> Tensor:
        """Return the dissimilarity of `part` when its points move by (1, D, *T) in the level's voxels."""
        if self._table:
            return known(displacement, lambda shift, wanted: self._mean_square(part, shift, wanted))
        warped = functional.sample(self._moving, part.points + displacement, padding="border")
        if not self.window:
            return (((warped - part.values) ** 2).mean(1, keepdim=True) * part.weight).sum() / part.weight.sum()
        values, weight = part.values, part.weight
        if self._blocks:
            ndim = len(self.shape)
            cut = (-1, 1, *[BLOCK] * ndim)
            warped, values, weight = warped.view(cut), values.view(cut), weight.view(cut)
            half = self.window // 2
            inner = (slice(None), slice(None), *[slice(half, BLOCK - half)] * ndim)
            ncc = losses.local_ncc_map(warped, values, self.window)[inner]
            weight = weight[inner]
            return 1 - (ncc * weight).sum() / weight.sum().clamp_min(1e-6)
        return losses.local_ncc(warped, values, self.window, weight)

    def _mean_square(self, part: Sampled, displacement: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        points = (part.points + displacement)[0].flatten(1)
        values, weight = part.values[0].flatten(1).T, part.weight.flatten()
        value, gradient = mean_square(self._moving, self.shape, points, values, weight, wanted)
        return value, None if gradient is None else gradient.view(displacement.shape)


def at_points(control: Tensor, points: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate a control grid (1, D, *K) at voxel coordinates (1, D, *T) of a grid of `shape` on the same box."""
    ndim = control.shape[1]
    scale = torch.tensor([2 / n for n in shape], device=points.device, dtype=points.dtype).view(1, ndim, *[1] * ndim)
    normalised = ((points + 0.5) * scale - 1).movedim(1, -1).flip(-1)
    return functional.grid_sample(control, normalised, padding="border", align_corners=False)


def _numbers(places: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the numbers in the order of memory of voxels at places (D, P)."""
    number = places[0].long()
    for along, size in zip(places[1:], shape[1:], strict=True):
        number = number.mul_(size).add_(along)
    return number


def _channels_last(features: Tensor) -> Tensor:
    return features.contiguous(memory_format=torch.channels_last_3d) if features.ndim == 5 else features


__all__ = ["Sampled", "Term", "at_points"]
