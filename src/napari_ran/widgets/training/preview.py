"""One generated pair as layers, to see what a network would learn from."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import torch
from qtpy.QtCore import QObject, Signal

import napari_ran as ran
from napari_ran.config import PairConfig
from napari_ran.io.layers import LayerData, to_layer_data, vectors_layer
from napari_ran.synthetic import draw_pair, render_pair
from napari_ran.widgets._worker import Task, Worker


class GeneratedPreview(QObject):
    """Adds generated pairs to a viewer, another one each time, in place of the one before.

    Signals
    -------
    failed : object
        The exception that kept a pair from being made.
    """

    failed = Signal(object)

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._draws = viewer, 0
        self.worker = Worker(self)
        self.worker.finished.connect(self._place)
        self.worker.failed.connect(self.failed)

    def show_next(self, config: PairConfig) -> None:
        """Make another pair of these settings."""
        self._draws += 1
        seed = self._draws

        def work(task: Task) -> Generator[None, None, list[LayerData]]:
            yield
            shape = config.shapes[seed % len(config.shapes)]
            return preview_layers(config, shape, torch.Generator().manual_seed(seed))

        self.worker.start(work)

    def _place(self, layers: list[LayerData]) -> None:
        for data, kwargs, kind in layers:
            if kwargs["name"] in self._viewer.layers:
                self._viewer.layers.remove(kwargs["name"])
            getattr(self._viewer, f"add_{kind}")(data, **kwargs)


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
    for _, kwargs, kind in layers:
        kwargs["visible"] = kind != "labels"
    return layers
