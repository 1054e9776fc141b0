"""The typed record of what a network computed: fields, and on request everything that each level found on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class LevelInfo:
    """What a level is, known before anything runs.

    Attributes
    ----------
    level : int
        Position, 0 is the coarsest.
    pool_size : int
        Voxel size of the level's grid in voxels of the image.
    dilation : int
        Dilation of its dilated convolutions.
    capture_range : float
        Largest displacement a_k it can find, in voxels of the image.
    channels : int
        Feature channels C.
    heads : int
        Number of heads M.
    multiple : int
        Images are padded at the end of every axis to a multiple of this.
    """

    level: int
    pool_size: int
    dilation: int
    capture_range: float
    channels: int
    heads: int
    multiple: int

    def shape_for(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the level's spatial shape for images of spatial shape `shape`, padding included."""
        return tuple(-(-n // self.multiple) * self.multiple // self.pool_size for n in shape)


@dataclass(frozen=True, eq=False)
class Encoded:
    """What the encoder makes of a batch of pairs: enough to run the levels any number of times.

    Attributes
    ----------
    stages : dict of int to (2 B, C, *S) tensor
        What each encoder stage passes on to the levels, by its number from 1; the moving images come first.
    shape : tuple of int
        Spatial shape of the images, before they were padded.
    pairs : int
        Number of pairs B.
    """

    stages: dict[int, Tensor]
    shape: tuple[int, ...]
    pairs: int


@dataclass(frozen=True)
class LevelStep:
    """A level is done: `level` counts from 0, of `total` levels."""

    level: int
    total: int


@dataclass(frozen=True, eq=False)
class DirectionOutput:
    """What one level computed in one direction, on the level's grid of shape ``S``.

    Attributes
    ----------
    field : (B, D, *S) tensor
        Displacement after this level, in voxels of the level's grid.
    residual_heads : (B, M, D, *S) tensor
        The residual displacement that each head proposes, in voxels of the level's grid.
    logits : (B, M, *S) tensor
        Unnormalised weights theta of the heads; carried on to the next level.
    masks : (B, M, *S) tensor
        Softmax of the logits over the heads.
    confidence : (B, 1, *S) tensor or None
        Confidence of this level's residual, at least 0; None in a network without confidence.
    previous_confidence : (B, 1, *S) tensor or None
        Confidence of the field carried from the level before; None at level 0 and in a network without confidence.
    attributes : (B, M, *S) tensor or None
        Attribute features that enter the feedback; None in a network without feedback.
    features : (B, C, *S) tensor
        Features of the image that the field lives on, before the feedback.
    refined : (B, C, *S) tensor
        The same after the feedback (equal without one).

    Notes
    -----
    Where a part was switched off (see `Ablation`), this is what took its place: zeros for a head's residual and mask,
    ones for a confidence, None for the attributes of a feedback. A level that was passed over has zero residuals and
    masks, and the carried field and logits.
    """

    field: Tensor
    residual_heads: Tensor
    logits: Tensor
    masks: Tensor
    confidence: Tensor | None
    previous_confidence: Tensor | None
    attributes: Tensor | None
    features: Tensor
    refined: Tensor

    def take(self, batch: slice) -> DirectionOutput:
        """Return a part of the batch."""
        return self.map(lambda tensor: tensor[batch])

    def map(self, change: Callable[[Tensor], Tensor]) -> DirectionOutput:
        """Return the same with `change` applied to every tensor."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        parts: dict[str, Any] = {name: None if value is None else change(value) for name, value in values.items()}
        return DirectionOutput(**parts)

    def joined(self, other: DirectionOutput) -> DirectionOutput:
        """Return both as one batch, this one first."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        both: dict[str, Any] = {
            name: None if one is None or two is None else torch.cat([one, two]) for name, (one, two) in pairs.items()
        }
        return DirectionOutput(**both)


@dataclass(frozen=True, eq=False)
class LevelOutput:
    """What one level computed.

    The level's grid covers the image padded at the end of its axes: voxel ``j`` of the level is centred at voxel
    ``pool_size * (j + 0.5) - 0.5`` of the image, and what lies beyond `image_shape` is padding.

    Attributes
    ----------
    level : int
        Position, 0 is the coarsest.
    pool_size : int
        Voxel size of the level's grid in voxels of the image.
    shape : tuple of int
        Spatial shape of the level's grid.
    image_shape : tuple of int
        Spatial shape of the images, to crop to.
    forward : DirectionOutput
        On the fixed image's grid: pulls the moving image to the fixed one.
    inverse : DirectionOutput or None
        On the moving image's grid: pulls the fixed image to the moving one; None where only the forward direction was
        asked for and the level did not need the other.
    """

    level: int
    pool_size: int
    shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    forward: DirectionOutput
    inverse: DirectionOutput | None

    def map(self, change: Callable[[Tensor], Tensor]) -> LevelOutput:
        """Return the same with `change` applied to every tensor."""
        inverse = None if self.inverse is None else self.inverse.map(change)
        return replace(self, forward=self.forward.map(change), inverse=inverse)


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """What a network found for a pair.

    Attributes
    ----------
    field : (B, D, *S) tensor
        Displacement in voxels on the fixed grid: ``warped[x] = moving[x + field(x)]``.
    inverse_field : (B, D, *S) tensor or None
        The other direction, on the moving grid: ``warped[y] = fixed[y + inverse_field(y)]``; None unless asked for.
    levels : tuple of LevelOutput
        From coarse to fine; empty unless they were to be kept.
    """

    field: Tensor
    inverse_field: Tensor | None = None
    levels: tuple[LevelOutput, ...] = ()

    def map(self, change: Callable[[Tensor], Tensor]) -> ModelOutput:
        """Return the same with `change` applied to every tensor, such as ``Tensor.detach``."""
        inverse = None if self.inverse_field is None else change(self.inverse_field)
        return ModelOutput(change(self.field), inverse, tuple(level.map(change) for level in self.levels))
