"""Boxes and arrows for the diagrams of the documentation, in a light and a dark palette, as SVG with real text."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch


@dataclass(frozen=True)
class Palette:
    """Colours of a diagram: text, lines, and fill and edge of each kind of box (Okabe and Ito's, paled)."""

    ink: str
    pale: str
    fills: dict[str, tuple[str, str]]


PALETTES = {
    "light": Palette(
        "#1a1a1a",
        "#6b6b6b",
        {
            "blue": ("#dcebf5", "#0072b2"),
            "gold": ("#fbeed3", "#b87a00"),
            "green": ("#d8efe6", "#00805d"),
            "rose": ("#f6e4ee", "#b3568a"),
            "grey": ("#f0f0f0", "#8c8c8c"),
        },
    ),
    "dark": Palette(
        "#e8e8e8",
        "#a6a6a6",
        {
            "blue": ("#1c3a4d", "#56b4e9"),
            "gold": ("#463510", "#e69f00"),
            "green": ("#123c30", "#2fc79a"),
            "rose": ("#44283a", "#e08abc"),
            "grey": ("#33363b", "#8c8c8c"),
        },
    ),
}


class Diagram:
    """A sheet on which boxes, arrows and notes are put; lengths in inches."""

    def __init__(self, palette: Palette, width: float, height: float) -> None:
        self.palette = palette
        self.figure = Figure(figsize=(width, height))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.set_axis_off()

    def box(
        self, x: float, y: float, title: str, below: str = "", width: float = 1.5, height: float = 0.6,
        kind: str = "blue", size: float = 9.5,
    ) -> None:  # fmt: skip
        """Put a box around (x, y), with a heading and smaller lines below it."""
        fill, edge = self.palette.fills[kind]
        corner = (x - width / 2, y - height / 2)
        style = "round,pad=0,rounding_size=0.07"
        self.axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, fc=fill, ec=edge, lw=1.1, zorder=3))
        lines = below.count("\n") + 1 if below else 0
        rise = 0.075 * lines
        self.axes.text(x, y + rise, title, size=size, ha="center", va="center", color=self.palette.ink, zorder=4)
        if below:
            small = {"size": size - 1.9, "ha": "center", "va": "center", "color": self.palette.pale, "zorder": 4}
            self.axes.text(x, y - 0.09, below, linespacing=1.25, **small)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], kind: str = "", bend: float = 0.0,
        behind: bool = False, dashed: bool = False,
    ) -> None:  # fmt: skip
        """Draw an arrow; `behind` a thin line without a head, under the boxes."""
        colour = self.palette.fills[kind][1] if kind else self.palette.pale
        look: dict[str, Any] = {"arrowstyle": "-", "lw": 0.6, "alpha": 0.55, "zorder": 1} if behind else {}
        look = look or {"arrowstyle": "-|>", "lw": 1.2, "mutation_scale": 9, "zorder": 2}
        self.axes.add_patch(
            FancyArrowPatch(
                start, end, color=colour, shrinkA=0, shrinkB=0, connectionstyle=f"arc3,rad={bend}",
                linestyle="--" if dashed else "-", **look,
            )
        )  # fmt: skip

    def note(self, x: float, y: float, text: str, size: float = 8, align: str = "center") -> None:
        """Write small text."""
        self.axes.text(x, y, text, size=size, ha=align, va="center", color=self.palette.pale, zorder=4)


def save(diagram: Diagram, path: Path, description: str) -> None:
    """Write a diagram as SVG whose text stays text, with what it shows in words inside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    look = {"svg.fonttype": "none", "svg.hashsalt": path.stem, "font.family": ["sans-serif"]}
    with rc_context(look):
        drawn = StringIO()
        about = {"Date": None, "Description": description}
        diagram.figure.savefig(drawn, format="svg", transparent=True, metadata=about)
    lines = (line.rstrip() for line in drawn.getvalue().splitlines())  # no spaces at the ends, for quiet diffs
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(path)
