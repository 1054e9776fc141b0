"""Cells of tables."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QTableWidgetItem


class NumberCell(QTableWidgetItem):
    """A cell that sorts by its number; what has none comes last, in either order."""

    def __init__(self, value: float | None, digits: int) -> None:
        super().__init__("" if value is None else f"{value:.{digits}f}")
        self.value = value
        self.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        if not isinstance(other, NumberCell):
            return bool(super().__lt__(other))
        if self.value is not None and other.value is not None:
            return self.value < other.value
        ascending = self.tableWidget().horizontalHeader().sortIndicatorOrder() == Qt.SortOrder.AscendingOrder
        first, second = (self, other) if ascending else (other, self)
        return first.value is not None and second.value is None
