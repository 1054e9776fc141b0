"""The network on overlapping tiles of a large pair, around the field that it found on the whole at a coarser grid.

The whole image at a coarser grid gives the large motion. Each tile then shows the fixed image, and the moving one as
that field warps it, at full resolution: what is left is small, and lies within the tile. What the tiles find is blended
by weights that sum to one, and composed with the field of the whole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.models import Network
from napari_ran.models.outputs import LevelStep
from napari_ran.steps import relay

OVERLAP = 0.25
"""Share of a tile's side that it has in common with its neighbour, at least."""

MARGIN = 0.25
"""Share of that, at the end of a tile, which does not count: there the network sees the tile's end."""

Box = tuple[slice, ...]


@dataclass(frozen=True)
class TileStep:
    """A level of a tile is done: `tile` and `level` count from 0."""

    tile: int
    tiles: int
    level: int
    levels: int


def tile_shape(shape: Sequence[int], voxels: int, multiple: int) -> tuple[int, ...]:
    """Return the shape of the tiles of a grid: near a cube, of at most `voxels` where `multiple` leaves a choice.

    Axes shorter than the side of that cube are not cut; the others are cut into multiples of `multiple`, at least two.
    """
    whole: set[int] = set()
    while True:
        cut = [axis for axis in range(len(shape)) if axis not in whole]
        if not cut:
            return tuple(shape)
        left = voxels / math.prod(shape[axis] for axis in whole)
        side = max(left, 1) ** (1 / len(cut))
        short = {axis for axis in cut if shape[axis] <= side}
        if not short:
            break
        whole |= short
    length = max(2, int(side / multiple + 1e-6)) * multiple
    return tuple(n if axis in whole else min(n, length) for axis, n in enumerate(shape))


def tile_boxes(shape: Sequence[int], tile: Sequence[int]) -> list[Box]:
    """Return the tiles that cover a grid, evenly spread, each in common with its neighbours by `OVERLAP` or more."""
    axes = []
    for n, length in zip(shape, tile, strict=True):
        step = max(1, length - overlap_of(length))
        count = 1 + math.ceil((n - length) / step)
        starts = [0] if count == 1 else [round(index * (n - length) / (count - 1)) for index in range(count)]
        axes.append([slice(start, start + length) for start in starts])
    return list(itertools.product(*axes))


def overlap_of(length: int) -> int:
    """Return how many voxels neighbouring tiles of that length have in common, at least."""
    return max(1, int(OVERLAP * length))


def window(box: Box, shape: Sequence[int], like: Tensor) -> Tensor:
    """Return how much each voxel of a tile counts, (1, 1, *T): 1 inside, falling smoothly to 0 at ends with neighbours.

    The weights of all tiles at a voxel do not sum to one, but to something above zero: divide by it.
    """
    total = like.new_ones([1] * (len(box) + 2))
    for axis, (part, n) in enumerate(zip(box, shape, strict=True)):
        length = part.stop - part.start
        margin = MARGIN * overlap_of(length)
        place = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
        along = torch.ones_like(place)
        for ends, depth in ((part.start > 0, place), (part.stop < n, length - place)):
            if ends:
                rising = ((depth - margin) / (overlap_of(length) - 2 * margin)).clamp(0, 1)
                along = along * torch.sin(rising * math.pi / 2) ** 2
        total = total * along.view([-1 if other == axis + 2 else 1 for other in range(len(box) + 2)])
    return total


def refine_in_tiles(
    model: Network, moving: Tensor, fixed: Tensor, forward: Tensor, backward: Tensor | None, tile: Sequence[int]
) -> Generator[TileStep, None, tuple[Tensor, Tensor | None]]:
    """Refine both directions of a field tile by tile.

    Parameters
    ----------
    model : RAN or PairNetwork
        Finds what is left in each tile.
    moving, fixed : (1, 1, *S) tensor
        Intensities in [0, 1] on one grid.
    forward, backward : (1, D, *S) tensor
        The field so far on the fixed and on the moving grid, in voxels; the latter may be missing.
    tile : sequence of int
        Shape of the tiles.

    Yields
    ------
    TileStep
        After every level of every tile.

    Returns
    -------
    forward, backward : (1, D, *S) tensor
        The refined fields. The other direction is as inverse to it as that of the field so far and those of the tiles.
    """
    shape = tuple(fixed.shape[2:])
    boxes = tile_boxes(shape, tile)
    there = torch.zeros_like(forward)
    back = None if backward is None else torch.zeros_like(forward)
    total = fixed.new_zeros((1, 1, *shape))
    for number, box in enumerate(boxes):
        place: tuple[slice, ...] = (slice(None), slice(None), *box)
        seen = F.sample(moving, _coordinates(box, forward) + forward[place], padding="border")
        steps = model.iterate(seen, fixed[place].contiguous(), both=back is not None)
        output = yield from relay(steps, partial(_tile_step, number, len(boxes)))
        weight = window(box, shape, forward)
        total[place] += weight
        there[place] += weight * output.field
        if back is not None and output.inverse_field is not None:
            back[place] += weight * output.inverse_field
    there /= total
    forward = F.compose(forward, there)
    if backward is None or back is None:
        return forward, None
    back /= total
    return forward, F.compose(back, backward)


def _tile_step(tile: int, tiles: int, step: LevelStep) -> TileStep:
    return TileStep(tile, tiles, step.level, step.total)


def _coordinates(box: Box, like: Tensor) -> Tensor:
    """Return the voxel coordinates (1, D, *T) of a part of a grid."""
    axes = [torch.arange(part.start, part.stop, device=like.device, dtype=like.dtype) for part in box]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
