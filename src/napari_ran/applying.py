"""Files that follow a transform: images of any type and size, label maps, points and surfaces."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_ran.chunked import Source, warp_to_zarr
from napari_ran.data import Grid, Landmarks
from napari_ran.errors import InputError
from napari_ran.io import (
    load_labels,
    load_landmarks,
    load_surface,
    load_volumes,
    save_labels,
    save_landmarks,
    save_surface,
    save_volumes,
)
from napari_ran.io.files import stem_of, suffix_of
from napari_ran.io.images import NIBABEL_SUFFIXES, WRITABLE_SUFFIXES
from napari_ran.io.surfaces import SUFFIXES as SURFACES
from napari_ran.io.units import known_length
from napari_ran.io.volumes import Volumes
from napari_ran.io.zarr_images import Axis, ZarrImage, is_zarr, open_zarr, zarr_name
from napari_ran.io.zarr_writing import Layout, along_the_world

if TYPE_CHECKING:
    from napari_ran.exchange import Transform

POINTS = (".csv", ".fcsv", ".json", ".mrk.json", ".txt", ".npy")
"""Endings of files of points."""

Kind = Literal["auto", "image", "labels", "points", "surface"]
LabelMethod = Literal["nearest", "gaussian"]
Format = Literal["auto", "nifti", "zarr"]
"""What images and label maps become: by default what they are, or NIfTI where that is read only."""


@dataclass(frozen=True)
class ApplyStep:
    """Progress: file `number` of `total`, counted from 1; `path` is what it became, once it is done.

    A file that is carried chunk by chunk says how many of its `parts` are `done`.
    """

    number: int
    total: int
    name: str
    path: Path | None = None
    warning: str = ""
    done: int = 0
    parts: int = 0


def apply_files(
    transform: Transform,
    files: Sequence[str | Path],
    folder: str | Path,
    kind: Kind = "auto",
    labels: LabelMethod = "nearest",
    *,
    grid: Grid | None = None,
    to: Format = "auto",
) -> Generator[ApplyStep, None, list[Path]]:
    """Bring files of the moving image to the fixed one: images of any type, label maps, points, surfaces.

    What becomes OME-Zarr is made chunk by chunk: neither it nor an OME-Zarr image that it is made from needs to fit
    into memory. Closing the generator leaves nothing half-written; files that were finished stay.

    Parameters
    ----------
    transform : Transform
        How.
    files : sequence of path
        What. Images keep their type, channels and time points, all of which move alike.
    folder : path
        Where the results go, under the files' own names.
    kind : {"auto", "image", "labels", "points", "surface"}
        What the files are. By default their ending says it, and an image whose name speaks of labels or of a
        segmentation is a label map.
    labels : {"nearest", "gaussian"}
        How label maps are read.
    grid : Grid, optional
        Where voxels come out; on the transform's own grid when left out.
    to : {"auto", "nifti", "zarr"}
        What images and label maps become. By default NIfTI, MHA, NRRD and OME-Zarr stay what they are, and others
        become NIfTI.

    Raises
    ------
    InputError
        A file cannot be read, or two would get the same name; before anything is written where it can be known.
    OutputError
        A file could not be written.
    """
    paths = [Path(file).expanduser() for file in files]
    kinds = [kind_of(path) if kind == "auto" else kind for path in paths]
    targets = _targets(paths, kinds, Path(folder), to)
    place = transform.field.grid if grid is None else grid
    if any(suffix_of(target).endswith(".zarr") for target in targets):
        along_the_world(place)  # refuses what cannot be held
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("folder", f"{folder} cannot be made ({error.strerror})", "Choose another folder") from None
    pulling = transform  # on the grid that was asked for, once it is needed as a whole
    for number, (path, what, target) in enumerate(zip(paths, kinds, targets, strict=True), start=1):
        step = ApplyStep(number, len(paths), path.name)
        yield step
        warning = ""
        try:
            if suffix_of(target) == ".ome.zarr":
                for done, parts in _carry_to_zarr(transform, path, what == "labels", target, labels, place):
                    yield replace(step, done=done, parts=parts)
            elif what in ("image", "labels"):
                if grid is not None and pulling is transform:
                    pulling = transform.on(grid)
                _carry_voxels(pulling, path, what == "labels", target, labels)
            else:
                warning = _carry_places(transform, path, what == "surface", target)
        except InputError as error:
            raise InputError(str(path), error.problem, error.cure) from error
        yield replace(step, path=target, warning=warning)
    return targets


def kind_of(path: Path) -> Literal["image", "labels", "points", "surface"]:
    """Return what a file is, by its name; an OME-Zarr image that is there may also say that it is a label map."""
    suffix = suffix_of(path)
    if suffix in SURFACES:
        return "surface"
    if suffix in POINTS:
        return "points"
    if is_zarr(path) and path.exists() and open_zarr(path).is_labels:
        return "labels"
    words = (zarr_name(path) if is_zarr(path) else path.name).lower()
    return "labels" if any(word in words for word in ("label", "seg", "mask", "aparc", "aseg")) else "image"


def _targets(paths: Sequence[Path], kinds: Sequence[str], folder: Path, to: Format) -> list[Path]:
    """Return what each file becomes; refuse what is not there, and results that would replace something needed."""
    if to not in ("auto", "nifti", "zarr"):
        raise InputError("to", f"unknown: '{to}'", "Use 'auto', 'nifti' or 'zarr'")
    for path in paths:
        if not path.exists():
            raise InputError(str(path), "there is no such file", "Check the path")
    targets: list[Path] = []
    for path, kind in zip(paths, kinds, strict=True):
        target = folder / _result_name(path, kind, to)
        if target in targets:
            raise InputError(str(path), f"two files would become {target.name}", "Apply them one by one")
        if target.resolve() == path.resolve() or target.resolve() in path.resolve().parents:
            raise InputError("folder", f"{target} would replace the file that it comes from", "Choose another folder")
        targets.append(target)
    return targets


def _result_name(path: Path, kind: str, to: Format) -> str:
    """Return a file's name after it was carried: points become CSV, images in formats that are read only NIfTI."""
    if kind == "points":
        return f"{stem_of(path)}.csv"
    if kind == "surface":
        return path.name
    if is_zarr(path):
        return f"{zarr_name(path)}{'.nii.gz' if to == 'nifti' else '.ome.zarr'}"
    if to == "zarr":
        return f"{stem_of(path)}.ome.zarr"
    kept = NIBABEL_SUFFIXES if to == "nifti" else WRITABLE_SUFFIXES
    return path.name if suffix_of(path) in kept and suffix_of(path) in WRITABLE_SUFFIXES else f"{stem_of(path)}.nii.gz"


