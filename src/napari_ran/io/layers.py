"""Convert images, labels, landmarks and fields to napari layers and back, without importing napari.

napari shows the last two axes of an array, the first of them downwards. An array in our order (X, Y, Z) is therefore
handed over reversed, (Z, Y, X), and napari's world is (z, y, x) with x and y negated against RAS (LPS signs), in mm: an
axial slice then shows as radiologists expect it, anterior up and the patient's left on the right. In 2-D it is (y, x),
both negated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks
from napari_ran.data.grid import apply_affine
from napari_ran.errors import InputError
from napari_ran.io.geometry import lps, squeeze
from napari_ran.io.units import millimetres
from napari_ran.io.volumes import Volumes

LayerData = tuple[Any, dict[str, Any], str]
"""What napari's ``Layer.create`` takes: data, keyword arguments, layer type."""

KEY = "napari_ran"
"""Layers made here say what they hold under this key of their metadata."""

MAX_ARROWS = 20_000
ARROWS_PER_SLICE = 80
"""Rather than fewer arrows in a slice, some slices stay without."""

LENGTH_COLORMAP = "plasma"
"""Of displacements: from dark blue to yellow, ever lighter, so that colour-blind readers can tell lengths apart."""

FOLD_COLOUR = (0.0, 0.0, 0.0, 1.0)
"""Colour of folds in the Jacobian determinant's layer, outside its colour map: black, which no eye mixes up with it."""


def to_layer_data(value: Image | Labels | Landmarks | DisplacementField) -> LayerData:
    """Return an object as napari layer data: an image, labels, points, or vectors layer.

    Raises
    ------
    InputError
        It is none of these.
    """
    if isinstance(value, Image):
        return _image_layer(value)
    if isinstance(value, Labels):
        kwargs = _kwargs(value.name, "labels", napari_affine(value.grid), {"names": dict(value.names)})
        return _reverse(value.array), kwargs, "labels"
    if isinstance(value, Landmarks):
        style = {"size": 4.0, "face_color": "transparent", "border_color": "yellow"}
        kwargs = _kwargs(value.name, "landmarks", np.eye(value.points.shape[1] + 1))
        return _world_to_napari(value.points), kwargs | style, "points"
    if isinstance(value, DisplacementField):
        return vectors_layer(value)
    problem = f"cannot show a {type(value).__name__} as a layer"
    raise InputError("value", problem, "Give an Image, Labels, Landmarks or DisplacementField")


def series_layers(volumes: Volumes) -> list[LayerData]:
    """Return images of several time points and channels as layers: one per channel, with time in front of space."""
    space, times = volumes.grid.ndim, [axis for axis, kind in enumerate(volumes.kinds) if kind == "T"]
    others = [axis for axis in range(len(volumes.rest)) if axis not in times]
    values = volumes.values.transpose(  # (channels, time, z, y, x)
        *(space + axis for axis in others), *(space + axis for axis in times), *reversed(range(space))
    )
    kwargs = _kwargs(volumes.name, "image", napari_affine(volumes.grid))
    front = values.ndim - len(others) - space
    affine = np.eye(front + space + 1)
    affine[front:, front:] = kwargs["affine"]
    kwargs |= {
        "affine": affine,
        "units": ("pixel",) * front + kwargs["units"],
        "axis_labels": ("t",) * front + kwargs["axis_labels"],
    }
    layers: list[LayerData] = []
    for index in np.ndindex(values.shape[: len(others)]):
        name = " ".join([volumes.name, *(str(number + 1) for number in index)])
        layers.append((values[index], kwargs | {"name": name}, "image"))
    return layers


