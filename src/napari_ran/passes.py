"""The stage of a run in which the network looks: at the whole pair, and at tiles where it was planned."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial

import torch

from napari_ran import functional as F
from napari_ran.data.grid import shape_text
from napari_ran.events import Event
from napari_ran.instance.search import pool_to
from napari_ran.models import Levelled, LevelStep, Network
from napari_ran.precision import inference
from napari_ran.preprocess import network_grid
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
    tiled : bool
        Whether it looks again tile by tile, where it has not seen the working grid itself.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        What it computes in.
    """

    voxels: int
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
        Gets the fields on the working grid, and the levels of the look at the whole where they are to be kept.
    look : Look
        At how many voxels at once, whether in tiles, and in which precision.
    keep_levels : bool
        Whether they are.
    device : torch.device
        Where to compute.
    """
    prepared, voxels, inferring = found.pair, look.voxels, partial(inference, look.precision, device)
    shape = prepared.grid.shape
    grid = network_grid(prepared.grid, voxels, model.multiple)
    tile = tile_shape(shape, voxels, model.multiple)
    tiled = look.tiled and math.prod(shape) > voxels and tile != shape
    if grid.shape != shape:
        found.messages.append(
            f"The network ran on {shape_text(grid.shape)} voxels, to keep within {voxels:,} and near multiples of "
            f"{model.multiple}"
        )
    tiles = len(tile_boxes(shape, tile)) if tiled else 0
    fixed, moving = (image.to(device) for image in (prepared.fixed, prepared.moving))
    small = F.resize(fixed, grid.shape), F.resize(moving, grid.shape)
    steps = model.iterate(small[1], small[0], keep_levels=keep_levels)
    output = yield from relay(steps, lambda step: _level_event(step, tiles), inferring)
    forward = F.resize_field(output.field, shape)
    backward = None if output.inverse_field is None else F.resize_field(output.inverse_field, shape)
    if keep_levels and isinstance(model, Levelled):
        found.keep(model, grid, small, output)
    del output, small
    if tiled:
        refining = refine_in_tiles(model, moving, fixed, forward, backward, tile)
        forward, backward = yield from relay(refining, _tile_event, inferring)
        kept = ". The levels kept are those of the look at the whole image" if keep_levels else ""
        found.messages.append(f"Then it ran on {tiles} overlapping tiles of {shape_text(tile)} voxels{kept}")
    found.forward, found.backward = forward, backward


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


def _level_event(step: LevelStep, tiles: int) -> Event:
    where = "level" if not tiles else "whole image, level"
    total = step.total * (1 + tiles)
    return Event("network", step.level + 1, total, f"{where} {step.level + 1} of {step.total}")


def _tile_event(step: TileStep) -> Event:
    done, total = (step.tile + 1) * step.levels + step.level + 1, (step.tiles + 1) * step.levels
    return Event("network", done, total, f"tile {step.tile + 1} of {step.tiles}, level {step.level + 1}")
