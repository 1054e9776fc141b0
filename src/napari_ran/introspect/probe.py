"""One point on its way through the stages: where it is looked up, and what moved it there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_ran.data import Grid
from napari_ran.data.grid import apply_affine
from napari_ran.errors import InputError
from napari_ran.introspect.attribution import Attribution, OutputAttribution, attribute, attribute_output
from napari_ran.introspect.quantities import Stage
from napari_ran.introspect.sources import TraceSource
from napari_ran.introspect.trace import NetworkTrace
from napari_ran.models import RAN

if TYPE_CHECKING:
    from napari_ran.introspect.inspection import Inspection

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Contribution:
    """One part of a displacement.

    Attributes
    ----------
    kind : {"residual", "residual mean", "carried", "carried mean", "features", "bias", "clamp", "start", "change"}
        Where it comes from: a head of this level, the mean of its heads, the field of the stage before as a head's mask
        and the confidence let it through, that field unweighted, the last features, the biases, the limit at twice the
        grid, what coarser looks had found at the place that this look leads to, or what the instance optimisation or a
        level of another network changed.
    head : int or None
        Which head, counted from 0, for "residual" and "carried" of a level.
    mm : (D,) array
        The vector in mm along the world axes.
    """

    kind: str
    head: int | None
    mm: Vector

    @property
    def title(self) -> str:
        """What to call it; heads are counted from 0."""
        return self.kind if self.head is None else f"{self.kind}, head {self.head}"


@dataclass(frozen=True, eq=False)
class StageProbe:
    """What one stage says about the point.

    Attributes
    ----------
    stage : Stage
        Which stage.
    voxel : tuple of int
        The voxel of the stage's own grid that holds the point.
    displacement : (D,) array
        The displacement there after the stage, in mm along the world axes.
    contributions : tuple of Contribution
        Exact parts of the displacement for this input, with the rectifiers' gates as they are; they sum to it.
    masks : (M,) array or None
        How much each head counts; None unless it is a level.
    heads : (M, D) array or None
        What each head proposes, in mm along the world axes.
    confidence, previous_confidence : float or None
        Of the level's own residual and of the carried field.
    capture_range : (D,) array or None
        Half the sides of the box that the level can reach, in mm along the grid's axes, around the place where the
        point was looked up after the stage before.
    """

    stage: Stage
    voxel: tuple[int, ...]
    displacement: Vector
    contributions: tuple[Contribution, ...] = ()
    masks: Vector | None = None
    heads: NDArray[np.float64] | None = None
    confidence: float | None = None
    previous_confidence: float | None = None
    capture_range: Vector | None = None

    @property
    def incompleteness(self) -> float:
        """Distance of the contributions' sum from the displacement, in mm; rounding apart it is zero."""
        total = np.sum([part.mm for part in self.contributions], axis=0) if self.contributions else self.displacement
        return float(np.linalg.norm(total - self.displacement))


