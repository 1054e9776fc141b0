"""Writing OME-Zarr images chunk by chunk, with their coarser resolutions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ran._version import __version__
from napari_ran.data import Grid
from napari_ran.errors import InputError
from napari_ran.io.geometry import lps
from napari_ran.io.units import known_length
from napari_ran.io.volumes import as_type
from napari_ran.io.zarr_images import Axis, Box

BLOCK_VOXELS = 1 << 20
"""About how many voxels are computed and written at a time."""

_CHUNK = {2: 1024, 3: 64}
_CHUNK_VOXELS = (1 << 12, 1 << 21)
"""Chunks of the source are taken over when they hold no fewer and no more voxels than these."""

_SMALLEST = 256
"""Coarser resolutions are made until no axis is longer than this."""


@dataclass(frozen=True)
class Layout:
    """How an OME-Zarr image is to be stored.

    Attributes
    ----------
    dtype : dtype
        Type of a voxel.
    rest : tuple of int
        Numbers of time points and channels.
    axes : tuple of Axis
        Their axes.
    chunks : tuple of int, optional
        Chunks along the axes of the source, in our order.
    unit : str
        Unit of length.
    version : {"0.4", "0.5"}
        Of the format.
    attributes : dict
        ``omero``, ``image-label`` to write beside.
    labels : bool
        Whether coarser resolutions take every second voxel rather than means.
    """

    dtype: np.dtype[Any]
    rest: tuple[int, ...] = ()
    axes: tuple[Axis, ...] = ()
    chunks: tuple[int, ...] | None = None
    unit: str = "millimeter"
    version: str = "0.4"
    attributes: dict[str, Any] = field(default_factory=dict)
    labels: bool = False


def along_the_world(grid: Grid) -> Grid:
    """Return the same voxels with their axes in the order and direction in which OME-Zarr counts.

    Raises
    ------
    InputError
        The axes are turned against the world's: OME-Zarr cannot say so.
    """
    ndim = grid.ndim
    linear = lps(ndim)[:, None] * grid.affine[:-1, :-1]
    order = [int(np.abs(row / grid.spacing).argmax()) for row in linear]
    step, start = np.zeros((ndim + 1, ndim + 1)), np.zeros(ndim)
    step[-1, -1] = 1
    if sorted(order) == list(range(ndim)):
        for axis, old in enumerate(order):
            turned = linear[axis, old] < 0
            step[old, axis], start[old] = (-1, grid.shape[old] - 1) if turned else (1, 0)
        step[:-1, -1] = start
        same = Grid(tuple(grid.shape[old] for old in order), grid.affine @ step)
        straight = Grid.from_spacing(same.shape, lps(ndim) * same.spacing, same.origin)
        if straight == same:
            return straight
    problem = "its axes are turned against the world's, which OME-Zarr cannot hold"
    raise InputError("reference", problem, "Give a reference whose axes are not turned, or write NIfTI (to='nifti')")


class ZarrWriter:
    """An OME-Zarr image in the making.

    Parameters
    ----------
    path : Path
        The folder to make.
    grid : Grid
        Where its voxels lie, as `along_the_world` returns it.
    layout : Layout
        How it is stored.
    """

    def __init__(self, path: Path, grid: Grid, layout: Layout) -> None:
        import zarr

        self.grid, self.layout = grid, layout
        self._levels = _levels(grid, layout.labels)
        self.chunks = _chunks(grid.shape, layout.chunks)
        self._group = zarr.open_group(str(path), mode="w", zarr_format=2 if layout.version == "0.4" else 3)
        self._arrays = [self._array(str(number), level) for number, level in enumerate(self._levels)]
        self._describe(path)

    @property
    def blocks(self) -> list[Box]:
        """Parts of the image, each of whole chunks, in our order of axes; all of them make up the image."""
        return list(blocks_of(self.grid.shape, self.chunks, BLOCK_VOXELS))

    @property
    def parts(self) -> int:
        """Number of parts that the coarser resolutions are made in."""
        return sum(len(list(blocks_of(level.shape, self.chunks, BLOCK_VOXELS // 8))) for level in self._levels[1:])

    def write(self, index: Sequence[int], box: Box, values: NDArray[Any]) -> None:
        """Write one box of one time point and channel; the values are in our order of axes."""
        self._arrays[0][(*index, *reversed(box))] = values.T

    def coarsen(self) -> Iterator[None]:
        """Make the coarser resolutions, part by part."""
        for fine, coarse, above, below in zip(
            self._arrays[:-1], self._arrays[1:], self._levels[:-1], self._levels[1:], strict=True
        ):
            factors = [min(math.ceil(a / b), 2) for a, b in zip(above.shape, below.shape, strict=True)]
            for box in blocks_of(below.shape, self.chunks, BLOCK_VOXELS // 8):  # eight times as many are read
                source = tuple(
                    slice(part.start * factor, min(part.stop * factor, n))
                    for part, factor, n in zip(box, factors, above.shape, strict=True)
                )
                for index in np.ndindex(self.layout.rest):
                    values = np.asarray(fine[(*index, *reversed(source))])
                    coarse[(*index, *reversed(box))] = _halved(values, factors[::-1], self.layout.labels)
                yield

    def _array(self, name: str, grid: Grid) -> Any:
        import numcodecs
        import zarr

        lay, old = self.layout, self.layout.version == "0.4"
        more: dict[str, Any] = {} if old else {"dimension_names": [axis.name for axis in self._axes(grid)]}
        chunks = tuple(min(size, n) for size, n in zip(self.chunks, grid.shape, strict=True))
        return self._group.create_array(
            name,
            shape=(*lay.rest, *reversed(grid.shape)),
            chunks=(*(1,) * len(lay.rest), *reversed(chunks)),
            dtype=lay.dtype,
            fill_value=0,
            compressors=numcodecs.Blosc("zstd", 3) if old else zarr.codecs.BloscCodec(cname="zstd", clevel=3),
            chunk_key_encoding={"name": "v2" if old else "default", "separator": "/"},
            **more,
        )

    def _axes(self, grid: Grid) -> list[Axis]:
        size = known_length(self.layout.unit) or 1.0
        start = lps(grid.ndim) * grid.origin / size
        space = [
            Axis(name, "space", self.layout.unit, float(step), float(place))
            for name, step, place in zip("xyz", grid.spacing / size, start, strict=False)
        ]
        return [*self.layout.axes, *space[::-1]]

    def _describe(self, path: Path) -> None:
        axes = self._axes(self.grid)
        listed = [{"name": axis.name, "type": axis.kind} | ({"unit": axis.unit} if axis.unit else {}) for axis in axes]
        data_sets = []
        for number, grid in enumerate(self._levels):
            placed = self._axes(grid)
            changes = [
                {"type": "scale", "scale": [axis.scale for axis in placed]},
                {"type": "translation", "translation": [axis.translation for axis in placed]},
            ]
            data_sets.append({"path": str(number), "coordinateTransformations": changes})
        image: dict[str, Any] = {
            "name": path.name.removesuffix(".zarr").removesuffix(".ome"),
            "axes": listed,
            "datasets": data_sets,
            "type": "nearest" if self.layout.labels else "mean",
            "metadata": {"method": f"napari-ran {__version__}"},
        }
        if self.layout.version == "0.4":
            said = {"multiscales": [{"version": "0.4"} | image], **self.layout.attributes}
        else:
            said = {"ome": {"version": "0.5", "multiscales": [image], **self.layout.attributes}}
        self._group.update_attributes(said)


def _levels(grid: Grid, labels: bool) -> list[Grid]:
    """Return the grids of all resolutions: axes are halved while their voxels are not much larger than others."""
    levels = [grid]
    while max(levels[-1].shape) > _SMALLEST:
        last = levels[-1]
        close = last.spacing < 1.5 * last.spacing[np.array(last.shape) > 1].min()
        factors = np.where(close & (np.array(last.shape) > 1), 2, 1)
        if (np.array(last.shape)[factors == 2] <= 2).all():
            break
        to_last = np.diag([*factors.astype(float), 1.0])
        to_last[:-1, -1] = 0 if labels else (factors - 1) / 2
        levels.append(
            Grid(tuple(-(-n // int(f)) for n, f in zip(last.shape, factors, strict=True)), last.affine @ to_last)
        )
    return levels


def _halved(values: NDArray[Any], factors: Sequence[int], labels: bool) -> NDArray[Any]:
    """Return an array whose last axes are shorter by the factors; a last voxel without a neighbour stays itself."""
    skipped = values.ndim - len(factors)
    if labels:
        every: tuple[Any, ...] = (..., *(slice(None, None, factor) for factor in factors))
        return np.asarray(values[every])
    mean: NDArray[np.floating[Any]] = values.astype(np.float32 if values.dtype.itemsize < 4 else np.float64)
    for axis, factor in enumerate(factors, start=skipped):
        if factor == 2:
            before: tuple[Any, ...] = (slice(None),) * axis
            even, odd = mean[(*before, slice(0, None, 2))].copy(), mean[(*before, slice(1, None, 2))]
            paired = (*before, slice(odd.shape[axis]))
            even[paired] += odd
            even[paired] /= 2
            mean = even
    return as_type(mean, values.dtype)


def _chunks(shape: Sequence[int], wanted: Sequence[int] | None) -> tuple[int, ...]:
    low, high = _CHUNK_VOXELS
    if wanted is not None and len(wanted) == len(shape) and low <= math.prod(wanted) <= high:
        return tuple(min(size, n) for size, n in zip(wanted, shape, strict=True))
    return tuple(min(_CHUNK[len(shape)], n) for n in shape)


def blocks_of(shape: Sequence[int], chunks: Sequence[int] | None, most: int) -> Iterator[Box]:
    """Yield boxes of whole chunks, as cubic as can be, that make up an image.

    Parameters
    ----------
    shape : sequence of int
        Of the image.
    chunks : sequence of int, optional
        Of it, along the same axes.
    most : int
        Voxels that a box may have, if it has more than one chunk.
    """
    size = [min(chunk, n) for chunk, n in zip(chunks or (_CHUNK[len(shape)],) * len(shape), shape, strict=True)]
    while 2 * math.prod(size) <= most:
        growing = [axis for axis, n in enumerate(shape) if size[axis] < n]
        if not growing:
            break
        size[min(growing, key=lambda one: size[one])] *= 2
    starts = (range(0, n, step) for n, step in zip(shape, size, strict=True))
    for corner in itertools.product(*starts):
        yield tuple(slice(low, min(low + step, n)) for low, step, n in zip(corner, size, shape, strict=True))


__all__ = ["BLOCK_VOXELS", "Layout", "ZarrWriter", "along_the_world", "blocks_of"]