def image_from_layer(
    data: Any, affine: ArrayLike, name: str = "image", metadata: Mapping[str, Any] | None = None
) -> Image:
    """Make an image from an image layer.

    Parameters
    ----------
    data : (Z, Y, X) or (Y, X) array
        The layer's data; the finest level of a multi-scale layer.
    affine : (D + 1, D + 1) array
        The layer's whole transform from data to world coordinates (scale, rotation, shear, translation and affine
        together).
    name : str
        The layer's name.
    metadata : mapping, optional
        The layer's metadata; kept, without this package's own key.

    Raises
    ------
    InputError
        The layer is RGB or has another number of dimensions than 2 or 3, or a value is NaN or infinite.
    """
    values, grid = _from_layer(data, affine, name)
    kept = {key: value for key, value in (metadata or {}).items() if key != KEY}
    return Image(values, grid, name, kept)  # type: ignore[arg-type]  # made into a tensor by Image


def labels_from_layer(
    data: Any, affine: ArrayLike, name: str = "labels", metadata: Mapping[str, Any] | None = None
) -> Labels:
    """Make a label map from a labels layer (or an image layer of whole numbers); see `image_from_layer`."""
    values, grid = _from_layer(data, affine, name)
    names = ((metadata or {}).get(KEY) or {}).get("names", {})
    return Labels(values, grid, name, {int(key): str(label) for key, label in names.items()})  # type: ignore[arg-type]


def landmarks_from_layer(data: ArrayLike, affine: ArrayLike, name: str = "landmarks") -> Landmarks:
    """Make landmarks from a points layer's data (N, D) and its whole data-to-world transform (D + 1, D + 1)."""
    points, matrix = np.asarray(data, dtype=np.float64), np.asarray(affine, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] not in (2, 3) or matrix.shape != (points.shape[1] + 1,) * 2:
        problem = f"expected 2-D or 3-D points, got data of shape {points.shape}"
        raise InputError(name, problem, "Draw the points in the space of the images")
    return Landmarks(apply_affine(matrix, points)[:, ::-1] * lps(points.shape[1]), name)


def points_in_layer(points: ArrayLike, affine: ArrayLike) -> NDArray[np.float64]:
    """Return a layer's data (N, D) for world points in mm; the way back from `landmarks_from_layer`."""
    matrix = np.linalg.inv(np.asarray(affine, dtype=np.float64))
    return apply_affine(matrix, _world_to_napari(np.asarray(points)))


def layer_affine(meta: Mapping[str, Any], ndim: int) -> NDArray[np.float64]:
    """Return the whole data-to-world matrix (D + 1, D + 1) in mm of a layer from the arguments that napari hands over.

    napari applies scale and shear, then rotation and translation, then the affine.
    """
    matrix = np.eye(ndim + 1)
    shear = np.asarray(meta.get("shear", np.zeros(0)), float)
    if shear.ndim == 1:
        upper = np.eye(ndim)
        if shear.size:
            upper[np.triu_indices(ndim, 1)] = shear
        shear = upper
    rotate = np.asarray(meta.get("rotate", np.eye(ndim)), float)
    scale = np.diag(np.broadcast_to(np.asarray(meta.get("scale", 1.0), float), ndim))
    matrix[:ndim, :ndim] = rotate @ shear @ scale
    matrix[:ndim, ndim] = meta.get("translate", 0.0)
    whole = np.asarray(meta.get("affine", np.eye(ndim + 1)), float) @ matrix
    units = millimetres(meta.get("units") or ("mm",) * ndim, str(meta.get("name", "layer")))
    return np.asarray(np.diag([*units, 1.0]) @ whole)


def napari_affine(grid: Grid) -> NDArray[np.float64]:
    """Return the affine (D + 1, D + 1) of a layer whose reversed array lies on this grid."""
    return _between(grid.ndim) @ grid.affine @ _reversal(grid.ndim)


def grid_of_layer(shape: tuple[int, ...], affine: ArrayLike) -> Grid:
    """Return the grid of a layer's data (shape in napari's order) from its data-to-world matrix."""
    ndim = len(shape)
    return Grid(tuple(reversed(shape)), np.linalg.inv(_between(ndim)) @ np.asarray(affine, float) @ _reversal(ndim))


