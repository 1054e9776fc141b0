"""Colours that keep their meaning from figure to figure; told apart by colour-blind readers as well (Okabe and Ito)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, PALE, FRAME = "#1a1a1a", "#6b6b6b", "#c8c8c8"
"""Text and lines; what steps back; frames."""

_SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#4A4A4A")

BOUND = "#D55E00"
"""Delta_inf."""


def head_colour(head: int) -> str:
    """Return the colour of a head, or of the n-th series; the first eight are different."""
    return _SERIES[head % len(_SERIES)]


def page(width: float, height: float, layout: Literal["constrained"] | None = "constrained", title: str = "") -> Figure:
    """Return an empty white figure of a size in inches, with a line above where there is a title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout=layout, facecolor="white")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    return figure


def plain(axes: Axes, grid: bool = True) -> None:
    """Give a plot the house's look: two thin axes, pale lines behind the data."""
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=FRAME, linewidth=0.8)
    axes.tick_params(colors=INK, labelsize=8, length=3, color=FRAME)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(color="#ececec", linewidth=0.8)


def titled(axes: Any, title: str, x: str = "", y: str = "") -> None:
    """Write heading and axis labels."""
    axes.set_title(title, color=INK, fontsize=10, loc="left", pad=6)
    axes.set_xlabel(x, color=INK, fontsize=9)
    axes.set_ylabel(y, color=INK, fontsize=9)
