"""Warping an image chunk by chunk into an OME-Zarr folder: memory is bounded by chunks, not by the image.

For each part of the result, the field is interpolated to its voxels, and of the source only the box is read that these
need. What comes out is what `transform.warp_image` and `transform.warp_labels` make of the whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid, Image, Labels
from napari_ran.errors import InputError
from napari_ran.io.volumes import as_type
from napari_ran.io.zarr_images import Box, holds_zarr
from napari_ran.io.zarr_writing import Layout, ZarrWriter, along_the_world, blocks_of
from napari_ran.transform import as_double, check_dimension, compose_to, pull, voxel_slabs, warp_image, warp_labels
from napari_ran.writing import replacing

BOX_VOXELS = 1 << 23
"""Largest box of the source that is read at a time; where more is needed, fewer voxels are computed at a time."""

_MARGIN = {"linear": 1, "nearest": 1, "gaussian": 4}
"""Voxels around the points that are read, for the interpolation or its smoothing."""


class Source(Protocol):
    """An image of which any part can be read: `ZarrImage` or `Volumes`."""

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def rest(self) -> tuple[int, ...]:
        """Numbers of time points and channels."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel."""

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Sizes of the boxes that it is stored in, where it is."""

    def read(self, index: Sequence[int], box: Box) -> NDArray[Any]:
        """Return the voxels in a box of one time point and channel."""


def warp_to_zarr(
    source: Source,
    field: DisplacementField,
    grid: Grid,
    target: str | Path,
    layout: Layout,
    labels: Literal["no", "nearest", "gaussian"] = "no",
) -> Generator[tuple[int, int], None, Path]:
    """Warp an image or a label map of any size, and write the result as OME-Zarr, all or nothing.

    Parameters
    ----------
    source : Source
        The moving image.
    field : DisplacementField
        Maps points of its grid to points of the source's world; beyond its grid its border continues.
    grid : Grid
        Where the result lies.
    target : path
        The folder to write; one that is there must be a Zarr folder, and is replaced.
    layout : Layout
        How it is stored.
    labels : {"no", "nearest", "gaussian"}
        Whether it is a label map, and how it is read.

    Yields
    ------
    tuple of int
        How many of how many parts are done. Closing the generator leaves what was at `target` before.

    Raises
    ------
    InputError
        The dimensions differ, `grid` is turned, a value is not finite, or something else is at `target`.
    OutputError
        It could not be written.
    """
    check_dimension(source.name, source.grid.ndim, field.grid.ndim)
    check_dimension("reference", grid.ndim, field.grid.ndim)
    grid, target = along_the_world(grid), Path(target)
    if target.exists() and not (target.is_dir() and (holds_zarr(target) or not any(target.iterdir()))):
        raise InputError(str(target), "something else is in the place of the result", "Choose another folder")
    method = "linear" if labels == "no" else labels
    with replacing(target, "the image") as part:
        writer = ZarrWriter(part, grid, layout)
        blocks, indices = writer.blocks, list(np.ndindex(source.rest))
        scans = [] if labels != "no" else list(blocks_of(source.grid.shape, source.chunks, BOX_VOXELS))
        total = len(scans) * len(indices) + len(blocks) + writer.parts
        done, lowest = 0, dict.fromkeys(indices, 0.0)
        for index in indices if scans else []:
            lowest[index] = math.inf
            for box in scans:
                done += 1
                if _can_be_lower(lowest[index], source.dtype):
                    values = source.read(index, box)
                    _refuse_infinite(source.name, values)
                    lowest[index] = min(lowest[index], float(values.min()))
                    yield done, total
        for box in blocks:
            here = _part_of(grid, box)
            displacement = compose_to(field, np.eye(grid.ndim + 1), here)
            for index in indices:
                writer.write(index, box, _warped(source, index, displacement, method, lowest[index]))
            done += 1
            os.utime(part.parent)  # so that nobody takes it for abandoned
            yield done, total
        for _ in writer.coarsen():
            done += 1
            os.utime(part.parent)
            yield done, total
    return target


def _warped(
    source: Source, index: tuple[int, ...], field: DisplacementField, method: str, outside: float
) -> NDArray[Any]:
    """Return the values of one time point and channel on the field's grid, read from as large a box as is allowed."""
    shape = field.grid.shape
    box = _box_of(source.grid, field, _MARGIN[method])
    if box is None:
        return np.full(shape, outside, dtype=source.dtype)
    if math.prod(part.stop - part.start for part in box) > BOX_VOXELS and max(shape) > 1:
        axis = int(np.argmax(shape))
        whole = [slice(0, n) for n in shape]
        halves = []
        for part in (slice(0, shape[axis] // 2), slice(shape[axis] // 2, shape[axis])):
            where = (*whole[:axis], part, *whole[axis + 1 :])
            half = DisplacementField(field.tensor[(slice(None), *where)], _part_of(field.grid, where))
            halves.append(_warped(source, index, half, method, outside))
        return np.concatenate(halves, axis)
    values, grid = source.read(index, box), _part_of(source.grid, box)
    return _interpolated(values, grid, field, method, outside, source.name)


def _interpolated(
    values: NDArray[Any], grid: Grid, field: DisplacementField, method: str, outside: float, name: str
) -> NDArray[Any]:
    if method == "linear":
        _refuse_infinite(name, values)
        image = Image(np.asarray(values, dtype=np.float32), grid, name)  # type: ignore[arg-type]  # made into a tensor
        return as_type(warp_image(image, field, outside).array, values.dtype)
    if method == "nearest" and values.dtype.kind in "biu":  # of 64 bits, too
        numbers = torch.from_numpy(np.ascontiguousarray(values.astype(np.int64)))
        found = pull(numbers[None], grid, field.grid, None, field.tensor, "nearest", 0)[0]
        return found.numpy().astype(values.dtype)
    labels = Labels(np.asarray(values), grid, name)  # type: ignore[arg-type]  # made into a tensor
    return warp_labels(labels, field, "gaussian" if method == "gaussian" else "nearest").array.astype(values.dtype)


def _box_of(source: Grid, field: DisplacementField, margin: int) -> Box | None:
    """Return the box of the source that the points of a field lie in, or None when all lie outside."""
    matrix = as_double(field.grid.voxel_map_to(source))
    low, high = np.full(source.ndim, np.inf), np.full(source.ndim, -np.inf)
    for rows, voxels in voxel_slabs(field.grid):
        reached = F.mapped(matrix, voxels + field.tensor[:, rows]).flatten(1)
        low, high = np.minimum(low, reached.amin(1).numpy()), np.maximum(high, reached.amax(1).numpy())
    size = np.array(source.shape)
    if (high < -1).any() or (low > size).any():
        return None
    start = np.clip(np.floor(low) - margin, 0, size - 1).astype(int)
    stop = np.clip(np.ceil(high) + margin + 1, 1, size).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))


def _can_be_lower(found: float, dtype: np.dtype[Any]) -> bool:
    return not (dtype.kind in "bu" and found == 0)


def _refuse_infinite(name: str, values: NDArray[Any]) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        cure = "Replace them (for example with the background value)"
        raise InputError(name, "the image holds NaN or infinite values", cure)


def _part_of(grid: Grid, box: Box) -> Grid:
    """Return the grid of a box of voxels."""
    shift = np.eye(grid.ndim + 1)
    shift[:-1, -1] = [part.start for part in box]
    return Grid(tuple(part.stop - part.start for part in box), grid.affine @ shift)


__all__ = ["Source", "warp_to_zarr"]
