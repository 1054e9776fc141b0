"""The stage of a run in which the network looks: at the whole pair, from coarse to fine, and at tiles where planned."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial

import torch

from napari_ran import functional as F
from napari_ran.data.grid import shape_text
from napari_ran.errors import brief
from napari_ran.events import Event
from napari_ran.instance.search import pool_to
from napari_ran.looks import LookStep, look_at_whole, look_grids
from napari_ran.models import Levelled, Network
from napari_ran.models.compiled import failed_to_compile
from napari_ran.precision import inference
from napari_ran.preprocess.grids import LEAST_SIDE
from napari_ran.steps import relay
from napari_ran.tiling import TileStep, refine_in_tiles, tile_boxes, tile_shape
from napari_ran.working import Working


@dataclass(frozen=True)
class Look:
    """How the network looks at a pair.

    Attributes
    ----------
    voxels : int
        Most voxels that it may see at once.
    coarse : bool
        Whether it looks at coarser grids first.
    tiled : bool
        Whether it looks again tile by tile, where it has not seen the working grid itself.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        What it computes in.
    """

    voxels: int
    coarse: bool
    tiled: bool
    precision: str


def network_pass(
    model: Network, found: Working, look: Look, keep_levels: bool, device: torch.device
) -> Generator[Event, None, None]:
    """Predict both directions with the network, coarse to fine, and put them into what has been found.

    Parameters
    ----------
    model : RAN or PairNetwork
        On `device`.
    found : Working
        Gets the fields on the working grid, and the levels of the last look at the whole where they are to be kept.
    look : Look
        At how many voxels at once, whether coarser ones first and tiles afterwards, and in which precision.
    keep_levels : bool
        Whether they are.
    device : torch.device
        Where to compute.
    """
    prepared, voxels, inferring = found.pair, look.voxels, partial(inference, look.precision, device)
    shape = prepared.grid.shape
    grids = look_grids(prepared.grid, voxels, model.multiple, look.coarse)
    tile = tile_shape(shape, voxels, model.multiple)
    tiled = look.tiled and math.prod(shape) > voxels and tile != shape
    if grids[-1].shape != shape:
        found.messages.append(
            f"The network ran on {shape_text(grids[-1].shape)} voxels, to keep within {voxels:,} and near multiples of "
            f"{model.multiple}"
        )
    if len(grids) > 1:
        before = " and ".join(shape_text(grid.shape) for grid in grids[:-1])
        kept = ". The levels kept are those of the last look" if keep_levels else ""
        found.messages.append(f"It looked at {before} voxels first, each time at what was left{kept}")
    tiles = len(tile_boxes(shape, tile)) if tiled else 0
    fixed, moving = (image.to(device) for image in (prepared.fixed, prepared.moving))
    steps = look_at_whole(model, fixed, moving, grids, keep_levels)
    whole = yield from relay(steps, partial(_look_event, tiles), inferring)
    forward = F.resize_field(whole.forward, shape)
    backward = None if whole.backward is None else F.resize_field(whole.backward, shape)
    if keep_levels and isinstance(model, Levelled):
        found.keep(model, grids[-1], (whole.fixed, whole.moving), whole.output, whole.start)
    del whole
    if tiled:
        refining = refine_in_tiles(model, moving, fixed, forward, backward, tile)
        forward, backward = yield from relay(refining, partial(_tile_event, len(grids)), inferring)
        kept = ". The levels kept are those of the look at the whole image" if keep_levels else ""
        found.messages.append(f"Then it ran on {tiles} overlapping tiles of {shape_text(tile)} voxels{kept}")
    found.forward, found.backward, found.tiled = forward, backward, tiled


def compiled_pass(
    model: Network, found: Working, look: Look, keep_levels: bool, device: torch.device
) -> Generator[Event, None, None]:
    """Do what `network_pass` does with a network whose blocks compile, and without that where PyTorch cannot."""
    said = len(found.messages)
    yield Event("network", 0, 1, "compiling the network, once in this process")
    try:
        yield from network_pass(model, found, look, keep_levels, device)
        return
    except RuntimeError as error:
        if not failed_to_compile(error):
            raise
        why = brief(str(error))
    found.messages[said:] = [f"The network ran uncompiled, as PyTorch could not compile it: {why}"]
    yield from network_pass(copy.deepcopy(model), found, look, keep_levels, device)  # copies are not compiled


def on_coarser_grid(found: Working, voxels: int) -> None:
    """Bring the pair and the fields so far to a working grid of about so many voxels over the same box."""
    pair = found.pair
    factor = (voxels / math.prod(pair.grid.shape)) ** (1 / pair.grid.ndim)
    grid = pair.grid.with_shape(tuple(max(min(n, LEAST_SIDE), round(n * factor)) for n in pair.grid.shape))
    found.prepared = replace(
        pair,
        fixed=pool_to(pair.fixed, grid.shape),
        moving=pool_to(pair.moving, grid.shape),
        grid=grid,
        initial=None if pair.initial is None else F.resize_field(pair.initial, grid.shape),
    )
    for name in ("forward", "backward"):
        field = getattr(found, name)
        setattr(found, name, None if field is None else F.resize_field(field, grid.shape))


def _look_event(tiles: int, step: LookStep) -> Event:
    done, total = step.look * step.levels + step.level + 1, (step.looks + tiles) * step.levels
    where = f"look {step.look + 1} of {step.looks}, " if step.looks > 1 else "whole image, " if tiles else ""
    return Event("network", done, total, f"{where}level {step.level + 1} of {step.levels}")


def _tile_event(looks: int, step: TileStep) -> Event:
    done, total = (looks + step.tile) * step.levels + step.level + 1, (looks + step.tiles) * step.levels
    return Event("network", done, total, f"tile {step.tile + 1} of {step.tiles}, level {step.level + 1}")
