"""Displacement fields that say which grid they live on and what they map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_ran import functional as F
from napari_ran.data.grid import Grid
from napari_ran.data.image import as_tensor
from napari_ran.errors import InputError


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """A map from the points of a grid to points of the same world.

    The point at voxel ``x`` of `grid` goes to world position ``grid.to_world(x + tensor[:, x])``. Used to pull an image
    back: the value at fixed point ``x`` is read from the moving image at the world position reached, whatever grid the
    moving image has. Points therefore travel fixed -> moving through the field and moving -> fixed through its inverse.

    Attributes
    ----------
    tensor : (D, *S) float32 tensor
        Displacement in voxels of `grid`; channel ``i`` is along array axis ``i``.
    grid : Grid
        The grid on which the field is defined (the fixed image's, for a registration's result).
    source : str
        Name of the space the field starts from: the grid's own image ("fixed" for a registration's forward field).
    target : str
        Name of the space the points arrive in ("moving" for the forward field).
    """

    tensor: Tensor
    grid: Grid
    source: str = "fixed"
    target: str = "moving"

    def __post_init__(self) -> None:
        tensor = as_tensor(self.tensor, torch.float32, "field")
        expected = (self.grid.ndim, *self.grid.shape)
        if tuple(tensor.shape) != expected:
            raise InputError(
                "field",
                f"expected a tensor of shape {expected} for this grid, got {tuple(tensor.shape)}",
                "Give (D, *S) in voxels",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(
                "field", "the displacement holds NaN or infinite values", "Register again with a stronger regulariser"
            )
        object.__setattr__(self, "tensor", tensor)

    @classmethod
    def identity(cls, grid: Grid, source: str = "fixed", target: str = "moving") -> DisplacementField:
        """Return the field that moves nothing.

        Parameters
        ----------
        grid : Grid
            The grid that it lives on.
        source, target : str
            What to call the spaces that the field maps from and to.
        """
        return cls(torch.zeros((grid.ndim, *grid.shape)), grid, source, target)

    @classmethod
    def from_world_map(
        cls, grid: Grid, world: ArrayLike, source: str = "fixed", target: str = "moving"
    ) -> DisplacementField:
        """Return the field of a homogeneous transform (D + 1, D + 1) in world coordinates (mm).

        Parameters
        ----------
        grid : Grid
            The grid that it lives on.
        world : (D + 1, D + 1) array
            Matrix that maps world points of the grid's space to those of the other one.
        source, target : str
            What to call the spaces that the field maps from and to.
        """
        voxels = F.voxel_grid(grid.shape, torch.zeros(1, dtype=torch.float64))[0]
        moved = F.mapped(torch.from_numpy(grid.voxel_map_to(grid, world)), voxels)
        return cls(moved - voxels, grid, source, target)

    @property
    def millimetres(self) -> Tensor:
        """The displacement in mm along the world axes, (D, *S)."""
        return self._in_mm(self.tensor)

    def _in_mm(self, voxels: Tensor) -> Tensor:
        """Return displacements (D, ...) in voxels of the grid in mm along the world axes."""
        matrix = torch.as_tensor(np.array(self.grid.affine[:-1, :-1]), dtype=voxels.dtype, device=voxels.device)
        return torch.einsum("ij,j...->i...", matrix, voxels)

    @property
    def magnitude(self) -> Tensor:
        """Length of the displacement in mm, (*S)."""
        return F.in_slabs(lambda part: F.lengths(self._in_mm(part)), [self.tensor], self.grid.ndim)

    @property
    def jacobian_determinant(self) -> Tensor:
        """Local volume change det(d(x + u)/dx), (*S); folds are at or below zero.

        See `functional.jacobian_determinant`.
        """
        return F.jacobian_determinant(self.tensor[None])[0]

    @property
    def folding_percent(self) -> float:
        """Share of voxels whose Jacobian determinant is at or below zero, in percent."""
        return 100 * float((self.jacobian_determinant <= 0).float().mean())

    def map_points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map world points (N, D) in mm from the source space to the target space.

        Outside the grid the displacement of the nearest border voxel is used.

        Parameters
        ----------
        points : (N, D) array
            World points in mm.
        """
        voxels = self.grid.to_voxel(points)
        if voxels.size == 0:
            return np.zeros((0, self.grid.ndim))
        coordinates = torch.as_tensor(voxels.T, dtype=torch.float64).view(
            1, self.grid.ndim, -1, *[1] * (self.grid.ndim - 1)
        )
        displacement = F.sample(self.tensor[None].to("cpu", torch.float64), coordinates, padding="border")
        return self.grid.to_world(voxels + displacement.view(self.grid.ndim, -1).T.numpy())
