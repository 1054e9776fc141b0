"""OME-Zarr images (NGFF 0.4 and 0.5), opened without reading their voxels.

An image in such a folder has its axes named, its size and place in the world per axis, and several resolutions. Its
world is taken as ITK takes it: x to the patient's left, y to the back, z upwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ran.data import Grid
from napari_ran.device import free_memory
from napari_ran.errors import InputError
from napari_ran.io.claims import refuse_type
from napari_ran.io.files import existing, leads_out, reading, stem_of
from napari_ran.io.geometry import lps, squeeze
from napari_ran.io.units import known_length

VERSIONS = ("0.4", "0.5")
_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_CURE = "Write it again as OME-Zarr 0.4 or 0.5"

Box = tuple[slice, ...]
"""A part of an image, by a slice per array axis in our order."""


@dataclass(frozen=True)
class Axis:
    """One stored axis: its name, what it is (``space``, ``time``, ``channel``), its unit, size of a step and start."""

    name: str
    kind: str
    unit: str = ""
    scale: float = 1.0
    translation: float = 0.0


@dataclass(frozen=True, eq=False)
class ZarrImage:
    """One resolution of an OME-Zarr image.

    Attributes
    ----------
    array : zarr.Array
        The voxels, as stored.
    grid : Grid
        Where they lie.
    axes : tuple of Axis
        The stored axes.
    order : tuple of int
        Which stored axes those of `grid` are, in our order.
    name : str
        What to call it.
    version : str
        Of the format.
    attributes : dict
        What else the image says: ``omero``, ``image-label``.
    levels : tuple of str
        All resolutions, as paths, the finest first.
    level : int
        Which of them this is.
    warnings : list of str
        What had to be assumed.
    """

    array: Any
    grid: Grid
    axes: tuple[Axis, ...]
    order: tuple[int, ...]
    name: str
    version: str
    attributes: dict[str, Any] = field(default_factory=dict)
    levels: tuple[str, ...] = ()
    level: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def rest_axes(self) -> tuple[int, ...]:
        """Stored axes that are not space."""
        return tuple(index for index, axis in enumerate(self.axes) if axis.kind != "space")

    @property
    def rest(self) -> tuple[int, ...]:
        """Numbers of channels and time points, in the order in which they are stored."""
        return tuple(int(self.array.shape[axis]) for axis in self.rest_axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel."""
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    @property
    def chunks(self) -> tuple[int, ...]:
        """Size of a chunk along the axes of `grid`."""
        return tuple(int(self.array.chunks[axis]) for axis in self.order)

    @property
    def is_labels(self) -> bool:
        """Whether the image says that it is a label map."""
        return "image-label" in self.attributes

    def read(self, index: Sequence[int], box: Box) -> NDArray[Any]:
        """Return the voxels in a box of one channel and time point, in our order of axes."""
        where: list[Any] = [0] * self.array.ndim
        for axis, place in zip(self.rest_axes, index, strict=True):
            where[axis] = int(place)
        for axis, part in zip(self.order, box, strict=True):
            where[axis] = part
        stored = sorted(self.order)
        return np.asarray(self.array[tuple(where)]).transpose([stored.index(axis) for axis in self.order])

    def read_all(self) -> NDArray[Any]:
        """Return all voxels, (*S, *R).

        Raises
        ------
        InputError
            They do not fit into memory.
        """
        needed, free = 3 * 4 * math.prod(self.array.shape), free_memory(torch.device("cpu"))
        if needed > free:
            coarser = self.levels[-1] if self.level < len(self.levels) - 1 else None
            raise InputError(
                self.name,
                f"its {math.prod(self.array.shape):,} voxels do not fit into memory "
                f"({needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free)",
                "Give a part of it" if coarser is None else f"Give a coarser resolution, such as {coarser}",
            )
        stored = np.asarray(self.array[...]).transpose(
            *self.order, *self.rest_axes, *(a for a in range(self.array.ndim) if a not in self.order + self.rest_axes)
        )
        return stored.reshape(*self.grid.shape, *self.rest)


def is_zarr(path: str | Path) -> bool:
    """Whether a path is a Zarr folder, or a group or an array in one; or is named so."""
    return Path(path).suffix.lower() == ".zarr" or holds_zarr(path)


def holds_zarr(path: str | Path) -> bool:
    """Whether a path is a folder with the files of a Zarr group or array."""
    return any((Path(path).expanduser() / mark).is_file() for mark in _MARKS)


def zarr_name(path: str | Path) -> str:
    """Return what to call an image by its path: its folder's name, and what within it is meant."""
    parts = Path(path).parts
    roots = [number for number, part in enumerate(parts) if part.lower().endswith(".zarr")]
    return "-".join((stem_of(parts[roots[-1]]), *parts[roots[-1] + 1 :])) if roots else Path(path).name


def open_zarr(path: str | Path) -> ZarrImage:
    """Open an OME-Zarr image without reading its voxels.

    Parameters
    ----------
    path : path
        The folder of the image, of which the finest resolution is taken; or of one of its resolutions or label maps,
        such as ``scan.ome.zarr/2`` or ``scan.ome.zarr/labels/organs``.

    Raises
    ------
    InputError
        There is none, or it does not say where its voxels lie.
    """
    found = existing(path).absolute()
    with reading(path, "OME-Zarr 0.4 or 0.5"):
        return _open(found)


