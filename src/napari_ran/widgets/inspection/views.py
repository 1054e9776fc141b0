"""What a quantity of one stage looks like: arrays ready for the viewer, made without it and away from its thread."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid
from napari_ran.introspect.inspection import Inspection, QuantityArray
from napari_ran.io import layers as convert
from napari_ran.io.geometry import lps
from napari_ran.widgets.inspection.colours import head_colours, ramp
from napari_ran.widgets.inspection.limits import Limits, lengths_mm

STYLES: dict[str, str] = {
    "arrows": "Arrows",
    "magnitude": "Length (mm)",
    "colour": "Direction colour",
    "grid": "Deformed grid",
    "contours": "Contour lines",
    "blend": "All heads, blended",
    "relative": "Heads against their mean",
    "single": "One head",
    "map": "Map",
}
"""Every way to show something, and what it is called."""

STYLES_OF_KIND: dict[str, tuple[str, ...]] = {
    "vector": ("arrows", "magnitude", "colour", "grid", "contours"),
    "heads": ("arrows", "magnitude", "colour", "grid", "contours"),
    "masks": ("blend", "relative", "single"),
    "scalar": ("map", "contours"),
    "features": ("map",),
    "image": ("map",),
}

WITH_PARTS = {"heads", "features"}
"""Kinds of which one part (a head or a channel) is shown at a time; of masks only with the style ``single``."""

CONTOURS = 10
LINES = 24
"""About how many contour lines and grid lines a view has."""

SHARPNESS = 6.0
"""How strongly a head's excess over its mean share shows."""


@dataclass(frozen=True)
class Choice:
    """What is to be seen.

    Attributes
    ----------
    quantity : str
        Name of the quantity.
    stage : int
        Position in `Inspection.stages`.
    direction : {"forward", "inverse"}
        Which of the two fields.
    style : str
        A key of `STYLES`.
    part : int
        Head or channel; -1 is the mean over the heads.
    plane : tuple of int
        The viewer's displayed axes, downwards and to the right, in the viewer's order of axes.
    """

    quantity: str
    stage: int
    direction: str = "forward"
    style: str = "map"
    part: int = -1
    plane: tuple[int, int] = (-2, -1)


@dataclass(frozen=True)
class Legend:
    """How to read the colours.

    Attributes
    ----------
    kind : {"bar", "heads", "wheel", "none"}
        What is drawn.
    title, unit : str
        What the numbers are.
    limits : tuple of float
        The numbers at the ends.
    colormap : object
        What napari takes as a colormap.
    colours : tuple
        RGB per head, 0 to 1.
    shares : tuple of float
        Mean of each head's mask at this level.
    """

    kind: str = "none"
    title: str = ""
    unit: str = ""
    limits: tuple[float, float] = (0.0, 1.0)
    colormap: Any = "gray"
    colours: tuple[tuple[float, float, float], ...] = ()
    shares: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Picture:
    """A view of one stage, ready for the viewer.

    Attributes
    ----------
    choice : Choice
        What it shows.
    slot : {"map", "colour", "arrows"}
        The layer it belongs into.
    data : array
        Values in the viewer's order of axes; for arrows the displacement (D, *S) in voxels in this package's order.
    grid : Grid
        Where the data lie.
    legend : Legend
        How to read it.
    style : dict
        Layer attributes; set when the layer begins to show another kind of view, then left to the user.
    lengths : array or None
        Of arrows: their lengths in mm, (*S).
    """

    choice: Choice
    slot: str
    data: NDArray[Any]
    grid: Grid
    legend: Legend
    style: dict[str, Any] = field(default_factory=dict)
    lengths: NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return int(self.data.nbytes + (0 if self.lengths is None else self.lengths.nbytes))


def kind_of(inspection: Inspection, quantity: str) -> str:
    """Return the kind of a quantity."""
    return str(next(q.kind for q in inspection.quantities if q.name == quantity))


