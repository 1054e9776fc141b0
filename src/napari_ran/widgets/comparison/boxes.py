"""Box plots of a measure, one line per system, painted in the viewer's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen

from napari_ran.benchmark import Compared
from napari_ran.widgets._plot import ThemedPlot, tick_names, ticks

LINE = 22
"""Height of a system's line in pixels."""

KINDS = {"dice": "Dice", "hd95": "HD95 (mm)", "asd": "ASD (mm)", "hd": "HD (mm)", "tre": "TRE (mm)"}
"""What can be drawn: of every label, the last of every pair."""

Points = dict[str, dict[str, float]]
"""By system, what each point is and its value."""


def points_of(pairs: Mapping[str, Sequence[Compared]], kind: str) -> Points:
    """Return a point for every label of every pair, or for every pair."""
    points: Points = {}
    for case, results in pairs.items():
        for found in results:
            if found.score is None:
                continue
            mine = points.setdefault(found.name, {})
            if kind == "tre":
                if found.score.tre is not None:
                    mine[case or "mean of the points"] = found.score.tre.mean
                continue
            for label, one in found.score.labels.items():
                value: float | None = getattr(one, kind)
                if value is not None:
                    name = found.score.label_names.get(label, f"label {label}")
                    mine[f"{case}, {name}" if case else name] = value
    return points


TIP = "One box per system: median, quartiles and range, with a point for every label or pair of points"


class BoxPlot(ThemedPlot):
    """How a measure is spread over the labels of the pairs: box, median, and a point for every label.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours.
    """

    def __init__(self, viewer: Any) -> None:
        self.kind = "dice"
        self.values: Points = {}
        self.marked = ""
        self._points: list[tuple[QPointF, str]] = []
        super().__init__(viewer, "The labels of each system", TIP)
        self.setMouseTracking(True)
        self.setMinimumHeight(3 * LINE)

    def fill(self, pairs: Mapping[str, Sequence[Compared]], kind: str | None = None) -> None:
        """Show a measure of the results of some pairs."""
        self.kind = kind or self.kind
        self.values = points_of(pairs, self.kind)
        has = any(self.values.values())
        self.setMinimumHeight(LINE * (len(self.values) + 2) if has else 2 * LINE)
        self.update()

    def mark(self, name: str) -> None:
        """Draw a system's name bold."""
        self.marked = name
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw an axis, and a box for each system."""
        painter = self.started()
        everything = [value for values in self.values.values() for value in values.values()]
        if not everything:
            self.say(painter, "Labels on both images are drawn here, one by one")
            return
        metrics = painter.fontMetrics()
        left = min(max(metrics.horizontalAdvance(name) for name in self.values) + 12, int(0.45 * self.width()))
        places = ticks(min(everything), max(everything))
        frame = QRectF(left, 4, self.width() - left - 14, LINE * len(self.values))

        def x(value: float) -> float:
            return float(frame.left() + (value - places[0]) / (places[-1] - places[0]) * frame.width())

        for value, text in zip(places, tick_names(places), strict=True):
            painter.setPen(QPen(self._faint, 1))
            painter.drawLine(QPointF(x(value), frame.top()), QPointF(x(value), frame.bottom()))
            painter.setPen(self._text)
            painter.drawText(
                QRectF(x(value) - 30, frame.bottom() + 2, 60, metrics.height()), Qt.AlignmentFlag.AlignHCenter, text
            )
        of = "pair" if self.kind == "tre" else "label"
        below = QRectF(frame.left(), frame.bottom() + metrics.height(), frame.width(), 1.3 * metrics.height())
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, f"{KINDS[self.kind]} of each {of}")
        self._points = []
        for row, (name, values) in enumerate(self.values.items()):
            middle = frame.top() + LINE * (row + 0.5)
            self._write_name(painter, name, QRectF(2, middle - LINE / 2, left - 8, LINE))
            if values:
                self._draw_box(painter, np.array(list(values.values())), x, middle)
            for what, value in values.items():
                self._points.append((QPointF(x(value), middle), f"{name}: {what} {value:.3g}"))
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(self._text)
                painter.drawEllipse(self._points[-1][0], 2.2, 2.2)

    def _write_name(self, painter: QPainter, name: str, box: QRectF) -> None:
        font = painter.font()
        font.setBold(name == self.marked)
        painter.setFont(font)
        painter.setPen(self._text)
        short = painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, int(box.width()))
        painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, short)
        font.setBold(False)
        painter.setFont(font)

    def _draw_box(self, painter: QPainter, values: Any, x: Any, middle: float) -> None:
        low, first, median, third, high = (float(v) for v in np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))
        colour = self.visible(QColor("#56B4E9"))
        painter.setPen(QPen(self._text, 1))
        painter.drawLine(QPointF(x(low), middle), QPointF(x(high), middle))
        fill = QColor(colour)
        fill.setAlpha(110)
        painter.setBrush(fill)
        painter.setPen(QPen(colour, 1))
        painter.drawRect(QRectF(x(first), middle - 6, max(x(third) - x(first), 1), 12))
        painter.setPen(QPen(self._text, 2))
        painter.drawLine(QPointF(x(median), middle - 6), QPointF(x(median), middle + 6))

    def mouseMoveEvent(self, event: Any) -> None:  # noqa: N802 (Qt's name)
        """Say which label a point is."""
        here = event.position()
        near = [(abs(p.x() - here.x()) + abs(p.y() - here.y()), words) for p, words in self._points]
        best = min(near, default=(99.0, ""))
        self.setToolTip(best[1] if best[0] < 10 else f"<p>{TIP}</p>")
