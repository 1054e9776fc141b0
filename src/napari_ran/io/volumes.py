"""Whatever a file of voxels holds, as it is stored: any type, several channels or time points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_ran.data import Grid, Image
from napari_ran.errors import InputError
from napari_ran.io.files import existing, stem_of, suffix_of, unreadable
from napari_ran.io.geometry import affine_from_itk, array_from_itk, itk_image, squeeze
from napari_ran.io.images import NIBABEL_SUFFIXES, nifti_affine, nifti_image, refuse_claim_of
from napari_ran.io.itk_files import read_by_itk
from napari_ran.io.tiff_images import SUFFIXES as TIFF_SUFFIXES
from napari_ran.io.tiff_images import read_tiff
from napari_ran.io.zarr_images import is_zarr, open_zarr
from napari_ran.writing import replacing

WRITABLE = (".nii.gz", ".nii", ".mha", ".nrrd")


@dataclass(frozen=True, eq=False)
class Volumes:
    """One or more images of one grid.

    Attributes
    ----------
    values : (*S, *R) array
        As stored; ``R`` are the axes of channels and time points, if there are any.
    grid : Grid
        Where the voxels lie.
    name : str
        What to call it.
    kinds : str
        What the axes beside space are, where the file says it: ``T`` (time), ``C`` (channels).
    """

    values: NDArray[Any]
    grid: Grid
    name: str = "volumes"
    kinds: str = ""

    @property
    def rest(self) -> tuple[int, ...]:
        """Numbers of channels and time points."""
        return self.values.shape[self.grid.ndim :]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel."""
        return self.values.dtype

    @property
    def chunks(self) -> None:
        """None: the whole is in memory."""

    def read(self, index: Sequence[int], box: tuple[slice, ...]) -> NDArray[Any]:
        """Return the voxels in a box, by a slice per axis of space, of one channel and time point."""
        where: tuple[Any, ...] = (*box, *index)
        return np.asarray(self.values[where])

    def map(self, change: Callable[[Image], Image]) -> Volumes:
        """Return the same with `change` applied to every image; whole numbers stay so, rounded and kept in range."""
        made: NDArray[Any] | None = None
        grid = self.grid
        for index in np.ndindex(self.rest):
            values = np.asarray(self.values[(..., *index)], dtype=np.float32)
            found = change(Image(values, self.grid, self.name))  # type: ignore[arg-type]  # made into a tensor
            if made is None:
                grid = found.grid
                made = np.empty((*grid.shape, *self.rest), dtype=self.values.dtype)
            made[(..., *index)] = as_type(found.array, made.dtype)
        if made is None:
            raise InputError(self.name, "it holds no image", "Export it again")
        return Volumes(made, grid, self.name, self.kinds)


def as_type(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values as another type; whole numbers are rounded and kept in range."""
    if dtype.kind == "b":
        return values > 0.5
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values.astype(np.float64)), limits.min, limits.max).astype(dtype)


def load_volumes(path: str | Path) -> Volumes:
    """Read a file of one or more images: NIfTI, MGH, MHA, NRRD, TIFF, OME-Zarr.

    Raises
    ------
    InputError
        The file is missing, damaged or of another format, or its numbers are not real.
    """
    found = existing(path)
    try:
        if is_zarr(found):
            image = open_zarr(found)
            kinds = "".join("T" if image.axes[axis].kind == "time" else "C" for axis in image.rest_axes)
            return Volumes(image.read_all(), image.grid, image.name, kinds)
        if suffix_of(found) in TIFF_SUFFIXES:
            tiff = read_tiff(found)
            _refuse_kind(tiff.values.dtype)
            return Volumes(tiff.values, tiff.grid, stem_of(path), tiff.rest.replace("S", "C"))
        if suffix_of(found) in NIBABEL_SUFFIXES:
            file = nib.load(found, mmap=False)
            _refuse_kind(file.get_data_dtype())
            refuse_claim_of(file)
            affine, _ = nifti_affine(file)
            spatial, rest = tuple(file.shape[:3]), tuple(file.shape[3:])
            values = np.asanyarray(file.dataobj)
        else:
            itk = read_by_itk(found)
            affine = affine_from_itk(itk)
            values = np.asarray(array_from_itk(itk))
            spatial, rest = tuple(itk.GetSize()), values.shape[itk.GetDimension() :]
            if len(spatial) > 3:
                raise InputError("image", f"it has {len(spatial)} axes of space", "Save it as NIfTI with a time axis")
        _refuse_kind(values.dtype)
        grid, _ = squeeze(spatial, affine, str(path))
        kinds = "TC" if suffix_of(found) in NIBABEL_SUFFIXES else "C"
        return Volumes(values.reshape(*grid.shape, *rest), grid, stem_of(path), kinds[: len(rest)])
    except InputError as error:
        raise InputError(str(path), error.problem, error.cure) from None
    except Exception as error:  # damaged files make the readers raise nearly anything
        raise unreadable(path, error, "NIfTI, MHA or NRRD") from error


def _refuse_kind(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biuf":
        raise InputError("image", f"expected real numbers, got {dtype}", "Save the magnitude")


def save_volumes(volumes: Volumes, path: str | Path) -> Path:
    """Write them as NIfTI, MHA or NRRD in their own type, all or nothing.

    Raises
    ------
    InputError
        The suffix is another one, or MHA and NRRD cannot hold so many axes.
    OutputError
        The file could not be written; what was there stays.
    """
    suffix, ndim = suffix_of(path), volumes.grid.ndim
    rest = volumes.values.shape[ndim:]
    if suffix not in WRITABLE:
        raise InputError(str(path), f"cannot write a '{suffix}' file", f"Use one of {', '.join(WRITABLE)}")
    if suffix not in NIBABEL_SUFFIXES and len(rest) > 1:
        raise InputError(str(path), f"{len(rest)} axes beside space do not fit into it", "Write NIfTI")
    values = volumes.values.astype(np.uint8) if volumes.values.dtype.kind == "b" else volumes.values
    with replacing(path) as temporary:
        if suffix in NIBABEL_SUFFIXES:
            deep = (1,) * (3 - ndim) if rest else ()
            nib.save(
                nifti_image(_nifti_type(values.reshape(*volumes.grid.shape, *deep, *rest)), volumes.grid), temporary
            )
        else:
            sitk.WriteImage(itk_image(values, volumes.grid, vector=bool(rest)), str(temporary), useCompression=True)
    return Path(path)


def _nifti_type(values: NDArray[Any]) -> NDArray[Any]:
    """Return 64-bit whole numbers as 32-bit ones where they fit; nibabel asks for a decision about them."""
    if values.dtype not in (np.int64, np.uint64):
        return values
    limits = np.iinfo(np.int32)
    fits = values.size == 0 or (values.min() >= limits.min and values.max() <= limits.max)
    return values.astype(np.int32 if fits else np.float64)
