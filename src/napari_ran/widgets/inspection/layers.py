"""The Inspect widget's layers: one small fixed set, changed in place, recreated when the user deletes one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from napari_ran.data import Grid
from napari_ran.io.layers import KEY, LENGTH_COLORMAP, napari_affine
from napari_ran.widgets._layers import IDENTITY, OWNER, own_result, still
from napari_ran.widgets.inspection.colours import coloured
from napari_ran.widgets.inspection.space import PREFIX, ViewerSpace
from napari_ran.widgets.inspection.values import Vectors
from napari_ran.widgets.inspection.views import STYLES, Picture

SLOTS = ("ground", "map", "colour", "arrows", "path", "pins", "pairs")
"""The layers from below to above."""

PICTURES = ("map", "colour", "arrows")
"""Of these one is seen at a time."""

ARROW_PIXELS = 17.0
"""Distance of arrows on the screen."""

MOST_ARROWS = 6_000
LOOK = "look"


@dataclass(frozen=True, eq=False)
class Content:
    """What a layer is to hold.

    Attributes
    ----------
    slot : str
        One of `SLOTS`.
    kind : {"image", "vectors", "points"}
        The layer's type.
    data : array
        In the viewer's order of axes.
    affine : (D + 1, D + 1) array
        From data to the viewer's world in mm.
    name : str
        The layer's name.
    style : dict
        Layer attributes, set whenever `look` is another one than before; then they are the user's.
    look : str
        What kind of view it is.
    colours : (N, 4) array or None
        One RGBA per line.
    lasting : dict
        What can only be given to a new layer.
    """

    slot: str
    kind: str
    data: Any
    affine: NDArray[np.float64]
    name: str
    style: dict[str, Any]
    look: str = ""
    colours: NDArray[Any] | None = None
    lasting: dict[str, Any] = field(default_factory=dict)


class InspectLayers(ViewerSpace):
    """The layers of one Inspect widget in its viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Where they are.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._active = ""
        self._picture: Picture | None = None
        self._arrows: tuple[Any, ...] | None = None

    @property
    def picture(self) -> Picture | None:
        """The view that is shown."""
        return self._picture

    def find(self, slot: str) -> Layer | None:
        """Return the layer of a slot, or None when there is none (any more)."""
        return next((layer for layer in self._viewer.layers if own_result(layer) == PREFIX + slot), None)

    def remove(self, slots: Iterable[str] = SLOTS) -> None:
        """Take layers out of the viewer."""
        for slot in slots:
            layer = self.find(slot)
            if layer is not None:
                self._viewer.layers.remove(layer)
        if "arrows" in slots:
            self.forget()

    def forget(self) -> None:
        """Take the next view for a new one, whatever is shown."""
        self._picture, self._active = None, ""

    def ground(self, array: NDArray[Any], grid: Grid, name: str) -> None:
        """Show the image (0 to 1) that everything else lies on; `array` is in the viewer's order of axes."""
        style = {"colormap": "gray", "contrast_limits": (0.0, 1.0), "blending": "translucent", "opacity": 1.0}
        self._put(Content("ground", "image", array, napari_affine(grid), name, style, name))

    def show(self, picture: Picture) -> None:
        """Show a view in place of the one before."""
        self._picture = picture
        title = _title(picture)
        look = f"{picture.choice.quantity}/{picture.choice.style}/{picture.choice.part}"
        if picture.slot == "arrows":
            self.draw_arrows(force=True)
        else:
            rgb = {"rgb": True} if picture.slot == "colour" else {}
            style = {"blending": "translucent", "opacity": 0.65} if rgb else picture.style
            affine = napari_affine(picture.grid)
            self._put(Content(picture.slot, "image", picture.data, affine, title, style, look, lasting=rgb))
        if picture.slot != self._active:
            self._see(picture.slot)

    def hide(self) -> None:
        """Let no view be seen, only the ground."""
        self._see("")
        self.forget()

    def _see(self, slot: str) -> None:
        """Let one of the pictures be seen, or none."""
        for other in PICTURES:
            layer = self.find(other)
            if layer is not None:
                layer.visible = other == slot
        self._active = slot

    def draw_arrows(self, force: bool = False) -> None:
        """Draw the arrows of the current slice as far apart as the zoom allows, if anything changed."""
        picture = self._picture
        if picture is None or picture.slot != "arrows":
            return
        ndim, affine = picture.grid.ndim, napari_affine(picture.grid)
        units, factor = self.units(ndim)
        axis = index = None
        hidden = self.hidden_axis(ndim)
        if hidden is not None:
            place = np.linalg.inv(self.in_units(affine)[0]) @ np.append(self.position(3), 1.0)
            axis, index = -1 - hidden, round(float(place[:3][hidden]))
        pitch = ARROW_PIXELS * self.pixel * float(factor.mean())
        stride = arrow_stride(picture.grid, pitch, axis)
        state = (id(picture), axis, index, stride, tuple(units))
        if state == self._arrows and not force and self.find("arrows") is not None:
            return
        self._arrows = state
        data, lengths = sample_arrows(picture, stride, axis, index)
        colours = np.concatenate(
            [coloured(lengths, LENGTH_COLORMAP, picture.legend.limits) / 255, np.ones((len(data), 1))], 1
        )
        width = 0.22 * max(min(step * s for step, s in zip(stride, picture.grid.spacing, strict=True)), 1e-6)
        style = {"edge_width": width / float(picture.grid.spacing.min()), "vector_style": "arrow"}
        look = f"{picture.choice.stage}/{stride}"
        self._put(Content("arrows", "vectors", data, affine, _title(picture), style, look, colours))

    def lines(self, slot: str, data: NDArray[Any], colours: NDArray[Any], name: str, pixels: float) -> None:
        """Show line segments (N, 2, D) in the viewer's coordinates: start and vector, one RGBA each, so many wide."""
        step = self._step(data.shape[-1])
        width = pixels * self._pixel_in(step)
        style = {"edge_width": width, "vector_style": "line"}
        self._put(Content(slot, "vectors", data / step, self._scaled(step), name, style, f"{width:.3g}", colours))

    def points(self, slot: str, data: NDArray[Any], names: list[str], colours: NDArray[Any], name: str) -> None:
        """Show named points (N, D) in the viewer's coordinates."""
        step = self._step(data.shape[-1])
        layer = self._put(Content(slot, "points", data / step, self._scaled(step), name, {}))
        if len(data):
            layer.features = {"name": names}
            layer.text = {"string": "{name}", "color": "white", "anchor": "upper_left", "size": 10}
            layer.face_color = colours
        layer.size = 9 * self._pixel_in(step)
        layer.border_color = "white"
        layer.selected_data = set()

    def _step(self, ndim: int) -> NDArray[np.float64]:
        """Return the voxel size of the ground in the viewer's units: finer layers would make finer sliders."""
        ground = self.find("ground")
        if ground is None or ground.ndim != ndim:
            return np.ones(ndim)
        return np.asarray(np.abs(ground.affine.affine_matrix[:-1, :-1]).max(1))

    def _pixel_in(self, step: NDArray[np.float64]) -> float:
        """Return the size of a screen pixel in these steps."""
        return self.pixel / float(step[list(self.plane(len(step)))].mean())

    def _scaled(self, step: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the affine in mm of a layer whose data are in these steps."""
        _, factor = self.units(len(step))
        return np.diag([*(step * factor), 1.0])

    def _put(self, content: Content) -> Layer:
        """Put something into its slot's layer, in place where there is one."""
        affine, units = self.in_units(content.affine)
        layer = self.find(content.slot)
        if layer is not None and layer.ndim != len(affine) - 1:
            self._viewer.layers.remove(layer)
            layer = None
        if layer is None:
            return self._create(content, affine, units)
        with still(self._viewer):
            self._change(layer, content, affine, units)
        return layer

    @staticmethod
    def _change(layer: Layer, content: Content, affine: NDArray[np.float64], units: tuple[Any, ...]) -> None:
        """Give a layer other data, another place and another look."""
        if layer.data is not content.data:
            layer.data = content.data
        # the same colours again would upload the lines a second time
        if content.colours is not None and len(content.colours) and not np.allclose(layer.edge_color, content.colours):
            # a hidden layer has not looked which lines are in the slice yet: it is drawn when it is seen again
            with nullcontext() if layer.visible else layer.events.edge_color.blocker():
                layer.edge_color = content.colours
        if not np.allclose(layer.affine.affine_matrix, affine, rtol=0, atol=1e-9):
            layer.affine = affine
        if tuple(layer.units) != tuple(units):
            layer.units = units
        if layer.metadata[KEY].get(LOOK) != content.look:
            layer.metadata[KEY][LOOK] = content.look
            layer.name = content.name
            for attribute, value in content.style.items():
                if not isinstance(value, int | float | str) or getattr(layer, attribute) != value:
                    setattr(layer, attribute, value)

    def _create(self, content: Content, affine: NDArray[np.float64], units: tuple[Any, ...]) -> Layer:
        """Add the layer of a slot at its place among the others; what the user has selected stays selected."""
        slot = content.slot
        mark = {OWNER: PREFIX + slot, LOOK: content.look}
        given: dict[str, Any] = {"name": content.name, "affine": affine, "units": units, "metadata": {KEY: mark}}
        given |= {**content.style, **content.lasting}
        if content.kind != "image":
            given["ndim"] = len(affine) - 1
        if content.colours is not None and len(content.colours):
            given["edge_color"] = content.colours
        layer = Layer.create(content.data, given, content.kind)
        layer.metadata[KEY][IDENTITY] = str(layer.unique_id)
        above = {PREFIX + other for other in SLOTS[SLOTS.index(slot) + 1 :]}
        places = [place for place, other in enumerate(self._viewer.layers) if own_result(other) in above]
        selected = self._viewer.layers.selection.active
        self._viewer.layers.insert(min(places, default=len(self._viewer.layers)), layer)
        if selected is not None and selected in self._viewer.layers:
            self._viewer.layers.selection.active = selected
        return layer


def arrow_stride(grid: Grid, pitch: float, axis: int | None) -> tuple[int, ...]:
    """Return the steps in voxels per array axis that keep arrows `pitch` mm apart; `axis` is the hidden one."""
    while True:
        stride = tuple(1 if a == axis else max(1, round(pitch / s)) for a, s in enumerate(grid.spacing))
        counts = [1 if a == axis else -(-n // step) for a, (n, step) in enumerate(zip(grid.shape, stride, strict=True))]
        if np.prod(counts) <= MOST_ARROWS:
            return stride
        pitch *= 1.1


def sample_arrows(
    picture: Picture, stride: tuple[int, ...], axis: int | None, index: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return arrows (N, 2, D) in the viewer's order of axes, in voxels, and their lengths (N,) in mm.

    Of three axes the hidden one is `axis`, in this package's order, and `index` the slice that is shown.
    """
    shape = picture.grid.shape
    assert isinstance(picture.data, Vectors)
    if axis is not None and (index is None or not 0 <= index < shape[axis]):
        return np.zeros((0, 2, len(shape)), np.float32), np.zeros(0, np.float32)
    where = tuple(
        range(index, index + 1) if a == axis and index is not None else range((n - 1) % step // 2, n, step)
        for a, (n, step) in enumerate(zip(shape, stride, strict=True))
    )
    vectors, lengths = picture.data.arrows(where)
    start = np.stack([m.ravel() for m in np.meshgrid(*where, indexing="ij")], -1).astype(np.float32)
    arrows = np.stack([start, vectors.reshape(len(shape), -1).T], 1)
    return arrows[:, :, ::-1], lengths.ravel()


def _title(picture: Picture) -> str:
    words = picture.choice.quantity.replace("_", " ")
    return f"inspect · {words}, {STYLES[picture.choice.style].lower()}"
