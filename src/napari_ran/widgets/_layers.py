"""Between the viewer's layers and the core: what a layer holds, and where a result's layers go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from napari.layers import Layer

import napari_ran as ran
from napari_ran.carrying import space_affine
from napari_ran.io import layers as convert
from napari_ran.io.layers import KEY, LayerData
from napari_ran.io.units import millimetres
from napari_ran.widgets._series import shown_part, taken_part

T = TypeVar("T")

OWNER = "result"
"""Under `KEY` in its metadata a result layer says which result it is, and (with the next key) that it is no copy."""
IDENTITY = "layer"
LIMITS = "limits"


@dataclass(frozen=True, eq=False)
class Source:
    """What is needed of an input layer, taken in the GUI thread in no time and converted later in another.

    Attributes
    ----------
    argument : str
        What the layer was chosen as, for messages.
    name : str
        The layer's name.
    data : array
        The layer's data as they are, not copied.
    matrix : (D + 1, D + 1) array
        Data to world, in mm, in napari's order of axes.
    metadata : mapping
        The layer's metadata.
    path : str
        The file it was opened from; empty where there is none, or where this is a part of it.
    """

    argument: str
    name: str
    data: Any
    matrix: Any
    metadata: Mapping[str, Any]
    path: str = ""

    @classmethod
    def of(cls, layer: Layer, argument: str, space: int | None = None, point: Sequence[float] = ()) -> Source:
        """Take what is needed of a layer; where only its last `space` axes are those of space, the part at this point.

        Raises
        ------
        InputError
            It is a colour image, its axes are not lengths, or it has no such part.
        """
        if getattr(layer, "rgb", False):
            cure = "Right-click the layer and choose Split RGB, then select one channel"
            raise ran.InputError(argument, f"'{layer.name}' is a colour (RGB) image; one channel is expected", cure)
        space = layer.ndim if space is None else min(space, layer.ndim)
        matrix = space_affine(placement(layer), layer.ndim, space)
        part = shown_part(layer, layer.ndim - space, point)
        name = f"{layer.name} [{', '.join(str(index + 1) for index in part)}]" if part else layer.name
        path = "" if part else layer.source.path or ""
        return cls(argument, name, taken_part(layer, part), matrix, dict(layer.metadata), path)

    def image(self) -> ran.Image:
        """Convert to an image."""
        return self._converted(lambda: convert.image_from_layer(self.data, self.matrix, self.name, self.metadata))

    def labels(self) -> ran.Labels:
        """Convert to a label map."""
        return self._converted(lambda: convert.labels_from_layer(self.data, self.matrix, self.name, self.metadata))

    def landmarks(self) -> ran.Landmarks:
        """Convert to landmarks."""
        if len(self.data) == 0:
            raise ran.InputError(self.argument, f"'{self.name}' holds no points", "Draw some, or choose none")
        return self._converted(lambda: convert.landmarks_from_layer(self.data, self.matrix, self.name))

    def converted(self) -> ran.Image | ran.Labels | ran.Landmarks:
        """Convert to what the layer was chosen as, which the last word of `argument` says."""
        kind = self.argument.rpartition("_")[2]
        if kind in ("labels", "mask", "regions"):
            return self.labels()
        return self.landmarks() if kind == "landmarks" else self.image()

    def _converted(self, conversion: Callable[[], T]) -> T:
        try:
            return conversion()
        except ran.InputError as error:
            raise ran.InputError(self.argument, f"'{self.name}': {error.problem}", error.cure) from None


@dataclass(frozen=True)
class Look:
    """How the result should look beside the inputs.

    Attributes
    ----------
    limits : tuple of float
        The moving layer's contrast limits, for the warped image.
    fixed_limits : tuple of float
        The fixed layer's contrast limits, for the checkerboard.
    units : tuple
        The units of the fixed layer's axes of space: one viewer must not mix them.
    millimetres : list of float
        How many mm one unit is, per axis in napari's order.
    """

    limits: tuple[float, float]
    fixed_limits: tuple[float, float]
    units: tuple[Any, ...]
    millimetres: list[float]

    @classmethod
    def of(cls, fixed: Layer, moving: Layer, space: int) -> Look:
        """Take the look of the input layers, the last `space` axes of which are those of space."""
        units = tuple(fixed.units)[-space:]
        return cls(tuple(moving.contrast_limits), tuple(fixed.contrast_limits), units, millimetres(units, fixed.name))

    @classmethod
    def of_images(cls, fixed: ran.Image, moving: ran.Image) -> Look:
        """Choose a look for images that are in no layers yet."""
        ndim = fixed.grid.ndim
        return cls(_window(moving), _window(fixed), ("mm",) * ndim, [1.0] * ndim)


def placement(layer: Layer) -> dict[str, Any]:
    """Return where a layer lies, as the keyword arguments of `Layer.create` that say so."""
    names = ("scale", "shear", "rotate", "translate", "units", "name")
    return {name: getattr(layer, name) for name in names} | {"affine": layer.affine.affine_matrix}


def line_distance(grid: ran.Grid) -> float:
    """Return a distance in mm that leaves the lines of the deformed grid apart: at least seven voxels."""
    return max(float(grid.extent.max()) / 20, 7 * float(grid.spacing[:2].max()))


def styled(layer: LayerData, **style: Any) -> LayerData:
    """Return a layer with other keyword arguments of `Layer.create`."""
    data, kwargs, kind = layer
    return data, kwargs | style, kind


def placed(layer: LayerData, key: str, look: Look) -> LayerData:
    """Mark a layer as the result `key`, give it the viewer's units, and lay its array out as it will be read."""
    data, kwargs, kind = layer
    factor = np.diag([*(1 / mm for mm in look.millimetres), 1.0])
    metadata = dict(kwargs.get("metadata", {}))
    metadata[KEY] = {**metadata.get(KEY, {}), OWNER: key, LIMITS: kwargs.get("contrast_limits")}
    kwargs = kwargs | {"affine": factor @ kwargs["affine"], "units": look.units, "metadata": metadata}
    return np.ascontiguousarray(data), kwargs, kind


