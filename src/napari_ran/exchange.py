"""A found transform in both directions: carry images, labels, points and surfaces, and hand it on to other tools."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks, Surface
from napari_ran.errors import InputError
from napari_ran.inversion import invert_field, invert_points
from napari_ran.io import (
    load_field,
    load_labels,
    load_landmarks,
    load_surface,
    load_volumes,
    save_field,
    save_labels,
    save_landmarks,
    save_surface,
    save_volumes,
)
from napari_ran.io.files import stem_of, suffix_of
from napari_ran.io.surfaces import SUFFIXES as SURFACES
from napari_ran.transform import check_dimension, compose_to, warp_image, warp_labels

if TYPE_CHECKING:
    from napari_ran.results import Registration

POINTS = (".csv", ".fcsv", ".json", ".mrk.json", ".txt", ".npy")
"""Endings of files of points."""

Kind = Literal["auto", "image", "labels", "points", "surface"]
LabelMethod = Literal["nearest", "gaussian"]
Carried = Image | Labels | Landmarks | Surface
"""What a transform can carry."""


@dataclass(frozen=True, eq=False)
class Transform:
    """Where points of the fixed image lie in the moving image, and back.

    What lies on voxels of the moving image is pulled onto the fixed grid by `field`; points and surfaces of the moving
    image travel the other way, by the inverse.

    Attributes
    ----------
    field : DisplacementField
        On the fixed image's grid, fixed to moving points.
    inverse_field : DisplacementField, optional
        The other direction; found when it is needed, on `moving`, where it is not known.
    moving : Grid, optional
        The moving image's grid; the fixed one stands in where it is not known.
    turned : bool
        Whether `inverse_field` is what was found, and `field` what was made of it.
    affine : (D + 1, D + 1) array, optional
        The affine part of `field`, fixed world to moving world in mm, where it is known.
    """

    field: DisplacementField
    inverse_field: DisplacementField | None = None
    moving: Grid | None = None
    turned: bool = False
    affine: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, registration: Registration) -> Self:
        """Return the transform of a registration."""
        reg = registration
        return cls(reg.field, reg.inverse_field, reg.moving.grid, affine=reg.affine)

    @classmethod
    def load(
        cls, source: str | Path, format: str | None = None, *, fixed: Grid | None = None, moving: Grid | None = None
    ) -> Self:
        """Read the folder of a result, or any tool's file, see `napari_ran.io.load_field`.

        Raises
        ------
        InputError
            There is no field, it cannot be read, or it needs a grid that was not given.
        """
        folder = Path(source).expanduser()
        if not folder.is_dir():
            return cls(load_field(source, format, fixed=fixed, moving=moving), None, moving)
        if not (folder / "field.h5").exists():
            raise InputError(str(source), "there is no field.h5 in this folder", "Give the folder of a registration")
        back = folder / "inverse_field.h5"
        inverse = load_field(back) if back.exists() else None
        return cls(load_field(folder / "field.h5"), inverse, moving or (None if inverse is None else inverse.grid))

    def opposite(self) -> Self:
        """Return the transform from the moving to the fixed image; the inverse is found if it is not known."""
        back = self.inverse_field
        if back is None:
            back = invert_field(self.field, self.moving or self.field.grid).field
        way = None if self.affine is None else np.asarray(np.linalg.inv(self.affine), dtype=np.float64)
        turned = not self.turned
        return replace(self, field=back, inverse_field=self.field, moving=self.field.grid, turned=turned, affine=way)

    def on(self, grid: Grid) -> Self:
        """Return the same transform on another grid of the fixed space: what is pulled comes out on that one."""
        return replace(self, field=compose_to(self.field, np.eye(grid.ndim + 1), grid))

    @overload
    def apply(self, value: Image, labels: LabelMethod = ...) -> Image: ...
    @overload
    def apply(self, value: Labels, labels: LabelMethod = ...) -> Labels: ...
    @overload
    def apply(self, value: Landmarks, labels: LabelMethod = ...) -> Landmarks: ...
    @overload
    def apply(self, value: Surface, labels: LabelMethod = ...) -> Surface: ...
    def apply(self, value: Carried, labels: LabelMethod = "nearest") -> Carried:
        """Bring something of the moving image to the fixed one, interpolating at most once.

        Parameters
        ----------
        value : Image, Labels, Landmarks or Surface
            In the moving image's space, on any grid; an image may have several channels.
        labels : {"nearest", "gaussian"}
            How labels are read: the nearest voxel, or the label that is most present around a point.

        Raises
        ------
        InputError
            It has another dimension.
        """
        if isinstance(value, Image):
            return warp_image(value, self.field)
        if isinstance(value, Labels):
            return warp_labels(value, self.field, labels)
        if isinstance(value, Landmarks):
            return Landmarks(self.carry_points(value.points)[0], f"{value.name} warped")
        return replace(value, vertices=self.carry_points(value.vertices)[0])

    def carry_points(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where points (N, D) of the moving image lie in the fixed one, and how far off that may be, in mm.

        Each is solved for by itself; where the field folds, or nothing leads to a point, it stays off.

        Raises
        ------
        InputError
            They have another dimension.
        """
        if self.turned and self.inverse_field is not None:
            points = np.asarray(points, dtype=np.float64)
            check_dimension("points", points.shape[-1], self.field.grid.ndim)
            return self.inverse_field.map_points(points), np.zeros(len(points))
        return invert_points(self.field, points, self.inverse_field)

    def save(self, path: str | Path, format: str | None = None) -> Path:
        """Write the field for another tool, see `napari_ran.io.save_field`."""
        return save_field(self.field, path, format, moving=self.moving, affine=self.affine)


