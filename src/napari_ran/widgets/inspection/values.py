"""What the viewer shows of a quantity, number by number, made for any box of voxels and away from the viewer.

Every function here returns another: from voxels (`Where`, in this package's order) to their values (*T) or colours
(channels, *T), so that a slice costs no more than a slice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ran.data import Grid
from napari_ran.introspect.lookup import Lookup, Where, between
from napari_ran.io.geometry import lps
from napari_ran.io.layers import grid_lines
from napari_ran.widgets.inspection.colours import wheel_channel
from napari_ran.widgets.inspection.limits import lengths_mm

Values = Callable[[Where], Tensor]

SHARPNESS = 6.0
"""How strongly a head's excess over its mean share shows."""


class Displaced(Protocol):
    """Displacements on a grid."""

    grid: Grid

    def at(self, where: Where) -> Tensor:
        """Return displacements (D, *T) in voxels of the grid."""


class Vectors:
    """One displacement of a quantity: the field itself, one head's, or the mean over the heads.

    Parameters
    ----------
    lookup : Lookup
        Of kind "vector" or "heads".
    part : int
        Which head; -1 is their mean.
    """

    def __init__(self, lookup: Lookup, part: int = -1) -> None:
        self._lookup, self.grid = lookup, lookup.grid
        self._heads = lookup.channels // lookup.grid.ndim
        self._part = min(part, self._heads - 1)

    def at(self, where: Where) -> Tensor:
        """Return displacements (D, *T) in voxels of the grid."""
        ndim = self.grid.ndim
        if self._part >= 0:
            return self._lookup.at(where, slice(self._part * ndim, (self._part + 1) * ndim))
        found = self._lookup.at(where)
        return found if self._heads == 1 else found.reshape(self._heads, ndim, *found.shape[1:]).mean(0)

    def arrows(self, where: Where) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return displacements (D, *T) in voxels and their lengths (*T) in mm."""
        found = self.at(where)
        return found.numpy(), lengths_mm(found[None], self.grid)[0].numpy()


class Resampled:
    """Displacements on another grid with the same axes, linear between voxels; beyond the outer ones theirs hold.

    Parameters
    ----------
    vectors : Displaced
        What is resampled.
    grid : Grid
        Where to.
    """

    def __init__(self, vectors: Displaced, grid: Grid) -> None:
        self._vectors, self.grid = vectors, grid
        matrix = grid.voxel_map_to(vectors.grid)
        self._scale, self._offset = np.diag(matrix)[:-1], matrix[:-1, -1]
        if not np.allclose(matrix[:-1, :-1], np.diag(self._scale), atol=1e-5):
            raise ValueError("a stage's grid has the axes of the image's grid")

    def at(self, where: Where) -> Tensor:
        """Return displacements (D, *T) in voxels of the grid."""
        box, positions = [], []
        for chosen, n, scale, offset in zip(where, self._vectors.grid.shape, self._scale, self._offset, strict=True):
            wanted = (torch.tensor(chosen) * float(scale) + float(offset)).clamp(0, n - 1)
            first, last = int(wanted[0]), min(int(wanted[-1]) + 1, n - 1)
            box.append(range(first, last + 1))
            positions.append(wanted - first)
        back = torch.tensor(1 / self._scale, dtype=torch.float32).view(-1, *[1] * self.grid.ndim)
        return between(self._vectors.at(tuple(box)), positions) * back


def plane_axes(ndim: int, plane: tuple[int, int]) -> tuple[int, ...]:
    """Return the array axes, in this package's order, of the viewer's displayed axes downwards and to the right."""
    return tuple(ndim - 1 - axis % ndim for axis in plane)


def lengths(vectors: Displaced) -> Values:
    """Return the lengths in mm."""
    return lambda where: lengths_mm(vectors.at(where)[None], vectors.grid)[0]


def channel(lookup: Lookup, number: int) -> Values:
    """Return one channel."""
    return lambda where: lookup.at(where, slice(number, number + 1))[0]


def deformed_lines(vectors: Displaced, step: float, axes: tuple[int, ...]) -> Values:
    """Return lines every `step` mm across array axes, carried by the displacement."""
    periods = {axis: step / float(vectors.grid.spacing[axis]) for axis in axes}
    return lambda where: grid_lines(vectors.at(where), where, periods)


def contour_lines(
    values: Values, shape: tuple[int, ...], axes: tuple[int, ...], step: float, low: float, off: float
) -> Values:
    """Return a line, one voxel wide, wherever values cross a multiple of `step` along one of the array axes.

    On a line the values, but at least `low`; beside it `off`.
    """

    def at(where: Where) -> Tensor:
        more = tuple(range(r.start, min(r.stop + 1, n)) for r, n in zip(where, shape, strict=True))
        found = values(more)
        band = torch.floor(found / step)
        line = torch.zeros(found.shape, dtype=torch.bool)
        for axis in axes:
            n = found.shape[axis]
            line.narrow(axis, 0, n - 1).logical_or_(band.narrow(axis, 0, n - 1) != band.narrow(axis, 1, n - 1))
        inner = tuple(slice(0, len(r)) for r in where)
        return torch.where(line, found.clamp(min=low), off)[inner]

    return at


def direction_colours(vectors: Displaced, plane: tuple[int, int], largest: float) -> Values:
    """Return RGBA bytes: colour from the direction on the screen, opacity from the length, up to `largest` mm."""
    ndim = vectors.grid.ndim
    towards = torch.as_tensor(lps(ndim)[:, None] * np.array(vectors.grid.affine[:-1, :-1]), dtype=torch.float32)

    def at(where: Where) -> Tensor:
        found = vectors.at(where)
        down, right = (torch.einsum("j,j...->...", towards[axis], found) for axis in plane_axes(ndim, plane))
        length = (down**2 + right**2).sqrt().clamp(min=1e-9)
        value = (length / max(largest, 1e-9)).clamp(max=1)
        channels = [*(wheel_channel(right / length, -down / length, c) for c in range(3)), value]
        return torch.stack([(255 * c).to(torch.uint8) for c in channels])

    return at


def blend(masks: Lookup, colours: NDArray[np.float64], shares: tuple[float, ...] = ()) -> Values:
    """Return RGB bytes: the heads' colours (M, 3) as their masks mix them.

    With the heads' mean shares it is made plain where each counts for more than it does elsewhere.
    """
    table = torch.tensor(colours, dtype=torch.float32)

    def at(where: Where) -> Tensor:
        found = masks.at(where)
        if shares:
            mean = torch.tensor(shares).clamp(min=1e-6).view(-1, *[1] * (found.ndim - 1))
            found = torch.softmax(SHARPNESS * found / mean, 0)
        return torch.einsum("mc,m...->c...", table, found).clamp(0, 1).mul(255).to(torch.uint8)

    return at
