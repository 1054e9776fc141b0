"""What the optimisation compares at one level: image features on a grid, sampled at points or in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ran import functional, losses

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
    """

    points: Tensor
    values: Tensor
    weight: Tensor
    whole: bool = False

    def displacement(self, control: Tensor, shape: Sequence[int]) -> Tensor:
        """Interpolate a control grid (1, D, *K) at the points, which lie on a grid of `shape`; see `at_points`."""
        return functional.resize(control, shape) if self.whole else at_points(control, self.points, shape)


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
        self.moving = moving
        if moving.ndim == 5 and moving.shape[1] > 4:  # reading all channels of a point at once is twice as fast
            self.moving = moving.contiguous(memory_format=torch.channels_last_3d)
        self._fixed, self._weight, self._generator = fixed, weight, generator
        self._blocks = window > 0 and fixed[0, 0].numel() > points and min(self.shape) >= BLOCK
        self._count = points
        self._parts = [] if self._blocks else self._split(points)

    def _split(self, points: int) -> list[Sampled]:
        """Divide the voxels with weight into random parts of at most `points`; NCC keeps the whole grid."""
        grid = functional.voxel_grid(self.shape, self._fixed)
        if self.window:
            return [Sampled(grid, self._fixed, self._weight, whole=True)]
        chosen = self._weight.flatten().nonzero().flatten()
        if len(chosen) == 0:
            chosen = torch.arange(self._weight.numel(), device=chosen.device)
        count = -(-len(chosen) // points)
        order = (
            chosen[torch.randperm(len(chosen), generator=self._generator).to(chosen.device)] if count > 1 else chosen
        )
        tail = [1] * (len(self.shape) - 1)

        def take(values: Tensor, index: Tensor) -> Tensor:
            return values.flatten(2)[:, :, index].view(1, values.shape[1], -1, *tail)

        parts = []
        for index in torch.tensor_split(order, count):
            index = index.sort().values  # memory is read in order
            parts.append(Sampled(take(grid, index), take(self._fixed, index), take(self._weight, index)))
        return parts

    def draw(self) -> Sampled:
        """Return the next part of the fixed image."""
        if not self._blocks:
            self._parts.append(self._parts.pop(0))
            return self._parts[-1]
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
        warped = functional.sample(self.moving, part.points + displacement, padding="border")
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


def at_points(control: Tensor, points: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolate a control grid (1, D, *K) at voxel coordinates (1, D, *T) of a grid of `shape` on the same box."""
    ndim = control.shape[1]
    scale = torch.tensor([2 / n for n in shape], device=points.device, dtype=points.dtype).view(1, ndim, *[1] * ndim)
    normalised = ((points + 0.5) * scale - 1).movedim(1, -1).flip(-1)
    return F.grid_sample(control, normalised, padding_mode="border", align_corners=False)


__all__ = ["Sampled", "Term", "at_points"]
