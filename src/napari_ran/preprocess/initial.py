"""A transform that is known before the registration: where it starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_ran.data import DisplacementField, Grid
from napari_ran.data.grid import apply_affine
from napari_ran.transform import VolumeT, compose_to

MOST_POINTS = 20_000
"""About how many voxels of a field the affine part is fitted to."""

NOTHING = 0.01
"""A field that differs from its affine part by no more than this, in voxels, is an affine transform."""


@dataclass(frozen=True, eq=False)
class Initial:
    """A transform from fixed to moving world positions, and how it is made of an affine part and the rest.

    Attributes
    ----------
    affine : (D + 1, D + 1) float64 array
        Fixed world positions to moving world positions, in mm: the closest affine transform.
    field : DisplacementField or None
        The whole transform; None where it is the affine alone.
    """

    affine: NDArray[np.float64]
    field: DisplacementField | None = None

    @classmethod
    def of(cls, source: DisplacementField | ArrayLike) -> Self:
        """Return what a field, or a matrix (D + 1, D + 1) in mm, says."""
        if not isinstance(source, DisplacementField):
            return cls(np.asarray(source, dtype=np.float64))
        grid = source.grid
        stride = max(1, round((np.prod(grid.shape) / MOST_POINTS) ** (1 / grid.ndim)))
        ranges = [np.unique(np.append(np.arange(0, n, stride), n - 1)) for n in grid.shape]
        start = grid.to_world(np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, grid.ndim))
        end, middle = source.map_points(start), start.mean(axis=0)
        known = np.column_stack([start - middle, np.ones(len(start))])
        found, _, rank, _ = np.linalg.lstsq(known, end, rcond=None)
        matrix = np.eye(grid.ndim + 1)
        if rank <= grid.ndim:  # a grid of one slice says nothing of the direction across it
            matrix[:-1, -1] = (end - start).mean(axis=0)
        else:
            matrix[:-1, :-1] = found[:-1].T
            matrix[:-1, -1] = found[-1] - matrix[:-1, :-1] @ middle
        left = end - apply_affine(matrix, start)
        exact = bool((np.abs(left) <= NOTHING * float(grid.spacing.min())).all())
        return cls(matrix, None if exact else source)

    def reheaded(self, volume: VolumeT) -> VolumeT:
        """Return the moving image, or labels of it, with a header that puts it where the affine part brings it."""
        return replace(volume, grid=volume.grid.moved(np.linalg.inv(self.affine)))

    def rest(self, grid: Grid) -> DisplacementField | None:
        """Return on a working grid what remains of the field after its affine part, None if nothing does."""
        return None if self.field is None else compose_to(self.field, np.linalg.inv(self.affine), grid)
