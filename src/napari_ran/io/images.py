"""Read and write images and label maps.

NIfTI, Analyze and MGH go through nibabel; MetaImage, NRRD, TIFF, PNG and DICOM series through SimpleITK. Whatever the
file says, what comes out is in our convention: RAS world, millimetres, array axes in the file's own order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from napari_ran.data import Grid, Image, Labels
from napari_ran.errors import InputError
from napari_ran.io.claims import PACKED, refuse_claim, refuse_type
from napari_ran.io.damage import left_out
from napari_ran.io.files import existing, reading, stem_of, suffix_of
from napari_ran.io.geometry import affine_from_itk, array_from_itk, itk_image, quiet_itk, squeeze
from napari_ran.io.gzip_writing import packing
from napari_ran.io.itk_files import read_by_itk
from napari_ran.io.tiff_images import SUFFIXES as TIFF_SUFFIXES
from napari_ran.io.tiff_images import read_tiff
from napari_ran.io.zarr_images import is_zarr, open_zarr
from napari_ran.writing import replacing

NIBABEL_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".mgh", ".mgz")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr", ".png", ".dcm")
READABLE_SUFFIXES = NIBABEL_SUFFIXES + ITK_SUFFIXES + TIFF_SUFFIXES
"""Suffixes of image files that `load_image` reads; a folder is read as a DICOM series."""

WRITABLE_SUFFIXES = (".nii.gz", ".nii", ".mha", ".nrrd")
"""Suffixes of image files that are written."""

_FORMATS = "NIfTI, MHA, NRRD, TIFF, PNG or a folder with one DICOM series"
_UNITS = {"meter": 1000.0, "micron": 0.001}
_WITHOUT_SIZE = (".png",)


@dataclass
class _Raw:
    """What a reader found: values (*S) in the file's axis order, and the grid they lie on."""

    values: NDArray[Any]
    grid: Grid
    warnings: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)


def load_image(path: str | Path) -> Image:
    """Read a scalar 2-D or 3-D image.

    Parameters
    ----------
    path : path
        A NIfTI, Analyze, MGH, MHA/MHD, NRRD, TIFF or PNG file, or a folder that holds a DICOM series (the longest one
        when it holds several).

    Returns
    -------
    Image
        ``metadata`` has the ``path``, the ``format``, the DICOM ``modality`` where there is one, and ``warnings``: a
        tuple of sentences about what was assumed. A volume of one slice becomes a 2-D image. A NIfTI header without an
        orientation (sform and qform codes both 0) is accepted with its voxel size, the axes as nibabel takes them, and
        a warning.

    Raises
    ------
    InputError
        Nothing is there, the file is truncated or of an unknown format, it holds several volumes, colours or
        complex numbers, its voxel size is unusable, or a value is NaN or infinite.
    """
    with reading(path, _FORMATS):
        raw = _read(path, np.float32)
        metadata = {"path": str(path), **raw.metadata, "warnings": tuple(raw.warnings)}
        return Image(raw.values, raw.grid, stem_of(path), metadata)  # type: ignore[arg-type]  # made into a tensor


def load_labels(path: str | Path) -> Labels:
    """Read a label map; see `load_image` for the formats.

    Parameters
    ----------
    path : path
        The file, or a folder that holds a DICOM series.

    Raises
    ------
    InputError
        As for `load_image`, or a value is not a whole number.
    """
    with reading(path, _FORMATS):
        raw = _read(path, None)
        return Labels(raw.values, raw.grid, stem_of(path))  # type: ignore[arg-type]  # made into a tensor by Labels


def load_grid(path: str | Path) -> Grid:
    """Return where the voxels of an image lie; those of an OME-Zarr image or of NIfTI and its kin are not read."""
    if is_zarr(path):
        return open_zarr(path).grid
    if suffix_of(found := existing(path)) in NIBABEL_SUFFIXES:
        with reading(path, _FORMATS):
            return _open_nibabel(found)[1]
    return load_image(path).grid


def save_image(image: Image, path: str | Path) -> Path:
    """Write an image of one channel as NIfTI (``.nii.gz``, ``.nii``), MHA or NRRD, in float32, all or nothing.

    Raises
    ------
    InputError
        The suffix is another one, or the image has several channels.
    OutputError
        The file could not be written; what was there stays.
    """
    if image.tensor.shape[0] != 1:
        raise InputError(
            image.name, f"expected one channel to write, got {image.tensor.shape[0]}", "Save each channel by itself"
        )
    return write_array(image.array, image.grid, path)


