"""Discrete search: try many displacements of every coarse voxel, and agree on a smooth field (coupled convex)."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ran import functional
from napari_ran.losses import box_mean

COUPLING = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Weights that tie the best displacement of each voxel to its neighbourhood, one per pass, from loose to tight."""

OFFSETS = 16
"""Displacements whose costs are computed together."""

ROWS = 2**12
"""Voxels that are coupled together."""


def pool_to(features: Tensor, shape: Sequence[int]) -> Tensor:
    """Average (B, C, *S) over the cells of a coarser grid on the same box."""
    if tuple(features.shape[2:]) == tuple(shape):
        return features
    pool: Callable[..., Tensor] = F.adaptive_avg_pool2d if features.ndim == 4 else F.adaptive_avg_pool3d
    return pool(features, tuple(shape))


def displacements(shape: Sequence[int], radius: int) -> int:
    """Return how many displacements `coupled_convex` tries for each voxel of a grid."""
    return math.prod(2 * min(radius, n - 1) + 1 for n in shape)


def coupled_convex(
    fixed: Tensor, moving: Tensor, radius: int, weight: Tensor | None = None, passes: int = 3
) -> Generator[float, None, Tensor]:
    """Find a smooth displacement of each voxel among all within `radius` voxels along each axis.

    Matching costs and smoothness are minimised in turns (Heinrich et al., MICCAI 2014; Siebert, Hansen and Heinrich,
    2021).

    Parameters
    ----------
    fixed, moving : (1, C, *S) tensors
        Features on one coarse grid, in (0, 1].
    radius : int
        Largest displacement along each axis in voxels of this grid.
    weight : (1, 1, *S) tensor, optional
        How much to trust the match of each voxel.
    passes : int
        How many 3-wide averages smooth the field after each pass.

    Yields
    ------
    float
        The share done.

    Returns
    -------
    (1, D, *S) tensor
        Displacement in voxels of this grid.
    """
    shape, ndim = fixed.shape[2:], fixed.ndim - 2
    reach = [min(radius, n - 1) for n in shape]
    offsets = torch.cartesian_prod(*[torch.arange(-r, r + 1, device=fixed.device) for r in reach]).view(-1, ndim)
    # the first of equal costs is taken: where nothing says how far to move, as in flat regions, that is the shortest
    offsets = offsets[(offsets**2).sum(1).argsort(stable=True)]
    costs = yield from _costs(fixed, moving, offsets, reach, weight)
    distances = offsets.to(fixed.dtype)
    lengths = (distances**2).sum(1, keepdim=True)

    def smooth(choice: Tensor) -> Tensor:
        field = distances[choice].T.reshape(1, ndim, *shape)
        for _ in range(passes):
            field = box_mean(field, 3)
        return field

    field = smooth(_lowest(costs))
    for turn, coupling in enumerate(COUPLING):
        yield 0.7 + 0.3 * turn / len(COUPLING)
        # |d - u|**2 without |u|**2, which no choice of d changes, as one product: (u, 1) times (-2 d, d**2)
        choices = coupling * torch.cat([-2 * distances, lengths], 1).T
        here = torch.cat([field[0].flatten(1), field.new_ones(1, len(costs))]).T
        parts = zip(torch.split(costs, ROWS), torch.split(here, ROWS), strict=True)
        field = smooth(torch.cat([_lowest(torch.addmm(part, place, choices)) for part, place in parts]))
    return field


def _costs(
    fixed: Tensor, moving: Tensor, offsets: Tensor, reach: Sequence[int], weight: Tensor | None
) -> Generator[float, None, Tensor]:
    """Compare every voxel with those at each offset (M, D) from it: (N, M), the choices of a voxel side by side."""
    shape = fixed.shape[2:]
    padded = F.pad(moving, [r for r in reversed(reach) for _ in range(2)], mode="replicate")
    costs = fixed.new_empty((math.prod(shape), len(offsets)))
    for start in range(0, len(offsets), OFFSETS):
        part = offsets[start : start + OFFSETS].tolist()
        together = fixed.new_empty((1, len(part), *shape))
        for index, offset in enumerate(part):
            window = padded
            for axis, step in enumerate(offset):
                window = window.narrow(axis + 2, step + reach[axis], shape[axis])
            torch.sum((window - fixed).square_(), (0, 1), out=together[0, index])
        together = box_mean(together, 3).div_(fixed.shape[1])
        if weight is not None:
            together *= weight
        costs[:, start : start + OFFSETS] = together[0].flatten(1).T
        yield 0.7 * start / len(offsets)
    return costs


def _lowest(values: Tensor) -> Tensor:
    """Return where each row (N, M) is lowest; on the processor NumPy is ten times as fast as torch."""
    return torch.from_numpy(values.numpy().argmin(1)) if values.device.type == "cpu" else values.argmin(1)


def consistent(forward: Tensor, backward: Tensor, iterations: int = 10) -> Tensor:
    """Return `forward`, (1, D, *S) in voxels, pulled towards the inverse of `backward` where the two disagree."""
    for _ in range(iterations):
        new_forward = 0.5 * (forward - functional.warp(backward, forward, padding="border"))
        backward = 0.5 * (backward - functional.warp(forward, backward, padding="border"))
        forward = new_forward
    return forward
