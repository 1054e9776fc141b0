"""One point: its path through the stages, and what moved it at each of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ran.figures.colours import FRAME, INK, PALE, head_colour, page, plain, titled
from napari_ran.introspect.probe import Contribution, Probe, StageProbe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OTHERS = {
    "residual mean": "#4d4d4d",
    "carried mean": "#bdbdbd",
    "carried": "#bdbdbd",
    "start": "#8c96a8",
    "features": "#7f5539",
    "bias": "#000000",
    "clamp": "#b2182b",
    "change": "#762a83",
}
_CARRIED_ALPHA = 0.45
"""The carried field's heads have the colour of the head that let them through, but paler."""


def probe(found: Probe | Sequence[Probe], names: Sequence[str] = (), title: str = "") -> Figure:
    """Draw one point, or several below each other.

    Parameters
    ----------
    found : Probe or sequence of Probe
        From `introspect.probe.probe`.
    names : sequence of str
        Of the points, such as "pin 1"; by default where they are.
    title : str
        A line above.

    Returns
    -------
    matplotlib Figure
        Left the path in the plane of its largest extent, right the exact contributions to the displacement of each
        stage along its direction.
    """
    points = [found] if isinstance(found, Probe) else list(found)
    longest = max(len(point.stages) for point in points)
    height = (1.2 + 0.36 * longest) * len(points) + 0.55 + 0.3 * bool(title)
    figure = page(10.5, height, title=title)
    grid = figure.subplots(len(points), 2, squeeze=False, width_ratios=(1, 1.9))
    for row, (axes, point) in enumerate(zip(grid, points, strict=True)):
        draw_path(axes[0], point)
        draw_contributions(axes[1], point)
        place = ", ".join(f"{value:.1f}" for value in point.point)
        name = names[row] if row < len(names) else f"Point ({place}) mm"
        titled(axes[0], name, axes[0].get_xlabel(), axes[0].get_ylabel())
    handles = _legend(points)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 8), fontsize=8, frameon=False,
        labelcolor=INK, handlelength=1.1, columnspacing=1.2,
    )  # fmt: skip
    return figure


