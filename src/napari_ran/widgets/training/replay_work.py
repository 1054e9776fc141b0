"""What a snapshot of a training does with the validation pair: computed off the GUI thread, and as layers."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import napari_ran as ran
from napari_ran import functional as F
from napari_ran.figures.colours import head_colour
from napari_ran.introspect.sources import TraceSource
from napari_ran.introspect.trace import NetworkTrace, level_grid
from napari_ran.io.checkpoints import load_weights
from napari_ran.io.layers import (
    KEY,
    LayerData,
    deformed_grid_layer,
    magnitude_layer,
    napari_affine,
    to_layer_data,
)
from napari_ran.looks import Found, look_at_whole
from napari_ran.models import RAN, LevelOutput
from napari_ran.steps import relay
from napari_ran.train.batch import PairBatch
from napari_ran.train.looking import look_shapes
from napari_ran.widgets._layers import LIMITS, OWNER, line_distance
from napari_ran.widgets.inspection.colours import head_colours

Limits = tuple[float, float]

PREFIX = "replay-"
"""Begins the marks of the layers of a replay, see `own_result`."""

LINES_OPACITY = 0.5


@dataclass(frozen=True, eq=False)
class ReplayedLevel:
    """What one level computed: displacement (D, *S) in its own voxels on its own grid, and masks (M, *S)."""

    grid: ran.Grid
    field: Tensor
    masks: Tensor


@dataclass(frozen=True, eq=False)
class Replayed:
    """What one snapshot does with the validation pair.

    Attributes
    ----------
    step : int
        The snapshot's step.
    fixed, warped : (1, *S) float32 tensor
        What the network saw, and what it made of the moving image.
    field : DisplacementField
        In voxels of the pair's grid.
    lines : LayerData
        The deformed grid.
    levels : tuple of ReplayedLevel
        Coarse to fine.
    """

    step: int
    fixed: Tensor
    warped: Tensor
    field: ran.DisplacementField
    lines: LayerData
    levels: tuple[ReplayedLevel, ...]

    @property
    def bytes(self) -> int:
        """Memory that it takes beside the pair itself."""
        tensors = [self.warped, self.field.tensor]
        tensors += [tensor for level in self.levels for tensor in (level.field, level.masks)]
        return int(self.lines[0].nbytes) + sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def field_at(self, number: str) -> ran.DisplacementField:
        """Return the field that a level passes on, or the whole one where `number` is empty."""
        if not number:
            return self.field
        level = self.levels[int(number)]
        return ran.DisplacementField(level.field, level.grid)

    def shows(self) -> list[tuple[str, str]]:
        """Return what can be shown over the warped image: key and text."""
        shows = [("warped", "Warped image"), ("field", "Displacement (mm)")]
        for level in range(len(self.levels)):
            shows += [
                (f"field {level}", f"Level {level}: displacement (mm)"),
                (f"heads {level}", f"Level {level}: heads"),
            ]
        return shows


def replaying(path: Path, pair: PairBatch, grid: ran.Grid, step: int) -> Generator[None, None, Replayed]:
    """Run a snapshot on a pair, yielding after each level; the generator returns what it does."""
    network = load_weights(path)
    shapes = look_shapes(pair, network.card.coarse_looks, network.multiple)
    grids = [grid.with_shape(shape) for shape in shapes]
    steps = look_at_whole(network, pair.fixed, pair.moving, grids, keep_levels=True, both=False)
    found = yield from relay(steps, lambda _: None, torch.no_grad)
    return replayed(network, found, grid, step)


def replayed(network: RAN, found: Found, grid: ran.Grid, step: int) -> Replayed:
    """Return what is kept of a network's looks at a pair on `grid`."""
    warped = F.warp(found.moving, found.forward, padding="border")[0]
    trace = NetworkTrace(network, "", grid, np.eye(grid.ndim + 1), found.fixed, found.moving, found.output, found.start)
    source = TraceSource(trace)
    levels = tuple(_level(level, grid, source) for level in found.output.levels)
    field = ran.DisplacementField(found.forward[0], grid, "fixed", "moving")
    lines = deformed_grid_layer(field, line_distance(grid))
    return Replayed(step, found.fixed[0], warped, field, lines, levels)


