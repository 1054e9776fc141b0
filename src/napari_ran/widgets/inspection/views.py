"""What a quantity of one stage looks like: ready for the viewer, made without it, slice by slice as it is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ran.data import Grid
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.lookup import Lookup
from napari_ran.introspect.quantities import QUANTITIES
from napari_ran.io.layers import FOLD_COLOUR, LENGTH_COLORMAP
from napari_ran.widgets._round import round_above
from napari_ran.widgets.inspection import values as made_of
from napari_ran.widgets.inspection.colours import coloured, head_colours, ramp
from napari_ran.widgets.inspection.limits import Limits, Shares
from napari_ran.widgets.inspection.volume import Volume

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

THUMBNAIL = 56
"""Longer side of a thumbnail in pixels."""

CONTOURS = 10
LINES = 24
"""About how many contour lines and grid lines a view has."""


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

    @property
    def address(self) -> tuple[str, int, str]:
        """Quantity, stage and direction, as `Inspection.get` takes them."""
        return self.quantity, self.stage, self.direction


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
    data : Volume or Vectors
        What the layer holds; of arrows where they come from.
    grid : Grid
        Where the data lie.
    legend : Legend
        How to read it.
    style : dict
        Layer attributes; set when the layer begins to show another kind of view, then left to the user.
    """

    choice: Choice
    slot: str
    data: Volume | made_of.Vectors
    grid: Grid
    legend: Legend
    style: dict[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Bytes of what it keeps beside the inspection's own arrays."""
        return self.data.kept if isinstance(self.data, Volume) else 0

    def complete(self) -> None:
        """Make what the viewer needs to show the whole volume at once; slow."""
        if isinstance(self.data, Volume):
            self.data.whole()


def make_picture(inspection: Inspection, choice: Choice, limits: Limits, shares: Shares | None = None) -> Picture:
    """Make the view that is asked for; quick, unless its limits or shares are not known yet.

    Without shares the legend of heads has none, and their style "relative" looks like "blend".

    Raises
    ------
    InputError
        The stage has no such quantity.
    """
    lookup = Lookup(inspection, *choice.address)
    kind = QUANTITIES[choice.quantity].kind
    if kind in ("vector", "heads"):
        return _vector_picture(inspection, choice, lookup, limits)
    if kind == "masks":
        known = () if shares is None or choice.style == "single" else shares.of(choice.stage, choice.direction)
        return _mask_picture(choice, lookup, known)
    return _scalar_picture(choice, lookup, limits.of(choice.quantity, choice.direction))


def thumbnail(inspection: Inspection, choice: Choice, limits: Limits) -> NDArray[np.uint8]:
    """Return a small RGB picture (H, W, 3) of a quantity in the middle of the volume."""
    kind = QUANTITIES[choice.quantity].kind
    style = {"vector": "magnitude", "heads": "magnitude", "masks": "blend"}.get(kind, "map")
    part = max(choice.part, 0) if kind == "features" else -1
    picture = make_picture(inspection, replace(choice, style=style, part=part), limits)
    assert isinstance(picture.data, Volume)
    middle = picture.data if picture.grid.ndim == 2 else picture.data[picture.data.shape[0] // 2]
    shown = np.asarray(middle)
    if picture.slot == "map":
        shown = coloured(shown, picture.style["colormap"], picture.style["contrast_limits"])
    height, width = shown.shape[:2]
    scale = max(height, width) / THUMBNAIL
    rows = np.minimum(((np.arange(round(height / scale) or 1) + 0.5) * scale).astype(int), height - 1)
    columns = np.minimum(((np.arange(round(width / scale) or 1) + 0.5) * scale).astype(int), width - 1)
    return np.ascontiguousarray(shown[rows][:, columns, :3])


def _vector_picture(inspection: Inspection, choice: Choice, lookup: Lookup, known: Limits) -> Picture:
    vectors = made_of.Vectors(lookup, choice.part)
    if choice.style == "grid":
        return _grid_picture(inspection, choice, vectors)
    if choice.style == "colour":
        largest = known.in_plane(choice.quantity, choice.direction, choice.plane)[1]
        wheel = Legend("wheel", "Direction on the screen", "mm", (0.0, largest))
        colours = made_of.direction_colours(vectors, choice.plane, largest)
        return Picture(choice, "colour", Volume(vectors.grid.shape, colours, np.uint8, 4), vectors.grid, wheel)
    limits = (0.0, known.lengths(choice.quantity, choice.direction)[1])
    bar = Legend("bar", "Length", "mm", limits, LENGTH_COLORMAP)
    if choice.style == "arrows":
        return Picture(choice, "arrows", vectors, vectors.grid, bar)
    if choice.style == "contours":
        fine = made_of.Resampled(vectors, _image_grid(inspection, vectors.grid))
        return _contour_picture(choice, made_of.lengths(fine), fine.grid, bar)
    style = _look(LENGTH_COLORMAP, 0.6) | {"contrast_limits": limits}
    return Picture(choice, "map", Volume(vectors.grid.shape, made_of.lengths(vectors)), vectors.grid, bar, style)


def _image_grid(inspection: Inspection, grid: Grid) -> Grid:
    """Return the grid of the network's image, on which lines look fine; without a network the given one."""
    return grid if inspection.trace is None else inspection.trace.grid


def _grid_picture(inspection: Inspection, choice: Choice, vectors: made_of.Vectors) -> Picture:
    fine = made_of.Resampled(vectors, _image_grid(inspection, vectors.grid))
    axes = made_of.plane_axes(fine.grid.ndim, choice.plane)
    step = max(float(fine.grid.extent.max()) / LINES, 4 * float(fine.grid.spacing.max()))
    style = _look("yellow", blending="additive") | {"contrast_limits": (0.0, 1.0)}
    legend = Legend("none", f"Lines every {step:.0f} mm, carried by the field")
    data = Volume(fine.grid.shape, made_of.deformed_lines(fine, step, axes))
    return Picture(choice, "map", data, fine.grid, legend, style)


def _mask_picture(choice: Choice, lookup: Lookup, shares: tuple[float, ...]) -> Picture:
    grid, colours = lookup.grid, head_colours(lookup.channels)
    if choice.style == "single":
        head = min(max(choice.part, 0), lookup.channels - 1)
        colormap = {"name": f"napari-ran head {head}", "colors": [[0, 0, 0, 1], [*colours[head], 1]]}
        legend = Legend("bar", f"Mask of head {head}", "", (0.0, 1.0), colormap)
        style = _look(colormap, 0.8) | {"contrast_limits": (0.0, 1.0)}
        return Picture(choice, "map", Volume(grid.shape, made_of.channel(lookup, head)), grid, legend, style)
    mixed = made_of.blend(lookup, np.array(colours), shares if choice.style == "relative" else ())
    legend = Legend("heads", "Heads and their mean share", colours=colours, shares=shares)
    return Picture(choice, "colour", Volume(grid.shape, mixed, np.uint8, 3), grid, legend)


def _scalar_picture(choice: Choice, lookup: Lookup, limits: tuple[float, float]) -> Picture:
    number = min(max(choice.part, 0), lookup.channels - 1)
    values = made_of.channel(lookup, number)
    look = _scalar_look(choice.quantity)
    quantity = QUANTITIES[choice.quantity]
    title = quantity.title if lookup.channels == 1 else f"{quantity.title}, channel {number}"
    legend = Legend("bar", title, quantity.unit if quantity.unit != "1" else "", limits, look["colormap"])
    if choice.style == "contours":
        return _contour_picture(choice, values, lookup.grid, replace(legend, colormap=LENGTH_COLORMAP))
    style = look | {"contrast_limits": limits}
    return Picture(choice, "map", Volume(lookup.grid.shape, values), lookup.grid, legend, style)


def _look(colormap: Any, opacity: float = 1.0, blending: str = "translucent") -> dict[str, Any]:
    return {"colormap": colormap, "blending": blending, "opacity": opacity}


def _scalar_look(quantity: str) -> dict[str, Any]:
    if quantity in ("confidence", "previous_confidence"):
        return _look("viridis", 0.7)
    if quantity in ("difference", "logits"):
        return _look("bwr", 0.7 if quantity == "logits" else 1.0)
    if quantity == "jacobian":
        colors = [[0.13, 0.26, 0.68, 1], [0.97, 0.97, 0.97, 1], [0.70, 0.09, 0.17, 1]]
        return _look({"name": "napari-ran jacobian", "colors": colors, "low_color": list(FOLD_COLOUR)})
    return _look("gray" if quantity in ("warped", "features", "refined") else "viridis")


def _contour_picture(choice: Choice, values: made_of.Values, grid: Grid, legend: Legend) -> Picture:
    """Draw a line, one voxel wide, wherever the values cross a round number in the displayed plane."""
    low, high = legend.limits
    step = round_above((high - low) / CONTOURS)
    axes = made_of.plane_axes(grid.ndim, choice.plane)
    lines = made_of.contour_lines(values, grid.shape, axes, step, low, low - max(high - low, 1e-6))
    colors = np.concatenate([ramp(LENGTH_COLORMAP) / 255.0, np.ones((256, 1))], 1).tolist()
    colormap = {"name": "napari-ran contours", "colors": colors, "low_color": [0.0, 0.0, 0.0, 0.0]}
    style = _look(colormap) | {"contrast_limits": (low, high)}
    legend = replace(legend, title=f"{legend.title}, a line every {step:g}")
    return Picture(choice, "map", Volume(grid.shape, lines), grid, legend, style)
