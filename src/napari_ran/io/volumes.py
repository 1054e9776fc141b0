"""Whatever a file of voxels holds, as it is stored: any type, several channels or time points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from napari_ran.data import Grid, Image
from napari_ran.errors import InputError
from napari_ran.io.claims import refuse_type
from napari_ran.io.files import existing, reading, stem_of, suffix_of
from napari_ran.io.geometry import affine_from_itk, array_from_itk, squeeze
from napari_ran.io.images import NIBABEL_SUFFIXES, nifti_affine, refuse_claim_of, write_array
from napari_ran.io.itk_files import read_by_itk
from napari_ran.io.tiff_images import SUFFIXES as TIFF_SUFFIXES
from napari_ran.io.tiff_images import read_tiff
from napari_ran.io.zarr_images import is_zarr, open_zarr


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
    with reading(path, "NIfTI, MHA or NRRD"):
        if is_zarr(found):
            image = open_zarr(found)
            kinds = "".join("T" if image.axes[axis].kind == "time" else "C" for axis in image.rest_axes)
            return Volumes(image.read_all(), image.grid, image.name, kinds)
        if suffix_of(found) in TIFF_SUFFIXES:
            tiff = read_tiff(found)
            refuse_type(tiff.values.dtype)
            return Volumes(tiff.values, tiff.grid, stem_of(path), tiff.rest.replace("S", "C"))
        read = _read_nibabel if suffix_of(found) in NIBABEL_SUFFIXES else _read_itk
        return read(found, stem_of(path))


def _read_nibabel(path: Path, name: str) -> Volumes:
    file = nib.load(path, mmap=False)
    refuse_type(file.get_data_dtype())
    refuse_claim_of(file)
    affine, _ = nifti_affine(file)
    grid, _ = squeeze(tuple(file.shape[:3]), affine, str(path))
    rest = file.shape[3:]
    return Volumes(np.asanyarray(file.dataobj).reshape(*grid.shape, *rest), grid, name, "TC"[: len(rest)])


def _read_itk(path: Path, name: str) -> Volumes:
    image = read_by_itk(path)
    values, shape = array_from_itk(image), tuple(image.GetSize())
    if len(shape) > 3:
        raise InputError("image", f"it has {len(shape)} axes of space", "Save it as NIfTI with a time axis")
    refuse_type(values.dtype)
    grid, _ = squeeze(shape, affine_from_itk(image), str(path))
    rest = values.shape[len(shape) :]
    return Volumes(values.reshape(*grid.shape, *rest), grid, name, "C"[: len(rest)])


def save_volumes(volumes: Volumes, path: str | Path) -> Path:
    """Write them as NIfTI, MHA or NRRD in their own type, all or nothing.

    Raises
    ------
    InputError
        The suffix is another one, or MHA and NRRD cannot hold so many axes.
    OutputError
        The file could not be written; what was there stays.
    """
    values, grid, rest = volumes.values, volumes.grid, volumes.rest
    values = values.astype(np.uint8) if values.dtype.kind == "b" else values
    if suffix_of(path) in NIBABEL_SUFFIXES:
        deep = (1,) * (3 - grid.ndim) if rest else ()
        values = _nifti_type(values.reshape(*grid.shape, *deep, *rest))
    elif len(rest) > 1:
        raise InputError(str(path), f"{len(rest)} axes beside space do not fit into it", "Write NIfTI")
    return write_array(values, grid, path)


def _nifti_type(values: NDArray[Any]) -> NDArray[Any]:
    """Return 64-bit whole numbers as 32-bit ones where they fit; nibabel asks for a decision about them."""
    if values.dtype not in (np.int64, np.uint64):
        return values
    limits = np.iinfo(np.int32)
    fits = values.size == 0 or (values.min() >= limits.min and values.max() <= limits.max)
    return values.astype(np.int32 if fits else np.float64)
