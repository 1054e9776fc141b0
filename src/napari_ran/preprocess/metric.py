"""Mutual information of two images under a world transform, made comparable between transforms."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ran import functional as F
from napari_ran.data import Image, Labels
from napari_ran.data.grid import apply_affine

BINS = 32
LEAST_POINTS = 100
"""Fewer voxels than this in the overlap say nothing."""

Matrix = NDArray[np.float64]
Masks = tuple[Labels | None, Labels | None]
"""Where the fixed and the moving image count; None is everywhere."""

NO_MASKS: Masks = (None, None)


class MutualInformation:
    """Scores transforms between two images with intensities in [0, 1]: call it with a matrix.

    The mutual information of the overlap is taken times the share of the smaller box that lies in the other one: a
    sliver of overlap cannot score best, and images that show different parts of a body are not pushed to cover each
    other. The bias of a joint histogram of few voxels is removed (Miller, Note on the bias of information estimates,
    1955).

    Parameters
    ----------
    fixed, moving : Image
        One channel each, intensities in [0, 1], any grids of one dimension.
    masks : pair of Labels or None
        Where the fixed and the moving image count, on their grids: not 0.
    """

    def __init__(self, fixed: Image, moving: Image, masks: Masks = NO_MASKS) -> None:
        self._fixed, self._moving = fixed.grid, moving.grid
        self._voxels = np.stack([axis.ravel() for axis in np.indices(fixed.grid.shape)], 1).astype(np.float64)
        self._bins = _binned(fixed.array.ravel())
        self._values = moving.tensor[None].cpu()
        fixed_mask, self._mask = (None if mask is None else mask.array > 0 for mask in masks)
        if fixed_mask is not None:
            chosen = fixed_mask.ravel()
            self._voxels, self._bins = self._voxels[chosen], self._bins[chosen]
        self._size = float(np.prod(moving.grid.shape) if self._mask is None else self._mask.sum())

    def __call__(self, world: Matrix) -> float:
        """Return the score in nats, larger is better, of a matrix from fixed to moving world positions."""
        matrix = self._fixed.voxel_map_to(self._moving, world)
        reached = apply_affine(matrix, self._voxels)
        inside = self._moving.contains(reached)
        if self._mask is not None:
            nearest = np.rint(reached).clip(0, np.array(self._moving.shape) - 1).astype(np.int64)
            inside &= self._mask[tuple(nearest.T)]
        count = int(inside.sum())
        if count < LEAST_POINTS:
            return 0.0
        coordinates = torch.from_numpy(reached[inside].T.astype(np.float32))
        coordinates = coordinates.view(1, len(self._moving.shape), -1, *[1] * (len(self._moving.shape) - 1))
        read = F.sample(self._values, coordinates, padding="border").flatten().numpy()
        joint = np.bincount(self._bins[inside] * BINS + _binned(read), minlength=BINS**2).reshape(BINS, BINS)
        # one voxel of the fixed grid covers this many of the moving one
        ratio = abs(float(np.linalg.det(matrix[:-1, :-1])))
        smaller = min(float(len(self._voxels)), self._size / ratio)
        return _information(joint) * min(1.0, count / smaller)


def _binned(values: NDArray[np.float32]) -> NDArray[np.int64]:
    return (values * BINS).astype(np.int64).clip(0, BINS - 1)


def _information(joint: NDArray[np.int64]) -> float:
    """Return the mutual information of a joint histogram of counts, in nats."""
    count = joint.sum()
    rows, columns = joint.sum(1), joint.sum(0)
    seen = joint > 0
    chance = np.outer(rows, columns)[seen] / count
    value = float((joint[seen] * np.log(joint[seen] / chance)).sum() / count)
    bias = (seen.sum() - (rows > 0).sum() - (columns > 0).sum() + 1) / (2 * count)
    return value - float(bias)
