"""One layer per result, all showing the same thing with one scale, side by side or one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Layer

import napari_ran as ran
from napari_ran.benchmark import Compared, disagreement
from napari_ran.inputs import Inputs
from napari_ran.io import layers as convert
from napari_ran.io.layers import LayerData
from napari_ran.widgets._layers import (
    Look,
    difference_layer,
    largest_difference,
    line_distance,
    own_result,
    own_results,
    place_layer,
    placed,
    styled,
)

PREFIX = "compare-"
"""Begins the marks of these layers, see `own_result`."""

DISAGREEMENT = f"{PREFIX}disagreement"

PAIR = ("pair-moving", "pair-fixed")
"""Marks of the images of a pair that was read from a list."""

VIEWS = {
    "warped": "Warped image",
    "difference": "Warped minus fixed",
    "magnitude": "Displacement (mm)",
    "jacobian": "Jacobian determinant",
    "grid": "Deformed grid",
}
"""What the layers can show."""


def layer_of(found: Compared, view: str, fixed: ran.Image, look: Look, largest: float) -> LayerData:
    """Return a result as a layer; `largest` is the end of the colour scale of `view`."""
    assert found.field is not None
    assert found.warped is not None
    if view == "warped":
        layer = styled(convert.to_layer_data(found.warped), contrast_limits=look.limits)
    elif view == "difference":
        layer = difference_layer(fixed, found.warped, largest)
    elif view == "magnitude":
        layer = styled(convert.magnitude_layer(found.field), contrast_limits=(0.0, largest), opacity=1.0)
    elif view == "jacobian":
        layer = convert.jacobian_layer(found.field)
    else:
        layer = convert.deformed_grid_layer(found.field, line_distance(fixed.grid))
    return placed(styled(layer, name=found.name), f"{PREFIX}{found.name}", look)


def image_layers(name: str, inputs: Inputs, look: Look) -> list[tuple[str, LayerData]]:
    """Return the images of a pair with their marks; the fixed one lies on top."""
    found = []
    for mark, image, limits in zip(PAIR, (inputs.moving, inputs.fixed), (look.limits, look.fixed_limits), strict=True):
        layer = convert.to_layer_data(ran.Image(image.tensor[:1], image.grid, image.name))
        title = f"{name}: {mark.removeprefix('pair-')}"
        found.append((mark, placed(styled(layer, name=title, contrast_limits=limits), mark, look)))
    return found


def scale_of(results: list[Compared], view: str, fixed: ran.Image) -> float:
    """Return the end of the one scale that all results are shown with."""
    largest = [1e-3]
    for found in results:
        if found.field is None or found.warped is None:
            continue
        if view == "magnitude":
            largest.append(float(found.field.magnitude.max()))
        elif view == "difference":
            largest.append(largest_difference(fixed, found.warped))
    return max(largest)


def disagreement_layer(results: list[Compared], look: Look) -> LayerData:
    """Return how far the fields of some results lie apart as a layer, in mm."""
    image = disagreement([found.field for found in results if found.field is not None])
    layer = convert.to_layer_data(image)
    limits = (0.0, max(float(np.percentile(layer[0], 99.9)), 1e-3))
    names = " / ".join(found.name for found in results) if len(results) == 2 else "all"
    style = {"colormap": "magma", "contrast_limits": limits, "blending": "translucent", "opacity": 0.75}
    return placed(styled(layer, name=f"disagreement (mm): {names}", **style), DISAGREEMENT, look)


class ComparedLayers:
    """The layers of a comparison in the viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are shown.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        # napari 0.9 moved it
        self._grid = viewer.canvas.grid if hasattr(viewer, "canvas") else viewer.grid
        self._before: tuple[bool, dict[Layer, bool]] | None = None
        self._hidden: list[Layer] = []

    def layers(self) -> dict[str, Layer]:
        """Return the layers of results by the results' names."""
        return {
            mark.removeprefix(PREFIX): layer
            for mark, layer in own_results(self._viewer).items()
            if mark.startswith(PREFIX) and mark != DISAGREEMENT
        }

    def put(self, name: str, data: LayerData, visible: bool) -> None:
        """Show a result in its layer, which is made where there is none."""
        known = self.layers().get(name)
        if known is not None:
            self._viewer.layers.remove(known)  # another view has other colours
        layer = place_layer(self._viewer, f"{PREFIX}{name}", styled(data, visible=visible))
        layer.name_overlay.visible = self._grid.enabled

    def put_pair(self, images: list[tuple[str, LayerData]]) -> None:
        """Show the images of a pair from a list in place of all others, which come back when its layers go."""
        self.remove()
        self._hidden = [layer for layer in self._viewer.layers if layer.visible]
        for layer in self._hidden:
            layer.visible = False
        for mark, data in images:
            place_layer(self._viewer, mark, styled(data, visible=mark == PAIR[1]))

    def put_disagreement(self, data: LayerData) -> None:
        """Show where results differ, alone."""
        if (known := own_results(self._viewer).get(DISAGREEMENT)) is not None:
            self._viewer.layers.remove(known)
        self.side_by_side(False)
        for layer in self.layers().values():
            layer.visible = False
        self._viewer.layers.selection.active = place_layer(self._viewer, DISAGREEMENT, data)

    def remove(self) -> None:
        """Take all of them away."""
        self.side_by_side(False)
        for mark, layer in own_results(self._viewer).items():
            if mark.startswith((PREFIX, *PAIR)):
                self._viewer.layers.remove(layer)
        for layer in self._hidden:
            if layer in self._viewer.layers:
                layer.visible = True
        self._hidden = []

    def choose(self, name: str) -> None:
        """Show one result: alone, or only marked where all are side by side."""
        found = self.layers()
        if name not in found:
            return
        self._viewer.layers.selection.active = found[name]
        if not self._grid.enabled:
            for other, layer in found.items():
                layer.visible = other == name
            if (apart := own_results(self._viewer).get(DISAGREEMENT)) is not None:
                apart.visible = False

    def side_by_side(self, wanted: bool) -> None:
        """Show all results beside each other with their names, or as they were before."""
        found = self.layers()
        if wanted and self._before is None:
            everything = list(self._viewer.layers)
            self._before = (self._grid.enabled, {layer: layer.visible for layer in everything})
            for layer in everything:
                layer.visible = layer in found.values() or (layer.visible and own_result(layer) in (None, *PAIR))
            self._grid.enabled = True
            self._viewer.reset_view()
        elif not wanted and self._before is not None:
            grid, shown = self._before
            self._before = None
            self._grid.enabled = grid
            for layer, visible in shown.items():
                if layer in self._viewer.layers:
                    layer.visible = visible
            self._viewer.reset_view()
        for layer in self._viewer.layers:
            if layer in found.values() or own_result(layer) in (None, *PAIR):
                layer.name_overlay.visible = self._grid.enabled
