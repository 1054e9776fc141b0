"""Pool sizes, capture ranges and Delta_inf of network layouts side by side (Fig. 3 b to d)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ran.config import RANConfig
from napari_ran.figures.colours import FRAME, INK, PALE, head_colour, page, plain, titled
from napari_ran.theory import Layout, capture_ranges, level_table, separability_area, separability_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))


def theory(layouts: Sequence[str] | Mapping[str, Layout] = ("RAN0", "RAN3", "RAN4"), distance: int = 96) -> Figure:
    """Draw what the equations say about some layouts.

    Parameters
    ----------
    layouts : sequence of str or mapping of str to Layout
        Names of presets, or any configs by name.
    distance : int
        Largest distance p in voxels on the axis of Delta_inf, below which its area is given.

    Returns
    -------
    matplotlib Figure
    """
    named = layouts if isinstance(layouts, Mapping) else {name: RANConfig.preset(name) for name in layouts}
    rows: dict[str, Layout] = dict(named)
    figure = page(11.5, max(3.4, 1.6 + 0.42 * len(rows)), layout=None)
    table, ranges, curve = figure.subplots(1, 3, width_ratios=(1.25, 1, 1.35))
    _table(table, rows)
    _ranges(ranges, rows)
    _curve(curve, rows, distance)
    figure.tight_layout(w_pad=2.2)
    return figure


def _table(axes: Axes, rows: Mapping[str, Layout]) -> None:
    levels = max(len(layout.pools) for layout in rows.values())
    for i, layout in enumerate(rows.values()):
        for row in level_table(layout):
            shade = 0.10 + 0.16 * np.log2(row.pool_size)
            axes.add_patch(_cell(row.level, i, shade))
            ink = "white" if shade > 0.5 else INK
            axes.text(row.level, i - 0.13, f"{row.pool_size}", ha="center", va="center", fontsize=11, color=ink)
            axes.text(row.level, i + 0.24, f"|r| {row.reach}", ha="center", va="center", fontsize=7.5, color=ink)
    axes.set(xlim=(-0.55, levels - 0.45), ylim=(len(rows) - 0.45, -0.55), xticks=range(levels), yticks=range(len(rows)))
    axes.set_yticklabels(list(rows))
    plain(axes, grid=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    titled(axes, "Pool size $p_k$ and dilations $|r_k|$", "level k")


def _cell(x: float, y: float, shade: float) -> Any:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.47, y - 0.45), 0.94, 0.9, facecolor=colormaps["Blues"](shade), edgecolor=FRAME, lw=0.6)


def _ranges(axes: Axes, rows: Mapping[str, Layout]) -> None:
    for i, (name, layout) in enumerate(rows.items()):
        found = capture_ranges(layout)
        axes.plot(
            range(len(found)), found, color=head_colour(i), ls=_DASHES[i % 4], marker="o", ms=4, lw=1.8, label=name
        )
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    levels = max(len(layout.pools) for layout in rows.values())
    axes.set_xticks(range(levels))
    plain(axes)
    titled(axes, "Capture range $a_k$", "level k", "voxels")


def _curve(axes: Axes, rows: Mapping[str, Layout], distance: int) -> None:
    from matplotlib.patheffects import withStroke

    distances = np.arange(distance + 1)
    outline = [withStroke(linewidth=3, foreground="white")]
    for i, (name, layout) in enumerate(rows.items()):
        axes.step(
            distances, separability_curve(layout, distances), where="post", color=head_colour(i), ls=_DASHES[i % 4],
            lw=1.8, path_effects=outline, label=f"{name}  (area {separability_area(layout, distance):,.0f})",
        )  # fmt: skip
    axes.set(xlim=(0, distance), ylim=(0, None))
    heading = f"area below p = {distance}"
    legend = axes.legend(
        title=heading,
        title_fontsize=7.5,
        fontsize=8,
        loc="lower right",
        alignment="left",
        labelcolor=INK,
        handlelength=2.6,
        facecolor="white",
        edgecolor="none",
        framealpha=0.9,
    )
    legend.get_title().set_color(PALE)
    plain(axes)
    titled(axes, r"Separable difference $\Delta_\infty(p)$", "distance p of two voxels", "voxels")
