"""Fields as NIfTI files, in four dialects that one suffix does not tell apart.

========== ==================== ======================= =====================================================
dialect    array                intent of the header    numbers
========== ==================== ======================= =====================================================
ANTs       (X, Y, Z, 1, 3)      vector (1007)           mm along the world axes, LPS
3D Slicer  (X, Y, Z, 1, 3)      displacement (1006)     mm along the world axes, RAS
FSL        (X, Y, Z, 3)         2006, or none           mm along FSL's axes of both images, see `fsl_matrix`
Learn2Reg  (X, Y, Z, 3)         none                    voxels of the fixed grid along the array axes
========== ==================== ======================= =====================================================

All lie on the fixed grid and map fixed to moving points. Learn2Reg's formula ``moving[x + disp[x]]`` holds as it stands
when the moving image lies on the fixed grid, which is how Learn2Reg prepares its data; a moving image on another grid
is resampled to the fixed one by the two headers first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_ran.data import DisplacementField, Grid
from napari_ran.errors import InputError
from napari_ran.io.field_itk import from_vectors
from napari_ran.io.geometry import lps
from napari_ran.io.images import nifti_image, refuse_claim_of, save_nifti

LEARN2REG_UNIT = "displacement in voxels along the array axes ijk (Learn2Reg)"
"""What the header of a Learn2Reg field says of its numbers."""

INTENTS = {1007: "ants", 1006: "slicer", 2006: "fsl", 2007: "fsl", 2008: "fsl", 2009: "fsl"}
"""Code of the header to dialect; FSL's codes 2007 to 2009 are of splines, which are refused."""

_FSL_FIELD = 2006


def dialect_of(path: Path) -> str:
    """Return the dialect that a file's header says, or "" where it does not."""
    header = nib.load(path).header
    shape = header.get_data_shape()
    known = INTENTS.get(int(header["intent_code"]), "")
    if known or len(shape) == 5:
        return known
    return "learn2reg" if path.name.lower().startswith("disp") or LEARN2REG_UNIT in _description(header) else ""


def _description(header: Any) -> str:
    return bytes(header["descrip"]).decode("latin-1")


def write_ants(field: DisplacementField, path: Path) -> None:
    """Write mm, LPS, intent vector."""
    _write_world(field, path, lps(field.grid.ndim), "vector")


def write_slicer(field: DisplacementField, path: Path) -> None:
    """Write mm, RAS, intent displacement vector."""
    _write_world(field, path, np.ones(field.grid.ndim), "displacement vector")


def _write_world(field: DisplacementField, path: Path, sign: NDArray[np.float64], intent: str) -> None:
    world = field.millimetres.movedim(0, -1).cpu().numpy() * sign
    shape = (*field.grid.shape, *(1,) * (4 - field.grid.ndim), field.grid.ndim)
    _save(world.reshape(shape), field.grid, path, intent)


def write_learn2reg(field: DisplacementField, path: Path) -> None:
    """Write voxels of the field's grid."""
    image = nifti_image(field.tensor.movedim(0, -1).cpu().numpy(), field.grid)
    image.header["descrip"] = LEARN2REG_UNIT
    save_nifti(image, path)


def write_fsl(field: DisplacementField, path: Path, moving: Grid) -> None:
    """Write a relative warp for ``applywarp --rel`` with the moving image's grid as FSL's input space."""
    first, second = _fsl_pair(field.grid, moving)
    voxels = np.indices(field.grid.shape, dtype=np.float64).reshape(3, -1)
    reached = voxels + field.tensor.cpu().double().numpy().reshape(3, -1)
    world = field.grid.affine[:-1, :-1] @ reached + field.grid.affine[:-1, -1:]
    there = _apply(second @ np.linalg.inv(moving.affine), world)
    relative = (there - _apply(first, voxels)).reshape(3, *field.grid.shape)
    _save(np.moveaxis(relative, 0, -1), field.grid, path, _FSL_FIELD)


def _save(values: NDArray[Any], grid: Grid, path: Path, intent: str | int) -> None:
    image = nifti_image(np.ascontiguousarray(values, dtype=np.float32), grid)
    image.header.set_intent(intent, allow_unknown=isinstance(intent, int))
    save_nifti(image, path)


