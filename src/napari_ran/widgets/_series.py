"""Time series: layers with axes in front of those of space, of which what the viewer shows is registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from napari.layers import Image, Layer, Points

from napari_ran.errors import InputError
from napari_ran.io.layers import finest
from napari_ran.io.units import known_length

NO_SPACE = {"t", "time", "frame", "frames", "c", "ch", "channel", "channels"}
"""Labels of axes that are not those of space."""

MOST = 3
"""Axes of space."""


def axes_of_space(layers: Mapping[str, Layer]) -> int:
    """Return in how many dimensions the images of a pair are registered.

    An axis in front counts as time where it is labelled so, is measured in no length, is beyond the third, or where
    the other image has one axis less.
    """
    return min(_own_axes(layer) for role, layer in layers.items() if role in ("fixed", "moving"))


def _own_axes(layer: Layer) -> int:
    labels = [str(label).lower() for label in layer.axis_labels]
    lengths = [known_length(unit) is not None for unit in layer.units]
    front = 0
    while front < layer.ndim - 2 and (labels[front] in NO_SPACE or not lengths[front] or layer.ndim - front > MOST):
        front += 1
    return int(layer.ndim) - front


def shown_part(layer: Layer, front: int, point: Sequence[float]) -> tuple[int, ...]:
    """Return the indices along the axes in front of those of space that are shown where the viewer's sliders are.

    Raises
    ------
    InputError
        The viewer is at a time that the layer does not have.
    """
    if not front:
        return ()
    where = np.asarray(layer.world_to_data(point[-layer.ndim :]))[:front]
    index = tuple(int(number) for number in np.rint(where))
    if isinstance(layer, Image):  # labels and points may end earlier than the image
        for number, size in zip(index, finest(layer.data).shape, strict=False):
            if not 0 <= number < size:
                problem = f"it has {size} time points, and the viewer is at {number + 1}"
                raise InputError(layer.name, problem, "Move the slider under the canvas to a time point of it")
    return index


def taken_part(layer: Layer, index: tuple[int, ...]) -> Any:
    """Return a layer's data at these indices along its first axes; not copied, and not read from a file.

    Raises
    ------
    InputError
        A label map has nothing at this time.
    """
    front = len(index)
    if not front:
        return layer.data
    if isinstance(layer, Points):
        data = np.asarray(layer.data)
        return data[(np.rint(data[:, :front]) == index).all(axis=1)][:, front:]
    data = finest(layer.data)
    if any(not 0 <= number < size for number, size in zip(index, data.shape, strict=False)):
        problem = f"it ends before the time point that is shown, {', '.join(str(n + 1) for n in index)}"
        raise InputError(layer.name, problem, "Move the slider under the canvas, or choose another layer")
    return data[index]
