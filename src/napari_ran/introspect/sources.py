"""Where an inspection takes its quantities from: the trace of a network, or nothing but a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid, Image, Labels
from napari_ran.data.grid import apply_affine
from napari_ran.introspect.quantities import QUANTITIES, Stage
from napari_ran.introspect.trace import NetworkTrace, level_grid
from napari_ran.inversion import invert_points
from napari_ran.models import RAN, DirectionOutput, LevelOutput
from napari_ran.transform import compose_to, resample, warp_image, warp_labels

_OF_LEVELS = frozenset(
    {
        "residual_heads",
        "masks",
        "logits",
        "confidence",
        "previous_confidence",
        "attributes",
        "features",
        "refined",
    }
)
"""What only a level has."""

ValueT = TypeVar("ValueT")


class Source(Protocol):
    """What an inspection needs to know of its stages; `why_not` has been asked before anything else is."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in their order."""

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that exist."""

    def why_not(self, quantity: str, stage: Stage, direction: str) -> str:
        """Return why a stage has no such quantity, in a sentence; empty where it has."""

    def array(self, quantity: str, stage: Stage, direction: str) -> tuple[Tensor, Grid]:
        """Return a quantity (C, *S) other than "difference" and "jacobian", and its grid."""

    def own_image(self, direction: str) -> Image | None:
        """Return the image that the direction's field lives on, intensities in [0, 1]; None where it is not known."""

    def own_labels(self, labels: Labels, direction: str) -> Labels:
        """Return labels of the original of `own_image`, in their own place, as they lie on its grid."""

    def own_points(self, points: NDArray[np.float64], direction: str) -> NDArray[np.float64]:
        """Return world positions (N, D) in the original of `own_image` as positions in its world, in mm."""

    def transform(self, stage: Stage, direction: str) -> DisplacementField:
        """Return the map from the world of `own_image` to that of the other original image, on the former's grid."""

    def inside(self, stage: Stage, direction: str) -> Tensor:
        """Return which voxels (*S) of the transform's grid are looked up inside the other image."""