def _carry_voxels(transform: Transform, path: Path, is_labels: bool, target: Path, method: LabelMethod) -> None:
    if is_labels:
        save_labels(transform.apply(load_labels(path), method), target)
    else:
        save_volumes(load_volumes(path).map(transform.apply), target)


def _carry_to_zarr(
    transform: Transform, path: Path, is_labels: bool, target: Path, method: LabelMethod, grid: Grid
) -> Generator[tuple[int, int], None, Path]:
    """Carry an image or a label map chunk by chunk; of other formats than OME-Zarr the whole is read first."""
    source: Source
    if is_zarr(path):
        source = image = open_zarr(path)
        layout = _layout_of(image, is_labels)
    else:
        source = volumes = load_volumes(path)
        layout = Layout(volumes.dtype, volumes.rest, _axes_of(volumes), labels=is_labels)
    return (yield from warp_to_zarr(source, transform.field, grid, target, layout, method if is_labels else "no"))


def _layout_of(image: ZarrImage, is_labels: bool) -> Layout:
    """Return how the result of an OME-Zarr image is stored: as the image is."""
    units = {image.axes[axis].unit for axis in image.order}
    unit = units.pop() if len(units) == 1 else ""
    return Layout(
        image.dtype,
        image.rest,
        tuple(image.axes[axis] for axis in image.rest_axes),
        image.chunks,
        unit if known_length(unit) is not None and unit not in ("px", "pixel") else "millimeter",
        image.version,
        image.attributes,
        is_labels,
    )


def _axes_of(volumes: Volumes) -> tuple[Axis, ...]:
    """Return the axes beside space, as OME-Zarr names them."""
    if len(volumes.kinds) != len(volumes.rest) or len(set(volumes.kinds)) < len(volumes.kinds):
        problem = f"it has {len(volumes.rest)} axes beside space, of which OME-Zarr can hold a time and a channel axis"
        raise InputError(volumes.name, problem, "Split the file")
    known = {"T": Axis("t", "time"), "C": Axis("c", "channel")}
    return tuple(known[kind] for kind in volumes.kinds)


def _carry_places(transform: Transform, path: Path, is_surface: bool, target: Path) -> str:
    """Carry points or a surface, and return what to bear in mind about them."""
    if is_surface:
        surface = load_surface(path)
        places, off = transform.carry_points(surface.vertices)
        save_surface(replace(surface, vertices=places), target)
    else:
        places, off = transform.carry_points(load_landmarks(path).points)
        save_landmarks(Landmarks(places, path.stem), target)
    return in_doubt(transform, places, off)


def in_doubt(transform: Transform, places: NDArray[np.float64], off: NDArray[np.float64]) -> str:
    """Say how many points came to lie outside the field's grid, or where the field does not lead to them."""
    grid = transform.field.grid
    outside = ~grid.contains(grid.to_voxel(places))
    folded = (off > 0.1 * float(grid.spacing.min())) & ~outside
    parts = []
    if outside.any():
        parts.append(
            f"{int(outside.sum())} of {len(places)} points lie outside the field: they move as its border does"
        )
    if folded.any():
        worst = float(off[folded].max())
        parts.append(
            f"to {int(folded.sum())} of {len(places)} points the field does not lead (off by up to {worst:.2g} mm)"
        )
    return "; ".join(parts)


__all__ = ["POINTS", "ApplyStep", "Format", "Kind", "LabelMethod", "apply_files", "in_doubt", "kind_of"]
