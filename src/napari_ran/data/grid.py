"""The grid of an image: where its voxels lie in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_ran.errors import InputError

SINGULAR = 1e-12
"""Smallest accepted |determinant| of the direction part, relative to the spacing's product."""

FARTHEST = 1e15
"""Largest accepted number of an affine in mm; squares of larger ones would not stay finite for long."""

SAME_VOXELS = 0.01
"""Two grids are equal when no corner differs by more than this, in voxels: headers are stored with rounded numbers."""


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid in physical space.

    World coordinates are millimetres, right-anterior-superior positive (RAS+), as in NIfTI; array axis ``i`` is
    column ``i`` of the affine. Two-dimensional grids use the first two world axes.

    Attributes
    ----------
    shape : tuple of int
        Number of voxels along each array axis, length D (2 or 3).
    affine : (D + 1, D + 1) float64 array
        Voxel indices to world coordinates, in mm. Read-only.

    Raises
    ------
    InputError
        The dimension is not 2 or 3, an axis is empty, or the affine is singular, not finite, beyond all
        measure or of another size.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise InputError(
                "shape", f"expected 2 or 3 axes of at least one voxel, got {shape}", "Select one 2-D or 3-D volume"
            )
        affine = np.array(self.affine, dtype=np.float64)
        expected = (len(shape) + 1, len(shape) + 1)
        if affine.shape != expected:
            raise InputError(
                "affine",
                f"expected a matrix of shape {expected}, got {affine.shape}",
                "Give a homogeneous voxel-to-world matrix",
            )
        if not np.isfinite(affine).all():
            raise InputError("affine", "the matrix holds NaN or infinite values", "Repair the file's header")
        if (largest := np.abs(affine).max()) > FARTHEST:
            problem = f"the matrix holds {largest:.3g}, more millimetres than anything is away"
            raise InputError("affine", problem, "Repair the file's header")
        lengths = np.linalg.norm(affine[:-1, :-1], axis=0)
        if not lengths.all() or abs(np.linalg.det(affine[:-1, :-1])) < SINGULAR * lengths.prod():
            raise InputError(
                "affine", "the matrix is singular: two axes coincide or a spacing is zero", "Repair the file's header"
            )
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_spacing(
        cls, shape: tuple[int, ...], spacing: float | ArrayLike = 1.0, origin: float | ArrayLike = 0.0
    ) -> Self:
        """Make an axis-aligned grid from its spacing and the world position of voxel 0, both in mm.

        Parameters
        ----------
        shape : tuple of int
            Number of voxels along each array axis.
        spacing : float or (D,) array
            Voxel size in mm.
        origin : float or (D,) array
            World position of the middle of voxel 0 in mm.
        """
        ndim = len(shape)
        affine = np.eye(ndim + 1)
        affine[:ndim, :ndim] = np.diag(np.broadcast_to(np.asarray(spacing, float), ndim))
        affine[:ndim, ndim] = origin
        return cls(shape, affine)

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions, 2 or 3."""
        return len(self.shape)

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel size along each array axis in mm, shape (D,)."""
        return np.asarray(np.linalg.norm(self.affine[:-1, :-1], axis=0))

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vectors of the array axes as columns, shape (D, D)."""
        return np.asarray(self.affine[:-1, :-1] / self.spacing)

    @property
    def origin(self) -> NDArray[np.float64]:
        """World position of the centre of voxel 0 in mm, shape (D,)."""
        return np.asarray(self.affine[:-1, -1])

    @property
    def centre(self) -> NDArray[np.float64]:
        """World position of the middle of the grid in mm, shape (D,)."""
        return self.to_world((np.asarray(self.shape) - 1) / 2)

    @property
    def extent(self) -> NDArray[np.float64]:
        """Size of the grid along each array axis in mm, shape (D,)."""
        return np.asarray(np.asarray(self.shape) * self.spacing)

    def to_world(self, voxels: ArrayLike) -> NDArray[np.float64]:
        """Map voxel coordinates (..., D) to world coordinates (..., D) in mm.

        Parameters
        ----------
        voxels : (..., D) array
            Coordinates along the array axes, whole at the middles of voxels.
        """
        return apply_affine(self.affine, voxels)

    def to_voxel(self, world: ArrayLike) -> NDArray[np.float64]:
        """Map world coordinates (..., D) in mm to voxel coordinates (..., D).

        Parameters
        ----------
        world : (..., D) array
            Positions in mm.
        """
        return apply_affine(np.linalg.inv(self.affine), world)

    def contains(self, voxels: ArrayLike) -> NDArray[np.bool_]:
        """Whether voxel coordinates (..., D) lie inside the grid, the outer voxels' faces included.

        Parameters
        ----------
        voxels : (..., D) array
            Coordinates along the array axes, whole at the middles of voxels.
        """
        places = np.asarray(voxels)
        return np.asarray(((places >= -0.5) & (places <= np.array(self.shape) - 0.5)).all(axis=-1))

    def voxel_map_to(self, other: Grid, world: ArrayLike | None = None) -> NDArray[np.float64]:
        """Matrix (D + 1, D + 1) from voxels of this grid to voxels of `other`.

        Parameters
        ----------
        other : Grid
            The grid whose voxel coordinates come out.
        world : (D + 1, D + 1) array, optional
            A transform in world coordinates (mm) that is applied in between; the identity when left out.
        """
        between = np.eye(self.ndim + 1) if world is None else np.asarray(world, float)
        return np.asarray(np.linalg.inv(other.affine) @ between @ self.affine)

    def with_spacing(self, spacing: float | ArrayLike) -> Grid:
        """Return the grid that covers the same box with (nearly) the given spacing in mm.

        The number of voxels is rounded and the spacing adjusted so that the outer faces stay where they are.

        Parameters
        ----------
        spacing : float or (D,) array
            Voxel size in mm.
        """
        wanted = np.broadcast_to(np.asarray(spacing, float), self.ndim)
        if not (wanted > 0).all():
            raise InputError(
                "spacing", f"expected positive millimetres, got {wanted.tolist()}", "Give a voxel size above zero"
            )
        return self.with_shape(tuple(max(1, int(n)) for n in np.round(self.extent / wanted)))

    def with_shape(self, shape: tuple[int, ...]) -> Grid:
        """Return the grid that covers the same box with the given number of voxels.

        Parameters
        ----------
        shape : tuple of int
            Number of voxels along each array axis.
        """
        scale = np.asarray(self.shape) / np.asarray(shape)
        to_old = np.diag(np.append(scale, 1.0))
        to_old[:-1, -1] = (scale - 1) / 2
        return Grid(shape, self.affine @ to_old)

    def moved(self, world: ArrayLike) -> Grid:
        """Return the grid where a transform brings this one.

        Parameters
        ----------
        world : (D + 1, D + 1) array
            World positions of this grid's voxels to those of the result's, in mm.
        """
        return Grid(self.shape, np.asarray(world, float) @ self.affine)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, for reports and layer metadata."""
        return {"shape": list(self.shape), "affine": self.affine.tolist()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        if self.shape != other.shape:
            return False
        corners = np.stack(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"), -1)
        gap = np.abs(self.to_voxel(other.to_world(corners)) - corners)
        return bool((gap <= SAME_VOXELS).all())

    __hash__ = None  # type: ignore[assignment]  # equality is up to a tolerance


def apply_affine(affine: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Map points (..., D) by a homogeneous matrix (D + 1, D + 1)."""
    matrix = np.asarray(affine, float)
    return np.asarray(np.asarray(points, float) @ matrix[:-1, :-1].T + matrix[:-1, -1])


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as messages write it, such as ``64 x 64 x 32``."""
    return " x ".join(str(n) for n in shape)