def draw_path(axes: Axes, found: Probe, plane: tuple[int, int] | None = None) -> None:
    """Draw where the point is looked up after each stage, and the boxes that the levels can reach.

    Parameters
    ----------
    axes : Axes
        Cleared first, so that a dock can draw into it again and again.
    found : Probe
        The point.
    plane : (int, int), optional
        World axes along the picture's width and height; by default the two along which the path extends most.
    """
    from matplotlib import colormaps
    from matplotlib.patches import Polygon

    axes.clear()
    path = found.path
    if plane is None:
        first, second = sorted(np.argsort(np.ptp(path, axis=0), kind="stable")[-2:])
        plane = int(first), int(second)
    across, up = plane
    shades = colormaps["viridis"](np.linspace(0.05, 0.9, max(len(found.stages), 2)))
    middle = path[:, plane].min(0) / 2 + path[:, plane].max(0) / 2
    half = max(0.62 * float(np.ptp(path[:, plane], axis=0).max()), 0.5)
    for index, stage in enumerate(found.stages):
        if stage.capture_range is not None:
            corners = _outline(path[index], stage.capture_range, found.box_axes, plane)
            axes.add_patch(Polygon(corners, closed=True, fill=False, ec=shades[index], lw=1, ls=(0, (3, 2)), alpha=0.8))
        start, end = path[index][list(plane)], path[index + 1][list(plane)]
        if np.linalg.norm(end - start) > 0.12 * half:
            arrow = {"arrowstyle": "-|>", "color": shades[index], "lw": 1.8, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", end, start, arrowprops=arrow)
        else:  # a head would be longer than the step
            axes.plot(*zip(start, end, strict=True), color=shades[index], lw=1.8)
        axes.plot(*end, "o", color=shades[index], ms=4)
    axes.plot(*path[0][list(plane)], marker="+", color=INK, ms=11, mew=1.8)
    axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
    axes.set_aspect("equal", adjustable="box")
    plain(axes)
    titled(axes, "Path", f"{'xyz'[across]} (mm)", f"{'xyz'[up]} (mm)")


def draw_contributions(axes: Axes, found: Probe) -> None:
    """Draw the exact parts of the displacement after each stage as bars along its direction; they sum to its length.

    Parts to the left of zero act against the displacement. `axes` is cleared first.
    """
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    axes.clear()
    rows = range(len(found.stages))
    bars: list[list[tuple[float, float]]] = []
    colours: list[tuple[float, ...]] = []
    lengths: list[float] = []
    for row, stage in zip(rows, found.stages, strict=True):
        direction = _direction(stage, found)
        ends = {1: 0.0, -1: 0.0}
        for part in stage.contributions:
            width = float(part.mm @ direction)
            side = 1 if width >= 0 else -1
            start, end = ends[side], ends[side] + width
            bars.append([(start, row - 0.33), (end, row - 0.33), (end, row + 0.33), (start, row + 0.33)])
            colours.append(to_rgba(*_look(part)))
            ends[side] = end
        lengths.append(float(stage.displacement @ direction))
    # one collection: a patch for each bar would take ten times as long, too long to follow the mouse
    axes.add_collection(PolyCollection(bars, facecolors=colours, edgecolors="white", linewidths=0.6))
    axes.plot(lengths, list(rows), ls="", marker="D", color=INK, ms=4.5, mec="white", mew=0.8)
    places = [corner[0] for bar in bars for corner in bar] + lengths + [0.0]
    margin = 0.05 * max(max(places) - min(places), 1e-3)
    axes.set_xlim(min(places) - margin, max(places) + margin)
    axes.axvline(0, color=PALE, lw=0.8)
    axes.set_yticks(rows, [stage.stage.title for stage in found.stages])
    axes.set_ylim(len(found.stages) - 0.4, -0.6)
    plain(axes)
    axes.grid(visible=False, axis="y")
    for row, stage in zip(rows, found.stages, strict=True):
        axes.annotate(
            _words(stage), (1.01, row), xycoords=("axes fraction", "data"), fontsize=7.5, va="center", color=PALE
        )
    titled(axes, "What moved it (◆ displacement after the stage)", "mm along the displacement")


def _words(stage: StageProbe) -> str:
    words = [f"{np.linalg.norm(stage.displacement):.2f} mm"]
    if stage.masks is not None:
        words.append(f"head {int(stage.masks.argmax())} ({stage.masks.max():.0%})")
    if stage.confidence is not None:
        words.append(f"conf. {stage.confidence:.2f}")
    return "\n".join([words[0], ", ".join(words[1:])]) if len(words) > 1 else words[0]


def _direction(stage: StageProbe, found: Probe) -> NDArray[np.float64]:
    for vector in (stage.displacement, found.path[-1] - found.path[0]):
        length = float(np.linalg.norm(vector))
        if length > 1e-6:
            return np.asarray(vector / length)
    return np.asarray(np.eye(len(found.point))[0])


def _look(part: Contribution) -> tuple[str, float]:
    """Return colour and opacity of a part."""
    if part.head is None:
        return _OTHERS.get(part.kind, FRAME), 1.0
    return head_colour(part.head), 1.0 if part.kind == "residual" else _CARRIED_ALPHA


def _legend(points: Sequence[Probe]) -> list[Any]:
    from matplotlib.patches import Patch

    parts = [part for point in points for stage in point.stages for part in stage.contributions]
    handles = [
        Patch(color=head_colour(head), label=f"head {head}")
        for head in sorted({part.head for part in parts if part.head is not None})
    ]
    if any(part.kind == "carried" and part.head is not None for part in parts):
        handles.append(Patch(color=head_colour(0), alpha=_CARRIED_ALPHA, label="carried, by head (pale)"))
    kinds = {part.kind for part in parts if part.head is None}
    if "carried" in kinds:
        kinds.add("carried mean")  # one colour for the field as a whole
    names = {
        "residual mean": "mean of the heads",
        "carried mean": "carried field",
        "start": "coarser looks",
        "change": "change by the stage",
    }
    shown = [(kind, colour) for kind, colour in _OTHERS.items() if kind in kinds and kind != "carried"]
    return handles + [Patch(color=colour, label=names.get(kind, kind)) for kind, colour in shown]


def _outline(
    centre: NDArray[np.float64], half: NDArray[np.float64], axes: NDArray[np.float64], plane: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the corners (n, 2) of a box along the columns of `axes` as it is seen in a world plane, in order."""
    from scipy.spatial import ConvexHull

    signs = np.array(list(product((-1, 1), repeat=len(half))))
    corners = (centre + (signs * half) @ axes.T)[:, plane]
    return np.asarray(corners[ConvexHull(corners).vertices])
