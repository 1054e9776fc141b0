"""The live curve of a run, in the colours of the viewer.

It is painted by Qt itself: a drawing by matplotlib costs tens of milliseconds of Python, several times a second, in the
thread that must stay free; this one costs less than one.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from napari.utils.theme import get_theme
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

from napari_ran.widgets._round import round_above
from napari_ran.widgets._timers import single_shot

REDRAW_MS = 200
"""Shortest time between two drawings of the curve."""

_SMALLEST_RANGE = 0.01
_READABLE = 4.5
"""Least contrast of small letters, as the Web Content Accessibility Guidelines (1.4.3) define it."""

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

    def apply_theme(self) -> None:
        """Take the viewer's colours."""
        theme = get_theme(self._viewer.theme)
        self._text, self._faint = QColor(theme.text.as_hex()), QColor(theme.foreground.as_hex())
        self._ground = QColor(theme.background.as_hex())
        self.update()

    def visible(self, colour: QColor) -> QColor:
        """Return a colour of this hue that lines and words can have on the viewer's ground."""
        hue, saturation, lightness, _ = colour.getHslF()
        away = -0.02 if _luminance(self._ground) > 0.2 else 0.02
        while contrast(colour, self._ground) < _READABLE and 0 < lightness < 1:
            lightness = min(max(lightness + away, 0.0), 1.0)
            colour = QColor.fromHslF(max(hue, 0.0), saturation, lightness)
        return colour

    def started(self) -> QPainter:
        """Return a painter for this drawing, smooth, with small letters in the text's colour."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = painter.font()
        font.setPointSizeF(0.85 * font.pointSizeF() if font.pointSizeF() > 0 else 8)
        painter.setFont(font)
        painter.setPen(self._text)
        return painter

    def say(self, painter: QPainter, words: str) -> None:
        """Write words in the middle, where there is nothing to draw."""
        painter.drawText(QRectF(self.rect()), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, words)

    def draw_axes(self, painter: QPainter, steps: tuple[float, float], values: list[float]) -> Axes:
        """Draw axes over `steps`, first to last, that enclose `values`; the line above them is left to the title."""
        height = painter.fontMetrics().height()
        margin = max(0.0, _SMALLEST_RANGE - (max(values) - min(values))) / 2  # a level curve is drawn level
        vertical = ticks(min(values) - margin, max(values) + margin)
        names = tick_names(vertical)
        left = 9 + max(painter.fontMetrics().horizontalAdvance(name) for name in names)
        right = painter.fontMetrics().horizontalAdvance(f"{steps[1]:.0f}") / 2 + 4  # half of the last number
        top = 1.7 * height  # the title's line, and half of the number at the top
        frame = QRectF(left, top, self.width() - left - right, self.height() - top - 2.3 * height - 3)
        axes = Axes(frame, steps, (vertical[0], vertical[-1]))
        for value, name in zip(vertical, names, strict=True):
            y = axes.point(steps[0], value).y()
            painter.setPen(QPen(self._faint, 1))
            painter.drawLine(QPointF(frame.left(), y), QPointF(frame.right(), y))
            painter.setPen(self._text)
            box = QRectF(0, y - height / 2, frame.left() - 5, height)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, name)
        for step in whole_ticks(*steps):
            box = QRectF(axes.point(step, vertical[0]).x() - 30, frame.bottom() + 3, 60, height)
            painter.drawText(box, Qt.AlignmentFlag.AlignHCenter, f"{step:d}")
        below = QRectF(frame.left(), frame.bottom() + 3 + height, frame.width(), height)
        painter.drawText(below, Qt.AlignmentFlag.AlignHCenter, "step")
        return axes

    def draw_head(self, painter: QPainter, title: str, names: list[tuple[str, QColor]], right: float) -> None:
        """Write the title above a plot, and the names of its curves in their colours, which end at `right`."""
        metrics, line = painter.fontMetrics(), painter.fontMetrics().ascent() + 1
        painter.setPen(self._text)
        painter.drawText(QPointF(4, line), title)
        for name, colour in reversed(names):
            right -= metrics.horizontalAdvance(name)
            painter.setPen(colour)
            painter.drawText(QPointF(right, line), name)
            right -= 12


class MetricPlot(ThemedPlot):
    """The similarity of a run against its step, drawn at most five times a second.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours; `apply_theme` takes them anew.
    """

    def __init__(self, viewer: Any) -> None:
        self.values: dict[str, list[float]] = {}
        self._last = 0.0
        tip = "Similarity of the warped and the fixed image at each step (higher is better)."
        super().__init__(viewer, "Similarity during the run", tip)
        self.setMinimumHeight(160)
        self._redraw = single_shot(self, REDRAW_MS, self._update_now)

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

    def apply_theme(self) -> None:
        """Take the viewer's colours."""
        super().apply_theme()
        theme = get_theme(self._viewer.theme)
        self._curves = [self.visible(QColor(getattr(theme, name).as_hex())) for name in ("warning", "current", "text")]

    def _schedule(self) -> None:
        if not self._redraw.isActive():
            waited = 1000 * (time.monotonic() - self._last)
            self._redraw.start(max(0, int(REDRAW_MS - waited)))

    def _update_now(self) -> None:
        self._last = time.monotonic()
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw the axes and one curve per stage."""
        painter = self.started()
        if self.steps == 0:
            self.say(painter, _EMPTY)
            return
        everything = [value for values in self.values.values() for value in values]
        area = self.draw_axes(painter, (1, max(2, *map(len, self.values.values()))), everything)
        for values, colour in zip(self.values.values(), self._curves, strict=False):
            painter.setPen(QPen(colour, 2))
            points = [area.point(step + 1, value) for step, value in enumerate(values)]
            painter.drawPolyline(QPolygonF(points))
            painter.setBrush(colour)
            painter.drawEllipse(points[-1], 2.5, 2.5)
            painter.setBrush(Qt.BrushStyle.NoBrush)
        names = list(zip(self.values, self._curves, strict=False)) if len(self.values) > 1 else []
        self.draw_head(painter, "similarity", names, area.frame.right())


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
    step = round_above(extent / wanted)
    first, last = np.floor(low / step), np.ceil(high / step)
    last = max(last, first + 1)
    return [float(step * index) for index in range(int(first), int(last) + 1)]


def whole_ticks(first: float, last: float, wanted: int = 4) -> list[int]:
    """Return about so many round whole numbers within a range."""
    inside = [value for value in ticks(first, last, wanted) if first <= value <= last]
    return sorted({round(value) for value in inside if abs(value - round(value)) < 1e-6})


def tick_names(values: list[float]) -> list[str]:
    """Return the numbers of evenly spaced ticks, with as many decimals as tell neighbours apart and no more."""
    decimals = max(0, int(np.ceil(-np.log10(values[1] - values[0]) - 1e-9)))
    # adding zero takes the sign away from a rounded zero
    return [f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "\N{MINUS SIGN}") for value in values]


def contrast(one: QColor, other: QColor) -> float:
    """Return the contrast of two colours, 1 to 21, as WCAG 2 defines it."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: QColor) -> float:
    parts: list[float] = [colour.redF(), colour.greenF(), colour.blueF()]
    linear: list[float] = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