def read_ants(path: Path) -> DisplacementField:
    """Read mm, LPS."""
    vectors, grid = _world_vectors(path)
    return from_vectors(vectors, grid)


def read_slicer(path: Path) -> DisplacementField:
    """Read mm, RAS."""
    vectors, grid = _world_vectors(path)
    return from_vectors(vectors * lps(grid.ndim), grid)


def _world_vectors(path: Path) -> tuple[NDArray[np.float64], Grid]:
    file = _load(path)
    shape = file.shape
    flat = len(shape) == 5 and shape[2:4] == (1, 1) and shape[4] == 2
    if len(shape) != 5 or shape[3] != 1 or shape[4] != (2 if flat else 3):
        raise InputError("field", f"expected an array (X, Y, Z, 1, 3) in mm, got {shape}", "Say another format")
    ndim = 2 if flat else 3
    grid = _grid(shape[:ndim], file.affine)
    return np.asarray(file.dataobj, dtype=np.float64).reshape(*grid.shape, ndim), grid


def read_learn2reg(path: Path) -> DisplacementField:
    """Read voxels of the field's grid."""
    file = _load(path)
    shape, intent = file.shape, file.header.get_intent()[0]
    if len(shape) not in (3, 4) or shape[-1] != len(shape) - 1 or intent in ("vector", "displacement vector"):
        raise InputError(
            "field",
            f"expected an array of shape (X, Y, Z, 3) in voxels, got {shape} with intent '{intent}'",
            "Export the field for Learn2Reg, or as an ITK .h5 transform",
        )
    values = np.moveaxis(np.asarray(file.dataobj), -1, 0)
    return DisplacementField(values, _grid(shape[:-1], file.affine))  # type: ignore[arg-type]  # made into a tensor


def read_fsl(path: Path, moving: Grid) -> DisplacementField:
    """Read a relative warp whose input space is the moving image's grid."""
    file = _load(path)
    shape, code = file.shape, int(file.header["intent_code"])
    if len(shape) != 4 or shape[-1] != 3 or code in (2007, 2008, 2009):
        problem = f"expected a relative warp (X, Y, Z, 3), got {shape} with intent code {code}"
        raise InputError("field", problem, "Make one with FSL's convertwarp --relout")
    grid = _grid(shape[:-1], file.affine)
    first, second = _fsl_pair(grid, moving)
    voxels = np.indices(grid.shape, dtype=np.float64).reshape(3, -1)
    there = np.moveaxis(np.asarray(file.dataobj, dtype=np.float64), -1, 0).reshape(3, -1) + _apply(first, voxels)
    back = np.linalg.inv(grid.affine) @ moving.affine @ np.linalg.inv(second)
    values = (_apply(back, there) - voxels).reshape(3, *grid.shape)
    return DisplacementField(values, grid)  # type: ignore[arg-type]  # made into a tensor by the field


def fsl_matrix(grid: Grid) -> NDArray[np.float64]:
    """Return the map (4, 4) from voxels to FSL's coordinates: mm from the first voxel along the axes of the array.

    Where the matrix to the world has a positive determinant, FSL counts the first axis from its other end.
    """
    matrix = np.diag([*grid.spacing, 1.0])
    if np.linalg.det(grid.affine[:-1, :-1]) > 0:
        matrix[0, 0] *= -1
        matrix[0, 3] = (grid.shape[0] - 1) * grid.spacing[0]
    return matrix


def _fsl_pair(fixed: Grid, moving: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    for name, grid in (("field", fixed), ("moving", moving)):
        if grid.ndim != 3:
            raise InputError(name, f"FSL's fields are 3-D, this is {grid.ndim}-D", "Choose another format")
    return fsl_matrix(fixed), fsl_matrix(moving)


def _load(path: Path) -> Any:
    file = nib.load(path, mmap=False)
    refuse_claim_of(file)
    return file


def _grid(shape: tuple[int, ...], affine: NDArray[Any]) -> Grid:
    """Return the grid of a file's first axes; of a flat one the plane."""
    affine = np.array(affine)
    return Grid(shape, affine if len(shape) == 3 else np.delete(np.delete(affine, 2, 0), 2, 1))


def _apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply a homogeneous matrix to points (3, N)."""
    return np.asarray(matrix[:-1, :-1] @ points + matrix[:-1, -1:])
