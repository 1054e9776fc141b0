"""Write and read displacement fields for other tools.

Both formats live on the field's own grid and map a fixed point to a moving point:

- ITK displacement field transform (``.h5``): vectors in mm, LPS. ``SimpleITK.ReadTransform`` gives a transform for
  ``SimpleITK.Resample(moving, fixed, transform)``, whatever grid the moving image has. Outside its grid ITK moves
  nothing, whereas `DisplacementField.map_points` continues the border.
- Learn2Reg (``disp*.nii.gz``): array (X, Y, Z, 3), in voxels, components along the array axes ijk, so that the warped
  image is ``moving[x + disp[x]]``. This holds as it stands when the moving image lies on the fixed grid, which is how
  Learn2Reg prepares its data. For a moving image on another grid the voxels are still those of the *fixed* grid:
  resample the moving image to the fixed grid by the two headers first (in world coordinates), then the formula applies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_ran.data import DisplacementField, Grid
from napari_ran.errors import InputError
from napari_ran.io.files import existing, suffix_of, unreadable
from napari_ran.io.geometry import array_from_itk, grid_from_itk, itk_image, lps, quiet_itk
from napari_ran.io.images import nifti_image
from napari_ran.writing import replacing

LEARN2REG_UNIT = "displacement in voxels along the array axes ijk (Learn2Reg)"
"""What the header of a Learn2Reg field says of its numbers."""

_NIFTI = (".nii", ".nii.gz")
_KNOWN = "an ITK transform (.h5) or a Learn2Reg field (disp*.nii.gz)"


def save_field(field: DisplacementField, path: str | Path) -> Path:
    """Write a field, all or nothing; the format follows the name.

    Parameters
    ----------
    field : DisplacementField
        What to write.
    path : path
        ``*.h5`` for an ITK displacement field transform, ``disp*.nii.gz`` for Learn2Reg (see the module's description).

    Raises
    ------
    InputError
        The name says neither format.
    OutputError
        The file could not be written; what was there stays.
    """
    suffix = suffix_of(path)
    if suffix == ".h5":
        with replacing(path) as temporary:
            sitk.WriteTransform(_itk_transform(field), str(temporary))
    elif suffix in _NIFTI and Path(path).name.lower().startswith("disp"):
        displacement = field.tensor.movedim(0, -1).cpu().numpy()
        with replacing(path) as temporary:
            image = nifti_image(np.ascontiguousarray(displacement), field.grid)
            image.header["descrip"] = LEARN2REG_UNIT
            nib.save(image, temporary)
    else:
        raise InputError(str(path), "the name does not say a known field format", f"Name it as {_KNOWN}")
    return Path(path)


def load_field(path: str | Path) -> DisplacementField:
    """Read a field that maps fixed points to moving points: see `save_field` for the two formats.

    Raises
    ------
    InputError
        The file is missing, damaged, or holds something else.
    """
    found = existing(path)
    suffix = suffix_of(found)
    if suffix not in (".h5", *_NIFTI):
        raise InputError(str(path), f"cannot read a field from a '{suffix}' file", f"Give {_KNOWN}")
    try:
        return _read_itk(found) if suffix == ".h5" else _read_learn2reg(found)
    except InputError as error:
        raise InputError(str(path), error.problem, error.cure) from None
    except Exception as error:  # damaged files make the readers raise nearly anything
        raise unreadable(path, error, _KNOWN) from error


def _itk_transform(field: DisplacementField) -> sitk.Transform:
    vectors = field.millimetres.movedim(0, -1).cpu().numpy().astype(np.float64) * lps(field.grid.ndim)
    return sitk.DisplacementFieldTransform(itk_image(vectors, field.grid, vector=True))


def _read_itk(path: Path) -> DisplacementField:
    with quiet_itk():
        transform = sitk.ReadTransform(str(path)).Downcast()
    if isinstance(transform, sitk.CompositeTransform) and transform.GetNumberOfTransforms() == 1:
        transform = transform.GetNthTransform(0).Downcast()
    if not isinstance(transform, sitk.DisplacementFieldTransform):
        raise InputError(
            "field",
            f"expected a displacement field, got {transform.GetName()}",
            "Convert the transform to a displacement field first",
        )
    image = transform.GetDisplacementField()
    grid = grid_from_itk(image)
    world = array_from_itk(image).astype(np.float64) * lps(grid.ndim)
    inverse = np.linalg.inv(grid.affine[:-1, :-1])
    return _field(np.einsum("ij,...j->i...", inverse, world), grid)


def _read_learn2reg(path: Path) -> DisplacementField:
    file = nib.load(path, mmap=False)
    shape, intent = file.shape, file.header.get_intent()[0]
    if len(shape) not in (3, 4) or shape[-1] != len(shape) - 1 or intent in ("vector", "displacement vector"):
        raise InputError(
            "field",
            f"expected an array of shape (X, Y, Z, 3) in voxels, got {shape} with intent '{intent}'",
            "Export the field for Learn2Reg, or as an ITK .h5 transform",
        )
    ndim = len(shape) - 1
    affine = np.array(file.affine)
    if ndim == 2:
        affine = np.delete(np.delete(affine, 2, 0), 2, 1)
    return _field(np.moveaxis(np.asarray(file.dataobj), -1, 0), Grid(shape[:-1], affine))


def _field(displacement: NDArray[Any], grid: Grid) -> DisplacementField:
    return DisplacementField(displacement, grid)  # type: ignore[arg-type]  # made into a tensor by the field
