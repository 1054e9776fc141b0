"""Distances between the surfaces of labels, in millimetres with the grid's true voxel size, through MONAI."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from napari_ran.data import Grid, Labels
from napari_ran.errors import InputError
from napari_ran.evaluate.measures import compared_ids

_ORTHOGONAL = 1e-3
"""Largest cosine between two axes of a grid that counts as a right angle."""


@dataclass(frozen=True)
class SurfaceDistances:
    """How far the surfaces of one label lie apart, in mm.

    The surface of a label is its voxels that touch another value by a face; the edge of the grid counts as another
    value. Distances are between centres of voxels, from every surface voxel to the nearest one of the other surface.

    Attributes
    ----------
    hd : float
        Hausdorff distance: the largest distance, of both directions.
    hd95 : float
        The larger one of both directions' 95th percentiles.
    asd : float
        Average surface distance: the mean over the surface voxels of both.
    """

    hd: float
    hd95: float
    asd: float


def surface_distances(
    fixed: Labels, warped: Labels, ids: Iterable[int] | None = None
) -> dict[int, SurfaceDistances | None]:
    """Return the surface distances per label.

    Parameters
    ----------
    fixed, warped : Labels
        On one grid.
    ids : iterable of int, optional
        The labels to measure; by default those that occur in both.

    Returns
    -------
    dict of int to SurfaceDistances or None
        None for a label that is missing in one of the two: there is nothing to measure from.

    Raises
    ------
    InputError
        The two lie on different grids, or on one whose axes are not at right angles.
    """
    from monai.metrics.utils import get_mask_edges, get_surface_distance

    wanted = compared_ids(fixed, warped, ids)
    _check_axes(fixed.grid)
    spacing = tuple(float(size) for size in fixed.grid.spacing)
    one, two = fixed.array, warped.array
    found: dict[int, SurfaceDistances | None] = {}
    for label in wanted:
        masks = one == label, two == label
        if not all(mask.any() for mask in masks):
            found[label] = None
            continue
        edges = [np.asarray(edge) for edge in get_mask_edges(*masks)]
        ways = [get_surface_distance(a, b, spacing=spacing) for a, b in (edges, edges[::-1])]
        found[label] = SurfaceDistances(
            hd=float(max(way.max() for way in ways)),
            hd95=float(max(np.percentile(way, 95) for way in ways)),
            asd=float(np.concatenate(ways).mean()),
        )
    return found


def _check_axes(grid: Grid) -> None:
    cosines = grid.direction.T @ grid.direction - np.eye(grid.ndim)
    if np.abs(cosines).max() > _ORTHOGONAL:
        raise InputError(
            "fixed", "the axes of its grid are not at right angles", "Resample the labels to a grid without shear"
        )