@dataclass(frozen=True, eq=False)
class TraceSource:
    """The levels of a network, its output, and what the instance optimisation made of it."""

    trace: NetworkTrace

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """What coarser looks found, the levels, what the network returns, and what was made of its field afterwards."""
        stages = [] if self.trace.start is None else [Stage(0, "start", "Coarser looks")]
        for i in self.trace.model.level_info:
            stages.append(Stage(len(stages), "level", f"Level {i.level}", i.level, i.pool_size, i.capture_range))
        title = "Output convolution" if isinstance(self.trace.model, RAN) else "Output"
        stages.append(Stage(len(stages), "output", title))
        if self.trace.refined is not None:
            stages.append(Stage(len(stages), "instance", self.trace.refined_by))
        return tuple(stages)

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that the network computed to the end."""
        return self.trace.directions

    def why_not(self, quantity: str, stage: Stage, direction: str) -> str:
        """Return why a stage has no such quantity; empty where it has."""
        if stage.kind == "instance" and direction == "inverse" and self.trace.refined_inverse is None:
            return "This stage kept the forward direction only"
        if stage.kind == "start" and direction == "inverse":
            return "In this direction the moving image is shown as the coarser looks had warped it"
        if stage.level is None:
            if quantity not in _OF_LEVELS:
                return ""
            return f"'{QUANTITIES[quantity].title}' belongs to the levels; this stage is no level"
        found = self._of(stage, direction)
        if found is None:
            return "This level computed the forward direction only"
        if quantity not in _OF_LEVELS or getattr(found, quantity) is not None:
            return ""
        if quantity == "previous_confidence" and found.confidence is not None:
            return f"Level {stage.level} has no field to start from, so there is no confidence in one"
        return f"This network has no {'feedback' if quantity == 'attributes' else 'confidences'}"

    def array(self, quantity: str, stage: Stage, direction: str) -> tuple[Tensor, Grid]:
        """Return a quantity (C, *S), cropped to the image, and its grid."""
        if quantity == "warped":
            other = self.trace.moving if direction == "forward" else self.trace.fixed
            return F.warp(other, self.image_field(stage, direction)[None])[0], self.trace.grid
        field, grid = self.padded_field(stage, direction)
        if quantity == "field":
            own = F.cropped(field, grid.shape)
            return (own if self.is_whole(stage, direction) else own + self.started(own, stage.pool_size)), grid
        if quantity == "increment":
            return F.cropped(field - self._before(stage, direction, grid), grid.shape), grid
        values: Tensor = getattr(self._of(stage, direction), quantity)[0]
        if quantity == "residual_heads":
            values = values.flatten(0, 1)
        return F.cropped(values, grid.shape), grid

    def own_image(self, direction: str) -> Image:
        """Return what the network saw: the fixed image, or the aligned moving one."""
        return self.trace.images()[0 if direction == "forward" else 1]

    def is_whole(self, stage: Stage, direction: str) -> bool:
        """Return whether the field of a stage includes what coarser looks found, where there were some."""
        return self.trace.start is None or direction == "inverse" or stage.kind in ("start", "instance")

    def started(self, own: Tensor, pool_size: int, where: Sequence[Tensor] | None = None) -> Tensor:
        """Return what coarser looks add (D, *T) to a stage's own forward field (D, *T), in voxels of the stage's grid.

        The field is that of voxels at the positions `where` along the axes, of its whole grid when left out.
        """
        if self.trace.start is None:
            return torch.zeros_like(own)
        axes = [torch.arange(n) for n in own.shape[1:]] if where is None else where
        here = torch.stack(torch.meshgrid(*(axis.to(own.dtype) for axis in axes), indexing="ij"))
        centres = pool_size * (here + own + 0.5) - 0.5
        return F.sample(self.trace.start, centres[None], padding="border")[0] / pool_size

    def image_field(self, stage: Stage, direction: str) -> Tensor:
        """Return the field (D, *S) after a stage in voxels of the network's images, on their grid."""
        field, _ = self.padded_field(stage, direction)
        shape = self.trace.grid.shape
        if stage.level is None:
            own = F.resize_field(field[None], shape)[0]
        else:
            padded = [n * stage.pool_size for n in field.shape[1:]]
            own = F.cropped(F.resize_field(field[None], padded)[0], shape)
        return own if self.is_whole(stage, direction) else self.trace.on_start(own[None])[0]

    def transform(self, stage: Stage, direction: str) -> DisplacementField:
        """Return the map from fixed to moving world, or from the aligned moving image's world to the fixed one."""
        field = DisplacementField(self.image_field(stage, direction), self.trace.grid)
        return compose_to(field, self.trace.affine, self.trace.grid) if direction == "forward" else field

    def own_labels(self, labels: Labels, direction: str) -> Labels:
        """Return the fixed image's labels on the network's grid, or the moving one's as the network saw them."""
        if direction == "forward":
            return resample(labels, self.trace.grid)
        if self.trace.start is None:
            return resample(labels, self.trace.grid, self.trace.affine)
        return replace(warp_labels(labels, self._alignment), name=labels.name)

    def own_points(self, points: NDArray[np.float64], direction: str) -> NDArray[np.float64]:
        """Return positions in the fixed image as they are, in the moving one as positions in what the network saw."""
        if direction == "forward":
            return points
        if self.trace.start is None:
            return apply_affine(np.linalg.inv(self.trace.affine), points)
        return invert_points(self._alignment, points)[0]

    @cached_property
    def _alignment(self) -> DisplacementField:
        """The map from what the network saw of the moving image to the original one."""
        start = _present(self.trace.start)[0]
        return compose_to(DisplacementField(start, self.trace.grid), self.trace.affine, self.trace.grid)

    def inside(self, stage: Stage, direction: str) -> Tensor:
        """Return which voxels (*S) of the network's grid are looked up inside its other image."""
        return _within(self.image_field(stage, direction), self.trace.grid.shape)

    @cached_property
    def _grids(self) -> tuple[Grid, ...]:
        return tuple(level_grid(self.trace.grid, level.pool_size) for level in self.trace.levels)

    def _of(self, stage: Stage, direction: str) -> DirectionOutput | None:
        level: LevelOutput = self.trace.levels[_present(stage.level)]
        return level.forward if direction == "forward" else level.inverse

    def padded_field(self, stage: Stage, direction: str) -> tuple[Tensor, Grid]:
        """Return the field (D, *P) of a stage, its padding included, and the grid of what is not padding.

        That of a level and of the output is the last look's own, without what coarser ones found.
        """
        trace, forward = self.trace, direction == "forward"
        if stage.kind == "start":
            return _present(trace.start)[0], trace.grid
        if stage.level is not None:
            return _present(self._of(stage, direction)).field[0], self._grids[stage.level]
        refined = trace.refined if forward else self._refined_inverse
        if stage.kind == "instance" and refined is not None:
            return refined.tensor, refined.grid
        field = trace.output.field if forward else trace.output.inverse_field
        return _present(field)[0], trace.grid

    @cached_property
    def _refined_inverse(self) -> DisplacementField | None:
        """The refined inverse field, from the moving image as the network saw it."""
        inverse = self.trace.refined_inverse
        if inverse is None or self.trace.start is None:
            return inverse
        start = F.resize_field(self.trace.start, inverse.grid.shape)
        return DisplacementField(F.compose(inverse.tensor[None], start)[0], inverse.grid)

    def _before(self, stage: Stage, direction: str, grid: Grid) -> Tensor:
        """Return the field (D, *P) of the stage before on this stage's grid, as this stage received it."""
        if stage.kind == "start" or stage.level == 0:
            return torch.zeros(())
        earlier = self.stages[stage.index - 1]
        if stage.kind == "instance":
            return F.resize_field(self.array("field", earlier, direction)[0][None], grid.shape)[0]
        field, _ = self.padded_field(earlier, direction)
        factor = earlier.pool_size // stage.pool_size
        if factor > 1:
            field = F.upsample_field(field[None], factor)[0]
        return F.cropped(field, grid.shape) if stage.kind == "output" else field


