"""Box plots of systems side by side, a panel for each label (Fig. 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from napari_ran.figures.colours import INK, head_colour, page, plain, titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 4
"""Panels beside each other."""

MANY_CASES = 40
"""Up to here every case is drawn as a point."""


def box_plots(
    values: Mapping[str, Mapping[int, Sequence[float]]],
    names: Mapping[int, str] | None = None,
    measure: str = "Dice",
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """Draw how a measure is spread over cases, for each system and label.

    Parameters
    ----------
    values : mapping of str to mapping of int to sequence of float
        Of each system, of each label, the value of every case.
    names : mapping of int to str, optional
        Names of the labels.
    measure : str
        What the values are, with its unit.
    colours : mapping of str to str, optional
        Of some systems; the others have one colour.

    Returns
    -------
    matplotlib Figure
        Boxes from the first to the third quartile with the median in it; whiskers reach the last value within 1.5
        times the box; with few cases every one is a point.
    """
    labels = sorted({label for found in values.values() for label in found})
    columns = min(max(len(labels), 1), MOST_COLUMNS)
    rows = max(1, -(-len(labels) // columns))
    height = 0.7 + 0.26 * len(values)
    figure = page(2.2 + 3.0 * columns, rows * height + 0.2)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes, label in zip(grid.flat, labels, strict=False):
        _panel(axes, {system: found.get(label, ()) for system, found in values.items()}, colours or {})
        titled(axes, (names or {}).get(label, f"label {label}"), x=measure)
    for axes in grid.flat[len(labels) :]:
        axes.set_visible(False)
    return figure


def _panel(axes: Axes, values: Mapping[str, Sequence[float]], colours: Mapping[str, str]) -> None:
    places = range(len(values))
    boxes = axes.boxplot(
        [list(found) for found in values.values()],
        positions=list(places),
        orientation="horizontal",
        widths=0.62,
        patch_artist=True,
        showfliers=False,
        medianprops={"color": INK, "linewidth": 1.4},
        boxprops={"edgecolor": INK, "linewidth": 0.8},
        whiskerprops={"color": INK, "linewidth": 0.8},
        capprops={"color": INK, "linewidth": 0.8},
        manage_ticks=False,
    )
    for box, system in zip(boxes["boxes"], values, strict=True):
        box.set_facecolor(colours.get(system, head_colour(4)))
        box.set_alpha(0.75)
    for place, found in zip(places, values.values(), strict=True):
        if 0 < len(found) <= MANY_CASES:
            axes.plot(list(found), [place] * len(found), ".", color=INK, markersize=2.5, alpha=0.5, zorder=3)
    plain(axes)
    axes.grid(visible=False, axis="y")
    axes.set_yticks(list(places), list(values))
    axes.set_ylim(len(values) - 0.4, -0.6)
