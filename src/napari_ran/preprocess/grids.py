"""The grids on which a registration works."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from napari_ran.data import Grid
from napari_ran.data.grid import apply_affine, shape_text
from napari_ran.errors import InputError

VOXEL_BUDGET = 4_000_000
"""Largest number of voxels of an automatic working grid."""

TOLERATED = 1.2
"""A grid that exceeds the budget by no more than this factor is kept: a coarsening so slight would only blur."""

LEAST_SIDE = 4
"""Fewest voxels along an axis that a working spacing may leave, unless the image has fewer itself."""


def working_grid(fixed: Grid, spacing: float | None = None, budget: int = VOXEL_BUDGET) -> tuple[Grid, str]:
    """Choose the grid on which both images are brought together, and say why in one sentence.

    It covers the fixed image's box along its own axes, oblique or not, and is never finer than the fixed image: thick
    slices stay thick, while the finer axes are coarsened first, towards equal spacing, until the number of voxels is
    within the budget.

    Parameters
    ----------
    fixed : Grid
        The fixed image's grid.
    spacing : float, optional
        Wanted voxel size in mm; chosen by the budget when left out.
    budget : int
        Largest number of voxels when `spacing` is left out.

    Raises
    ------
    InputError
        The wanted spacing leaves next to nothing of an axis.
    """
    if spacing is None:
        grid = fixed if np.prod(fixed.shape) <= TOLERATED * budget else coarsened(fixed, budget)
        why = "the fixed image's own" if grid is fixed else f"coarsened to at most {budget / 1e6:.3g} million voxels"
        return grid, f"Working grid: {_describe(grid)}, {why}"
    wanted = np.maximum(fixed.spacing, spacing)
    grid = fixed if np.allclose(wanted, fixed.spacing) else fixed.with_spacing(wanted)
    fewest = [min(n, LEAST_SIDE) for n in fixed.shape]
    if any(n < least for n, least in zip(grid.shape, fewest, strict=True)):
        largest = float((fixed.extent / fewest).min())
        problem = f"{spacing:g} mm leaves {shape_text(grid.shape)} voxels"
        raise InputError("spacing", problem, f"Use at most {largest:.2g} mm")
    why = "as asked for"
    if bool((fixed.spacing > 1.01 * spacing).any()):
        why += ", but never finer than the fixed image"
    return grid, f"Working grid: {_describe(grid)}, {why}"


def coarsened(grid: Grid, budget: int) -> Grid:
    """Return the grid with its finest axes coarsened, towards equal spacing, to at most `budget` voxels.

    Axes that are already as coarse as the spacing reached, or have only `LEAST_SIDE` voxels left, stay as they are.
    """
    pitch = float(grid.spacing.min())
    result = grid
    while np.prod(result.shape) > budget:
        pitch *= 1.02
        shape = at_least(grid, pitch)
        if shape == result.shape and pitch > float(grid.extent.max()):
            break
        result = grid.with_shape(shape)
    return result


def at_least(grid: Grid, pitch: float) -> tuple[int, ...]:
    """Return the shape of the grid when no axis is finer than `pitch` mm."""
    wanted = np.maximum(grid.spacing, pitch)
    return tuple(
        max(min(n, LEAST_SIDE), round(length / size))
        for n, length, size in zip(grid.shape, grid.extent, wanted, strict=True)
    )


def overlap(fixed: Grid, moving: Grid, world: ArrayLike) -> float:
    """Return how much of the smaller box lies inside the other one, 0 to 1.

    `world` maps fixed to moving world positions.
    """
    samples = [(np.arange(m := min(n, 16)) + 0.5) * n / m - 0.5 for n in fixed.shape]
    points = np.stack(np.meshgrid(*samples, indexing="ij"), -1).reshape(-1, fixed.ndim)
    matrix = fixed.voxel_map_to(moving, world)
    inside = moving.contains(apply_affine(matrix, points)).mean()
    # one voxel of the fixed grid covers this many of the moving one
    scale = abs(float(np.linalg.det(matrix[:-1, :-1])))
    volumes = float(np.prod(fixed.shape)) * scale, float(np.prod(moving.shape))
    return min(1.0, float(inside) * volumes[0] / min(volumes))


def _describe(grid: Grid) -> str:
    return f"{shape_text(grid.shape)} voxels of {' x '.join(f'{s:.3g}' for s in grid.spacing)} mm"
