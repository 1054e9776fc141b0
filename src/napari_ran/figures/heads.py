"""How much each head of each level tells of the organ labels, with the control, and which head leads in which organ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ran.figures.colours import FRAME, INK, PALE, head_colour, page, plain, titled
from napari_ran.introspect.heads import HeadInformation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNIFICANT = 0.05
"""A value is marked where no more than this share of the control is as large."""


def heads(levels: Mapping[int, HeadInformation], names: Mapping[int, str] | None = None, title: str = "") -> Figure:
    """Draw the information of all levels.

    Parameters
    ----------
    levels : mapping of int to HeadInformation
        By level; from `introspect.study.level_information`.
    names : mapping of int to str, optional
        Names of the labels.
    title : str
        A line above.

    Returns
    -------
    matplotlib Figure
        Left, the normalised mutual information per level and head, and of all heads together; a frame marks what is
        above the control. Middle, all heads against the control. Right, the share of each head inside each label at
        the level that tells most.
    """
    order = sorted(levels)
    count = len(levels[order[0]].per_head)
    best = max(order, key=lambda level: levels[level].information)
    labels = levels[best].labels
    height = max(3.2, 1.5 + 0.45 * max(len(order), len(labels))) + 0.3 * bool(title)
    figure = page(12.2, height, title=title)
    matrix, control, shares = figure.subplots(1, 3, width_ratios=(0.55 * (count + 1), 2.6, 3.6))
    _matrix(matrix, [levels[level] for level in order], order)
    _control(control, [levels[level] for level in order], order)
    _shares(shares, levels[best], best, {0: "background"} | dict(names or {}))
    return figure


def _matrix(axes: Axes, found: list[HeadInformation], order: list[int]) -> None:
    from matplotlib.patches import Rectangle

    values = np.array([[*one.per_head, one.information] for one in found])
    chance = np.array([[*one.p_value_per_head, one.p_value] for one in found])
    peak = max(float(values.max()), 1e-6)
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1.15 * peak, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        ink = "white" if value > 0.62 * peak else INK
        axes.text(column, row, _number(value), ha="center", va="center", fontsize=8.5, color=ink)
        if chance[row, column] <= SIGNIFICANT:
            axes.add_patch(
                Rectangle((column - 0.43, row - 0.43), 0.86, 0.86, fill=False, edgecolor="#D55E00", lw=1.6, zorder=5)
            )
    count = values.shape[1] - 1
    axes.axvline(count - 0.5, color="white", lw=5)
    axes.set_xticks(range(count + 1), [*(f"{head}" for head in range(count)), "all"])
    axes.set_yticks(range(len(order)), [f"level {level}" for level in order])
    plain(axes, grid=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    titled(axes, "Information about the label", "head (framed: above the control)")


def _control(axes: Axes, found: list[HeadInformation], order: list[int]) -> None:
    for row, one in enumerate(found):
        if len(one.control):
            low, middle, high = np.quantile(one.control, [0.05, 0.5, 0.95])
            axes.plot([low, high], [row, row], color=FRAME, lw=7, solid_capstyle="butt", zorder=1)
            axes.plot(middle, row, marker="|", color=PALE, ms=8, zorder=2)
        above = one.p_value <= SIGNIFICANT
        axes.plot(one.information, row, "o", ms=7, color="#0072B2", mfc="#0072B2" if above else "white", zorder=3)
    axes.set_yticks(range(len(order)), [f"level {level}" for level in order])
    axes.set(ylim=(len(order) - 0.5, -0.5), xlim=(0, None))
    axes.margins(x=0.1)
    plain(axes)
    titled(axes, "All heads, and moved labels", "share of the label's entropy\n(grey: 5 to 95 % of the control)")


def _shares(axes: Axes, found: HeadInformation, level: int, names: Mapping[int, str]) -> None:
    left = np.zeros(len(found.labels))
    rows = np.arange(len(found.labels))
    for head, widths in enumerate(found.head_given_label):
        axes.barh(rows, widths, left=left, color=head_colour(head), edgecolor="white", lw=0.8, label=f"{head}")
        left += widths
    axes.set_yticks(rows, [str(names.get(int(label), f"label {label}")) for label in found.labels])
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    plain(axes, grid=False)
    handles, texts = axes.get_legend_handles_labels()
    axes.legend(
        handles, texts, title="head", loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, title_fontsize=8,
        frameon=False, labelcolor=INK, handlelength=1,
    )  # fmt: skip
    titled(axes, f"Share of each head inside a label, level {level}", "mean mask")


def _number(value: Any) -> str:
    return "0" if value < 5e-4 else f"{value:.3f}".lstrip("0") if value < 1 else "1"