def difference_layer(fixed: ran.Image, warped: ran.Image, largest: float | None = None) -> LayerData:
    """Return warped minus fixed as a layer, from blue to red; `largest` is the end of the scale, else chosen."""
    image = ran.Image(torch.from_numpy(warped.array - fixed.array), fixed.grid, "difference")
    largest = largest or largest_difference(fixed, warped) or 1.0
    return styled(convert.to_layer_data(image), contrast_limits=(-largest, largest), colormap="bwr")


def largest_difference(fixed: ran.Image, warped: ran.Image) -> float:
    """Return how far two images lie apart, but for the largest half percent."""
    return float(np.percentile(_thinned(np.abs(warped.array - fixed.array)), 99.5))


def _window(image: ran.Image) -> tuple[float, float]:
    """Return contrast limits for an image that is in no layer yet."""
    low, high = np.percentile(_thinned(image.array), [0.5, 99.5])
    return float(low), max(float(high), float(low) + 1e-6)


def _thinned(array: Any) -> Any:
    """Every second value along each axis: enough for percentiles."""
    return array[(slice(None, None, 2),) * array.ndim]


def own_result(layer: Layer) -> str | None:
    """Return which result a layer is, or None: a layer of the user's, or a copy that the user made of a result."""
    mark = layer.metadata.get(KEY)
    if not isinstance(mark, Mapping) or mark.get(IDENTITY) != str(layer.unique_id):
        return None
    return mark.get(OWNER)


def own_results(viewer: Any) -> dict[str, Layer]:
    """Return the results among a viewer's layers by what they are, from the bottom up."""
    marks = ((own_result(layer), layer) for layer in viewer.layers)
    return {mark: layer for mark, layer in marks if mark is not None}


@contextmanager
def still(viewer: Any) -> Iterator[None]:
    """Keep the viewer's sliders at their place while layers are changed.

    A layer that has its new data but not yet its new affine reaches too far for a moment: napari then keeps the
    number of the slice, not its place, and another slice is shown.
    """
    before = tuple(viewer.dims.point)
    yield
    if len(before) == viewer.dims.ndim and before != tuple(viewer.dims.point):
        viewer.dims.point = before


def place_layer(viewer: Any, key: str, layer_data: LayerData) -> Layer:
    """Put a result layer into the viewer: into the layer of the last run if that is still there, else on top."""
    data, kwargs, kind = layer_data
    old = own_results(viewer).get(key)
    if old is not None and old.ndim == len(kwargs["affine"]) - 1:
        with still(viewer):
            _update(old, data, kwargs)
        return old
    layer = Layer.create(data, kwargs, kind)
    layer.metadata[KEY][IDENTITY] = str(layer.unique_id)
    if old is not None:
        viewer.layers.remove(old)
    viewer.add_layer(layer)
    return layer


def _update(layer: Layer, data: Any, kwargs: Mapping[str, Any]) -> None:
    """Give a layer new data and a new place; what the user set (visibility, colours, limits) stays."""
    before = layer.metadata[KEY].get(LIMITS)
    untouched = before is not None and np.allclose(layer.contrast_limits, before)
    layer.data = data
    layer.affine = kwargs["affine"]
    layer.units = kwargs["units"]
    if "features" in kwargs:  # arrows: one feature per arrow colours it
        layer.features = kwargs["features"]
        layer.edge_color = kwargs["edge_color"]
    if untouched and kwargs.get("contrast_limits") is not None:
        layer.contrast_limits = kwargs["contrast_limits"]
    mark = {**kwargs["metadata"][KEY], IDENTITY: str(layer.unique_id)}
    layer.metadata = {**kwargs["metadata"], KEY: mark}
