"""What a registration can be shown as: its layers, made in a thread and put into the viewer one after the other."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from qtpy.QtCore import QObject, Signal

import napari_ran as ran
from napari_ran.io import layers as convert
from napari_ran.io.layers import LayerData
from napari_ran.widgets._layers import Look, difference_layer, line_distance, own_results, place_layer, placed, styled
from napari_ran.widgets._timers import single_shot


@dataclass(frozen=True)
class ResultKind:
    """A layer that a registration can be shown as."""

    key: str
    title: str
    tip: str


RESULTS = (
    ResultKind("warped", "Warped image", "The moving image on the fixed grid, interpolated once from the original."),
    ResultKind("checkerboard", "Checkerboard", "Tiles of the fixed and the warped image in turn: edges should run on."),
    ResultKind(
        "difference", "Difference", "Warped minus fixed, in the images' intensity units: blue below, red above."
    ),
    ResultKind(
        "vectors", "Displacement vectors", "Arrows from fixed points to where they go, coloured by length (mm)."
    ),
    ResultKind("magnitude", "Displacement (mm)", "Length of the whole displacement in mm, the affine part included."),
    ResultKind("grid", "Deformed grid", "A regular grid drawn on the moving image and brought to the fixed image."),
    ResultKind(
        "jacobian",
        "Jacobian determinant",
        "Local volume change (no unit): blue shrinks, white keeps, red grows; folds (0 or less) are black.",
    ),
    ResultKind(
        "consistency", "Inverse consistency (mm)", "How far a point ends from its start, there and back, in mm."
    ),
    ResultKind("labels", "Carried labels", "The moving labels on the fixed grid (nearest neighbour)."),
    ResultKind("landmarks", "Carried points", "The moving points brought to the fixed image."),
)
VISIBLE = {"warped"}
"""The results that are shown at once; the others wait in the layer list."""

TURN_MS = 20
"""Pause between two layers, in which the viewer draws and answers."""


def result_layers(result: ran.Registration, keys: set[str], look: Look) -> Iterator[tuple[str, LayerData]]:
    """Yield the chosen layers of a result, ready to be added: all computing is done here, none in the viewer."""
    makers: dict[str, Callable[[], LayerData]] = {
        "warped": lambda: styled(convert.to_layer_data(result.warped), name="warped", contrast_limits=look.limits),
        "checkerboard": lambda: _checkerboard(result, look),
        "difference": lambda: difference_layer(result.fixed, result.warped),
        "vectors": lambda: convert.vectors_layer(result.field, "displacement vectors", 6_000),
        "magnitude": lambda: convert.magnitude_layer(result.field),
        "grid": lambda: convert.deformed_grid_layer(result.field, line_distance(result.field.grid)),
        "jacobian": lambda: convert.jacobian_layer(result.field),
        "consistency": lambda: _consistency(result),
    }
    for key, carried in (("labels", result.warped_labels), ("landmarks", result.warped_landmarks)):
        if carried is not None:
            makers[key] = partial(convert.to_layer_data, carried)
    for kind in RESULTS:
        if kind.key in keys and kind.key in makers:
            yield kind.key, _finished(kind.key, makers[kind.key](), look)


def _finished(key: str, layer: LayerData, look: Look) -> LayerData:
    """Give a layer its name, its visibility and its place."""
    names = {"labels": "warped labels", "landmarks": "warped points"}
    return placed(styled(layer, name=names.get(key, layer[1]["name"]), visible=key in VISIBLE), key, look)


def _checkerboard(result: ran.Registration, look: Look) -> LayerData:
    """Both images scaled to [0, 1] by their layers' contrast limits, in eight tiles along the longest side."""
    fixed, warped = result.fixed.array, result.warped.array
    grid = result.fixed.grid
    tile = float(grid.extent.max()) / 8
    parity = np.zeros(grid.shape, dtype=np.int32)
    for axis, (n, spacing) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        shape = [-1 if a == axis else 1 for a in range(grid.ndim)]
        parity = parity + (np.arange(n) * spacing // tile).astype(np.int32).reshape(shape)
    picture = np.where(parity % 2 == 0, _scaled(fixed, look.fixed_limits), _scaled(warped, look.limits))
    image = ran.Image(torch.from_numpy(picture), grid, "checkerboard")
    return styled(convert.to_layer_data(image), contrast_limits=(0.0, 1.0))


def _scaled(values: Any, limits: tuple[float, float]) -> Any:
    return np.clip((values - limits[0]) / max(limits[1] - limits[0], 1e-12), 0, 1, dtype=np.float32)


def _consistency(result: ran.Registration) -> LayerData:
    layer = convert.to_layer_data(result.inverse_consistency)
    limits = (0.0, max(float(np.percentile(layer[0], 99.5)), 1e-3))
    return styled(layer, name="inverse consistency (mm)", colormap="magma", contrast_limits=limits)


class _WithoutCollection:
    """Keeps full garbage collections (a quarter of a second each) away from between the layers.

    No Qt object, so that it can come to an end when the viewer is already gone.
    """

    def __init__(self) -> None:
        self._on = False

    def begin(self) -> None:
        if not self._on:
            gc.freeze()
        self._on = True

    def end(self) -> None:
        if self._on:
            gc.unfreeze()
        self._on = False


class ResultLayers(QObject):
    """Puts a result's layers into the viewer, one per turn of the event loop, in place of the last result's.

    Signals
    -------
    done : ()
        All layers are in the viewer.
    failed : object
        The exception with which napari refused one; the others are not added.
    """

    done = Signal()
    failed = Signal(object)

    def __init__(self, viewer: Any, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._pending: list[tuple[str, LayerData]] = []
        self._turn = single_shot(self, TURN_MS, self._place_next)
        self._uncollected = _WithoutCollection()
        self.destroyed.connect(self._uncollected.end)

    def place(self, layers: list[tuple[str, LayerData]]) -> None:
        """Replace the layers of the last result by these; those that are not among them are removed."""
        stale = {kind.key for kind in RESULTS} - {key for key, _ in layers}
        for key, layer in own_results(self._viewer).items():
            if key in stale:
                self._viewer.layers.remove(layer)
        self._pending = list(layers)
        self._uncollected.begin()
        self._turn.start()

    def stop(self) -> None:
        """Add nothing more."""
        self._turn.stop()
        self._uncollected.end()
        self._pending = []

    def _place_next(self) -> None:
        if not self._pending:
            self._uncollected.end()
            self._select_warped()
            self.done.emit()
            return
        key, data = self._pending.pop(0)
        try:
            place_layer(self._viewer, key, data)
        except Exception as error:  # shown to the user, whatever it is
            self.stop()
            self.failed.emit(error)
        else:
            self._turn.start()

    def _select_warped(self) -> None:
        """Leave the layer controls on what is seen."""
        if (warped := own_results(self._viewer).get("warped")) is not None:
            self._viewer.layers.selection.active = warped
