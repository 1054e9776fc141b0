"""How a network looks at the pairs of a training: as it will in a registration, from coarse to fine where it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from napari_ran.data import Grid
from napari_ran.looks import Start, look_grids, together
from napari_ran.models import ModelOutput
from napari_ran.train.batch import PairBatch


def looks(
    network: Callable[[Tensor, Tensor], ModelOutput], batch: PairBatch, coarse: bool, multiple: int = 1
) -> Iterator[tuple[PairBatch, Start | None, ModelOutput]]:
    """Look at a batch on one grid after the other, each time at what the looks before left.

    No gradient passes from one look to the one before.

    Parameters
    ----------
    network : callable
        Moving and fixed images in, what was found out.
    batch : PairBatch
        The last look is at this.
    coarse : bool
        Whether there are any before.
    multiple : int
        What the network pads images to.

    Yields
    ------
    PairBatch
        The batch on the look's grid.
    Start or None
        What the looks before had found, there.
    ModelOutput
        What this one found.
    """
    so_far: Start | None = None
    for shape in look_shapes(batch, coarse, multiple):
        here = batch.resized(shape)
        start = None if so_far is None else so_far.on(shape)
        seen = here.moving if start is None else start.seen(here.moving)
        output = network(seen, here.fixed)
        yield here, start, output
        with torch.no_grad(), torch.autocast(seen.device.type, enabled=False):
            found = ModelOutput(output.field, output.inverse_field).map(lambda field: field.detach().float())
            so_far = together(start, found)


def look_shapes(batch: PairBatch, coarse: bool, multiple: int) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the grids on which a batch is looked at, its own last."""
    if not coarse:
        return (batch.shape,)
    grid = Grid.from_spacing(batch.shape, batch.spacing)
    grids = look_grids(grid, math.prod(batch.shape), multiple, coarse=True)
    return (*(one.shape for one in grids[:-1]), batch.shape)


def multiple_of(network: nn.Module) -> int:
    """Return what a network pads images to; 1 for one that does not say."""
    return int(getattr(network, "multiple", 1))
