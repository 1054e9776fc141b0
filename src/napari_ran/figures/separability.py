"""The motion-separability PDF with Delta_inf on it, and the difference of two (Fig. 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ran.figures.colours import BOUND, INK, PALE, page, plain, titled
from napari_ran.introspect.separability import Normalisation, Separability, SeparabilityDifference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WHOLE = 0.9995
"""Share of the pairs that the axis of the difference shows."""

LEAST = 10
"""The axis of the difference goes at least up to here, in voxels."""


def separability(
    found: Separability | Mapping[str, Separability], by: Normalisation = "joint", title: str = ""
) -> Figure:
    """Draw one PDF, or several side by side with one scale.

    Parameters
    ----------
    found : Separability or mapping of str to Separability
        One, or several by name, such as the levels of a network.
    by : {"joint", "conditional"}
        Probability of a cell in the plane, as in the paper, or of a difference given the distance.
    title : str
        A line above.

    Returns
    -------
    matplotlib Figure
    """
    from matplotlib.colors import LogNorm

    parts = {"": found} if isinstance(found, Separability) else dict(found)
    planes = [part.normalised(by) for part in parts.values()]
    peak = max(float(plane.max()) for plane in planes)
    norm = LogNorm(peak * 1e-5, peak)
    columns = min(len(parts), 4)
    rows = -(-len(parts) // columns)
    figure = page(1.2 + 3.5 * columns, 0.3 * bool(title) + 3.1 * rows, title=title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    top = max(_top(part) for part in parts.values())
    for axes, (name, part), plane in zip(grid.flat, parts.items(), planes, strict=False):
        drawn = _heat(axes, part, plane, norm=norm, cmap="magma")
        _bound(axes, part.bound, part.distances, "white")
        axes.set_ylim(-0.5, top + 0.5)
        titled(axes, name or "Motion separability", "distance p (voxels)", "difference of displacement (voxels)")
        text = f"{part.pairs:,} pairs" if part.above_bound is None else f"{100 * part.above_bound:.2g} % above the line"
        axes.text(0.98, 0.97, text, transform=axes.transAxes, ha="right", va="top", fontsize=7.5, color="white")
    for axes in list(grid.flat)[len(parts) :]:
        axes.set_visible(False)
    for axes in grid.flat:
        axes.label_outer()
    for axes in list(grid.flat)[max(0, len(parts) - columns) : len(parts)]:  # nothing is shown below these
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("distance p (voxels)", color=INK, fontsize=9)
    _add_bar(figure, drawn, grid, {"joint": "probability", "conditional": "probability at this distance"}[by])
    return figure


def separability_difference(
    change: SeparabilityDifference, names: tuple[str, str] = ("first", "second"), title: str = ""
) -> Figure:
    """Draw the difference of two PDFs (Fig. 7b): where the first has more pairs, and where the second has.

    Parameters
    ----------
    change : SeparabilityDifference
        From `Separability.difference`.
    names : (str, str)
        Of the two.
    title : str
        A line above.

    Returns
    -------
    matplotlib Figure
    """
    from matplotlib.colors import SymLogNorm

    figure = page(5.6, 3.5 + 0.3 * bool(title), title=title)
    axes = figure.subplots()
    limit = max(float(np.abs(change.change).max()), 1e-12)
    norm = SymLogNorm(linthresh=limit * 1e-2, vmin=-limit, vmax=limit)
    drawn = _heat(axes, change, change.change, norm=norm, cmap="PuOr_r")
    first, second = change.bounds
    same = first is not None and second is not None and np.array_equal(first, second)
    labels = (r"$\Delta_\infty(p)$", "") if same else (rf"$\Delta_\infty$ {names[0]}", rf"$\Delta_\infty$ {names[1]}")
    _bound(axes, first, change.distances, INK, labels[0])
    if not same:
        _bound(axes, second, change.distances, INK, labels[1], (0, (4, 2)))
    kept = np.abs(change.change).sum(0)
    axes.set_ylim(-0.5, max(_reach(kept), LEAST) + 0.5)
    titled(axes, f"{names[0]} minus {names[1]}", "distance p (voxels)", "difference of displacement (voxels)")
    what = {"joint": "change of probability", "conditional": "change of probability at this distance"}[change.by]
    _add_bar(figure, drawn, np.array([axes]), what)
    return figure


def _heat(axes: Axes, part: Separability | SeparabilityDifference, plane: Any, **options: Any) -> Any:
    p, q = part.distances, part.differences
    extent = (p[0] - 0.5, p[-1] + 0.5, q[0] - 0.5, q[-1] + 0.5)
    low = getattr(options["norm"], "vmin", None)
    values = plane.T if low is None or low < 0 else np.maximum(plane.T, low)
    drawn = axes.imshow(values, origin="lower", extent=extent, aspect="auto", interpolation="nearest", **options)
    plain(axes, grid=False)
    axes.set_facecolor(drawn.cmap(0.5 if low is not None and low < 0 else 0.0))  # beyond the histogram
    return drawn


def _bound(
    axes: Axes, bound: Any, distances: Any, colour: str, label: str = r"$\Delta_\infty(p)$", dashes: Any = "-"
) -> None:
    from matplotlib.patheffects import withStroke

    if bound is None:
        return
    outline = [withStroke(linewidth=3.4, foreground=INK if colour == "white" else "white")]
    line = BOUND if colour != "white" else "#56B4E9"
    bottom, top = axes.get_ylim()
    axes.step(distances, bound, where="mid", color=line, lw=1.8, ls=dashes, path_effects=outline, label=label)
    axes.set_ylim(bottom, top)
    ink = "white" if colour == "white" else INK
    axes.legend(
        fontsize=8, frameon=False, loc="upper right", labelcolor=ink, handlelength=1.8, bbox_to_anchor=(1, 0.95)
    )


def _top(part: Separability) -> int:
    """Return the difference that the axis ends at: nearly all pairs are below."""
    return max(_reach(part.histogram.sum(0)), LEAST)


def _reach(mass: Any) -> int:
    share = np.cumsum(mass) / max(float(mass.sum()), 1e-300)
    return min(len(mass) - 1, int(np.searchsorted(share, WHOLE)) + 2)


def _add_bar(figure: Figure, drawn: Any, grid: Any, label: str) -> None:
    bar = figure.colorbar(drawn, ax=list(grid.flat), pad=0.02, fraction=0.05)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5, length=2, colors=INK)
    bar.set_label(label, fontsize=8.5, color=PALE)
