"""Whether an image lies where its file says: others read files too, and people move images by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ran.data import Grid
from napari_ran.io.geometry import lps
from napari_ran.io.images import load_grid

NEAR = 0.1
"""Corners within this share of a voxel coincide."""


def misplaced(grid: Grid, path: str | Path, name: str = "image") -> str:
    """Return what is wrong with where an image lies, compared with its file; empty if nothing is, or it cannot be told.

    Parameters
    ----------
    grid : Grid
        Where its voxels lie; axes may be permuted and turned over against the file's.
    path : str or Path
        The file it came from.
    name : str
        What it is called, for the text.
    """
    try:
        file = load_grid(path)
    except Exception:  # what another plugin opens need not be readable here
        return ""
    if sorted(file.shape) != sorted(grid.shape):
        return ""
    corners, said = _corners(grid), _corners(file)
    near = NEAR * float(file.spacing.min())
    if _far(corners, said) < near:
        return ""
    mirrored = said * lps(grid.ndim)
    if _far(corners, mirrored) < near:
        how = "as if its RAS coordinates were LPS, which another plugin shows as they are"
    else:
        how = f"up to {_far(corners, said):.3g} mm away: it was moved, or another plugin reads its file otherwise"
    return (
        f"'{name}' does not lie where its file says, but {how}. Saved and exported transforms are those of where it "
        f"lies now: for other tools open {Path(path).name} with napari-ran, or save the image as it lies now."
    )


def _corners(grid: Grid) -> NDArray[np.float64]:
    ends = np.meshgrid(*[(0, n - 1) for n in grid.shape], indexing="ij")
    return grid.to_world(np.stack(ends, -1).reshape(-1, grid.ndim))


def _far(some: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return how far the farthest corner of either is from the nearest of the other."""
    apart = np.linalg.norm(some[:, None] - others, axis=-1)
    return float(max(apart.min(0).max(), apart.min(1).max()))
