"""Fields as ITK, SimpleITK, ANTs, elastix and 3D Slicer exchange them: mm, LPS, on the grid of the fixed image.

``.h5`` holds a transform: a displacement field, or a composite of an affine and a displacement field. Outside the grid
of a displacement field ITK moves nothing, so a composite continues with its affine where a field alone stands still;
`DisplacementField.map_points` continues the border. ``.mha`` and ``.nrrd`` images of vectors hold the field alone.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import ArrayLike, NDArray

from napari_ran.data import DisplacementField, Grid
from napari_ran.errors import InputError
from napari_ran.io.claims import hdf5_end, refuse_hdf5
from napari_ran.io.geometry import array_from_itk, grid_from_itk, itk_image, lps, quiet_itk
from napari_ran.io.itk_files import read_by_itk

TRANSFORM_SUFFIXES = (".h5", ".hdf5", ".hdf", ".tfm", ".xfm", ".mat", ".txt")
"""What SimpleITK reads as a transform; ``.mat`` is ANTs' affine."""

_OVERHEAD = 24_000
"""Bytes of an HDF5 file beside its numbers."""

IMAGE_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")


def write_transform(field: DisplacementField, path: Path, affine: ArrayLike | None = None) -> None:
    """Write a displacement field transform, or with an affine a composite of what remains and the affine.

    Parameters
    ----------
    field : DisplacementField
        The whole transform.
    path : Path
        Where to, ``.h5``.
    affine : (D + 1, D + 1) array, optional
        Fixed world to moving world in mm (RAS): its part of the whole, applied after the displacement.
    """
    _refuse_full_disk(path, 8 * field.tensor.numel() + _OVERHEAD)
    if affine is None:
        _write(sitk.DisplacementFieldTransform(_vectors(field)), path)
        return
    matrix = np.asarray(affine, dtype=np.float64)
    sign = lps(field.grid.ndim)
    linear = sitk.AffineTransform(field.grid.ndim)
    linear.SetMatrix((sign[:, None] * matrix[:-1, :-1] * sign).ravel().tolist())
    linear.SetTranslation((sign * matrix[:-1, -1]).tolist())
    displacement = sitk.DisplacementFieldTransform(_vectors(field, np.linalg.inv(matrix)))
    whole = sitk.CompositeTransform(field.grid.ndim)
    whole.AddTransform(linear)
    whole.AddTransform(displacement)  # the last one that is added is the first one that is applied
    _write(whole, path)


def _write(transform: sitk.Transform, path: Path) -> None:
    sitk.WriteTransform(transform, str(path))
    if hdf5_end(path) != path.stat().st_size:  # the library tells nobody when the last of it did not reach the disk
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _refuse_full_disk(path: Path, needed: int) -> None:
    """Say that there is no space before the HDF5 library does, over a hundred lines of the terminal."""
    if shutil.disk_usage(path.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_image(field: DisplacementField, path: Path) -> None:
    """Write the field as an image of vectors in mm, LPS."""
    sitk.WriteImage(sitk.Cast(_vectors(field), sitk.sitkVectorFloat32), str(path), useCompression=True)


def read_transform(path: Path, fixed: Grid | None) -> DisplacementField:
    """Read any transform that SimpleITK reads, on the grid `fixed`, or on that of its own displacement field."""
    refuse_hdf5(path)
    with quiet_itk():
        transform = sitk.ReadTransform(str(path)).Downcast()
    if fixed is None:
        fixed = _own_grid(transform)
    if fixed is None:
        raise InputError(
            "field",
            f"expected a displacement field, got {transform.GetName()}, which has no grid of its own",
            "Say the fixed image, on whose grid it is wanted",
        )
    if transform.GetDimension() != fixed.ndim:
        raise InputError(
            "field", f"the transform is {transform.GetDimension()}-D, the grid {fixed.ndim}-D", "Give one of the pair"
        )
    reference = itk_image(np.zeros(fixed.shape, np.uint8), fixed)
    sampled = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, *_place(reference))
    return from_vectors(array_from_itk(sampled).astype(np.float64), fixed)


def read_image(path: Path) -> DisplacementField:
    """Read an image of vectors in mm, LPS."""
    image = read_by_itk(path)
    if image.GetNumberOfComponentsPerPixel() != image.GetDimension():
        parts, ndim = image.GetNumberOfComponentsPerPixel(), image.GetDimension()
        problem = f"expected an image of vectors, got {parts} value{'s' * (parts != 1)} per voxel in {ndim}-D"
        raise InputError("field", problem, "Give a displacement field")
    return from_vectors(array_from_itk(image).astype(np.float64), grid_from_itk(image))


def from_vectors(vectors: NDArray[np.float64], grid: Grid) -> DisplacementField:
    """Return the field of vectors (*S, D) in mm, LPS."""
    inverse = np.linalg.inv(grid.affine[:-1, :-1])
    voxels = np.einsum("ij,...j->i...", inverse, vectors * lps(grid.ndim))
    return DisplacementField(torch.from_numpy(voxels), grid)


def _vectors(field: DisplacementField, then: ArrayLike | None = None) -> sitk.Image:
    """Return the displacement as vectors in mm, LPS; with `then`, of the field followed by this affine transform (RAS).

    It is made slice by slice: whole arrays of doubles would take many times the memory of the field.
    """
    grid, sign = field.grid, lps(field.grid.ndim)
    to_world, after = grid.affine, np.eye(grid.ndim + 1) if then is None else np.asarray(then, dtype=np.float64)
    by_displacement = sign[:, None] * (after[:-1, :-1] @ to_world[:-1, :-1])
    moved = (after - np.eye(grid.ndim + 1)) @ to_world  # what the affine adds to a voxel that the field leaves alone
    by_voxel, constant = sign[:, None] * moved[:-1, :-1], sign * moved[:-1, -1]
    displacement = field.tensor.cpu().numpy()
    vectors = np.empty((*reversed(grid.shape), grid.ndim))  # ITK's order of axes
    plane = np.indices(grid.shape[:-1], dtype=np.float64).reshape(grid.ndim - 1, -1)
    for number in range(grid.shape[-1]):
        values = by_displacement @ displacement[..., number].reshape(grid.ndim, -1).astype(np.float64)
        if then is not None:
            values += by_voxel[:, :-1] @ plane + (by_voxel[:, -1] * number + constant)[:, None]
        vectors[number] = values.reshape(grid.ndim, *grid.shape[:-1]).T
    return itk_image(vectors.transpose(*reversed(range(grid.ndim)), grid.ndim), grid, vector=True)


def _own_grid(transform: sitk.Transform) -> Grid | None:
    """Return the grid of a transform's displacement field: of the one that is applied first."""
    if isinstance(transform, sitk.DisplacementFieldTransform):
        return grid_from_itk(transform.GetDisplacementField())
    if isinstance(transform, sitk.CompositeTransform):
        for number in reversed(range(transform.GetNumberOfTransforms())):
            grid = _own_grid(transform.GetNthTransform(number).Downcast())
            if grid is not None:
                return grid
    return None


def _place(image: sitk.Image) -> tuple[object, ...]:
    return image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()
