"""The arrays of every stage of an inspection as NPZ and NIfTI files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from napari_ran.data import DisplacementField, Image
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.quantities import QUANTITIES, QuantityArray, Stage
from napari_ran.io import save_field, save_image

Format = Literal["npz", "nifti"]
FORMATS: tuple[Format, ...] = get_args(Format)

AS_IMAGES = ("masks", "confidence", "previous_confidence", "jacobian", "warped")
"""What is written as NIfTI images, beside the field and the increment as displacements; the rest is in the NPZ only."""

HALF = ("features", "refined", "attributes")
"""What is stored in half precision: nothing is computed from it again."""


def write_arrays(inspection: Inspection, folder: Path, formats: Collection[Format]) -> Iterator[str]:
    """Write every stage in both directions into a folder, yielding the name of each file that is about to be written.

    ``level-0-forward.npz`` holds every quantity by its name as (C, *S), and as ``affine_NAME`` the matrix from voxels
    of its grid to world mm (RAS+). NIfTI files lie in a folder of the stage's name: ``disp-field.nii.gz`` and
    ``disp-increment.nii.gz`` in voxels of their grid (the Learn2Reg convention, array axes), and one image per head
    mask, confidence, Jacobian determinant and warped image. ``README.txt`` says what is in which unit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.txt").write_text(explanation(formats), encoding="utf-8")
    for direction in inspection.directions:
        for stage in inspection.stages:
            name = f"{stage_name(stage)}-{direction}"
            arrays = [inspection.get(q, stage.index, direction) for q in inspection.available(stage.index, direction)]
            if "npz" in formats:
                yield f"{name}.npz"
                _write_npz(arrays, folder / f"{name}.npz")
            if "nifti" in formats:
                yield name
                _write_nifti(arrays, folder / name)


ABOUT = """\
The arrays of every stage in both directions: forward lies on the fixed image, inverse on the moving image.
"""

ABOUT_NPZ = """
STAGE-DIRECTION.npz: every quantity as (C, X, Y, Z), or (C, X, Y), and as affine_NAME the matrix from voxels of its
grid to the world in mm (RAS+). Name, unit, meaning:
"""

ABOUT_NIFTI = """
STAGE-DIRECTION/disp-*.nii.gz: displacements IN VOXELS of the file's own grid, components along its array axes i, j, k
(the Learn2Reg convention). A coarse level's voxels are larger than the image's. In mm, axes RAS+, they are
affine[:3, :3] @ displacement, with the file's affine.
STAGE-DIRECTION/, all other files: masks, confidences and Jacobian determinants, which have no unit; and warped, an
image scaled to [0, 1].
"""


def explanation(formats: Collection[Format]) -> str:
    """Return what the files hold, and in which unit."""
    units = "".join(f"  {q.name:20} {q.unit:20} {q.help}\n" for q in QUANTITIES.values())
    return ABOUT + (ABOUT_NPZ + units if "npz" in formats else "") + (ABOUT_NIFTI if "nifti" in formats else "")


def stage_name(stage: Stage) -> str:
    """Return a stage's name in file names, such as ``level-0`` or ``instance``."""
    return f"level-{stage.level}" if stage.level is not None else stage.kind


def _write_npz(arrays: list[QuantityArray], path: Path) -> None:
    values = {a.name: a.numpy().astype(np.float16) if a.name in HALF else a.numpy() for a in arrays}
    affines = {f"affine_{a.name}": a.grid.affine for a in arrays}
    np.savez(path, **values, **affines)  # type: ignore[arg-type]  # the names of arrays


def _write_nifti(arrays: list[QuantityArray], folder: Path) -> None:
    folder.mkdir()
    for array in arrays:
        if array.name in ("field", "increment"):
            save_field(DisplacementField(array.data, array.grid), folder / f"disp-{array.name}.nii.gz")
        elif array.name in AS_IMAGES:
            for channel, values in enumerate(array.data):
                number = f"-{channel}" if len(array.data) > 1 else ""
                save_image(Image(values[None].contiguous(), array.grid), folder / f"{array.name}{number}.nii.gz")
