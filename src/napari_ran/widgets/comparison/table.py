"""The table of what was measured, and the same as a CSV file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_ran.benchmark import Compared
from napari_ran.cases import MEASURES, write_rows
from napari_ran.writing import replacing

Value = Callable[[Compared], float | None]

COLUMNS: Mapping[str, tuple[str, str, int]] = {
    "dice": ("Dice", "Mean overlap of the labels that both maps have; higher is better.", 3),
    "hd95": ("HD95", "95th percentile of the surface distance in mm, mean over the labels; lower is better.", 2),
    "tre": ("TRE", "Mean distance of the landmarks in mm; lower is better.", 2),
    "similarity": ("NCC²", "Mean squared local correlation of warped and fixed image, 0 to 1; higher is better.", 3),
    "folding_percent": ("Folds %", "Voxels whose Jacobian determinant is at or below zero, in percent.", 3),
    "sdlogj": ("SDlogJ", "Learn2Reg's measure of how uneven the volume change is.", 3),
    "seconds": ("Time s", "Duration without measuring.", 1),
    "peak_gib": ("GiB", "Highest memory use of the process meanwhile.", 2),
}
"""Heading, help and digits; a measure that nobody has is not shown."""


def value_of(found: Compared, key: str) -> float | None:
    """Return a measure of a result, or None."""
    if key == "similarity":
        return found.similarity
    return None if found.score is None else MEASURES[key][2](found.score)


class _Number(QTableWidgetItem):
    """A cell that sorts by its number; what has none comes last."""

    def __init__(self, value: float | None, digits: int) -> None:
        super().__init__("" if value is None else f"{value:.{digits}f}")
        self.value = float("inf") if value is None else value
        self.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        return self.value < other.value if isinstance(other, _Number) else super().__lt__(other)


class ComparisonTable(QTableWidget):
    """One row per result; a click on a heading sorts, a click on a row chooses it.

    Signals
    -------
    chosen : str
        The name of the row that was clicked.
    """

    chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__(0, 1)
        self.setAccessibleName("What was measured")
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.results: list[Compared] = []
        self.itemSelectionChanged.connect(self._tell)
        self.fill([])

    def fill(self, results: list[Compared]) -> None:
        """Show results in their order."""
        self.results = list(results)
        keys = [key for key in COLUMNS if any(value_of(found, key) is not None for found in results)]
        blocked = self.blockSignals(True)
        self.setSortingEnabled(False)
        self.clear()
        self.setColumnCount(1 + len(keys))
        self.setRowCount(len(results))
        self.setHorizontalHeaderLabels(["System", *(COLUMNS[key][0] for key in keys)])
        for column, key in enumerate(keys, start=1):
            self.horizontalHeaderItem(column).setToolTip(f"<p>{COLUMNS[key][1]}</p>")
        for row, found in enumerate(results):
            name = QTableWidgetItem(found.name if found.failure is None else f"{found.name}: failed")
            name.setData(Qt.ItemDataRole.UserRole, found.name)
            name.setToolTip(f"<p>{found.failure or found.name}</p>")
            self.setItem(row, 0, name)
            for column, key in enumerate(keys, start=1):
                self.setItem(row, column, _Number(value_of(found, key), COLUMNS[key][2]))
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setMinimumSectionSize(30)
        self.setSortingEnabled(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.blockSignals(blocked)
        self.setMinimumHeight(header.sizeHint().height() + 22 * min(max(len(results), 3), 9) + 22)

    def names(self) -> list[str]:
        """Return the rows as they are sorted now."""
        return [str(self.item(row, 0).data(Qt.ItemDataRole.UserRole)) for row in range(self.rowCount())]

    def export(self, path: Path) -> None:
        """Write all measures of all results, in the order of the table.

        Raises
        ------
        OutputError
            The file could not be written.
        """
        known = {found.name: found for found in self.results}
        rows = []
        for name in self.names():
            found = known[name]
            row: dict[str, object] = {"system": name, "similarity": found.similarity, "failure": found.failure}
            rows.append(row | {key: value_of(found, key) for key in MEASURES})
        with replacing(path) as part:
            write_rows(part, rows)

    def _tell(self) -> None:
        rows = self.selectionModel().selectedRows()
        if rows:
            self.chosen.emit(str(self.item(rows[0].row(), 0).data(Qt.ItemDataRole.UserRole)))
