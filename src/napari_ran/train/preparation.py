"""Subjects on the network's grid: read, scaled to [0, 1], placed, and kept within a memory limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ran.cache import Cache
from napari_ran.config.training import DataSettings
from napari_ran.data import Grid, Image, Labels, Landmarks
from napari_ran.errors import InputError
from napari_ran.train.batch import PairBatch
from napari_ran.train.subjects import Cohort, Subject
from napari_ran.transform import resample

Matrix = NDArray[np.float64]
_OPEN = 4
"""Originals that are kept open: a pair and the next one."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """One subject on a working grid: image (1, 1, *S), labels (1, 1, *S) and landmarks (N, D) in voxels."""

    image: Tensor
    labels: Tensor | None
    points: Tensor | None

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        tensors = (self.image, self.labels, self.points)
        return sum(t.numel() * t.element_size() for t in tensors if t is not None)


@dataclass(frozen=True, eq=False)
class _Original:
    image: Image
    labels: Labels | None
    landmarks: Landmarks | None


class Preparation:
    """Makes pairs of a cohort's subjects; what was prepared is kept as long as it fits into `settings.cache` MiB.

    Parameters
    ----------
    cohort : Cohort
        The subjects.
    settings : DataSettings
        Working grid, intensities, alignment and memory.
    ndim : int
        Number of axes that the network takes.
    """

    def __init__(self, cohort: Cohort, settings: DataSettings, ndim: int) -> None:
        self.cohort, self.settings, self.ndim = cohort, settings, ndim
        self.notes: list[str] = []
        self.kept, self._open = Cache(settings.cache * 2**20), Cache(_OPEN)
        self._grids: dict[int, Grid] = {}
        self._affine: dict[tuple[int, int], Matrix] = {}
        self._labels: tuple[str, frozenset[int]] | None = None
        self._coarser = False

    def pair(self, fixed: int, moving: int) -> PairBatch:
        """Return the pair of two subjects, given by their numbers, on one grid."""
        grid, way = self.grid(fixed, moving), self._way(fixed, moving)
        if way == "centre":
            there = centred(self._grid(moving), grid.shape, grid.spacing)
            return _joined(self._prepared(fixed, grid), self._prepared(moving, there), grid)
        matrix = self._aligned(fixed, moving) if way == "affine" else None
        return _joined(self._prepared(fixed, grid), self._prepared(moving, grid, matrix), grid)

    def grid(self, fixed: int, moving: int) -> Grid:
        """Return the grid of the pair of two subjects, in the fixed image's world."""
        apart = self._way(fixed, moving) == "centre" or self.cohort.pairs is not None
        return self._working_grid(fixed if apart else 0)  # else all subjects share one space: the first one's

    def _way(self, fixed: int, moving: int) -> str:
        """Return how two subjects are brought together."""
        if self.settings.align != "auto":
            return self.settings.align
        listed = self.cohort.pairs is not None and self.settings.source == "pairs"
        return "centre" if not listed else "world" if self._grid(fixed) == self._grid(moving) else "affine"

    def _working_grid(self, number: int) -> Grid:
        grid, wanted = self._grid(number), self.settings
        for name, value in (("shape", wanted.shape), ("spacing", wanted.spacing)):
            if isinstance(value, tuple) and len(value) != grid.ndim:
                raise InputError(f"data.{name}", f"has {len(value)} axes, the images {grid.ndim}", "Give one per axis")
        if wanted.shape is None and wanted.spacing is None:
            return self._within(grid)
        spacing = grid.spacing if wanted.spacing is None else np.broadcast_to(np.asarray(wanted.spacing), grid.ndim)
        if wanted.shape is None:
            return grid.with_spacing(spacing)
        return grid.with_shape(wanted.shape) if wanted.spacing is None else centred(grid, wanted.shape, spacing)

    def _within(self, grid: Grid) -> Grid:
        """Return a grid of at most `settings.voxels` voxels on the box of another, and say once that it is coarser."""
        from napari_ran.preprocess.grids import working_grid

        seen, said = working_grid(grid, budget=self.settings.voxels)
        if seen is not grid and not self._coarser:
            self._coarser = True
            self.notes.append(f"{said}; data.shape, data.spacing or data.voxels sets another.")
        return seen

    def _grid(self, number: int) -> Grid:
        if number not in self._grids:
            self._grids[number] = self._original(number).image.grid
        return self._grids[number]

    def _prepared(self, number: int, grid: Grid, matrix: Matrix | None = None) -> Prepared:
        key = (number, grid.shape, grid.affine.tobytes(), None if matrix is None else matrix.tobytes())
        return self.kept.get(key, lambda: self._prepare(number, grid, matrix), lambda found: found.bytes)

    def _prepare(self, number: int, grid: Grid, matrix: Matrix | None) -> Prepared:
        original = self._original(number)
        image = resample(self._scaled(number), grid, matrix, antialias=True)
        labels = None if original.labels is None else resample(original.labels, grid, matrix)
        points = None
        if original.landmarks is not None:
            world = original.landmarks.points
            if matrix is not None:
                back = np.linalg.inv(matrix)
                world = world @ back[:-1, :-1].T + back[:-1, -1]
            points = torch.from_numpy(grid.to_voxel(world)).float()
        if labels is not None:
            self._compare_labels(original.image.name, labels)
        return Prepared(image.tensor[None], None if labels is None else labels.tensor[None, None], points)

    def _scaled(self, number: int) -> Image:
        """Return an original with intensities in [0, 1]."""
        from napari_ran.preprocess.intensity import choose_intensity

        image = self._original(number).image
        try:
            window = choose_intensity(image, image, self.settings.intensity).fixed
        except InputError as error:
            raise InputError(f"data: {image.name}", error.problem, error.cure) from None
        return Image(window.apply(image.tensor), image.grid, image.name)

    def _aligned(self, fixed: int, moving: int) -> Matrix:
        """Return the affine matrix (fixed world to moving world) of a pair, fitted once."""
        from napari_ran.preprocess.affine import align
        from napari_ran.steps import last

        if (fixed, moving) not in self._affine:
            found = last(align(self._scaled(fixed), self._scaled(moving), "auto"))
            self._affine[fixed, moving] = found.matrix
            self.notes.append(f"{self.cohort.subjects[moving].name}: {found.message}")
        return self._affine[fixed, moving]

    def _original(self, number: int) -> _Original:
        return self._open.get(number, lambda: self._opened(number), lambda _: 1)

    def _opened(self, number: int) -> _Original:
        found = _read(self.cohort.subjects[number])
        ndim, channels = found.image.grid.ndim, found.image.tensor.shape[0]
        if ndim != self.ndim or channels != 1:
            problem = f"is {ndim}-D with {channels} channel(s), and the network is {self.ndim}-D"
            raise InputError(
                f"data: {self.cohort.subjects[number].name}", problem, "Set model.ndim, or leave this image out"
            )
        return found

    def _compare_labels(self, name: str, labels: Labels) -> None:
        """Say once that subjects do not have the same labels."""
        ids = frozenset(labels.ids)
        if self._labels is None:
            self._labels = (name, ids)
        elif self._labels[0] and ids != self._labels[1]:
            other, known = self._labels
            few = ", ".join(map(str, sorted(ids ^ known)[:6]))
            self.notes.append(
                f"The label sets differ: {name} and {other} do not share label {few}. "
                "Each pair counts the labels that both of its images have."
            )
            self._labels = ("", known)