def save_labels(labels: Labels, path: str | Path) -> Path:
    """Write a label map in the smallest integer type that holds it; see `save_image`."""
    values = labels.array
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    kinds = (np.uint8, np.int16, np.int32)
    kind = next(k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    return write_array(values.astype(kind), labels.grid, path)


def nifti_image(values: NDArray[Any], grid: Grid) -> nib.Nifti1Image:
    """Make a NIfTI image whose sform (and qform, where the axes are orthogonal) say the grid, in mm.

    A 2-D grid lies in the plane z = 0.
    """
    affine, ndim = np.eye(4), grid.ndim
    affine[:ndim, :ndim], affine[:ndim, 3] = grid.affine[:-1, :-1], grid.affine[:-1, -1]
    image = nib.Nifti1Image(values, affine)
    image.set_sform(affine, code=1)
    orthogonal = np.allclose(grid.direction.T @ grid.direction, np.eye(ndim), atol=1e-5)
    image.set_qform(affine if orthogonal else None, code=1 if orthogonal else 0)
    image.header.set_xyzt_units("mm")
    return image


def save_nifti(image: nib.Nifti1Image, path: Path) -> None:
    """Write a NIfTI image to ``.nii.gz`` or ``.nii``."""
    if suffix_of(path) == ".nii.gz":
        with packing(path) as stream:
            image.to_stream(stream)
    else:
        nib.save(image, path)


def write_array(values: NDArray[Any], grid: Grid, path: str | Path) -> Path:
    """Write an array (*S) in its own type, or (*S, *R) where the format has such axes; see `save_image`."""
    suffix = suffix_of(path)
    if suffix not in WRITABLE_SUFFIXES:
        raise InputError(str(path), f"cannot write a '{suffix}' file", f"Use one of {', '.join(WRITABLE_SUFFIXES)}")
    with replacing(path) as temporary:
        if suffix in NIBABEL_SUFFIXES:
            save_nifti(nifti_image(values, grid), temporary)
        else:
            image = itk_image(values, grid, vector=values.ndim > grid.ndim)
            sitk.WriteImage(image, str(temporary), useCompression=True)
    return Path(path)


def _read(path: str | Path, dtype: type[np.floating[Any]] | None) -> _Raw:
    found = existing(path)
    if is_zarr(found):
        return _read_zarr(found)
    if found.is_dir():
        return _read_dicom(found)
    if suffix_of(found) in TIFF_SUFFIXES:
        return _read_tiff(found)
    if suffix_of(found) in NIBABEL_SUFFIXES:
        return _read_nibabel(found, dtype)
    return _read_itk(found)


def _read_nibabel(path: Path, dtype: type[np.floating[Any]] | None) -> _Raw:
    file, grid, warnings = _open_nibabel(path)
    refuse_claim_of(file)
    values = np.asarray(file.dataobj, dtype=dtype).reshape(grid.shape)
    return _Raw(values, grid, warnings, {"format": type(file).__name__})


def _open_nibabel(path: Path) -> tuple[Any, Grid, list[str]]:
    """Return a file whose voxels are not read yet, so that a refused one costs nothing, its grid, and what to know."""
    file = nib.load(path, mmap=False)
    refuse_type(file.get_data_dtype())
    affine, warnings = nifti_affine(file)
    grid, tilted = squeeze(tuple(file.shape), affine, str(path))
    return file, grid, warnings + ([tilted] if tilted else [])


def refuse_claim_of(file: Any) -> None:
    """Refuse voxels that a file of nibabel claims and cannot have."""
    place = file.file_map["image"].filename
    size = Path(place).stat().st_size
    packed = str(place).lower().endswith((".gz", ".mgz", ".bz2", ".zst"))
    refuse_claim(file.shape, file.get_data_dtype().itemsize, size * PACKED if packed else size)


def nifti_affine(file: Any) -> tuple[NDArray[np.float64], list[str]]:
    """Return the voxel-to-world matrix in mm and what had to be assumed for it."""
    affine = np.array(file.affine, dtype=np.float64)
    warnings: list[str] = []
    if not isinstance(file, nib.Nifti1Pair | nib.AnalyzeImage):
        return affine, warnings
    oriented = isinstance(file, nib.Nifti1Pair) and (int(file.header["sform_code"]), int(file.header["qform_code"]))
    if not (oriented and oriented[0]):  # the voxel size is taken from pixdim
        source = file.file_map.get("header", file.file_map["image"]).filename
        with ImageOpener(source) as opened:  # read again unchecked: nibabel silently replaces a size of 0 by 1
            sizes = type(file.header).from_fileobj(opened, check=False)["pixdim"][1 : 1 + min(3, len(file.shape))]
        if not (np.isfinite(sizes).all() and (np.abs(sizes) > 0).all()):
            raise InputError(
                "header", f"the voxel size in the header is unusable ({sizes.tolist()})", "Repair the file's header"
            )
    if not (oriented and any(oriented)):
        warnings.append(
            "The header has no orientation (sform and qform codes are 0): the voxel size is used and the axes are "
            "taken as nibabel does, first axis to the left, centre of the volume at the origin."
        )
    unit = file.header.get_xyzt_units()[0] if isinstance(file, nib.Nifti1Pair) else "unknown"
    if unit in _UNITS:
        affine[:3] *= _UNITS[unit]
        warnings.append(f"The header's lengths are in {unit}s: converted to mm.")
    return affine, warnings


def _read_zarr(path: Path) -> _Raw:
    image = open_zarr(path)
    if (several := math.prod(image.rest)) > 1:
        count = f"got {several} (axes {', '.join(image.axes[axis].name for axis in image.rest_axes)})"
        raise InputError("image", f"expected one channel and time point, {count}", "Extract one of them")
    values = image.read_all().reshape(image.grid.shape)
    return _Raw(values, image.grid, list(image.warnings), {"format": f"OME-Zarr {image.version}"})


def _read_tiff(path: Path) -> _Raw:
    image = read_tiff(path)
    several = image.values.shape[image.grid.ndim :]
    if "S" in image.rest:
        raise _several_values(several[-1])
    if math.prod(several) > 1:
        problem = f"expected one channel and time point, got {math.prod(several)} (axes {', '.join(image.rest)})"
        raise InputError("image", problem, "Extract one of them; slices of one image are axis Z")
    return _Raw(image.values.reshape(image.grid.shape), image.grid, list(image.warnings), {"format": "TIFF"})


def _read_itk(path: Path) -> _Raw:
    image = read_by_itk(path, _refuse_pixels_of)
    raw = _from_itk(image, str(path))
    raw.metadata["format"] = suffix_of(path).lstrip(".").upper()
    if suffix_of(path) in _WITHOUT_SIZE and set(image.GetSpacing()) == {1.0}:
        raw.warnings.append("The file does not say its voxel size: 1 mm is assumed along every axis.")
    if image.HasMetaDataKey("0008|0060"):
        raw.metadata["modality"] = image.GetMetaData("0008|0060").strip()
    return raw


def _read_dicom(folder: Path) -> _Raw:
    with quiet_itk():
        reader = sitk.ImageSeriesReader()
        series = [reader.GetGDCMSeriesFileNames(str(folder), uid) for uid in reader.GetGDCMSeriesIDs(str(folder))]
        if not series:
            raise InputError(str(folder), "the folder holds no DICOM series", f"Give {_FORMATS}")
        files = max(series, key=len)
        if len(files) == 1:
            return _read_itk(Path(files[0]))
        reader.SetFileNames(files)
        reader.MetaDataDictionaryArrayUpdateOn()
        image = reader.Execute()
    _refuse_pixels(image.GetNumberOfComponentsPerPixel(), image.GetPixelIDTypeAsString())
    raw = _from_itk(image, str(folder))
    raw.metadata["format"] = "DICOM"
    if reader.HasMetaDataKey(0, "0008|0060"):
        raw.metadata["modality"] = reader.GetMetaData(0, "0008|0060").strip()
    if len(series) > 1:
        raw.warnings.append(f"The folder holds {len(series)} series: the longest one ({len(files)} slices) is used.")
    broken = left_out(folder, chain.from_iterable(series))
    if broken:
        raw.warnings.append(f"{len(broken)} DICOM files could not be read and are left out, such as {broken[0]}.")
    gap = _uneven_slices(reader, len(files))
    if gap:
        raw.warnings.append(gap)
    return raw


def _uneven_slices(reader: sitk.ImageSeriesReader, count: int) -> str | None:
    """Say when the slices of a DICOM series are not evenly spaced (a slice is missing, or the spacing changes)."""
    if not all(reader.HasMetaDataKey(i, "0020|0032") for i in range(count)):
        return None
    positions = np.array([[float(v) for v in reader.GetMetaData(i, "0020|0032").split("\\")] for i in range(count)])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    if np.ptp(steps) <= 0.01 * np.median(steps):
        return None
    return (
        f"The slices are not evenly spaced (steps of {steps.min():.3g} to {steps.max():.3g} mm): one may be missing; "
        "even spacing is assumed."
    )


def _from_itk(image: sitk.Image, source: str) -> _Raw:
    affine = affine_from_itk(image)
    if image.GetDimension() > 3:
        affine = np.delete(np.delete(affine, slice(3, -1), 0), slice(3, -1), 1)
    grid, tilted = squeeze(image.GetSize(), affine, source)
    return _Raw(array_from_itk(image).reshape(grid.shape), grid, [tilted] if tilted else [])


def _refuse_pixels_of(reader: sitk.ImageFileReader) -> None:
    _refuse_pixels(reader.GetNumberOfComponents(), sitk.GetPixelIDValueAsString(reader.GetPixelID()))


def _refuse_pixels(components: int, kind: str) -> None:
    if "complex" in kind:
        raise InputError("image", f"expected real numbers, got {kind}", "Save the magnitude or the real part")
    if components != 1:
        raise _several_values(components)


def _several_values(components: int) -> InputError:
    problem = f"expected one value per voxel, got {components} (colours or vectors)"
    return InputError("image", problem, "Convert it to one grey channel")
