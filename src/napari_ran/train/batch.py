"""Pairs on the network's grid, alone or stacked to batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.data.grid import shape_text
from napari_ran.errors import InputError


@dataclass(frozen=True, eq=False)
class PairBatch:
    """One or more pairs of one shape.

    Attributes
    ----------
    fixed, moving : (B, 1, *S) float32 tensor
        Intensities in [0, 1].
    spacing : tuple of float
        Voxel size in mm, D.
    fixed_labels, moving_labels : (B, 1, *S) int32 tensor, optional
        Labels, 0 is background.
    truth : (B, D, *S) tensor, optional
        True field on the fixed grid in voxels.
    fixed_points, moving_points : tuple of B (N, D) float32 tensors
        Corresponding landmarks in voxels; empty where there are none.
    """

    fixed: Tensor
    moving: Tensor
    spacing: tuple[float, ...]
    fixed_labels: Tensor | None = None
    moving_labels: Tensor | None = None
    truth: Tensor | None = None
    fixed_points: tuple[Tensor, ...] = ()
    moving_points: tuple[Tensor, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape."""
        return tuple(self.fixed.shape[2:])

    @property
    def size(self) -> int:
        """Number of pairs."""
        return int(self.fixed.shape[0])

    @property
    def volumes(self) -> dict[str, Tensor]:
        """The images, and the labels and the true field where they are known, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def to(self, device: torch.device | str) -> PairBatch:
        """Return the batch on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> PairBatch:
        """Return the batch in page-locked memory, from which a GPU copies it in the background."""
        return self.map(Tensor.pin_memory)

    def map(self, change: Callable[[Tensor], Tensor]) -> PairBatch:
        """Return the batch with `change` applied to every tensor."""
        parts = {name: change(value) for name, value in self.volumes.items()}
        points = {name: tuple(change(one) for one in getattr(self, name)) for name in _POINTS}
        return replace(self, **parts, **points)  # type: ignore[arg-type]

    def resized(self, shape: Sequence[int]) -> PairBatch:
        """Return the batch on a grid of another shape over the same box."""
        if tuple(shape) == self.shape:
            return self
        factors = [new / old for new, old in zip(shape, self.shape, strict=True)]
        parts: dict[str, Any] = {name: F.resize(getattr(self, name), shape) for name in ("fixed", "moving")}
        for name in ("fixed_labels", "moving_labels"):
            labels = getattr(self, name)
            parts[name] = None if labels is None else F.resize_labels(labels, shape)
        parts["truth"] = None if self.truth is None else F.resize_field(self.truth, shape)
        for name in _POINTS:  # the box begins half a voxel before the first voxel's middle
            parts[name] = tuple((one + 0.5) * one.new_tensor(factors) - 0.5 for one in getattr(self, name))
        spacing = tuple(side / factor for side, factor in zip(self.spacing, factors, strict=True))
        return PairBatch(spacing=spacing, **parts)

    def swapped(self) -> PairBatch:
        """Return the batch with fixed and moving exchanged; a true field is dropped, since it has one direction."""
        return replace(
            self,
            fixed=self.moving,
            moving=self.fixed,
            fixed_labels=self.moving_labels,
            moving_labels=self.fixed_labels,
            truth=None,
            fixed_points=self.moving_points,
            moving_points=self.fixed_points,
        )

    def take(self, index: int) -> PairBatch:
        """Return one pair as a batch of its own."""
        parts = {name: value[index : index + 1] for name, value in self.volumes.items()}
        points = {name: getattr(self, name)[index : index + 1] for name in _POINTS}
        return replace(self, **parts, **points)  # type: ignore[arg-type]


_POINTS = ("fixed_points", "moving_points")


def stack(pairs: Sequence[PairBatch]) -> PairBatch:
    """Return several pairs as one batch.

    What only some of them have (labels, a true field) is left out.

    Raises
    ------
    InputError
        Their shapes differ.
    """
    first = pairs[0]
    if len(pairs) == 1:
        return first
    shapes = sorted({pair.shape for pair in pairs})
    if len(shapes) > 1:
        raise InputError(
            "data.shape",
            f"the pairs have different shapes ({shape_text(shapes[0])} and {shape_text(shapes[-1])}), "
            "so they cannot be stacked",
            "Set data.shape or augment.crop, or set optimiser.batch to 1 and accumulate instead",
        )
    parts: dict[str, Tensor | None] = {}
    for name in ("fixed", "moving", "fixed_labels", "moving_labels", "truth"):
        values = [value for pair in pairs if (value := getattr(pair, name)) is not None]
        parts[name] = torch.cat(values) if len(values) == len(pairs) else None
    points: dict[str, tuple[Tensor, ...]] = {
        name: tuple(one for pair in pairs for one in getattr(pair, name)) for name in _POINTS
    }
    if len(points["fixed_points"]) != len(pairs):
        points = dict.fromkeys(_POINTS, ())
    return PairBatch(spacing=first.spacing, **parts, **points)  # type: ignore[arg-type]
