"""Write and read displacement fields for other tools: `FORMATS` lists them.

All live on the field's own grid and map a fixed point to a moving point. Conventions are told in `field_itk` and
`field_nifti`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from napari_ran.data import DisplacementField, Grid
from napari_ran.errors import InputError
from napari_ran.io import field_itk, field_nifti
from napari_ran.io.field_nifti import LEARN2REG_UNIT
from napari_ran.io.files import existing, reading, suffix_of
from napari_ran.writing import replacing

NIFTI = (".nii.gz", ".nii")


@dataclass(frozen=True)
class FieldFormat:
    """A way of writing a field.

    Attributes
    ----------
    title : str
        Who opens it.
    suffixes : tuple of str
        Endings of its files, the usual one first.
    suggestion : str
        A usual file name.
    dimensions : tuple of int
        Numbers of axes that it can have.
    """

    title: str
    suffixes: tuple[str, ...]
    suggestion: str
    dimensions: tuple[int, ...] = (2, 3)


FORMATS: Mapping[str, FieldFormat] = {
    "itk": FieldFormat("ITK transform: SimpleITK, 3D Slicer, ANTs", (".h5",), "field.h5"),
    "itk-image": FieldFormat("ITK vector image: SimpleITK, 3D Slicer, elastix", (".nrrd", ".mha"), "field.nrrd"),
    "ants": FieldFormat("ANTs warp", NIFTI, "1Warp.nii.gz"),
    "slicer": FieldFormat("3D Slicer NIfTI grid transform", NIFTI, "slicer.nii.gz", (3,)),
    "fsl": FieldFormat("FSL relative warp", NIFTI, "fsl_warp.nii.gz", (3,)),
    "learn2reg": FieldFormat("Learn2Reg", NIFTI, "disp.nii.gz"),
}
"""The formats by name."""


def save_field(
    field: DisplacementField,
    path: str | Path,
    format: str | None = None,
    *,
    moving: Grid | None = None,
    affine: ArrayLike | None = None,
) -> Path:
    """Write a field, all or nothing.

    Parameters
    ----------
    field : DisplacementField
        What to write.
    path : path
        Where to.
    format : str, optional
        One of `FORMATS`. Left out, the name says it: ``*.h5`` is "itk", ``*.nrrd`` and ``*.mha`` "itk-image",
        ``*Warp.nii.gz`` "ants", ``disp*.nii.gz`` "learn2reg".
    moving : Grid, optional
        The moving image's grid, which "fsl" needs.
    affine : (D + 1, D + 1) array, optional
        The affine part of the field, fixed world to moving world in mm: with it "itk" is written as a composite of a
        displacement field and this affine, so that it goes on beyond the field's grid.

    Raises
    ------
    InputError
        The format is not known, does not suit the field or the name, or lacks something.
    OutputError
        The file could not be written; what was there stays.
    """
    name = format or _format_of_name(path)
    _check(name, path, field.grid.ndim)
    writers: dict[str, Callable[[Path], None]] = {
        "itk": lambda to: field_itk.write_transform(field, to, affine),
        "itk-image": lambda to: field_itk.write_image(field, to),
        "ants": lambda to: field_nifti.write_ants(field, to),
        "slicer": lambda to: field_nifti.write_slicer(field, to),
        "learn2reg": lambda to: field_nifti.write_learn2reg(field, to),
    }
    if name == "fsl":
        space = _needed(moving)
        writers["fsl"] = lambda to: field_nifti.write_fsl(field, to, space)
    with replacing(path) as temporary:
        writers[name](temporary)
    return Path(path)


def load_field(
    path: str | Path, format: str | None = None, *, fixed: Grid | None = None, moving: Grid | None = None
) -> DisplacementField:
    """Read a field that maps fixed points to moving points, made here or by another tool.

    Parameters
    ----------
    path : path
        A file of one of `FORMATS`, or any transform that SimpleITK reads (``.tfm``, ``.txt``, ANTs' ``.mat``).
    format : str, optional
        One of `FORMATS`, where neither name nor header say it.
    fixed : Grid, optional
        Where the field is wanted; a transform without a grid of its own, such as an affine, needs it.
    moving : Grid, optional
        The moving image's grid, which "fsl" needs.

    Raises
    ------
    InputError
        The file is missing, damaged, or holds something else; or it does not say which of two formats it has.
    """
    found = existing(path)
    name = _known(format) if format else _format_of_file(found, path)
    readers: dict[str, Callable[[], DisplacementField]] = {
        "itk": lambda: field_itk.read_transform(found, fixed),
        "itk-image": lambda: field_itk.read_image(found),
        "ants": lambda: field_nifti.read_ants(found),
        "slicer": lambda: field_nifti.read_slicer(found),
        "learn2reg": lambda: field_nifti.read_learn2reg(found),
    }
    if name == "fsl":
        space = _needed(moving)
        readers["fsl"] = lambda: field_nifti.read_fsl(found, space)
    with reading(path, f"one of {', '.join(FORMATS)}"):
        return readers[name]()


def _format_of_name(path: str | Path) -> str:
    """Return what a file that is to be written should be, by its name."""
    suffix, name = suffix_of(path), Path(path).name.lower()
    if suffix in NIFTI:
        if name.startswith("disp"):
            return "learn2reg"
        if name.removesuffix(suffix).endswith("warp"):
            return "ants"
    known = next((key for key in ("itk", "itk-image") if suffix in FORMATS[key].suffixes), None)
    if known is None:
        names = "*.h5 (ITK), *.nrrd or *.mha (ITK image), *Warp.nii.gz (ANTs) or disp*.nii.gz (Learn2Reg)"
        cure = f"Name it {names}, or say the format: {', '.join(FORMATS)}"
        raise InputError(str(path), "the name does not say which format of a field is wanted", cure)
    return known


def _known(name: str) -> str:
    if name not in FORMATS:
        raise InputError("format", f"unknown: '{name}'", f"Use one of {', '.join(FORMATS)}")
    return name


def _needed(moving: Grid | None) -> Grid:
    if moving is None:
        raise InputError("moving", "an FSL warp depends on the moving image's grid", "Give it")
    return moving


def _check(name: str, path: str | Path, ndim: int) -> None:
    format = FORMATS[_known(name)]
    if suffix_of(path) not in format.suffixes:
        problem = f"a file of the format '{name}' ends in {' or '.join(format.suffixes)}"
        raise InputError(str(path), problem, "Change the name or the format")
    if ndim not in format.dimensions:
        raise InputError("format", f"'{name}' cannot hold a field of {ndim} axes", "Choose another one")


def _format_of_file(found: Path, path: str | Path) -> str:
    """Return what an existing file is, by its name and header."""
    suffix = suffix_of(found)
    if suffix in field_itk.TRANSFORM_SUFFIXES:
        return "itk"
    if suffix in field_itk.IMAGE_SUFFIXES:
        return "itk-image"
    if suffix not in NIFTI:
        cure = "Give an ITK transform (.h5), an image of vectors (.nrrd, .mha), or a NIfTI field"
        raise InputError(str(path), f"cannot read a field from a '{suffix}' file", cure)
    with reading(path, "a NIfTI field"):
        dialect = field_nifti.dialect_of(found)
    if not dialect:
        problem = "the header does not say what its numbers are: mm in LPS (ants) or RAS (slicer), FSL's mm, or voxels"
        raise InputError(str(path), problem, "Say the format: ants, slicer, fsl or learn2reg")
    return dialect


__all__ = ["FORMATS", "LEARN2REG_UNIT", "FieldFormat", "load_field", "save_field"]
