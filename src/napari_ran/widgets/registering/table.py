"""The figures of a result as a table."""

from __future__ import annotations

from typing import Any, ClassVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem


class ResultTable(QTableWidget):
    """A report's rows: name, before, after, unit."""

    HEADS = ("Measure", "Before", "After")
    SHORT: ClassVar[dict[str, str]] = {
        "maximum": "max",
        "minimum": "min",
        " landmarks": " pts",
        "95th percentile": "95 %",
        "Jacobian determinant": "Jacobian",
        "Inverse consistency": "Inverse error",
    }
    """What takes too much room in a dock; the tool tip has the whole name."""

    def __init__(self) -> None:
        super().__init__(0, len(self.HEADS))
        self.setHorizontalHeaderLabels(list(self.HEADS))
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setAlternatingRowColors(False)
        self.setShowGrid(False)
        self.setAccessibleName("Result of the registration")
        self.setToolTip("<p>Figures of the last result, each with its unit, before and after the registration</p>")
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().setDefaultSectionSize(22)

    def show_report(self, report: Any) -> None:
        """Fill in a report and the time it took."""
        rows = [*report.table(), ("Time", None, report.seconds, "s")]
        self.setRowCount(len(rows))
        for index, (name, before, after, unit) in enumerate(rows):
            short = name
            for long, brief in self.SHORT.items():
                short = short.replace(long, brief)
            texts = (short, _number(before), f"{_number(after)} {unit}".strip())
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(name)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(index, column, item)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + 22 * len(rows) + 4)


def _number(value: float | None) -> str:
    """Return a number with as many digits as one wants to read."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 0.1 else f"{value:.2f}"
