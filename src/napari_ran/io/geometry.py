"""Conversions between our grids (RAS, nibabel's axis order) and ITK's images (LPS, reversed arrays)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from napari_ran.data import Grid
from napari_ran.errors import InputError

TILT = 1e-3
"""A slice whose normal leans more than this (sine) out of its world axis is reported as tilted."""


def lps(ndim: int) -> NDArray[np.float64]:
    """Signs that turn RAS coordinates into LPS and back, (D,): the first two world axes are negated."""
    return np.array([-1.0, -1.0, 1.0][:ndim])


def grid_from_itk(image: sitk.Image) -> Grid:
    """Return the grid of a 2-D or 3-D SimpleITK image; array axes are ITK's index axes."""
    return Grid(image.GetSize(), affine_from_itk(image))


def affine_from_itk(image: sitk.Image) -> NDArray[np.float64]:
    """Return the voxel-to-world matrix (RAS, mm) of a SimpleITK image, (D + 1, D + 1)."""
    ndim = image.GetDimension()
    affine = np.eye(ndim + 1)
    affine[:ndim, :ndim] = np.reshape(image.GetDirection(), (ndim, ndim)) * np.asarray(image.GetSpacing())
    affine[:ndim, ndim] = image.GetOrigin()
    affine[:2] *= -1
    return affine


def itk_image(array: ArrayLike, grid: Grid, vector: bool = False) -> sitk.Image:
    """Make a SimpleITK image from an array (*S) on a grid, or from (*S, C) with `vector`."""
    values = np.asarray(array)
    axes = tuple(reversed(range(grid.ndim))) + ((grid.ndim,) if vector else ())
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(axes)), isVector=vector)
    sign = lps(grid.ndim)
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin((sign * grid.origin).tolist())
    image.SetDirection((sign[:, None] * grid.direction).ravel().tolist())
    return image


def array_from_itk(image: sitk.Image) -> NDArray[np.generic]:
    """Return the values of a SimpleITK image in our axis order: (*S), or (*S, C) for a vector image."""
    array = sitk.GetArrayFromImage(image)
    ndim = image.GetDimension()
    return np.asarray(array.transpose(*reversed(range(ndim)), *range(ndim, array.ndim)))


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's own warnings off the terminal: what matters is said by this package in its own words."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def squeeze(shape: tuple[int, ...], affine: NDArray[np.float64], source: str) -> tuple[Grid, str | None]:
    """Return the 2-D or 3-D grid of an array that may have axes of one voxel, and a warning when a slice is tilted.

    Axes beyond the third must hold one element. A volume of one slice becomes a 2-D grid: its world axes are the two
    that the slice spans (x and y for an axial slice); sizes and angles within the slice are kept exactly.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array as stored.
    affine : (4, 4) or (3, 3) array
        Voxel-to-world matrix, RAS.
    source : str
        What to name in an error.
    """
    beyond = [n for n in shape[3:] if n > 1]
    if beyond:
        raise InputError(
            source,
            f"expected one 2-D or 3-D scalar image, got an array of shape {shape} (several time points or channels)",
            "Extract one volume and save it by itself",
        )
    spatial = tuple(shape[:3])
    if affine.shape == (3, 3) and len(spatial) == 2:
        return Grid(spatial, affine), None
    spatial = spatial + (1,) * (3 - len(spatial))
    single = [axis for axis, n in enumerate(spatial) if n == 1]
    if not single:
        return Grid(spatial, affine), None
    if len(single) > 1:
        raise InputError(
            source, f"expected at least two axes longer than one voxel, got shape {shape}", "Give a 2-D or 3-D image"
        )
    kept = [axis for axis in range(3) if axis != single[0]]
    in_plane, tilted = _slice_affine(affine, kept)
    warning = "The slice is tilted against the world axes: it is treated as a flat image with its own in-plane size."
    return Grid(tuple(spatial[axis] for axis in kept), in_plane), warning if tilted else None


def _slice_affine(affine: NDArray[np.float64], kept: list[int]) -> tuple[NDArray[np.float64], bool]:
    """Return the (3, 3) in-plane affine of the slice spanned by two axes, and whether it leans off the world axes."""
    columns = affine[:3, kept]
    normal = np.cross(columns[:, 0], columns[:, 1])
    length = np.linalg.norm(normal)
    if not np.isfinite(length) or length == 0:
        raise InputError(
            "affine", "the matrix is singular: two axes coincide or a spacing is zero", "Repair the file's header"
        )
    normal = np.abs(normal / length)
    dropped = int(normal.argmax())
    rows = [axis for axis in range(3) if axis != dropped]
    # polar decompositions: columns = frame @ metric; the frame is turned into the plane of the two world axes
    u, s, vt = np.linalg.svd(columns, full_matrices=False)
    metric, frame = vt.T @ np.diag(s) @ vt, u @ vt
    u, _, vt = np.linalg.svd(frame[rows])
    result = np.eye(3)
    result[:2, :2] = u @ vt @ metric
    result[:2, 2] = affine[rows, 3]
    return result, bool(np.linalg.norm(normal[rows]) > TILT)
