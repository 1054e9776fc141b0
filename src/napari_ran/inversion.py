"""The other direction of a field, on a grid of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.errors import InputError
from napari_ran.transform import as_double, check_dimension, voxel_slabs


@dataclass(frozen=True, eq=False)
class Inversion:
    """The inverse of a field, and how good it is.

    Attributes
    ----------
    field : DisplacementField
        From points of the grid that was asked for back to where the inverted field starts.
    residual : Image
        How far each voxel ends from its start after going there and back, in mm; it stays large where the field folds
        or where nothing leads to.
    tolerance : float
        What was aimed at, in mm.
    """

    field: DisplacementField
    residual: Image
    tolerance: float

    @property
    def missed_percent(self) -> float:
        """Share of the voxels without an inverse within the tolerance, in percent."""
        return 100 * float((self.residual.tensor > self.tolerance).float().mean())


def invert_field(
    field: DisplacementField,
    grid: Grid,
    start: DisplacementField | None = None,
    tolerance: float | None = None,
    iterations: int = 60,
) -> Inversion:
    """Invert a field on another grid, such as the moving image's, by Broyden's method.

    ``x <- x - s B (w(x) - y)`` for each point ``y`` of the grid, where ``w`` is the field's map, ``s`` a step that is
    halved where it brings nothing, and ``B`` begins as the inverse of the affine map that is nearest to ``w``.

    Parameters
    ----------
    field : DisplacementField
        Any field, an affine part included.
    grid : Grid
        Where the inverse is wanted, in the space that the field leads to.
    start : DisplacementField, optional
        A first guess on any grid, such as the network's other direction.
    tolerance : float, optional
        When a point is good enough, in mm; a hundredth of the smallest voxel size of the grid when left out.
    iterations : int
        Largest number of iterations.
    """
    check_dimension("grid", grid.ndim, field.grid.ndim)
    tolerance = 0.01 * float(grid.spacing.min()) if tolerance is None else tolerance
    into, back = as_double(grid.voxel_map_to(field.grid)), as_double(field.grid.voxel_map_to(grid))
    way = _Way(field)
    found, residual = torch.empty((grid.ndim, *grid.shape)), torch.empty((1, *grid.shape))
    for rows, voxels in voxel_slabs(grid):
        guess = None if start is None else start.map_points(grid.to_world(voxels.flatten(1).T.numpy()))
        x, away = way.back(F.mapped(into, voxels), guess, tolerance, iterations)
        found[:, rows] = (F.mapped(back, x) - voxels).float()
        residual[0, rows] = away.float()
    inverse = DisplacementField(found, grid, field.target, field.source)
    return Inversion(inverse, Image(residual, grid, "residual of the inverse (mm)"), tolerance)


def invert_points(
    field: DisplacementField,
    points: ArrayLike,
    start: DisplacementField | None = None,
    tolerance: float | None = None,
    iterations: int = 60,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find where points come from: the field leads what is returned to `points`.

    Each point is solved for by itself, which is exact where a field of the inverse would have to be interpolated.

    Parameters
    ----------
    field : DisplacementField
        Any field, an affine part included.
    points : (N, D) array
        World positions in mm, in the space that the field leads to.
    start, tolerance, iterations
        As for `invert_field`; the smallest voxel is that of the field's grid.

    Returns
    -------
    origins : (N, D) float64 array
        World positions in mm in the space where the field starts.
    residual : (N,) float64 array
        How far from its point the field leads each origin, in mm.
    """
    points = np.asarray(points, dtype=np.float64)
    ndim = field.grid.ndim
    check_dimension("points", points.shape[-1], ndim)
    if len(points) == 0:
        return np.empty((0, ndim)), np.empty(0)
    tolerance = 0.001 * float(field.grid.spacing.min()) if tolerance is None else tolerance
    row = as_double(field.grid.to_voxel(points).T).view(ndim, -1, *(1,) * (ndim - 1))  # of points, as a grid
    guess = None if start is None else start.map_points(points)
    x, away = _Way(field).back(row, guess, tolerance, iterations)
    return field.grid.to_world(x.reshape(ndim, -1).T.numpy()), away.reshape(-1).numpy()


class _Way:
    """A field's map, in double precision, and the affine map that nearly undoes it."""

    def __init__(self, field: DisplacementField) -> None:
        self._grid, self._field = field.grid, field.tensor.cpu().double()[None]
        self._to_mm = as_double(field.grid.affine)[:-1, :-1]
        self._undo = torch.linalg.inv(_nearest_affine(field))

    def back(
        self, wanted: Tensor, guess: NDArray[np.float64] | None, tolerance: float, iterations: int
    ) -> tuple[Tensor, Tensor]:
        """Return the points (D, *S) that the field leads to `wanted`, in voxels, and the distances left in mm (*S).

        A `guess` is where each may be, (N, D) in mm.
        """
        x = F.mapped(self._undo, wanted)
        if guess is not None:
            x = as_double(self._grid.to_voxel(guess).T).view_as(wanted)
        rest, away = self._missing(x, wanted)
        step = torch.ones_like(away)
        undo = self._undo[:-1, :-1]
        undo = undo.view(*undo.shape, *[1] * away.ndim).expand(*undo.shape, *away.shape)  # (D, D, *S)
        for _ in range(iterations):
            if bool(((away <= tolerance) | (step < 1e-3)).all()):
                break
            move = -step * torch.einsum("ij...,j...->i...", undo, rest)
            left, distance = self._missing(x + move, wanted)
            # Broyden's update: the step and what it changed say how the map stretches here
            change = torch.einsum("ij...,j...->i...", undo, left - rest)
            scale = (move * change).sum(dim=0)
            usable = scale.abs() > 1e-12
            across = torch.einsum("i...,ij...->j...", move, undo) / torch.where(usable, scale, 1.0)
            undo = undo + usable * torch.einsum("i...,j...->ij...", move - change, across)
            better = distance < away
            x, rest = torch.where(better, x + move, x), torch.where(better, left, rest)
            away = torch.where(better, distance, away)
            step = torch.where(better, (2 * step).clamp(max=1), step / 2)
        return x, away

    def _missing(self, x: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far from `wanted` the field leads x: the vectors in voxels, and their lengths in mm."""
        rest = x + F.sample(self._field, x[None], padding="border")[0] - wanted
        return rest, F.lengths(torch.einsum("ij,j...->i...", self._to_mm, rest))


def _nearest_affine(field: DisplacementField) -> Tensor:
    """Return the affine map (D + 1, D + 1), in voxels, that is nearest to a field's by least squares."""
    every = [slice(None, None, max(1, n // 24)) for n in field.grid.shape]
    voxels = F.voxel_grid(field.grid.shape, torch.zeros(1, dtype=torch.float64))[0][:, *every].flatten(1)
    reached = voxels + field.tensor.cpu().double()[:, *every].flatten(1)
    ones = torch.ones_like(voxels[:1])
    matrix = torch.eye(field.grid.ndim + 1, dtype=torch.float64)
    matrix[:-1] = torch.linalg.lstsq(torch.cat([voxels, ones]).T, reached.T).solution.T
    for axis, n in enumerate(field.grid.shape):
        if n == 1:  # one slice says nothing of the direction across it
            matrix[axis, axis] = 1
    if float(torch.linalg.det(matrix).abs()) < 1e-6:
        raise InputError("field", "it flattens space, so there is no way back", "Register again, or give another field")
    return matrix