def load_label_map(path: Path, spacing: float | Sequence[float] | None) -> Tensor:
    """Return a label map (1, 1, *S) from a file, in its own voxels or in those of a spacing in mm, in few bytes."""
    from napari_ran.io.images import load_labels

    labels = load_labels(path)
    if spacing is not None:
        labels = resample(labels, labels.grid.with_spacing(spacing))
    small = int(labels.tensor.min()) >= 0 and int(labels.tensor.max()) < 256
    return (labels.tensor.to(torch.uint8) if small else labels.tensor)[None, None]


def centred(grid: Grid, shape: tuple[int, ...], spacing: NDArray[np.float64]) -> Grid:
    """Return the grid of this shape and spacing (mm) that has the axes and the middle of another."""
    affine = np.eye(grid.ndim + 1)
    affine[:-1, :-1] = grid.direction * spacing
    affine[:-1, -1] = grid.centre - affine[:-1, :-1] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, affine)


def _joined(fixed: Prepared, moving: Prepared, grid: Grid) -> PairBatch:
    both = fixed.labels is not None and moving.labels is not None
    points: dict[str, tuple[Tensor, ...]] = {}
    if fixed.points is not None and moving.points is not None:
        if len(fixed.points) != len(moving.points):
            raise InputError(
                "landmarks", f"{len(fixed.points)} fixed and {len(moving.points)} moving ones", "Give as many of each"
            )
        points = {"fixed_points": (fixed.points,), "moving_points": (moving.points,)}
    return PairBatch(
        fixed.image,
        moving.image,
        tuple(float(s) for s in grid.spacing),
        fixed.labels if both else None,
        moving.labels if both else None,
        None,
        **points,
    )


def _read(subject: Subject) -> _Original:
    from napari_ran.io.images import load_image, load_labels

    image = subject.image if isinstance(subject.image, Image) else load_image(subject.image)
    labels = subject.labels
    if labels is not None and not isinstance(labels, Labels):
        labels = load_labels(labels)
    landmarks = subject.landmarks
    if landmarks is not None and not isinstance(landmarks, Landmarks):
        from napari_ran.io.landmarks import load_landmarks, load_voxel_landmarks

        load = load_voxel_landmarks if subject.voxels else load_landmarks
        landmarks = load(landmarks, image.grid)
    return _Original(image, labels, landmarks)
