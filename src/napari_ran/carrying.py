"""Layers of any kind follow a transform, as the data that napari hands over; napari itself is not imported.

The last axes of a layer are those of space; axes in front of them, such as time, stay as they are. Points and vertices
keep the layer's own place, so that sizes and widths stay what they were; voxels come to lie on another grid.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ran.applying import LabelMethod, in_doubt
from napari_ran.data import Grid, Labels
from napari_ran.errors import InputError
from napari_ran.exchange import Transform
from napari_ran.io.geometry import squeeze
from napari_ran.io.layers import (
    KEY,
    LayerData,
    finest,
    grid_of_layer,
    landmarks_from_layer,
    layer_affine,
    napari_affine,
    points_in_layer,
)
from napari_ran.io.units import millimetres
from napari_ran.io.volumes import Volumes
from napari_ran.steps import relay

logger = logging.getLogger(__name__)

KINDS = ("image", "labels", "points", "shapes", "tracks", "surface", "vectors")
"""The types of layers that can be carried."""

ELLIPSE_POINTS = 64
SIDE_POINTS = 16
"""How many points stand for an ellipse, and for each side of a rectangle, when they become polygons."""

_PLACE = ("scale", "rotate", "shear", "translate", "affine")
_OF_THE_GRID = ("plane", "experimental_clipping_planes", "locked_data_level")
"""What a layer of voxels says in coordinates of its own array."""

Steps = Generator[tuple[int, int], None, tuple[LayerData, str]]


@dataclass(frozen=True, eq=False)
class CarryStep:
    """Progress: layer `number` of `total`, counted from 1; 0 while the other direction is made.

    Attributes
    ----------
    number, total : int
        Which layer, of how many.
    name : str
        What the layer is called.
    part, parts : int
        How many volumes of it are done, of how many; one for all but time series.
    layer : layer data, optional
        What it became, once it is done.
    warning : str
        What to bear in mind about it.
    error : InputError, optional
        Why it could not be carried.
    """

    number: int
    total: int
    name: str
    part: int = 0
    parts: int = 1
    layer: LayerData | None = None
    warning: str = ""
    error: InputError | None = None


def carry_layers(
    transform: Transform,
    layers: Sequence[LayerData],
    *,
    reverse: bool = False,
    grid: Grid | None = None,
    labels: LabelMethod = "nearest",
) -> Generator[CarryStep, None, None]:
    """Bring layers of the moving image to the fixed one; one that cannot be carried says so, and the others go on.

    Parameters
    ----------
    transform : Transform
        How.
    layers : sequence of layer data
        What, as ``Layer.as_layer_data_tuple`` returns it.
    reverse : bool
        Bring layers of the fixed image to the moving one instead.
    grid : Grid, optional
        Where voxels come out; the fixed image's grid (in reverse the moving one's) when left out.
    labels : {"nearest", "gaussian"}
        How label maps are read.

    Yields
    ------
    CarryStep
        Before, in and after every layer.

    Raises
    ------
    InputError
        The other direction, or the transform on the grid, cannot be made.
    """
    total = len(layers)
    if reverse or grid is not None:
        yield CarryStep(0, total, "")
    way = transform.opposite() if reverse else transform
    onto = way if grid is None else way.on(grid)
    for number, layer in enumerate(layers, start=1):
        name = _name(layer)
        step = CarryStep(number, total, name)
        yield step
        steps = _voxels(onto, layer, labels) if layer[2] in ("image", "labels") else _vertices(way, layer)
        try:
            made, warning = yield from relay(steps, partial(_progress, step))
        except Exception as error:  # whatever it is, it must not cost the other layers
            logger.debug("a layer could not be carried", exc_info=True)
            yield replace(step, error=_reason(name, error))
        else:
            yield replace(step, part=1, layer=made, warning=warning)


def _progress(step: CarryStep, done: tuple[int, int]) -> CarryStep:
    return replace(step, part=done[0], parts=done[1])


def layer_grid(layer: LayerData, ndim: int | None = None) -> Grid:
    """Return the grid of the last `ndim` axes of a layer of voxels; of all but axes of one voxel when left out.

    Raises
    ------
    InputError
        It has fewer axes, or other axes are mixed with those of space.
    """
    shape = _shape(layer)
    matrix, lead = _matrix(layer, len(shape), min(len(shape), 3) if ndim is None else ndim)
    grid = grid_of_layer(shape[lead:], matrix[lead:, lead:])
    return grid if ndim is not None else squeeze(grid.shape, grid.affine, _name(layer))[0]


def describe(transform: Transform) -> str:
    """Return in a few words where a transform is known."""
    grid = transform.field.grid
    size, spacing = " × ".join(str(n) for n in grid.shape), [f"{mm:.3g}" for mm in grid.spacing]
    voxel = spacing[0] if len(set(spacing)) == 1 else " × ".join(spacing)
    ways = "both directions known" if transform.inverse_field is not None else "the other direction is made when needed"
    return f"{size} voxels of {voxel} mm; {ways}"


# ---------------------------------------------------------------- voxels


def _voxels(transform: Transform, layer: LayerData, method: LabelMethod) -> Steps:
    """Carry an image or labels, one volume after another; yields how many are done, of how many."""
    data, kwargs, kind = layer
    volumes, shape, ndim = finest(data), _shape(layer), transform.field.grid.ndim
    if volumes.dtype.kind not in "biuf":
        raise InputError(_name(layer), f"expected real numbers, got {volumes.dtype}", "Convert it to real numbers")
    matrix, lead = _matrix(layer, len(shape), ndim)
    source, target = grid_of_layer(shape[lead:], matrix[lead:, lead:]), transform.field.grid
    made = np.empty((*shape[:lead], *reversed(target.shape), *volumes.shape[len(shape) :]), dtype=volumes.dtype)
    turned = (*reversed(range(ndim)), *range(ndim, made.ndim - lead))  # colours stay the last axis
    parts = int(np.prod(shape[:lead]))
    for part, index in enumerate(np.ndindex(shape[:lead])):
        yield part, parts
        values = np.asarray(volumes[index]).transpose(turned)
        if kind == "labels":
            found = transform.apply(Labels(values, source, _name(layer)), method).array  # type: ignore[arg-type]  # made into a tensor
        else:
            found = Volumes(values, source, _name(layer)).map(transform.apply).values
        made[index] = found.transpose(turned)
    units = millimetres(_units(kwargs, len(shape))[lead:], _name(layer))
    matrix[lead:, lead:] = np.diag([*(1 / mm for mm in units), 1.0]) @ napari_affine(target)
    kept = {key: value for key, value in kwargs.items() if key not in (*_PLACE, *_OF_THE_GRID)}
    return (made, _finished(kept) | {"affine": matrix, "multiscale": False}, kind), ""


def _shape(layer: LayerData) -> tuple[int, ...]:
    """Return the shape of a layer of voxels, without its colours."""
    shape = tuple(int(n) for n in finest(layer[0]).shape)
    return shape[:-1] if layer[1].get("rgb") else shape


# ---------------------------------------------------------------- points


def _vertices(transform: Transform, layer: LayerData) -> Steps:
    """Carry whatever is made of points."""
    yield 0, 1
    data, kwargs, kind = layer
    changed = _finished(kwargs)
    made: Any
    if kind == "points":
        made, warning = _moved(transform, layer, data, np.shape(data)[1])
    elif kind == "tracks":  # the first column says which track it is
        made, warning = _moved(transform, layer, data, np.shape(data)[1] - 1)
    elif kind == "vectors":
        ends = np.concatenate([data[:, 0], data[:, 0] + data[:, 1]])
        ends, warning = _moved(transform, layer, ends, ends.shape[1])
        start, tip = np.split(ends, 2)
        made = np.stack([start, tip - start], axis=1)
    elif kind == "surface":
        made, warning = _moved_surface(transform, layer, changed)
    elif kind == "shapes":
        outlines = [
            _outline(np.asarray(one, float), what) for one, what in zip(data, kwargs["shape_type"], strict=True)
        ]
        made, warning = outlines, ""
        if outlines:
            every, warning = _moved(transform, layer, np.concatenate(outlines), outlines[0].shape[1])
            made = np.split(every, np.cumsum([len(one) for one in outlines])[:-1])
        changed["shape_type"] = [
            "polygon" if what in ("ellipse", "rectangle") else what for what in kwargs["shape_type"]
        ]
    else:
        known = ", ".join(KINDS)
        raise InputError(_name(layer), f"a layer of type '{kind}' cannot be carried", f"Choose one of: {known}")
    return (made, changed, kind), warning


def _moved(transform: Transform, layer: LayerData, data: Any, total: int) -> tuple[NDArray[np.float64], str]:
    """Carry the last columns of data (N, M): coordinates in a layer of so many axes in total."""
    space = transform.field.grid.ndim
    matrix, lead = _matrix(layer, total, space)
    matrix = matrix[lead:, lead:]
    made = np.array(data, dtype=np.float64)
    points = landmarks_from_layer(made[:, -space:], matrix, _name(layer)).points
    places, off = transform.carry_points(points)
    made[:, -space:] = points_in_layer(places, matrix)
    return made, in_doubt(transform, places, off)


def _moved_surface(transform: Transform, layer: LayerData, changed: dict[str, Any]) -> tuple[tuple[Any, ...], str]:
    """Carry the vertices of a surface; values that change in time have their axes in front of those of space."""
    vertices, faces, *rest = layer[0]
    axes = np.shape(vertices)[1]
    total = axes + (np.ndim(rest[0]) - 1 if rest else 0)
    if (front := total - axes) > 0:  # napari makes such a surface only when it is told the place of the vertices' axes
        units = _units(layer[1], total)[front:]
        back = np.diag([*(1 / mm for mm in millimetres(units, _name(layer))), 1.0])
        for key in _PLACE:
            changed.pop(key, None)
        changed["affine"] = back @ _matrix(layer, total, axes)[0][front:, front:]
        changed |= {key: tuple(changed[key])[front:] for key in ("units", "axis_labels") if changed.get(key)}
    moved, warning = _moved(transform, layer, vertices, total)
    return (moved, faces, *rest), warning


def _outline(corners: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
    """Return the points of a shape that say what it is wherever they go: ellipses and rectangles get more."""
    if kind == "ellipse":
        middle = corners.mean(axis=0)
        one, other = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
        angle = np.linspace(0, 2 * np.pi, ELLIPSE_POINTS, endpoint=False)[:, None]
        return np.asarray(middle + np.cos(angle) * one + np.sin(angle) * other)
    if kind == "rectangle":
        along = np.linspace(0, 1, SIDE_POINTS, endpoint=False)[:, None]
        sides = zip(corners, np.roll(corners, -1, axis=0), strict=True)
        return np.concatenate([start + along * (end - start) for start, end in sides])
    return corners


# ---------------------------------------------------------------- layers


def space_affine(kwargs: Mapping[str, Any], total: int, space: int) -> NDArray[np.float64]:
    """Return the data-to-world matrix in mm of the last `space` of a layer's `total` axes, from napari's arguments.

    Raises
    ------
    InputError
        It has fewer axes, one of them is no length, or others are mixed with them.
    """
    return _matrix((None, dict(kwargs), "image"), total, space)[0][total - space :, total - space :]


def _matrix(layer: LayerData, total: int, space: int) -> tuple[NDArray[np.float64], int]:
    """Return a layer's data-to-world matrix, in mm along the axes of space, and how many axes are in front of them."""
    name, lead = _name(layer), total - space
    if lead < 0:
        raise InputError(
            name, f"it has {total} axes, the transform has {space}", "Use layers and a transform of the same dimension"
        )
    units = ("mm",) * lead + _units(layer[1], total)[lead:]
    matrix = layer_affine({**layer[1], "units": units}, total)
    mixed = np.abs(matrix[:lead, lead:-1]).sum() + np.abs(matrix[lead:-1, :lead]).sum()
    if mixed > 1e-9 * np.abs(matrix[:-1, :-1]).max():
        problem = "a rotation or shear mixes the axes of space with those in front of them"
        raise InputError(name, problem, "Reset the layer's transform, or carry one part of it")
    return matrix, lead


def _units(kwargs: dict[str, Any], total: int) -> tuple[Any, ...]:
    return tuple(kwargs.get("units") or ("mm",) * total)


def _name(layer: LayerData) -> str:
    return str(layer[1].get("name", "layer"))


def _finished(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a layer keeps, under its new name; it is no result of a registration, even if it was made of one."""
    metadata = dict(kwargs.get("metadata") or {})
    if KEY in metadata:
        metadata[KEY] = {key: value for key, value in metadata[KEY].items() if key in ("kind", "names")}
    return {**kwargs, "name": f"{kwargs.get('name', 'layer')} applied", "metadata": metadata, "visible": True}


def _reason(name: str, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return InputError(name, error.problem, error.cure)
    if isinstance(error, MemoryError):
        return InputError(name, "there is not enough memory for the result", "Choose a coarser image as the grid")
    return InputError(name, f"it could not be carried ({type(error).__name__}: {error})", "Please report this")


__all__ = ["KINDS", "CarryStep", "carry_layers", "describe", "layer_grid", "space_affine"]
