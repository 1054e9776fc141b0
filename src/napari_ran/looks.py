"""What a network sees of a pair: coarser grids first, each time what the field so far leaves."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from torch import Tensor

from napari_ran import functional as F
from napari_ran.data import Grid
from napari_ran.models import LevelStep, ModelOutput, Network
from napari_ran.steps import relay

COARSER = 4
"""By how many times fewer voxels each look sees the pair than the one after it."""

COARSEST = 20
"""Voxels along a side of a cube: a look sees at least as many as that has, if it is not the last."""

MOST_PADDING = 0.5
"""Share of voxels that the network may add to an image before the image is rather resized."""


@dataclass(frozen=True)
class LookStep:
    """A level of a look at the whole pair is done: `look` and `level` count from 0."""

    look: int
    looks: int
    level: int
    levels: int


@dataclass(frozen=True, eq=False)
class Start:
    """What the looks so far found, in voxels of the grid that it is on.

    Attributes
    ----------
    forward : (B, D, *S) tensor
        On the fixed grid; the next look sees the moving image as this warps it.
    backward : (B, D, *S) tensor or None
        The other direction, on the moving grid; None where nobody asked for it.
    """

    forward: Tensor
    backward: Tensor | None = None

    def on(self, shape: Sequence[int]) -> Start:
        """Return the same on a grid of another shape over the same box."""
        backward = None if self.backward is None else F.resize_field(self.backward, shape)
        return Start(F.resize_field(self.forward, shape), backward)

    def seen(self, moving: Tensor) -> Tensor:
        """Return the moving image (B, 1, *S) as the next look sees it."""
        return F.warp(moving, self.forward, padding="border")

    def with_rest(self, output: ModelOutput) -> Start:
        """Return both directions together with what the next look found: what was left."""
        backward = output.inverse_field
        if backward is not None and self.backward is not None:
            backward = F.compose(self.backward, backward)
        return Start(F.compose(self.forward, output.field), backward)


def together(start: Start | None, output: ModelOutput) -> Start:
    """Return both directions as a look and the ones before it, if any, found them."""
    return Start(output.field, output.inverse_field) if start is None else start.with_rest(output)


@dataclass(frozen=True, eq=False)
class Found:
    """What the looks at the whole pair found, in voxels of the last one's grid.

    Attributes
    ----------
    fixed, moving : (1, 1, *S) tensor
        Both images there; the network saw the moving one as `start` warps it.
    start : (1, D, *S) tensor or None
        What the coarser looks had found before; None where there was none.
    output : ModelOutput
        Of the last look: what was left.
    forward, backward : (1, D, *S) tensor
        Both directions as all looks together found them; the latter may be missing.
    """

    fixed: Tensor
    moving: Tensor
    start: Tensor | None
    output: ModelOutput
    forward: Tensor
    backward: Tensor | None


def network_grid(grid: Grid, voxels: int, multiple: int) -> Grid:
    """Return the grid for the network: the working grid, coarsened alike along all axes if it has more than `voxels`.

    The network pads images to a multiple of `multiple` voxels along every axis. On small images that can cost three
    times the time, so where it would add more than `MOST_PADDING` the box is divided into the nearest multiple.
    """
    factor = (np.prod(grid.shape) / voxels) ** (1 / grid.ndim)
    grid = grid if factor <= 1 else grid.with_spacing(grid.spacing * factor)
    parts = np.asarray(grid.shape) / multiple
    if np.prod(np.ceil(parts)) <= (1 + MOST_PADDING) * np.prod(parts):
        return grid
    return grid.with_shape(tuple(int(n) * multiple for n in np.maximum(np.round(parts), 1)))


def look_grids(working: Grid, voxels: int, multiple: int, coarse: bool) -> tuple[Grid, ...]:
    """Return the grids on which a network sees a whole pair, coarse to fine.

    Parameters
    ----------
    working : Grid
        The working grid.
    voxels : int
        Most voxels of the last grid; the ones before have `COARSER` times fewer each.
    multiple : int
        What the network pads images to.
    coarse : bool
        Whether there are any before the last.
    """
    grids = [network_grid(working, voxels, multiple)]
    while coarse and (voxels := voxels // COARSER) >= COARSEST**working.ndim:
        grid = network_grid(working, voxels, multiple)
        if math.prod(grid.shape) < math.prod(grids[0].shape):
            grids.insert(0, grid)
    return tuple(grids)


def look_at_whole(
    model: Network,
    fixed: Tensor,
    moving: Tensor,
    grids: Sequence[Grid],
    keep_levels: bool = False,
    both: bool = True,
) -> Generator[LookStep, None, Found]:
    """Look at a pair on one grid after the other, each time at what the looks before left.

    A network reaches so many voxels far, whatever their size: coarse grids are for large motion, fine ones for the
    rest. Of several looks, all but the first see the moving image as the field so far warps it.

    Parameters
    ----------
    model : RAN or PairNetwork
        On the images' device.
    fixed, moving : (1, 1, *S) tensor
        Intensities in [0, 1] on the working grid.
    grids : sequence of Grid
        From `look_grids`.
    keep_levels : bool
        Keep the levels of the last look.
    both : bool
        Find the other direction, too.
    """
    so_far: Start | None = None
    found: Found | None = None
    for number, grid in enumerate(grids):
        own, other = F.resize(fixed, grid.shape), F.resize(moving, grid.shape)
        start = None if so_far is None else so_far.on(grid.shape)
        seen = other if start is None else start.seen(other)
        steps = model.iterate(seen, own, keep_levels=keep_levels and number == len(grids) - 1, both=both)
        output = yield from relay(steps, partial(_look_step, number, len(grids)))
        so_far = together(start, output)
        before = None if start is None else start.forward
        found = Found(own, other, before, output, so_far.forward, so_far.backward)
    if found is None:
        raise ValueError("there is no grid to look at")
    return found


def _look_step(look: int, looks: int, step: LevelStep) -> LookStep:
    return LookStep(look, looks, step.level, step.total)
