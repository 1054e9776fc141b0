"""The measures as the released code of the paper computes them: to be compared with its tables, and with nothing else.

They differ from the usual ones: the Hausdorff distance is that of whole structures and not of their surfaces, the
average surface distance is taken between layers just outside of structures at half the resolution, and negative
determinants are counted on every second voxel along every axis. Distances are in voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import laplace, zoom
from scipy.spatial import cKDTree

from napari_ran.data import DisplacementField

_ABOVE = 0.1
_SHRUNK = 0.5
_SMALL = 1e-5

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PaperScore:
    """Overlap, Hausdorff distance and average surface distance of two masks; distances in voxels.

    Attributes
    ----------
    dice : float
        ``2 |A & B| / (|A| + |B| + 1e-5)``.
    hd : float, optional
        Largest distance of a voxel of one mask to the nearest of the other; None where one is empty.
    asd : float
        0 for an empty second mask, the shortest side of the grid for an empty first one.
    """

    dice: float
    hd: float | None
    asd: float


def paper_score(fixed: Mask, warped: Mask) -> PaperScore:
    """Compare the masks (*S) of one structure."""
    overlap = 2 * float((fixed & warped).sum()) / (float(fixed.sum()) + float(warped.sum()) + _SMALL)
    one, two = np.argwhere(fixed), np.argwhere(warped)
    largest = max(_nearest(one, two).max(), _nearest(two, one).max()) if len(one) and len(two) else None
    return PaperScore(overlap, None if largest is None else float(largest), _surface_distance(fixed, warped))


def paper_folding(field: DisplacementField, fixed: Mask) -> int:
    """Return the number of voxels with a negative determinant inside a mask (*S), of every second along every axis."""
    every = (slice(None, None, 2),) * fixed.ndim
    values = fixed.astype(np.float64)
    inside = (values > 0.5) & (laplace(values) < _ABOVE)
    negative = field.jacobian_determinant.cpu().numpy() < 0
    return int((negative & inside)[every].sum())


def _surface_distance(fixed: Mask, warped: Mask) -> float:
    one, two = (np.argwhere(laplace(zoom(mask.astype(np.float64), _SHRUNK)) > _ABOVE) for mask in (fixed, warped))
    if not len(two):
        return 0.0
    if not len(one):
        return float(min(fixed.shape))
    return float(np.concatenate([_nearest(one, two), _nearest(two, one)]).mean()) / _SHRUNK


def _nearest(points: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the distance of every point (N, D) to the nearest of the others (M, D)."""
    return np.asarray(cKDTree(others).query(points)[0], dtype=np.float64)