def _open(path: Path) -> ZarrImage:
    import zarr

    group, said, level = _described(path)
    multiscales = said.get("multiscales")
    if not multiscales:
        raise _unsaid(path, said)
    image = multiscales[0]
    version = str(said.get("version") or image.get("version") or VERSIONS[0])
    if version not in VERSIONS:
        raise InputError("image", f"it is OME-Zarr of version {version}", _CURE)
    data_sets = image["datasets"]
    names = [str(data_set["path"]) for data_set in data_sets]
    if outside := [name for name in names if leads_out(name)]:
        raise InputError("image", f"its resolution '{outside[0]}' lies outside its folder", _CURE)
    chosen = 0 if level is None else names.index(level)
    array = zarr.open_array(str(group / names[chosen]), mode="r")
    refuse_type(array.dtype)
    changes = [*data_sets[chosen].get("coordinateTransformations", []), *image.get("coordinateTransformations", [])]
    axes = _axes(image.get("axes"), changes, array.ndim)
    grid, order, warnings = _grid(axes, tuple(array.shape), str(path))
    kept = {key: said[key] for key in ("omero", "image-label") if key in said}
    levels = tuple(str(group / name) for name in names)
    return ZarrImage(array, grid, axes, order, zarr_name(path), version, kept, levels, chosen, warnings)


def _described(path: Path) -> tuple[Path, Mapping[str, Any], str | None]:
    """Return the folder of the image, what it says about itself, and which of its resolutions `path` is."""
    for folder in (path, *path.parents):
        if not is_zarr(folder):
            break
        said = _attributes(folder)
        if folder == path and said.get("multiscales"):
            return path, said, None
        inner = path.relative_to(folder).as_posix()
        for image in said.get("multiscales") or []:
            if inner in [str(one["path"]) for one in image["datasets"]]:
                return folder, said, inner
    return path, _attributes(path), None


def _attributes(folder: Path) -> Mapping[str, Any]:
    import zarr

    attributes: Mapping[str, Any] = zarr.open(str(folder), mode="r").attrs.asdict()
    inner = attributes.get("ome")
    return inner if isinstance(inner, Mapping) else attributes


def _unsaid(path: Path, said: Mapping[str, Any]) -> InputError:
    """Return the error for a folder that does not describe an image."""
    images = sorted(folder.name for folder in path.iterdir() if folder.is_dir() and is_zarr(folder))
    if "plate" in said:
        return InputError("image", "it is a plate of many images", "Give one image in it, such as A/1/0")
    if said.get("bioformats2raw.layout") is not None and images:
        return InputError("image", "it is a collection of images", f"Give one image in it, such as {path / images[0]}")
    return InputError("image", "its attributes describe no image (no multiscales)", _CURE)


def _axes(listed: Any, changes: Sequence[Mapping[str, Any]], ndim: int) -> tuple[Axis, ...]:
    """Return the axes with the size and place that the transformations give them."""
    if not isinstance(listed, list) or len(listed) != ndim or not all(isinstance(axis, Mapping) for axis in listed):
        raise InputError("image", f"its metadata do not name its {ndim} axes", _CURE)
    scale, translation = np.ones(ndim), np.zeros(ndim)
    for change in changes:
        kind, values = change.get("type"), change.get(str(change.get("type")))
        if kind == "identity":
            continue
        numbers = None if values is None else np.asarray(values, dtype=np.float64)
        if kind not in ("scale", "translation") or numbers is None or numbers.shape != (ndim,):
            raise InputError("image", f"its transformation of type {kind} cannot be used", _CURE)
        if kind == "scale":
            scale, translation = scale * numbers, translation * numbers
        else:
            translation = translation + numbers
    if not (np.isfinite(scale).all() and np.isfinite(translation).all() and (scale != 0).all()):
        raise InputError("image", f"its scale {scale.tolist()} is unusable", "Repair the image's attributes")
    guess = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
    return tuple(
        Axis(
            name := str(axis.get("name")),
            str(axis.get("type") or guess.get(name.lower(), "other")),
            str(axis.get("unit") or ""),
            float(step),
            float(start),
        )
        for axis, step, start in zip(listed, scale, translation, strict=True)
    )


def _grid(axes: tuple[Axis, ...], shape: tuple[int, ...], source: str) -> tuple[Grid, tuple[int, ...], list[str]]:
    """Return the grid of an image, the stored axes in its order, and what was assumed."""
    space = [index for index, axis in enumerate(axes) if axis.kind == "space"][::-1]
    if len(space) not in (2, 3):
        raise InputError("image", f"expected 2 or 3 axes of space, got {len(space)}", "Give an image of one 3-D space")
    units = {axes[index].unit for index in space}
    if unknown := sorted(unit for unit in units if unit and known_length(unit) is None):
        raise InputError("image", f"its unit '{unknown[0]}' is no length that is known here", "Write it in micrometer")
    warnings = [] if "" not in units else ["The file does not say its unit of length: mm is assumed."]
    names = [axes[index].name.lower() for index in space]
    named = sorted(names) == sorted("xyz"[: len(space)])
    worlds = ["xyz".index(name) for name in names] if named else list(range(len(space)))
    affine, sign = np.zeros((len(space) + 1,) * 2), lps(len(space))
    affine[-1, -1] = 1
    for column, (world, index) in enumerate(zip(worlds, space, strict=True)):
        size = sign[world] * (known_length(axes[index].unit or "mm") or 1.0)
        affine[world, column], affine[world, -1] = size * axes[index].scale, size * axes[index].translation
    stored = tuple(shape[index] for index in space)
    grid, _ = squeeze(stored, affine, source)
    if grid.ndim < len(space):
        space = [index for index in space if shape[index] > 1]
    return grid, tuple(space), warnings


__all__ = ["VERSIONS", "Axis", "Box", "ZarrImage", "holds_zarr", "is_zarr", "open_zarr", "zarr_name"]