@dataclass(frozen=True)
class ApplyStep:
    """Progress: file `number` of `total`, counted from 1; `path` is what it became, once it is done."""

    number: int
    total: int
    name: str
    path: Path | None = None
    warning: str = ""


def apply_files(
    transform: Transform,
    files: Sequence[str | Path],
    folder: str | Path,
    kind: Kind = "auto",
    labels: LabelMethod = "nearest",
) -> Generator[ApplyStep, None, list[Path]]:
    """Bring files of the moving image to the fixed one: images of any type, label maps, points, surfaces.

    Parameters
    ----------
    transform : Transform
        How.
    files : sequence of path
        What. Images keep their type, channels and time points.
    folder : path
        Where the results go, under the files' own names.
    kind : {"auto", "image", "labels", "points", "surface"}
        What the files are. By default their ending says it, and an image whose name speaks of labels or of a
        segmentation is a label map.
    labels : {"nearest", "gaussian"}
        How label maps are read.

    Raises
    ------
    InputError
        A file cannot be read, or two would get the same name; before anything is written where it can be known.
    OutputError
        A file could not be written.
    """
    paths = [Path(file).expanduser() for file in files]
    kinds = [kind_of(path) if kind == "auto" else kind for path in paths]
    targets = [Path(folder) / _result_name(path, what) for path, what in zip(paths, kinds, strict=True)]
    for path in paths:
        if not path.exists():
            raise InputError(str(path), "there is no such file", "Check the path")
    for number, target in enumerate(targets):
        if target in targets[:number]:
            raise InputError(str(paths[number]), f"two files would become {target.name}", "Apply them one by one")
        if target.resolve() == paths[number].resolve():
            raise InputError("folder", f"{target} would replace the file that it comes from", "Choose another folder")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("folder", f"{folder} cannot be made ({error.strerror})", "Choose another folder") from None
    for number, (path, what, target) in enumerate(zip(paths, kinds, targets, strict=True), start=1):
        yield ApplyStep(number, len(paths), path.name)
        try:
            warning = _apply_file(transform, path, what, target, labels)
        except InputError as error:
            raise InputError(str(path), error.problem, error.cure) from error
        yield ApplyStep(number, len(paths), path.name, target, warning)
    return targets


def kind_of(path: Path) -> Literal["image", "labels", "points", "surface"]:
    """Return what a file is, by its name."""
    suffix = suffix_of(path)
    if suffix in SURFACES:
        return "surface"
    if suffix in POINTS:
        return "points"
    words = path.name.lower()
    return "labels" if any(word in words for word in ("label", "seg", "mask", "aparc", "aseg")) else "image"


def _result_name(path: Path, kind: str) -> str:
    """Return a file's name after it was carried: points become CSV, images in formats that are read only NIfTI."""
    if kind == "points":
        return f"{stem_of(path)}.csv"
    if kind in ("image", "labels") and suffix_of(path) not in (".nii.gz", ".nii", ".mha", ".nrrd"):
        return f"{stem_of(path)}.nii.gz"
    return path.name


def _apply_file(transform: Transform, path: Path, kind: str, target: Path, labels: LabelMethod) -> str:
    """Carry one file and return what to bear in mind about it."""
    if kind == "image":
        save_volumes(load_volumes(path).map(transform.apply), target)
        return ""
    if kind == "labels":
        save_labels(transform.apply(load_labels(path), labels), target)
        return ""
    if kind == "surface":
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
    voxels = grid.to_voxel(places)
    outside = ((voxels < -0.5) | (voxels > np.array(grid.shape) - 0.5)).any(axis=1)
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


__all__ = ["ApplyStep", "Transform", "apply_files", "in_doubt", "kind_of"]
