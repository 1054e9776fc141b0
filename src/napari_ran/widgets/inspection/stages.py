"""The stages in the dock: their short names, the marks under the slider, what a stage is and measures in words."""

from __future__ import annotations

from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QWidget

from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.quantities import Stage, StageMetrics
from napari_ran.widgets.inspection.tables import rich_table

SHORT = {"start": "looks", "output": "out", "instance": "fit", "field": "field"}
"""What a stage that is no level is called where there is little room."""


def short_name(stage: Stage) -> str:
    """Return what a stage is called where there is little room; a level by its number."""
    return SHORT.get(stage.kind, str(stage.level))


class StageMarks(QWidget):
    """The short names of the stages under the slider."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Stages under the slider")
        self.setToolTip(
            "<p>What coarser looks found (looks), the levels from coarse to fine, the output (out), "
            "and the instance optimisation (fit)</p>"
        )
        self._marks: list[str] = []
        self._current = -1
        self.setFixedHeight(self.fontMetrics().height() + 1)

    def show_marks(self, marks: list[str]) -> None:
        """Show these names, evenly spread."""
        self._marks = marks
        self.update()

    def show_current(self, current: int) -> None:
        """Emphasise one."""
        self._current = current
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw the names where the slider's handle stops."""
        painter = QPainter(self)
        theme_text = self.palette().windowText().color()
        faint = QColor(theme_text)
        faint.setAlphaF(0.55)
        inset = 9.0
        step = (self.width() - 2 * inset) / max(1, len(self._marks) - 1)
        for index, mark in enumerate(self._marks):
            font = self.font()
            font.setBold(index == self._current)
            painter.setFont(font)
            painter.setPen(theme_text if index == self._current else faint)
            left = min(max(inset + index * step - 30, -4), self.width() - 56)
            flag = Qt.AlignmentFlag.AlignHCenter
            if index == 0 and len(self._marks) > 1:
                left, flag = 4.0, Qt.AlignmentFlag.AlignLeft
            elif index == len(self._marks) - 1 and index:
                left, flag = self.width() - 64.0, Qt.AlignmentFlag.AlignRight
            painter.drawText(QRectF(left, 0, 60, self.height()), flag, mark)


def stage_text(inspection: Inspection, index: int) -> str:
    """Return what a stage is in a line: its name, its voxel size, and how far it can reach."""
    stage = inspection.stages[index]
    parts = [f"<b>{stage.title}</b>"]
    if stage.level is not None:
        parts.append(f"voxels of {stage.pool_size}" if stage.pool_size > 1 else "every voxel")
    if stage.capture_range is not None:
        parts.append(f"reaches ±{stage.capture_range:g} voxels")
    return " · ".join(parts)


def metrics_text(metrics: StageMetrics) -> str:
    """Return the figures of a stage as a small table in rich text."""
    rows = []
    if metrics.similarity is not None:
        rows.append(("Similarity", f"{metrics.similarity:.3f}"))
    rows.append(("Displacement", f"{metrics.mean_mm:.2f} mm, at most {metrics.max_mm:.1f} mm"))
    rows.append(("Smoothness", f"{metrics.smoothness:.3g}"))
    rows.append(("Folds", f"{metrics.folding_percent:.2f} %"))
    if metrics.dice:
        rows.append(("Dice", f"{metrics.dice_mean:.3f} over {len(metrics.dice)} labels"))
    if metrics.tre_mm is not None:
        rows.append(("TRE", f"{metrics.tre_mm:.2f} mm"))
    return rich_table(rows)