@dataclass(frozen=True, eq=False)
class FieldSource:
    """A field of any origin: a whole transform on its own, with the images where they are known.

    Attributes
    ----------
    field : DisplacementField
        Fixed point to moving point.
    inverse_field : DisplacementField, optional
        Moving point to fixed point.
    fixed, moving : Image, optional
        The pair, in any intensities; they are scaled to [0, 1].
    warped : Image, optional
        The moving image on the field's grid, where it has been made already.
    """

    field: DisplacementField
    inverse_field: DisplacementField | None = None
    fixed: Image | None = None
    moving: Image | None = None
    warped: Image | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The field alone."""
        return (Stage(0, "field", "Field"),)

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions of which there are fields."""
        return ("forward",) if self.inverse_field is None else ("forward", "inverse")

    def why_not(self, quantity: str, stage: Stage, direction: str) -> str:
        """Return why there is no such quantity; empty where there is."""
        if quantity in _OF_LEVELS or quantity == "increment":
            return f"'{QUANTITIES[quantity].title}' needs the levels of a network; there is only a field"
        if quantity == "warped" and self._other(direction) is None and not self._has_warped(direction):
            return "The image that is pulled is not known"
        if quantity == "difference" and (self.own_image(direction) is None or self.why_not("warped", stage, direction)):
            return "Not both images are known"
        return ""

    def array(self, quantity: str, stage: Stage, direction: str) -> tuple[Tensor, Grid]:
        """Return the field, or the warped image, and its grid."""
        field = self.transform(stage, direction)
        if quantity == "field":
            return field.tensor, field.grid
        other = self._other(direction)
        low, high = _window(_present(self.warped if other is None else other))
        if direction == "forward" and self.warped is not None:
            return _scaled(self.warped.tensor[:1], low, high), field.grid
        return _scaled(warp_image(_present(other), field).tensor[:1], low, high), field.grid

    def own_image(self, direction: str) -> Image | None:
        """Return the image that the direction's field lives on, on the field's grid."""
        image = self.fixed if direction == "forward" else self.moving
        if image is None:
            return None
        scaled = Image(_scaled(image.tensor[:1], *_window(image)), image.grid, image.name)
        grid = self.transform(self.stages[0], direction).grid
        return scaled if image.grid == grid else resample(scaled, grid)

    def own_labels(self, labels: Labels, direction: str) -> Labels:
        """Return labels on the field's grid: the field knows no alignment beside itself."""
        return resample(labels, self.transform(self.stages[0], direction).grid)

    def own_points(self, points: NDArray[np.float64], direction: str) -> NDArray[np.float64]:
        """Return the points as they are."""
        return points

    def transform(self, stage: Stage, direction: str) -> DisplacementField:
        """Return the field of a direction."""
        return self.field if direction == "forward" else _present(self.inverse_field)

    def inside(self, stage: Stage, direction: str) -> Tensor:
        """Return which voxels (*S) of the field's grid are looked up inside the other image, if it is known."""
        field, other = self.transform(stage, direction), self._other(direction)
        if other is None:
            return torch.ones(field.grid.shape, dtype=torch.bool)
        matrix = torch.from_numpy(field.grid.voxel_map_to(other.grid)).float()
        reached = F.voxel_grid(field.grid.shape, field.tensor)[0] + field.tensor
        return F.within(F.mapped(matrix, reached), other.grid.shape)

    def _other(self, direction: str) -> Image | None:
        return self.moving if direction == "forward" else self.fixed

    def _has_warped(self, direction: str) -> bool:
        return direction == "forward" and self.warped is not None


def _within(field: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return which voxels of a field (D, *S) point into an image of `shape` on the field's grid."""
    return F.within(F.voxel_grid(field.shape[1:], field)[0] + field, shape)


def _window(image: Image) -> tuple[float, float]:
    """Return the 0.5th and the 99.5th percentile of an image's first channel."""
    values = image.tensor[:1].flatten()
    low, high = np.percentile(values[:: max(1, values.numel() // 1_000_000)].numpy(), [0.5, 99.5])
    return float(low), float(high)


def _scaled(values: Tensor, low: float, high: float) -> Tensor:
    return ((values - low) / max(high - low, 1e-12)).clamp(0, 1)


def _present(value: ValueT | None) -> ValueT:
    if value is None:
        raise RuntimeError("ask why_not before what it would have refused")
    return value
