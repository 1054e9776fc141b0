"""The live curve of a run, in the colours of the viewer.

It is painted by Qt itself: a drawing by matplotlib costs tens of milliseconds of Python, several times a second, in the
thread that must stay free; this one costs less than one.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from napari.utils.theme import get_theme
from qtpy.QtCore import QPointF, QRectF, Qt, QTimer
from qtpy.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

REDRAW_MS = 200
"""Shortest time between two drawings of the curve."""

_SMALLEST_RANGE = 0.01
_EMPTY = "The similarity of each step appears here"


class ThemedPlot(QWidget):
    """A widget that is painted in the colours of the viewer.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours; `apply_theme` takes them anew.
    name, tip : str
        What it is, for screen readers, and what is said when the mouse rests on it.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, viewer: Any, name: str, tip: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.setAccessibleName(name)
        if tip:
            self.setToolTip(f"<p>{tip}</p>")
        self.apply_theme()

    def apply_theme(self, event: Any = None) -> None:
        """Take the viewer's colours."""
        theme = get_theme(self._viewer.theme)
        self._text, self._faint = QColor(theme.text.as_hex()), QColor(theme.foreground.as_hex())
        self.update()

    def visible(self, colour: QColor) -> QColor:
        """Return a colour dark enough for lines and words where the theme is light."""
        on_light = self._text.lightness() < 128
        return colour.darker(100 + max(0, colour.green() - 110)) if on_light else colour


class MetricPlot(ThemedPlot):
    """The similarity of a run against its step, drawn at most five times a second.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours; `apply_theme` takes them anew.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        self.values: dict[str, list[float]] = {}
        self._last = 0.0
        tip = "Similarity of the warped and the fixed image at each step (higher is better)."
        super().__init__(viewer, "Similarity during the run", tip, parent)
        self.setMinimumHeight(160)
        self._redraw = QTimer(self)
        self._redraw.setSingleShot(True)
        self._redraw.timeout.connect(self._update_now)

    @property
    def steps(self) -> int:
        """How many values there are, over all stages."""
        return sum(len(values) for values in self.values.values())

    def clear(self) -> None:
        """Start a new run."""
        self.values = {}
        self._schedule()

    def add(self, stage: str, value: float) -> None:
        """Append a value of a stage's curve."""
        self.values.setdefault(stage, []).append(value)
        self._schedule()

    def apply_theme(self, event: Any = None) -> None:
        """Take the viewer's colours."""
        super().apply_theme()
        theme = get_theme(self._viewer.theme)
        self._curves = [QColor(getattr(theme, name).as_hex()) for name in ("warning", "current", "text")]

    def _schedule(self) -> None:
        if not self._redraw.isActive():
            waited = 1000 * (time.monotonic() - self._last)
            self._redraw.start(max(0, int(REDRAW_MS - waited)))

    def _update_now(self) -> None:
        self._last = time.monotonic()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw the axes and one curve per stage."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = painter.font()
        font.setPointSizeF(0.85 * font.pointSizeF() if font.pointSizeF() > 0 else 8)
        painter.setFont(font)
        painter.setPen(self._text)
        if self.steps == 0:
            painter.drawText(QRectF(self.rect()), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, _EMPTY)
            return
        everything = np.concatenate([np.asarray(values, float) for values in self.values.values()])
        longest = max(len(values) for values in self.values.values())
        low, high = float(everything.min()), float(everything.max())
        margin = max(0.0, _SMALLEST_RANGE - (high - low)) / 2  # a level curve is drawn level, not its rounding errors
        vertical = ticks(low - margin, high + margin)
        horizontal = ticks(1, max(2, longest))
        frame = self._frame(QFontMetricsF(font), vertical)
        area = Axes(frame, (1, max(2, longest)), (vertical[0], vertical[-1]))
        self._draw_axes(painter, area, horizontal, vertical)
        for (stage, values), colour in zip(self.values.items(), self._curves, strict=False):
            painter.setPen(QPen(colour, 2))
            points = [area.point(step + 1, value) for step, value in enumerate(values)]
            painter.drawPolyline(QPolygonF(points))
            painter.setBrush(colour)
            painter.drawEllipse(points[-1], 2.5, 2.5)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            self._name_curve(painter, frame, stage, list(self.values).index(stage), colour)

    def _frame(self, metrics: QFontMetricsF, vertical: list[float]) -> QRectF:
        """Return the rectangle inside the axes, with room for the numbers."""
        left = 8 + max(metrics.horizontalAdvance(_short(v, vertical)) for v in vertical)
        return QRectF(left, 8 + metrics.height(), self.width() - left - 10, self.height() - 18 - 3 * metrics.height())

    def _draw_axes(self, painter: QPainter, area: Axes, horizontal: list[float], vertical: list[float]) -> None:
        frame, height = area.frame, painter.fontMetrics().height()
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for value in vertical:
            y = area.point(1, value).y()
            painter.setPen(QPen(self._faint, 1))
            painter.drawLine(QPointF(frame.left(), y), QPointF(frame.right(), y))
            painter.setPen(self._text)
            painter.drawText(QRectF(0, y - height / 2, frame.left() - 5, height), right, _short(value, vertical))
        for value in horizontal:
            if not area.steps[0] <= value <= area.steps[1] or value != int(value):
                continue
            x = area.point(value, vertical[0]).x()
            box = QRectF(x - 30, frame.bottom() + 3, 60, height)
            painter.drawText(box, Qt.AlignmentFlag.AlignHCenter, str(int(value)))
        below = QRectF(frame.left(), frame.bottom() + 3 + height, frame.width(), height)
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, "step")
        painter.drawText(QPointF(4, height), "similarity")

    def _name_curve(self, painter: QPainter, frame: QRectF, stage: str, index: int, colour: QColor) -> None:
        if len(self.values) > 1:
            painter.setPen(colour)
            height = painter.fontMetrics().height()
            box = QRectF(frame.left(), frame.bottom() - (index + 1) * height - 2, frame.width() - 4, height)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight, stage)


class Axes:
    """From a step and a value to a place in the widget."""

    def __init__(self, frame: QRectF, steps: tuple[float, float], values: tuple[float, float]) -> None:
        self.frame, self.steps, self.values = frame, steps, values

    def point(self, step: float, value: float) -> QPointF:
        """Return where a value of a step lies."""
        x = (step - self.steps[0]) / (self.steps[1] - self.steps[0])
        y = (value - self.values[0]) / (self.values[1] - self.values[0])
        return QPointF(self.frame.left() + x * self.frame.width(), self.frame.bottom() - y * self.frame.height())


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Return about so many round numbers that enclose a range: 1, 2 or 5 times a power of ten apart."""
    extent = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-9)
    power = 10.0 ** np.floor(np.log10(extent / wanted))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= extent / wanted)
    first, last = np.floor(low / step), np.ceil(high / step)
    last = max(last, first + 1)
    return [float(step * index) for index in range(int(first), int(last) + 1)]


def _short(value: float, among: list[float]) -> str:
    """Return a tick's number with the decimals that tell it from its neighbours."""
    decimals = max(0, int(np.ceil(-np.log10(among[1] - among[0]) - 1e-9)))
    return f"{value:.{decimals}f}"
