"""The curves of a training: what it learned from, what it was measured at, and the line of doing nothing."""

from __future__ import annotations

import math
from typing import Any

from napari.utils.theme import get_theme
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF

from napari_ran.widgets._plot import Axes, ThemedPlot

MOST_POINTS = 1500
"""A longer curve keeps every second point: it is not wider than the screen."""

GOAL = "instance opt."
"""What the line of instance optimisation is called."""

SMOOTHING = 0.9
"""Share of the running mean that a new value leaves as it is."""


class Curve:
    """Points of one curve, thinned when they are too many; `smooth` makes it the running mean of its values."""

    def __init__(self, smooth: bool = False) -> None:
        self.points: list[tuple[float, float]] = []
        self._smooth, self._mean, self._weight = smooth, 0.0, 0.0
        self._stride = self._count = 0

    def add(self, step: float, value: float) -> None:
        """Append a value; what is not finite is left out."""
        if not math.isfinite(value):
            return
        if self._smooth:
            self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * value
            self._weight = SMOOTHING * self._weight + (1 - SMOOTHING)
            value = self._mean / self._weight
        self._count += 1
        if self._stride and self._count % self._stride:
            return
        self.points.append((step, value))
        if len(self.points) > MOST_POINTS:
            self.points = self.points[::2]
            self._stride = 2 * (self._stride or 1)


class CurvePlot(ThemedPlot):
    """Curves over the steps, and dashed lines for the identity and for instance optimisation.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours.
    title, empty : str
        What is drawn, and what stands there before anything is.
    """

    def __init__(self, viewer: Any, title: str, empty: str) -> None:
        self.title, self._empty = title, empty
        self.curves: dict[str, Curve] = {}
        self.line: float | None = None
        self.goal: float | None = None
        self.marked: int | None = None
        super().__init__(viewer, title, f"{empty}. The dashed lines: doing nothing, and optimising alone")
        self.setMinimumHeight(150)

    def clear(self) -> None:
        """Start a new run."""
        self.curves, self.line, self.goal, self.marked = {}, None, None, None
        self.update()

    def add(self, name: str, step: float, value: float, smooth: bool = False) -> None:
        """Append a value of a curve."""
        self.curves.setdefault(name, Curve(smooth)).add(step, value)
        self.update()

    def set_line(self, value: float | None) -> None:
        """Say how good doing nothing is."""
        self.line = value
        self.update()

    def set_goal(self, value: float | None) -> None:
        """Say how good instance optimisation alone is."""
        self.goal = value
        self.update()

    def mark(self, step: int | None) -> None:
        """Mark the step that is looked at."""
        self.marked = step
        self.update()

    def apply_theme(self) -> None:
        """Take the viewer's colours."""
        super().apply_theme()
        theme = get_theme(self._viewer.theme)
        self._colours = {
            "training": self.visible(QColor(theme.current.as_hex())),
            "validation": self.visible(QColor(theme.warning.as_hex())),
            GOAL: self.visible(QColor("#009E73")),
        }

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw the axes, the line of doing nothing and the curves."""
        painter = self.started()
        values = [value for curve in self.curves.values() for _, value in curve.points]
        if not values:
            self.say(painter, self._empty)
            return
        values += [line for line in (self.line, self.goal) if line is not None]
        last = max(2.0, *(curve.points[-1][0] for curve in self.curves.values() if curve.points))
        area = self.draw_axes(painter, (0, last), values)
        self._draw_line(painter, area)
        self._draw_mark(painter, area, last)
        for name, curve in self.curves.items():
            self._draw_curve(painter, area, name, curve)
        self.draw_head(painter, self.title, self._names(), area.frame.right())

    def _draw_line(self, painter: QPainter, area: Axes) -> None:
        for value, colour, width in ((self.line, self._text, 1), (self.goal, self._colours[GOAL], 2)):
            if value is not None:
                painter.setPen(QPen(colour, width, Qt.PenStyle.DashLine))
                y = area.point(0, value).y()
                painter.drawLine(QPointF(area.frame.left(), y), QPointF(area.frame.right(), y))

    def _draw_mark(self, painter: QPainter, area: Axes, last: float) -> None:
        if self.marked is not None and self.marked <= last:
            painter.setPen(QPen(self._text, 1, Qt.PenStyle.DotLine))
            x = area.point(self.marked, 0).x()
            painter.drawLine(QPointF(x, area.frame.top()), QPointF(x, area.frame.bottom()))

    def _draw_curve(self, painter: QPainter, area: Axes, name: str, curve: Curve) -> None:
        if not curve.points:
            return
        colour = self._colours.get(name, self._text)
        points = [area.point(step, value) for step, value in curve.points]
        painter.setPen(QPen(colour, 2))
        painter.drawPolyline(QPolygonF(points))
        painter.setBrush(colour)
        for point in points[-1:] if len(points) > 40 else points:
            painter.drawEllipse(point, 2.5, 2.5)
        painter.setBrush(Qt.BrushStyle.NoBrush)

    def _names(self) -> list[tuple[str, QColor]]:
        """Return what is drawn, with the colours."""
        names = [(name, self._colours.get(name, self._text)) for name, curve in self.curves.items() if curve.points]
        names += [] if self.line is None else [("┄ identity", self._text)]
        return names + ([] if self.goal is None else [(f"┄ {GOAL}", self._colours[GOAL])])
