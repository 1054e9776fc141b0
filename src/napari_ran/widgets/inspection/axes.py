"""The numbers and words around the frame of a painted plot."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QPainter

from napari_ran.widgets._plot import Axes


def draw_numbers(painter: QPainter, axes: Axes, across: Sequence[float], up: Sequence[float], below: str) -> None:
    """Write numbers under and to the left of a frame, and under them what runs across it."""
    frame, line = axes.frame, painter.fontMetrics().height()
    for number in up:
        box = QRectF(0, axes.point(0, number).y() - line / 2, frame.left() - 4, line)
        painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{number:g}")
    for number in across:
        box = QRectF(axes.point(number, 0).x() - 20, frame.bottom() + 2, 40, line)
        painter.drawText(box, Qt.AlignmentFlag.AlignHCenter, f"{number:g}")
    box = QRectF(frame.left(), frame.bottom() + 2 + line, frame.width(), line)
    painter.drawText(box, Qt.AlignmentFlag.AlignHCenter, below)
