"""The voxel probe's figure, painted by Qt so that it follows the mouse: the path, and what moved the point where."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy

from napari_ran.introspect.probe import Contribution, Probe, StageProbe
from napari_ran.widgets._plot import ThemedPlot
from napari_ran.widgets._round import round_below
from napari_ran.widgets.inspection.colours import head_colours, stage_colours
from napari_ran.widgets.inspection.stages import short_name

PATH_HEIGHT = 150
ROW = 36
LEFT, RIGHT = 34, 92
GREY, DARK = QColor(150, 150, 150), QColor(95, 95, 95)
Stack = list[tuple[Contribution, float]]
"""Contributions, each with its length in mm along the stage's displacement; all of a stage sum to its length."""

EMPTY = "Move the mouse over the image.\nShift + click keeps a point."


def stacks(stage: StageProbe) -> tuple[Stack, Stack]:
    """Return the contributions of a stage's own, and those of the fields that were carried into it."""
    length = float(np.linalg.norm(stage.displacement))
    towards = stage.displacement / length if length > 1e-9 else np.zeros_like(stage.displacement)
    own: Stack = []
    carried: Stack = []
    for part in stage.contributions:
        (carried if part.kind.startswith(("carried", "start")) else own).append((part, float(part.mm @ towards)))
    return own, carried


def reach_of(*row: Stack) -> float:
    """Return how far the longest of a row's stacks, or their sum, goes from the middle."""
    reach = abs(sum(value for stack in row for _, value in stack))
    for stack in row:
        for sign in (1, -1):
            reach = max(reach, sum(sign * value for _, value in stack if sign * value > 0))
    return reach