def _level(level: LevelOutput, grid: ran.Grid, source: TraceSource) -> ReplayedLevel:
    """Return a level without what its grid has beyond the image."""
    own = level_grid(grid, level.pool_size)
    inside = (slice(None), *(slice(n) for n in own.shape))
    found = level.forward
    field = found.field[0] + source.started(found.field[0], level.pool_size)
    return ReplayedLevel(own, field[inside].clone(), found.masks[0][inside].clone())


def replay_layers(
    found: Replayed, show: str, largest: dict[str, float], with_fixed: bool
) -> list[tuple[str, LayerData, bool]]:
    """Return the layers that show a snapshot, from below to above: key, layer, and whether it is seen at first.

    Parameters
    ----------
    found : Replayed
        The snapshot.
    show : str
        One of the keys of `Replayed.shows`.
    largest : dict
        The longest displacement so far by what is shown; it is kept up to date here, so that the colours mean the same
        all over the training.
    with_fixed : bool
        Whether the fixed image is wanted; it is the same for all snapshots.
    """
    kind, _, number = show.partition(" ")
    grid = found.field.grid
    where = f"level {number} " if number else ""
    fixed = to_layer_data(ran.Image(found.fixed, grid))
    layers = [_marked("fixed", "fixed", fixed, (0.0, 1.0))] if with_fixed else []
    layers.append(_marked("warped", "warped", to_layer_data(ran.Image(found.warped, grid)), (0.0, 1.0)))
    if kind == "field":
        layers.append(_marked("map", f"{where}displacement (mm)", *_length(found.field_at(number), show, largest)))
    elif kind == "heads":
        layers.append(_marked("heads", f"{where}heads", _heads(found.levels[int(number)]), None))
    layers.append(_marked("grid", "deformed grid", found.lines, (0.0, 1.0), opacity=LINES_OPACITY))
    # the lines would mix with other colours
    return [(key, layer, key != PREFIX + "grid" or kind == "warped") for key, layer in layers]


def legend(found: Replayed, show: str, largest: dict[str, float]) -> str:
    """Return what the colours mean, as rich text; `largest` is that of `replay_layers`."""
    kind, _, number = show.partition(" ")
    if kind == "field":
        return f"Blue is 0 mm, red is {largest[show]:.2g} mm, the most so far."
    heads = len(found.levels[int(number)].masks) if kind == "heads" else 0
    return "&nbsp; ".join(f"<span style='color:{head_colour(head)}'>■</span> head {head}" for head in range(heads))


def _length(field: ran.DisplacementField, show: str, largest: dict[str, float]) -> tuple[LayerData, Limits]:
    layer = magnitude_layer(field)
    largest[show] = max(largest.get(show, 1e-3), float(layer[0].max()))
    return layer, (0.0, largest[show])


def _heads(level: ReplayedLevel) -> LayerData:
    """Return the heads' colours, mixed as the masks say."""
    colours = torch.tensor(head_colours(len(level.masks)))
    mixed: NDArray[Any] = torch.einsum("m...,mc->...c", level.masks, colours).clamp(0, 1).numpy()
    ndim = level.grid.ndim
    data = np.ascontiguousarray((255 * mixed).astype(np.uint8).transpose(*reversed(range(ndim)), ndim))
    placed = {"affine": napari_affine(level.grid), "rgb": True, "opacity": 0.6, "blending": "translucent"}
    return data, placed | {"metadata": {KEY: {"kind": "heads"}}}, "image"


def _marked(key: str, name: str, layer: LayerData, limits: Limits | None, **style: float) -> tuple[str, LayerData]:
    data, kwargs, kind = layer
    mark = {**kwargs["metadata"][KEY], OWNER: PREFIX + key, LIMITS: limits}
    kwargs = kwargs | style | {"name": f"validation: {name}", "metadata": {KEY: mark}}
    kwargs |= {} if limits is None else {"contrast_limits": limits}
    return PREFIX + key, (np.ascontiguousarray(data), kwargs, kind)
