"""All stages of a registration at one plane: what the network saw, found, and how sure it was, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_ran.figures.colours import INK, PALE, head_colour, page
from napari_ran.figures.planes import Plane, content_centre, orientation, planes_through, scale_bar, show

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_ran.introspect.inspection import Inspection

ROWS = {
    "warped": "Warped",
    "difference": "Difference",
    "magnitude": "Displacement\n(mm)",
    "dominant": "Leading head",
    "confidence": "Confidence",
}


@dataclass(frozen=True, eq=False)
class Frame:
    """One stage at one plane; each array (rows, columns), None where the stage has no such thing.

    Attributes
    ----------
    title : str
        Of the stage.
    warped : array or None
        The moving image after this stage, 0 to 1.
    difference : array or None
        Warped minus fixed.
    magnitude : array or None
        Length of the displacement in mm.
    dominant : integer array or None
        The head that counts most, from 0.
    confidence : array or None
        Of the level's own residual.
    """

    title: str
    warped: NDArray[np.float32] | None = None
    difference: NDArray[np.float32] | None = None
    magnitude: NDArray[np.float32] | None = None
    dominant: NDArray[np.int64] | None = None
    confidence: NDArray[np.float32] | None = None


def frames(
    inspection: Inspection, view: str = "", position: ArrayLike | None = None, direction: str = "forward"
) -> tuple[NDArray[np.float32] | None, list[Frame], Plane]:
    """Cut all stages of an inspection along one plane.

    Parameters
    ----------
    inspection : Inspection
        Whose stages.
    view : {"", "axial", "coronal", "sagittal"}
        Which plane; the first one, or the only one in 2-D, by default.
    position : (D,) array, optional
        World point in mm through which it goes; by default the centre of the image's bright content.
    direction : {"forward", "inverse"}
        Which field.

    Returns
    -------
    fixed : (rows, columns) array or None
        The image that the field lives on.
    frames : list of Frame
        One per stage that has a field.
    plane : Plane
        Where it was cut.
    """
    image = inspection.image(direction)
    grid = inspection.get("field", 0, direction).grid if image is None else image.grid
    if position is not None:
        centre = grid.to_voxel(position)
    else:
        centre = (np.array(grid.shape) - 1) / 2 if image is None else content_centre(image)
    planes = {plane.name: plane for plane in planes_through(grid, centre)}
    plane = planes.get(view, next(iter(planes.values())))
    world = grid.to_world(np.moveaxis(plane.voxels, 0, -1))

    def cut(quantity: str, stage: int) -> NDArray[Any] | None:
        if inspection.why_not(quantity, stage, direction):
            return None
        found = inspection.get(quantity, stage, direction)
        data = found.magnitude.numpy() if quantity == "field" else found.numpy()
        # the voxel of the stage's own grid that holds each pixel, shown as it is
        voxels = np.floor(found.grid.to_voxel(world) + 0.5).astype(int)
        voxels = np.clip(voxels, 0, np.array(found.grid.shape) - 1)
        return np.asarray(data[(slice(None), *np.moveaxis(voxels, -1, 0))])

    strip = []
    for stage in inspection.stages:
        length = cut("field", stage.index)
        if length is None:
            continue
        masks = cut("masks", stage.index)
        parts = (cut(name, stage.index) for name in ("warped", "difference", "confidence"))
        warped, difference, confidence = (None if part is None else part[0] for part in parts)
        dominant = None if masks is None else masks.argmax(0)
        strip.append(Frame(stage.title, warped, difference, length[0], dominant, confidence))
    own = None if image is None else np.asarray(image.tensor[0].cpu().numpy()[tuple(plane.voxels)])
    return own, strip, plane


def filmstrip(
    fixed: NDArray[np.float32] | None,
    strip: Sequence[Frame],
    plane: Plane,
    heads: int = 0,
    title: str = "",
    image: str = "Fixed",
) -> Figure:
    """Draw all stages, one column each; see `frames`.

    Parameters
    ----------
    fixed : (rows, columns) array or None
        Shown in the first column.
    strip : sequence of Frame
        The stages.
    plane : Plane
        Where they were cut, for the pixel's size and the letters.
    heads : int
        Number of heads, for the legend; by default as many as lead somewhere.
    title : str
        A line above.
    image : str
        What to call the image in the first column: the one that the field lives on.

    Returns
    -------
    matplotlib Figure
    """
    rows = [name for name in ROWS if any(getattr(frame, name) is not None for frame in strip)]
    height, width = plane.size
    columns = len(strip) + (fixed is not None)
    inches = min(1.75 / width, 1.9 / height)
    across, down = max(0.9, width * inches), height * inches
    size = (1.15 + columns * (across + 0.08) + 0.85, 0.35 + 0.3 * bool(title) + len(rows) * (down + 0.08) + 0.12)
    figure = page(*size, layout=None)
    grid = figure.add_gridspec(
        len(rows), columns, left=1.15 / size[0], right=1 - 0.85 / size[0], bottom=0.06 / size[1],
        top=1 - (0.35 + 0.3 * bool(title)) / size[1], hspace=0.08 / down, wspace=0.08 / across,
    )  # fmt: skip
    for row, name in enumerate(rows):
        options = _options(name, [getattr(frame, name) for frame in strip])
        cells = [figure.add_subplot(grid[row, column]) for column in range(columns)]
        drawn = None
        if fixed is not None:
            _first(cells[0], plane, fixed, "" if row else image)
        for axes, frame in zip(cells[columns - len(strip) :], strip, strict=True):
            values = getattr(frame, name)
            if row == 0:
                axes.set_title(frame.title, fontsize=9, color=INK, pad=4)
            if values is None:
                axes.set_axis_off()
                axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=PALE, fontsize=8)
                continue
            drawn = show(axes, plane, values, **options)
        _row(figure, cells, ROWS[name], drawn, name, heads or _leading(strip))
    if title:
        figure.text(0.1 / size[0], 1 - 0.1 / size[1], title, fontsize=11, color=INK, va="top")
    return figure


def _first(axes: Axes, plane: Plane, fixed: NDArray[np.float32], heading: str) -> None:
    if not heading:
        axes.set_axis_off()
        return
    show(axes, plane, fixed, cmap="gray", vmin=0, vmax=1)
    axes.set_title(heading, fontsize=9, color=INK, pad=4)
    orientation(axes, plane)
    scale_bar(axes, plane)


def _options(name: str, values: Sequence[NDArray[Any] | None]) -> dict[str, Any]:
    from matplotlib.colors import ListedColormap

    there = np.concatenate([part.ravel() for part in values if part is not None])
    if name == "warped":
        return {"cmap": "gray", "vmin": 0, "vmax": 1}
    if name == "difference":
        limit = max(0.2, float(np.percentile(np.abs(there), 99)))
        return {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    if name == "dominant":
        count = int(there.max()) + 1
        return {"cmap": ListedColormap([head_colour(i) for i in range(count)]), "vmin": -0.5, "vmax": count - 0.5}
    return {"cmap": "viridis", "vmin": 0, "vmax": max(1e-3, float(np.percentile(there, 99.5)))}


def _row(figure: Figure, cells: list[Axes], label: str, drawn: Any, name: str, heads: int) -> None:
    """Write the row's name on its left, and its scale on its right."""
    from matplotlib.patches import Patch

    box, right = cells[0].get_position(), cells[-1].get_position()
    width = figure.get_size_inches()[0]
    figure.text(0.1 / width, (box.y0 + box.y1) / 2, label, fontsize=9.5, color=INK, va="center")
    if name == "dominant":
        patches = [Patch(color=head_colour(i), label=f"{i}") for i in range(heads)]
        figure.legend(
            handles=patches, loc="center left", bbox_to_anchor=(right.x1 + 0.02 / width, (box.y0 + box.y1) / 2),
            fontsize=8, frameon=False, handlelength=0.9, labelcolor=INK, labelspacing=0.3,
        )  # fmt: skip
    elif name != "warped" and drawn is not None:
        axes = figure.add_axes((right.x1 + 0.1 / width, box.y0 + 0.08 * box.height, 0.09 / width, 0.84 * box.height))
        bar = figure.colorbar(drawn, cax=axes, extend="both" if name == "difference" else "max")
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7.5, length=2, colors=INK)


def _leading(strip: Sequence[Frame]) -> int:
    return 1 + max((int(frame.dominant.max()) for frame in strip if frame.dominant is not None), default=-1)