def make_picture(inspection: Inspection, choice: Choice, limits: Limits) -> Picture:
    """Make the view that is asked for.

    Raises
    ------
    InputError
        The stage has no such quantity.
    """
    array = inspection.get(choice.quantity, choice.stage, choice.direction)
    kind = kind_of(inspection, choice.quantity)
    if kind in ("vector", "heads"):
        return _vector_picture(inspection, choice, array, limits, kind)
    if kind == "masks":
        return _mask_picture(choice, array)
    return _scalar_picture(inspection, choice, array, limits.of(choice.quantity, choice.direction, False))


def thumbnail(inspection: Inspection, choice: Choice, limits: Limits, side: int = 56) -> NDArray[np.uint8]:
    """Return a small RGB picture (side, side, 3) of a quantity in the middle of the volume."""
    kind = kind_of(inspection, choice.quantity)
    style = {"vector": "magnitude", "heads": "magnitude", "masks": "blend"}.get(kind, "map")
    part = max(choice.part, 0) if kind == "features" else -1
    array = _middle(inspection.get(choice.quantity, choice.stage, choice.direction))
    choice = replace(choice, style=style, part=part)
    if style == "blend":
        picture = _mask_picture(choice, array).data
    elif style == "magnitude":
        low, high = limits.of(choice.quantity, choice.direction, True)
        values = lengths_mm(_vectors(array, choice, kind)[None], array.grid)[0].numpy()
        picture = coloured(convert._reverse(values), "turbo", (low, high))
    else:
        bounds = limits.of(choice.quantity, choice.direction, False)
        values = array.data[min(max(part, 0), array.data.shape[0] - 1)].numpy()
        picture = coloured(convert._reverse(values), _scalar_look(choice.quantity)["colormap"], bounds)
    if picture.ndim == 4:
        picture = picture[0]
    height, width = picture.shape[:2]
    scale = max(height, width) / side
    rows = np.minimum(((np.arange(round(height / scale) or 1) + 0.5) * scale).astype(int), height - 1)
    columns = np.minimum(((np.arange(round(width / scale) or 1) + 0.5) * scale).astype(int), width - 1)
    return np.ascontiguousarray(picture[rows][:, columns, :3])


