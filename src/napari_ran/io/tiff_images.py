"""TIFF images with the axes and the voxel size that OME-XML, ImageJ or the resolution tags say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_ran.data import Grid
from napari_ran.errors import InputError
from napari_ran.io.claims import PACKED, refuse_claim
from napari_ran.io.damage import refuse_cut_tiff
from napari_ran.io.geometry import lps, quiet_itk, squeeze
from napari_ran.io.units import known_length

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

SUFFIXES = (".tif", ".tiff")
_AXES = "XYZTCS"
_SCREEN_RESOLUTIONS = {72, 75, 96, 100, 120, 150, 200, 240, 300, 400, 600, 1200}
"""Dots per inch that programs write without having measured anything."""


@dataclass
class TiffImage:
    """What a TIFF file holds.

    Attributes
    ----------
    values : (*S, *R) array
        Voxels in our order of axes, then time points and channels.
    grid : Grid
        Where they lie: x to the patient's left, y to the back, as ITK reads such files.
    rest : str
        The axes beside space: ``T``, ``C``, ``S`` (colours).
    warnings : list of str
        What had to be assumed.
    """

    values: NDArray[Any]
    grid: Grid
    rest: str = ""
    warnings: list[str] = field(default_factory=list)


def read_tiff(path: Path) -> TiffImage:
    """Read the first image of a TIFF file with all its time points and channels.

    Raises
    ------
    InputError
        The file ends early, has axes that are not known, or none of space.
    """
    import tifffile

    refuse_cut_tiff(path)
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        axes, shape = _axes(series)
        sizes, warnings = _sizes(file, axes)
        if len(file.series) > 1:
            warnings.append(f"The file holds {len(file.series)} images: the first is read.")
        _refuse_claim_of(series, path)
        values = _values(path, series, shape)
    space = [letter for letter in "XYZ" if letter in axes]
    rest = [letter for letter in "TCS" if letter in axes]
    values = values.transpose([axes.index(letter) for letter in space + rest])
    ndim = len(space)
    steps = lps(ndim) * [sizes[letter] for letter in space]
    grid, _ = squeeze(values.shape[:ndim], np.diag([*steps, 1.0]), str(path))
    return TiffImage(values.reshape(*grid.shape, *values.shape[ndim:]), grid, "".join(rest), warnings)


def _axes(series: TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Return the axes of an image as letters, and their lengths; pages of which nothing is said are slices."""
    listed = [(letter, int(n)) for letter, n in zip(str(series.axes), series.shape, strict=True)]
    used = [(letter, n) for letter, n in listed if letter in _AXES or n > 1]
    letters, shape = [letter for letter, _ in used], tuple(n for _, n in used)
    unknown = [letter for letter in letters if letter not in _AXES]
    if len(unknown) > 1 or (unknown and "Z" in letters):
        problem = f"it has axes {''.join(letters)} of {shape} voxels, of which only X, Y, Z, T, C are known"
        raise InputError("image", problem, "Save it as an OME-TIFF of these axes")
    axes = "".join("Z" if letter in unknown else letter for letter in letters)
    if "X" not in axes or "Y" not in axes or len(set(axes)) != len(axes):
        raise InputError("image", f"its axes {axes} are not those of an image", "Save it as an OME-TIFF")
    return axes, shape


def _refuse_claim_of(series: TiffPageSeries, path: Path) -> None:
    """Refuse voxels that cannot be in the file; of compressions that pack more than deflate nothing is known."""
    most = {1: 1, 5: 4096, 8: PACKED, 32946: PACKED, 32773: 128}.get(int(series.keyframe.compression))
    holds = None if most is None else most * path.stat().st_size
    refuse_claim(series.shape, series.dtype.itemsize if series.dtype is not None else 1, holds)


def _values(path: Path, series: TiffPageSeries, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the voxels as stored; compressions that tifffile has no decoder for are left to ITK."""
    try:
        return np.asarray(series.asarray()).reshape(shape)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    with quiet_itk():
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))).reshape(shape)


def _sizes(file: TiffFile, axes: str) -> tuple[dict[str, float], list[str]]:
    """Return the size of a voxel in mm by axis, and what had to be assumed."""
    page = file.pages.first
    found = _sizes_of_ome(file.ome_metadata) or _sizes_of_imagej(file.imagej_metadata, page) or _sizes_of_tags(page)
    found = {letter: size for letter, size in found.items() if np.isfinite(size) and size > 0}
    missing = [letter for letter in "XYZ" if letter in axes and letter not in found]
    if missing == ["Z"]:
        found["Z"] = found["X"]
        return found, ["The file does not say how far apart its slices are: as far as its pixels is assumed."]
    if missing:
        return dict.fromkeys("XYZ", 1.0), ["The file does not say its voxel size: 1 mm is assumed along every axis."]
    return found, []


def _sizes_of_ome(text: str | None) -> dict[str, float]:
    """Return the sizes that OME-XML gives, by default in micrometres."""
    if not text:
        return {}
    pixels = next((one for one in ElementTree.fromstring(text).iter() if one.tag.endswith("}Pixels")), None)
    if pixels is None:
        return {}
    found = {}
    for letter in "XYZ":
        size, unit = pixels.get(f"PhysicalSize{letter}"), pixels.get(f"PhysicalSize{letter}Unit", "µm")
        length = known_length(unit)
        if size is not None and length is not None and unit not in ("pixel", "reference frame"):
            found[letter] = float(size) * length
    return found


def _sizes_of_imagej(said: Mapping[str, Any] | None, page: TiffPage) -> dict[str, float]:
    """Return the sizes that ImageJ gives: pixels per unit, and the spacing of slices in units."""
    unit = str((said or {}).get("unit", "pixel"))
    length = known_length(unit)
    if said is None or length is None or unit in ("pixel", "pixels", "px"):
        return {}
    found = {letter: length / per for letter, per in _per_unit(page).items() if per > 0}
    if "spacing" in said:
        found["Z"] = abs(float(said["spacing"])) * length
    return found


def _sizes_of_tags(page: TiffPage) -> dict[str, float]:
    """Return the pixel sizes that the resolution tags give in inches or centimetres, unless a program made them up."""
    unit = page.tags.get("ResolutionUnit")
    mm = {2: 25.4, 3: 10.0}.get(int(unit.value) if unit is not None else 1)
    per = _per_unit(page)
    if mm is None or len(per) < 2 or (mm > 20 and any(round(n, 3) in _SCREEN_RESOLUTIONS for n in per.values())):
        return {}
    return {letter: mm / n for letter, n in per.items() if n > 0}


def _per_unit(page: TiffPage) -> dict[str, float]:
    """Return how many pixels lie on a unit of length, along x and y."""
    found = {}
    for letter in "XY":
        tag = page.tags.get(f"{letter}Resolution")
        if tag is not None:
            above, below = tag.value
            found[letter] = above / below if below else 0.0
    return found


__all__ = ["SUFFIXES", "TiffImage", "read_tiff"]
