"""One generated pair as layers, to see what a network would learn from."""

from __future__ import annotations

import torch

import napari_ran as ran
from napari_ran.config import PairConfig
from napari_ran.io.layers import LayerData, to_layer_data, vectors_layer
from napari_ran.synthetic import draw_pair, render_pair


def preview_layers(config: PairConfig, shape: tuple[int, ...], generator: torch.Generator) -> list[LayerData]:
    """Return a generated pair as layers: both images, both label maps and the true motion as arrows."""
    pair = render_pair(draw_pair(config, generator, shape))
    grid = ran.Grid.from_spacing(shape, (1.0,) * len(shape))
    layers = [
        to_layer_data(ran.Image(pair.moving[0], grid, "generated moving")),
        to_layer_data(ran.Image(pair.fixed[0], grid, "generated fixed")),
        to_layer_data(ran.Labels(pair.moving_labels[0, 0], grid, "generated moving labels")),
        to_layer_data(ran.Labels(pair.fixed_labels[0, 0], grid, "generated fixed labels")),
        vectors_layer(ran.DisplacementField(pair.truth[0], grid), "generated motion"),
    ]
    for data, kwargs, kind in layers:
        kwargs["visible"] = kind != "labels"
        del data
    return layers