def coloured(values: NDArray[Any], colormap: Any, limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Return values as colours (..., 3) between two limits."""
    scaled = np.clip((values - limits[0]) / max(limits[1] - limits[0], 1e-12), 0, 1)
    return ramp(colormap)[(255 * scaled).astype(np.uint8)]


def _middle(array: QuantityArray) -> QuantityArray:
    """Return the middle slice along the last axis as an array of one slice."""
    if array.grid.ndim == 2:
        return array
    middle = array.grid.shape[2] // 2
    affine = np.array(array.grid.affine)
    affine[:3, 3] += affine[:3, 2] * middle
    grid = Grid((*array.grid.shape[:2], 1), affine)
    return replace(array, data=array.data[..., middle : middle + 1], grid=grid)


def _vectors(array: QuantityArray, choice: Choice, kind: str) -> Tensor:
    """Return one displacement (D, *S), in voxels of the array's grid."""
    if kind == "vector":
        return array.data
    heads = array.data.reshape(-1, array.grid.ndim, *array.data.shape[1:])  # head-major
    return heads.mean(0) if choice.part < 0 else heads[min(choice.part, heads.shape[0] - 1)]


def _vector_picture(
    inspection: Inspection, choice: Choice, array: QuantityArray, limits_of: Limits, kind: str
) -> Picture:
    limits = limits_of.of(choice.quantity, choice.direction, True)
    vectors, grid = _vectors(array, choice, kind), array.grid
    bar = Legend("bar", "Length", "mm", (0.0, limits[1]), "turbo")
    if choice.style == "colour":
        limits = limits_of.in_plane(choice.quantity, choice.direction, choice.plane)
        wheel = Legend("wheel", "Direction on the screen", "mm", (0.0, limits[1]))
        return Picture(choice, "colour", _direction_colours(vectors, grid, choice.plane, limits[1]), grid, wheel)
    if choice.style == "grid":
        fine = _on_image_grid(inspection, vectors, grid)
        axes = tuple(sorted(grid.ndim - 1 - axis % grid.ndim for axis in choice.plane))
        step = max(float(fine.grid.extent.max()) / LINES, 4 * float(fine.grid.spacing.max()))
        data, _, _ = convert.deformed_grid_layer(fine, step, axes)
        style = {"colormap": "yellow", "contrast_limits": (0.0, 1.0), "blending": "additive", "opacity": 1.0}
        title = f"Lines every {step:.0f} mm, carried by the field"
        return Picture(choice, "map", np.ascontiguousarray(data), fine.grid, Legend("none", title), style)
    if choice.style == "contours":
        fine = _on_image_grid(inspection, vectors, grid)
        return _contour_picture(choice, fine.magnitude, fine.grid, bar)
    lengths = lengths_mm(vectors[None], grid)[0].numpy()
    if choice.style == "arrows":
        return Picture(choice, "arrows", vectors.numpy(), grid, bar, {}, lengths)
    style = {"colormap": "turbo", "contrast_limits": (0.0, limits[1]), "blending": "translucent", "opacity": 0.6}
    return Picture(choice, "map", _laid_out(lengths), grid, bar, style)


def _mask_picture(choice: Choice, array: QuantityArray) -> Picture:
    masks = array.data
    colours = head_colours(masks.shape[0])
    if choice.style == "single":
        head = min(max(choice.part, 0), masks.shape[0] - 1)
        colormap = {"name": f"napari-ran head {head}", "colors": [[0, 0, 0, 1], [*colours[head], 1]]}
        legend = Legend("bar", f"Mask of head {head}", "", (0.0, 1.0), colormap)
        style = {"colormap": colormap, "contrast_limits": (0.0, 1.0), "blending": "translucent", "opacity": 0.8}
        return Picture(choice, "map", _laid_out(masks[head].numpy()), array.grid, legend, style)
    shares = tuple(float(share) for share in masks.flatten(1).mean(1))
    if choice.style == "relative":  # where each head counts for more than it does elsewhere, made plain
        excess = masks / torch.tensor(shares).clamp(min=1e-6).view(-1, *[1] * (masks.ndim - 1))
        masks = torch.softmax(SHARPNESS * excess, 0)
    table = torch.tensor(colours, dtype=masks.dtype)
    blend = torch.einsum("mc,m...->c...", table, masks).clamp(0, 1).mul(255).to(torch.uint8).numpy()
    legend = Legend("heads", "Heads and their mean share", colours=colours, shares=shares)
    return Picture(choice, "colour", np.ascontiguousarray(blend.T), array.grid, legend)


def _scalar_picture(
    inspection: Inspection, choice: Choice, array: QuantityArray, limits: tuple[float, float]
) -> Picture:
    channel = min(max(choice.part, 0), array.data.shape[0] - 1)
    values = array.data[channel]
    look = _scalar_look(choice.quantity)
    title = next(q.title for q in inspection.quantities if q.name == choice.quantity)
    if array.data.shape[0] > 1:
        title = f"{title}, channel {channel}"
    legend = Legend("bar", title, array.unit if array.unit != "1" else "", limits, look["colormap"])
    if choice.style == "contours":
        return _contour_picture(choice, values, array.grid, replace(legend, colormap="turbo"))
    return Picture(choice, "map", _laid_out(values.numpy()), array.grid, legend, look | {"contrast_limits": limits})


def _scalar_look(quantity: str) -> dict[str, Any]:
    if quantity in ("confidence", "previous_confidence"):
        return {"colormap": "viridis", "blending": "translucent", "opacity": 0.7}
    if quantity == "difference":
        return {"colormap": "bwr", "blending": "translucent", "opacity": 1.0}
    if quantity == "logits":
        return {"colormap": "bwr", "blending": "translucent", "opacity": 0.7}
    if quantity == "jacobian":
        colors = [[0.13, 0.26, 0.68, 1], [0.97, 0.97, 0.97, 1], [0.70, 0.09, 0.17, 1]]
        colormap = {"name": "napari-ran jacobian", "colors": colors, "low_color": list(convert.FOLD_COLOUR)}
        return {"colormap": colormap, "blending": "translucent", "opacity": 1.0}
    plain = quantity in ("warped", "features", "refined")
    return {"colormap": "gray" if plain else "viridis", "blending": "translucent", "opacity": 1.0}


def _contour_picture(choice: Choice, values: Tensor, grid: Grid, legend: Legend) -> Picture:
    """Draw a line, one voxel wide, wherever the values cross a round number in the displayed plane."""
    low, high = legend.limits
    step = nice_step((high - low) / CONTOURS)
    band = torch.floor(values / step)
    line = torch.zeros(values.shape, dtype=torch.bool)
    for axis in {grid.ndim - 1 - axis % grid.ndim for axis in choice.plane}:
        n = values.shape[axis]
        if n > 1:
            line.narrow(axis, 0, n - 1).logical_or_(band.narrow(axis, 0, n - 1) != band.narrow(axis, 1, n - 1))
    below = low - max(high - low, 1e-6)
    data = torch.where(line, values.clamp(min=low), torch.full_like(values, below))
    base = ramp("turbo") / 255.0
    colors = np.concatenate([base, np.ones((256, 1))], 1).tolist()
    colormap = {"name": "napari-ran contours", "colors": colors, "low_color": [0.0, 0.0, 0.0, 0.0]}
    style = {"colormap": colormap, "contrast_limits": (low, high), "blending": "translucent", "opacity": 1.0}
    legend = replace(legend, title=f"{legend.title}, a line every {step:g}")
    return Picture(choice, "map", _laid_out(data.numpy()), grid, legend, style)


def nice_step(wanted: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at least as large as asked for."""
    power = 10.0 ** np.floor(np.log10(max(wanted, 1e-9)))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= wanted * (1 - 1e-9)))


def _direction_colours(vectors: Tensor, grid: Grid, plane: tuple[int, int], largest: float) -> NDArray[np.uint8]:
    """Return RGBA (..., 4): hue from the direction on the screen, opacity from the length, up to `largest` mm."""
    matrix = lps(grid.ndim)[:, None] * np.array(grid.affine[:-1, :-1])
    towards = torch.as_tensor(matrix, dtype=vectors.dtype)
    down, right = (torch.einsum("j,j...->...", towards[grid.ndim - 1 - a % grid.ndim], vectors) for a in plane)
    length = (down**2 + right**2).sqrt().clamp(min=1e-9)
    value = (length / max(largest, 1e-9)).clamp(max=1)
    channels = [*(wheel_channel(right / length, -down / length, c) for c in range(3)), value]
    return np.ascontiguousarray(np.stack([(255 * c).to(torch.uint8).numpy().T for c in channels], -1))


def wheel_channel(right: Any, up: Any, channel: int) -> Any:
    """Return red (0), green (1) or blue (2) of a unit direction on the screen, 0 to 1: a smooth colour wheel."""
    angle = 2 * np.pi * channel / 3
    return 0.5 + 0.5 * (right * np.cos(angle) + up * np.sin(angle))


def _on_image_grid(inspection: Inspection, vectors: Tensor, grid: Grid) -> DisplacementField:
    """Return a level's displacement on the grid of the network's image, linear between the level's voxels."""
    target = grid if inspection.trace is None else inspection.trace.grid
    if target.shape == grid.shape:
        return DisplacementField(vectors, grid)
    to_level = target.voxel_map_to(grid)
    where = F.voxel_grid(target.shape, torch.zeros(1))[0]
    linear = torch.as_tensor(to_level[:-1, :-1], dtype=torch.float32)
    offset = torch.as_tensor(to_level[:-1, -1], dtype=torch.float32).view(-1, *[1] * grid.ndim)
    coordinates = torch.einsum("ij,j...->i...", linear, where) + offset
    fine = F.sample(vectors[None], coordinates[None], padding="border")[0]
    back = torch.as_tensor(np.linalg.inv(to_level[:-1, :-1]), dtype=torch.float32)
    return DisplacementField(torch.einsum("ij,j...->i...", back, fine), target)


def _laid_out(values: NDArray[Any]) -> NDArray[Any]:
    """Return an array in the viewer's order of axes, laid out in memory as the viewer reads it."""
    return np.ascontiguousarray(values.T)
