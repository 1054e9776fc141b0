"""The live curve of a run, in the colours of the viewer."""

from __future__ import annotations

import time
from typing import Any

from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

REDRAW_MS = 200
"""Shortest time between two drawings of the curve."""


class MetricPlot(QWidget):
    """The similarity of a run against its step, drawn at most five times a second.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours; `apply_theme` takes them anew.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._values: dict[str, list[float]] = {}
        self.steps = 0
        self._last = 0.0
        # fixed margins: a constrained layout costs more than the drawing itself
        self.figure = Figure(figsize=(3.2, 1.7))
        self.axes = self.figure.add_axes((0.17, 0.25, 0.80, 0.68))
        self.canvas = FigureCanvasQTAgg(self.figure)
        self.canvas.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(150)
        self.setAccessibleName("Similarity during the run")
        self.setToolTip("<p>Similarity of the warped and the fixed image at each step of the run.</p>")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.canvas)
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.timeout.connect(self._draw)
        self.apply_theme()

    def clear(self) -> None:
        """Start a new run."""
        self._values, self.steps = {}, 0
        self._schedule()

    def add(self, stage: str, value: float) -> None:
        """Append a value of a stage's curve."""
        self.steps += 1
        self._values.setdefault(stage, []).append(value)
        self._schedule()

    def apply_theme(self, event: Any = None) -> None:
        """Take the viewer's colours."""
        theme = get_theme(self._viewer.theme)
        self._colours = {
            name: getattr(theme, name).as_hex() for name in ("background", "foreground", "text", "current")
        }
        self._colours["second"] = theme.warning.as_hex()
        self.figure.set_facecolor(self._colours["background"])
        self._schedule()

    def _schedule(self) -> None:
        if not self._redraw.isActive():
            waited = 1000 * (time.monotonic() - self._last)
            self._redraw.start(max(0, int(REDRAW_MS - waited)))

    def _draw(self) -> None:
        self._last = time.monotonic()
        axes, colours = self.axes, self._colours
        axes.clear()
        axes.set_facecolor(colours["background"])
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(colours["text"])
        axes.tick_params(colors=colours["text"], labelsize=7)
        axes.set_xlabel("step", color=colours["text"], fontsize=8)
        axes.set_ylabel("similarity", color=colours["text"], fontsize=8)
        axes.locator_params(nbins=4)
        if not self._values:
            axes.set_axis_off()
            text = "The similarity of each step appears here"
            axes.text(0.5, 0.5, text, ha="center", va="center", color=colours["text"], fontsize=8, alpha=0.7)
        for (stage, values), colour in zip(self._values.items(), self._palette(), strict=False):
            axes.plot(range(1, len(values) + 1), values, color=colour, lw=1.5, label=stage, marker="o", ms=2)
        if len(self._values) > 1:
            axes.legend(fontsize=7, frameon=False, labelcolor=colours["text"], loc="best")
        self.canvas.draw_idle()

    def _palette(self) -> list[str]:
        return [self._colours["current"], self._colours["second"], self._colours["text"]]