@dataclass(frozen=True, eq=False)
class Probe:
    """A point and its path.

    Attributes
    ----------
    point : (D,) array
        World position in mm in the image that the direction's field lives on.
    direction : {"forward", "inverse"}
        Which field moves it.
    path : (n + 1, D) array
        World positions in mm: the point, then where it is looked up after each of the n stages. With a network this is
        a place in the other image as the network saw it, that is, after the pre-alignment.
    moving : (n + 1, D) array
        The same places in the other original image: through the affine for the forward direction.
    stages : tuple of StageProbe
        In their order.
    box_axes : (D, D) array
        Unit vectors of the network grid's axes as columns: the directions of the capture boxes.
    """

    point: Vector
    direction: str
    path: NDArray[np.float64]
    moving: NDArray[np.float64]
    stages: tuple[StageProbe, ...]
    box_axes: NDArray[np.float64]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, for export."""
        return {
            "point_mm": self.point.tolist(),
            "direction": self.direction,
            "path_mm": self.path.tolist(),
            "other_image_mm": self.moving.tolist(),
            "stages": [
                {
                    "stage": found.stage.title,
                    "voxel": list(found.voxel),
                    "displacement_mm": found.displacement.tolist(),
                    "contributions_mm": {part.title: part.mm.tolist() for part in found.contributions},
                    "masks": None if found.masks is None else found.masks.tolist(),
                    "heads_mm": None if found.heads is None else found.heads.tolist(),
                    "confidence": found.confidence,
                    "previous_confidence": found.previous_confidence,
                    "capture_range_mm": None if found.capture_range is None else found.capture_range.tolist(),
                }
                for found in self.stages
            ],
        }


@torch.no_grad()
def probe(inspection: Inspection, point_mm: ArrayLike, direction: str = "forward") -> Probe | None:
    """Follow a point through all stages; fast enough to follow the mouse.

    Each stage is read at the voxel of its own grid that holds the point, as the network itself reads a coarser field.

    Parameters
    ----------
    inspection : Inspection
        Whose stages.
    point_mm : (D,) array
        World position in mm, in the image that the direction's field lives on.
    direction : {"forward", "inverse"}
        Which field.

    Returns
    -------
    Probe or None
        None where the point lies outside the image.

    Raises
    ------
    InputError
        The point has another dimension, or is not finite, or the direction does not exist.
    """
    reasons = [inspection.why_not("field", stage.index, direction) for stage in inspection.stages]
    if all(reasons):
        raise InputError("direction", f"{reasons[0][0].lower()}{reasons[0][1:]}", "Use 'forward'")
    source, trace = inspection.source, inspection.trace
    grid = source.transform(inspection.stages[0], direction).grid if trace is None else trace.grid
    point = np.asarray(point_mm, dtype=float)
    if point.shape != (grid.ndim,) or not np.isfinite(point).all():
        raise InputError("point_mm", f"expected {grid.ndim} finite coordinates, got {point.tolist()}", "Give mm, RAS+")
    if _voxel(grid, point) is None:
        return None
    found: list[StageProbe] = []
    path = [point]
    for stage in inspection.stages:
        if inspection.why_not("field", stage.index, direction):
            continue
        stage_found = _at_stage(inspection, stage, direction, point, path[-1] - point)
        found.append(stage_found)
        path.append(point + stage_found.displacement)
    places = np.stack(path)
    other = places
    if trace is not None and direction == "forward":
        other = apply_affine(trace.affine, places)
    return Probe(point, direction, places, other, tuple(found), grid.direction)


def _at_stage(inspection: Inspection, stage: Stage, direction: str, point: Vector, before: Vector) -> StageProbe:
    """Return what a stage says; `before` is the displacement in mm after the stage before."""
    source, trace = inspection.source, inspection.trace
    looked = source if isinstance(source, TraceSource) and not source.is_whole(stage, direction) else None
    field, grid = looked.padded_field(stage, direction) if looked else source.array("field", stage, direction)
    voxel = _voxel(grid, point)
    if voxel is None:  # the working grid may end a rounding error earlier than the network's
        voxel = tuple(int(i) for i in np.clip(np.round(grid.to_voxel(point)), 0, np.array(grid.shape) - 1))
    displacement = _world(grid, own := _at(field, voxel))
    start: tuple[Contribution, ...] = ()
    if looked is not None:
        places = [torch.tensor([index]) for index in voxel]
        more = looked.started(own.view(-1, *[1] * grid.ndim), stage.pool_size, places)
        start = (Contribution("start", None, _world(grid, more.flatten())),)
        displacement = displacement + start[0].mm
    if stage.level is None or trace is None:
        parts = _output_parts(trace, stage, voxel, direction, displacement, before)
        return StageProbe(stage, voxel, displacement, parts + start if stage.kind == "output" else parts)

    def values(quantity: str) -> Vector | None:
        if inspection.why_not(quantity, stage.index, direction):
            return None
        there, _ = inspection.source.array(quantity, stage, direction)
        return np.asarray(_at(there, voxel).double().numpy())

    parts = _level_parts(trace, stage.level, voxel, direction, grid)
    heads, spread = values("residual_heads"), stage.capture_range
    return StageProbe(
        stage,
        voxel,
        displacement,
        parts + start if parts else _change(before, displacement),
        values("masks"),
        None if heads is None else _world(grid, heads.reshape(-1, grid.ndim)),
        _single(values("confidence")),
        _single(values("previous_confidence")),
        None if spread is None else spread * trace.grid.spacing,
    )


def _level_parts(
    trace: NetworkTrace, level: int, voxel: tuple[int, ...], direction: str, grid: Grid
) -> tuple[Contribution, ...]:
    """Return what a Residual Aligner adds up; nothing for the level of another network."""
    if not isinstance(trace.model, RAN):
        return ()
    return tuple(_terms(attribute(trace, level, torch.tensor([voxel]), direction), grid))


def _change(before: Vector, displacement: Vector) -> tuple[Contribution, ...]:
    return Contribution("carried", None, before), Contribution("change", None, displacement - before)


def _terms(found: Attribution, grid: Grid) -> Iterator[Contribution]:
    for kind, by_head in (("residual", found.residual), ("carried", found.carried)):
        if by_head is not None:
            for head, vector in enumerate(by_head[0]):
                yield Contribution(kind, head, _world(grid, vector))
        mean = found.residual_mean if kind == "residual" else found.carried_mean
        if mean is not None:
            yield Contribution(f"{kind} mean", None, _world(grid, mean[0]))
    yield Contribution("bias", None, _world(grid, found.bias[0]))
    if bool(found.clamp.any()):
        yield Contribution("clamp", None, _world(grid, found.clamp[0]))


def _output_parts(
    trace: NetworkTrace | None,
    stage: Stage,
    voxel: tuple[int, ...],
    direction: str,
    displacement: Vector,
    before: Vector,
) -> tuple[Contribution, ...]:
    """Return the parts of a stage that is no level."""
    if stage.kind == "output" and trace is not None and isinstance(trace.model, RAN):
        found: OutputAttribution = attribute_output(trace, torch.tensor([voxel]), direction)
        parts = (("features", found.features), ("carried", found.carried), ("bias", found.bias))
        return tuple(Contribution(kind, None, _world(trace.grid, vector[0])) for kind, vector in parts)
    if stage.kind == "start":
        return (Contribution("start", None, displacement),)
    return () if stage.kind == "field" else _change(before, displacement)


def _voxel(grid: Grid, point: Vector) -> tuple[int, ...] | None:
    """Return the voxel that holds a world position, or None outside the grid."""
    voxel = np.floor(grid.to_voxel(point) + 0.5).astype(int)
    inside = bool((voxel >= 0).all() and (voxel < np.array(grid.shape)).all())
    return tuple(int(i) for i in voxel) if inside else None


def _at(values: Tensor, voxel: tuple[int, ...]) -> Tensor:
    """Return (C,) of (C, *S)."""
    for index in voxel:
        values = values[:, index]
    return values


def _world(grid: Grid, vectors: Tensor | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return displacements (..., D) in voxels of a grid in mm along the world axes."""
    array = vectors.double().numpy() if isinstance(vectors, Tensor) else vectors
    return np.asarray(array @ grid.affine[:-1, :-1].T)


def _single(values: Vector | None) -> float | None:
    return None if values is None else float(values[0])