class ProbePlot(ThemedPlot):
    """Path of one point through the stages, and bars of what each head and the carried field contributed.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours.
    """

    def __init__(self, viewer: Any) -> None:
        tip = (
            "Above: the point's path through the levels, as seen on the screen. Below, per level: how far each head "
            "(upper bar) and the field carried from the level before (lower bar) pushed the point along its "
            "displacement, in mm. The parts sum to the displacement (black and white mark). They are exact for this "
            "input; what a head causes is for the Ablation page to say."
        )
        super().__init__(viewer, "Path and contributions of the point under the mouse", tip)
        self.probe: Probe | None = None
        self.path: NDArray[np.float64] = np.zeros((0, 2))
        self.others: list[tuple[NDArray[np.float64], QColor]] = []
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(PATH_HEIGHT + 40)

    def show_probe(
        self, probe: Probe | None, path: NDArray[np.float64], others: list[tuple[NDArray[np.float64], QColor]]
    ) -> None:
        """Show a point; `path` and the paths of `others` are (n + 1, 2) on the screen: right and down, in mm."""
        self.probe, self.path, self.others = probe, path, others
        rows = 0 if probe is None else len(probe.stages)
        height = PATH_HEIGHT + 30 + (rows * ROW + 58 if rows else 10)
        if self.height() != height:
            self.setFixedHeight(height)
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw the path and the bars."""
        painter = self.started()
        if self.probe is None:
            self.say(painter, EMPTY)
            return
        self._draw_head(painter, self.probe)
        self._draw_path(painter, QRectF(0, 22, self.width(), PATH_HEIGHT))
        self._draw_bars(painter, self.probe, PATH_HEIGHT + 30)

    def _draw_head(self, painter: QPainter, probe: Probe) -> None:
        place = ", ".join(f"{value:.1f}" for value in probe.point)
        length = float(np.linalg.norm(probe.stages[-1].displacement))
        painter.drawText(QRectF(0, 0, self.width(), 20), Qt.AlignmentFlag.AlignLeft, f"({place}) mm")
        painter.drawText(QRectF(0, 0, self.width() - 4, 20), Qt.AlignmentFlag.AlignRight, f"moves {length:.2f} mm")

    def _draw_path(self, painter: QPainter, frame: QRectF) -> None:
        """Draw the path as it looks on the screen, one scale for both axes."""
        painter.setPen(QPen(self._faint, 1))
        painter.drawRect(frame.adjusted(0.5, 0.5, -0.5, -0.5))
        paths = [path - path[0] for path, _ in self.others] + [self.path - self.path[0]]
        everything = np.concatenate(paths)
        low, high = everything.min(0), everything.max(0)
        extent = max(float((high - low).max()), 0.5)
        scale = min(frame.width(), frame.height()) * 0.72 / extent
        shift = np.array([frame.center().x(), frame.center().y()]) - scale * (low + high) / 2

        def place(point: NDArray[np.float64]) -> QPointF:
            return QPointF(*(scale * point + shift))

        for (_, colour), path in zip(self.others, paths, strict=False):
            painter.setPen(QPen(self.visible(colour), 1.5, Qt.PenStyle.DashLine))
            painter.drawPolyline(QPolygonF([place(point) for point in path]))
        own, colours = paths[-1], stage_colours(len(self.path) - 1)
        for index in range(len(own) - 1):
            painter.setPen(QPen(QColor.fromRgbF(*colours[index]), 2.5))
            painter.drawLine(place(own[index]), place(own[index + 1]))
        painter.setPen(QPen(self._text, 1))
        painter.setBrush(QColor(0, 0, 0, 0))
        painter.drawEllipse(place(own[0]), 4, 4)
        for index in range(1, len(own)):
            painter.setBrush(QColor.fromRgbF(*colours[index - 1]))
            painter.drawEllipse(place(own[index]), 3, 3)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        bar = round_below(frame.width() / 4 / scale)
        x, y = frame.left() + 8, frame.bottom() - 8
        painter.setPen(QPen(self._text, 2))
        painter.drawLine(QPointF(x, y), QPointF(x + bar * scale, y))
        painter.drawText(QRectF(x, y - 18, 100, 16), Qt.AlignmentFlag.AlignLeft, f"{bar:g} mm")

    def _draw_bars(self, painter: QPainter, probe: Probe, top: float) -> None:
        rows = [stacks(stage) for stage in probe.stages]
        reach = max([0.1, *(reach_of(*row) for row in rows)])
        middle = LEFT + (self.width() - LEFT - RIGHT) / 2
        scale = (self.width() - LEFT - RIGHT) / 2 / reach
        line = painter.fontMetrics().height()
        painter.setPen(self._text)
        painter.drawText(QRectF(0, top, LEFT, line), Qt.AlignmentFlag.AlignLeft, "level")
        confidence = any(stage.confidence is not None for stage in probe.stages)
        heading = "confidence" if confidence else ""
        painter.drawText(QRectF(self.width() - RIGHT, top, RIGHT - 4, line), Qt.AlignmentFlag.AlignRight, heading)
        painter.drawText(QRectF(LEFT, top, middle - LEFT, line), Qt.AlignmentFlag.AlignLeft, f"-{reach:.3g}")
        box = QRectF(middle, top, self.width() - RIGHT - middle, line)
        painter.drawText(box, Qt.AlignmentFlag.AlignRight, f"{reach:.3g} mm")
        colours = stage_colours(len(rows))
        for index, (stage, row) in enumerate(zip(probe.stages, rows, strict=True)):
            y = top + line + 4 + index * ROW
            painter.fillRect(QRectF(0, y + 3, 4, ROW - 8), QColor.fromRgbF(*colours[index]))
            painter.setPen(self._text)
            box = QRectF(8, y, LEFT, ROW - 4)
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, short_name(stage.stage))
            for stack, below in zip(row, (3, 17), strict=True):
                self._draw_stack(painter, stack, middle, y + below, scale)
            total = float(np.linalg.norm(stage.displacement))
            x = middle + total * scale
            for tint, width in (("black", 4), ("white", 2)):
                painter.setPen(QPen(QColor(tint), width))
                painter.drawLine(QPointF(x, y + 1), QPointF(x, y + ROW - 5))
            painter.setPen(self._text)
            numbers = QRectF(self.width() - RIGHT, y, RIGHT - 4, ROW - 4)
            painter.drawText(numbers, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, _numbers(stage))
        bottom = top + line + 4 + len(rows) * ROW
        painter.setPen(QPen(self._text, 1))
        painter.drawLine(QPointF(middle, top + line), QPointF(middle, bottom - 4))
        self._draw_key(painter, probe, bottom + 2)

    @staticmethod
    def _draw_stack(painter: QPainter, stack: Stack, middle: float, y: float, scale: float) -> None:
        """Draw parts end to end: those along the displacement to the right, those against it to the left."""
        ends = {1: middle, -1: middle}
        for part, value in stack:
            sign = 1 if value > 0 else -1
            width = abs(value) * scale
            left = ends[1] if sign > 0 else ends[-1] - width
            painter.fillRect(QRectF(left, y, width, 12), _colour(part))
            ends[sign] += sign * width

    def _draw_key(self, painter: QPainter, probe: Probe, y: float) -> None:
        heads = max((len(stage.masks) for stage in probe.stages if stage.masks is not None), default=0)
        entries = [(f"head {h}", QColor.fromRgbF(*colour)) for h, colour in enumerate(head_colours(heads))]
        entries += [("mean", GREY), ("rest", DARK)]
        metrics = painter.fontMetrics()
        x = 0.0
        for text, colour in entries:
            width = 12 + metrics.horizontalAdvance(text) + 10
            if x + width > self.width():
                x, y = 0.0, y + metrics.height() + 2
            painter.fillRect(QRectF(x, y + 3, 9, 9), colour)
            painter.setPen(self._text)
            painter.drawText(QPointF(x + 12, y + 12), text)
            x += width


def _colour(part: Contribution) -> QColor:
    if part.head is not None:
        return QColor.fromRgbF(*head_colours(part.head + 1)[part.head])
    return GREY if "mean" in part.kind or part.kind in ("carried", "start") else DARK


def _numbers(stage: StageProbe) -> str:
    """Return the lengths and confidences beside a row's bars."""
    length = f"{np.linalg.norm(stage.displacement):.2f} mm"
    if stage.confidence is None:
        return length
    pair = f"{stage.confidence:.2f}"
    if stage.previous_confidence is not None:
        pair += f" / {stage.previous_confidence:.2f}"
    return f"{length}\n{pair}"
