"""The arrays of every stage of an inspection as NPZ and NIfTI files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from napari_ran.data import DisplacementField, Image
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.quantities import QuantityArray, Stage
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
    mask, confidence, Jacobian determinant and warped image.
    """
    folder.mkdir(parents=True, exist_ok=True)
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


def stage_name(stage: Stage) -> str:
    """Return a stage's name in file names, such as ``level-0`` or ``instance``."""
    return f"level-{stage.level}" if stage.level is not None else stage.kind


def _write_npz(arrays: list[QuantityArray], path: Path) -> None:
    values = {a.name: a.numpy().astype(np.float16) if a.name in HALF else a.numpy() for a in arrays}
    affines = {f"affine_{a.name}": a.grid.affine for a in arrays}
    np.savez(path, allow_pickle=False, **values, **affines)


def _write_nifti(arrays: list[QuantityArray], folder: Path) -> None:
    folder.mkdir()
    for array in arrays:
        if array.name in ("field", "increment"):
            save_field(DisplacementField(array.data, array.grid), folder / f"disp-{array.name}.nii.gz")
        elif array.name in AS_IMAGES:
            for channel, values in enumerate(array.data):
                number = f"-{channel}" if len(array.data) > 1 else ""
                save_image(Image(values[None].contiguous(), array.grid), folder / f"{array.name}{number}.nii.gz")