def vectors_layer(field: DisplacementField, name: str = "displacement", max_arrows: int = MAX_ARROWS) -> LayerData:
    """Return the displacement as arrows from where a point is to where it goes, coloured by length in mm.

    Every so-many-th voxel gets an arrow, so that there are at most `max_arrows`; within a slice they are even in mm.
    """
    stride = _stride(field.grid, max_arrows)
    spots = tuple(slice((n - 1) % step // 2, None, step) for n, step in zip(field.grid.shape, stride, strict=True))
    where = F.voxel_grid(field.grid.shape, torch.zeros(1))[0][(slice(None), *spots)]
    arrows = torch.stack([where, field.tensor.cpu()[(slice(None), *spots)]]).flatten(2)  # (2, D, N)
    length = field.magnitude.cpu()[spots].flatten().numpy()
    data = arrows.permute(2, 0, 1).flip(-1).numpy()
    colour = {"edge_color": "mm", "edge_colormap": LENGTH_COLORMAP, "features": {"mm": length}}
    style = {"edge_width": 0.1 * float(max(stride)), "vector_style": "arrow"}
    return data, _kwargs(name, "displacement vectors", napari_affine(field.grid)) | colour | style, "vectors"


def magnitude_layer(field: DisplacementField, name: str = "displacement (mm)") -> LayerData:
    """Return the length of the displacement in mm as an image layer."""
    magnitude = field.magnitude.cpu().numpy()
    limits = (0.0, max(float(magnitude.max()), 1e-3))
    style = {"colormap": LENGTH_COLORMAP, "contrast_limits": limits, "blending": "translucent", "opacity": 0.5}
    return _reverse(magnitude), _kwargs(name, "displacement magnitude", napari_affine(field.grid)) | style, "image"


def jacobian_layer(field: DisplacementField, name: str = "Jacobian determinant") -> LayerData:
    """Return the local volume change as an image layer: blue shrinks, white keeps, red grows, folds are black."""
    determinant = field.jacobian_determinant.cpu().numpy()
    colormap = {
        "name": "napari-ran jacobian",
        "colors": [[0.13, 0.26, 0.68, 1], [0.97, 0.97, 0.97, 1], [0.70, 0.09, 0.17, 1]],
        "low_color": list(FOLD_COLOUR),
    }
    # the smallest positive float as lower limit: zero itself is a fold
    limits = (float(np.finfo(np.float32).tiny), 2.0)
    style = {"colormap": colormap, "contrast_limits": limits, "interpolation2d": "nearest"}
    return _reverse(determinant), _kwargs(name, "jacobian determinant", napari_affine(field.grid)) | style, "image"


def deformed_grid_layer(
    field: DisplacementField, step: float | None = None, axes: tuple[int, ...] = (0, 1), name: str = "deformed grid"
) -> LayerData:
    """Return a regular grid of lines, drawn on the moving image and pulled back by the field, as an image layer.

    Parameters
    ----------
    field : DisplacementField
        The deformation.
    step : float, optional
        Distance between lines in mm; about a twenty-fourth of the longest side when left out, at least four voxels.
    axes : tuple of int
        Array axes across which lines are drawn. The default suits the plane that napari shows first; drawing all three
        at once would fill the planes in which a slice lies.
    name : str
        The layer's name.
    """
    spacing = field.grid.spacing
    width = step or max(float(field.grid.extent.max()) / 24, 4 * float(spacing[list(axes)].max()))
    where = [range(n) for n in field.grid.shape]
    picture = grid_lines(field.tensor.cpu(), where, {axis: width / float(spacing[axis]) for axis in axes})
    style = {"colormap": "yellow", "contrast_limits": (0.0, 1.0), "blending": "additive"}
    return _reverse(picture.numpy()), _kwargs(name, "deformed grid", napari_affine(field.grid)) | style, "image"


def grid_lines(displacement: Tensor, where: Sequence[range], periods: Mapping[int, float]) -> Tensor:
    """Return how much of a line of a regular grid voxels see (*T), 0 to 1, where their displacement takes them.

    Parameters
    ----------
    displacement : (D, *T) tensor
        In voxels.
    where : sequence of range
        Which voxels these are, along each axis.
    periods : mapping
        Array axes across which lines are drawn, with the distance of the lines in voxels.
    """
    picture = torch.zeros(displacement.shape[1:])
    for axis, period in periods.items():
        position = torch.tensor(where[axis]).view([-1 if a == axis else 1 for a in range(len(where))])
        reached = position + displacement[axis]
        distance = (torch.remainder(reached + period / 2, period) - period / 2).abs_()
        picture = torch.maximum(picture, (1 - distance).clamp_(0, 1))
    return picture


def _image_layer(image: Image) -> LayerData:
    kwargs = _kwargs(image.name, "image", napari_affine(image.grid), metadata=image.metadata)
    if image.tensor.shape[0] == 1:
        return _reverse(image.array), kwargs, "image"
    channels = image.tensor.cpu().numpy()
    return np.moveaxis(channels.T, -1, 0), kwargs | {"channel_axis": 0}, "image"


def _kwargs(
    name: str,
    kind: str,
    affine: NDArray[np.float64],
    remember: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the keyword arguments that all layers share."""
    ndim = len(affine) - 1
    return {
        "name": name,
        "affine": affine,
        "units": ("mm",) * ndim,
        "axis_labels": ("z", "y", "x")[-ndim:],
        "metadata": {**(metadata or {}), KEY: {"kind": kind, **(remember or {})}},
    }


def finest(data: Any) -> Any:
    """Return the array of a layer, or the first of its levels."""
    levels = not hasattr(data, "ndim") or hasattr(data, "_data")  # a list of levels, or napari's wrapper around one
    return data[0] if levels else data


def _from_layer(data: Any, affine: ArrayLike, name: str) -> tuple[NDArray[Any], Grid]:
    """Return the array in our order and its grid; an axis of one voxel is dropped as when reading a file."""
    data = finest(data)
    matrix = np.asarray(affine, dtype=np.float64)
    if data.ndim not in (2, 3) or matrix.shape != (data.ndim + 1,) * 2:
        raise InputError(
            name,
            f"expected a 2-D or 3-D layer of one channel, got data of shape {tuple(data.shape)} "
            f"in {matrix.shape[0] - 1} dimensions",
            "Split an RGB layer or a time series into single layers and select one",
        )
    values = np.asarray(data)
    if values.dtype.kind not in "biuf":
        raise InputError(
            name, f"expected real numbers, got values of type {values.dtype}", "Convert the layer to grey values"
        )
    full = grid_of_layer(values.shape, matrix)
    grid, _ = squeeze(full.shape, full.affine, name)
    return values.T.reshape(grid.shape), grid


def _stride(grid: Grid, most: int) -> list[int]:
    """Return the steps in voxels per axis that leave at most `most` voxels, as equal in mm as they can be.

    napari shows the arrows of one slice at a time, so every slice along the last axis gets some, unless they would be
    too few.
    """
    shape, spacing = np.array(grid.shape), grid.spacing
    pitch = float(spacing.min())
    while True:
        stride = np.maximum(1, np.round(pitch / spacing)).astype(int)
        counts = -(-shape // stride)
        if grid.ndim == 3 and counts[:2].prod() * shape[2] <= max(most, 1):
            stride[2] = 1
            return [int(step) for step in stride]
        if (grid.ndim == 2 or counts[:2].prod() <= ARROWS_PER_SLICE) and counts.prod() <= most:
            return [int(step) for step in stride]
        pitch *= 1.05


def _reverse(array: NDArray[Any]) -> NDArray[Any]:
    return array.T


def _world_to_napari(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return (points * lps(points.shape[1]))[:, ::-1]


def _reversal(ndim: int) -> NDArray[np.float64]:
    """Homogeneous matrix that reverses the order of the coordinates."""
    matrix = np.eye(ndim + 1)
    matrix[:ndim, :ndim] = np.eye(ndim)[::-1]
    return matrix


def _between(ndim: int) -> NDArray[np.float64]:
    """Homogeneous matrix from our world (x, y, z, RAS) to napari's ((z, y, x), LPS signs)."""
    return np.asarray(_reversal(ndim) @ np.diag([*lps(ndim), 1.0]))
