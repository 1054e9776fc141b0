"""The table of what was measured, and the same as a CSV file."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem
from superqt.utils import signals_blocked

from napari_ran.benchmark import Compared
from napari_ran.cases import MEASURES, write_rows
from napari_ran.widgets._cells import NumberCell
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
    "cases": ("Cases", "Pairs that it registered; the other columns are means over them.", 0),
}
"""Heading, help and digits; a measure that nobody has is not shown."""


def value_of(found: Compared, key: str) -> float | None:
    """Return a measure of a result, or None."""
    if key == "similarity":
        return found.similarity
    return None if found.score is None or key not in MEASURES else MEASURES[key].of(found.score)


@dataclass(frozen=True)
class TableRow:
    """What one line shows: a system, its measures as far as there are some, and what went wrong."""

    name: str
    values: Mapping[str, float | None]
    failure: str = ""


def row_of(found: Compared) -> TableRow:
    """Return the line of one result."""
    return TableRow(found.name, {key: value_of(found, key) for key in COLUMNS}, found.failure or "")


def mean_rows(pairs: Mapping[str, Sequence[Compared]]) -> list[TableRow]:
    """Return a line for each system: the means over the pairs that it has a measure of, and their number."""
    by_system: dict[str, list[Compared]] = {}
    failures: dict[str, list[str]] = {}
    for case, results in pairs.items():
        for found in results:
            by_system.setdefault(found.name, []).append(found)
            if found.failure is not None:
                failures.setdefault(found.name, []).append(f"{case}: {found.failure}")
    rows = []
    for name, results in by_system.items():
        measured = {key: [v for one in results if (v := value_of(one, key)) is not None] for key in COLUMNS}
        values: dict[str, float | None] = {key: fmean(some) if some else None for key, some in measured.items()}
        values["cases"] = len(results) - len(failures.get(name, []))
        rows.append(TableRow(name, values, "\n".join(failures.get(name, []))))
    return rows


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
        self.setToolTip("<p>One row per system, with units in the heads; choose one to see its layer</p>")
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.rows: list[TableRow] = []
        self.itemSelectionChanged.connect(self._tell)
        self.fill([])

    def fill(self, rows: list[TableRow]) -> None:
        """Show rows in their order."""
        self.rows = list(rows)
        keys = [key for key in COLUMNS if any(row.values.get(key) is not None for row in rows)]
        with signals_blocked(self):
            self._write(rows, keys)
        self.setMinimumHeight(self.horizontalHeader().sizeHint().height() + 22 * min(max(len(rows), 3), 9) + 22)

    def _write(self, rows: list[TableRow], keys: list[str]) -> None:
        self.setSortingEnabled(False)
        self.clear()
        self.setColumnCount(1 + len(keys))
        self.setRowCount(len(rows))
        self.setHorizontalHeaderLabels(["System", *(COLUMNS[key][0] for key in keys)])
        for column, key in enumerate(keys, start=1):
            self.horizontalHeaderItem(column).setToolTip(f"<p>{COLUMNS[key][1]}</p>")
        for number, row in enumerate(rows):
            name = QTableWidgetItem(f"{row.name}: failed" if row.failure and not row.values.get("cases") else row.name)
            name.setData(Qt.ItemDataRole.UserRole, row.name)
            name.setToolTip(f"<p>{html.escape(row.failure or row.name)}</p>")
            self.setItem(number, 0, name)
            for column, key in enumerate(keys, start=1):
                self.setItem(number, column, NumberCell(row.values.get(key), COLUMNS[key][2]))
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setMinimumSectionSize(30)
        self.setSortingEnabled(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)

    def names(self) -> list[str]:
        """Return the rows as they are sorted now."""
        return [str(self.item(row, 0).data(Qt.ItemDataRole.UserRole)) for row in range(self.rowCount())]

    def _tell(self) -> None:
        rows = self.selectionModel().selectedRows()
        if rows:
            self.chosen.emit(str(self.item(rows[0].row(), 0).data(Qt.ItemDataRole.UserRole)))


def export_table(path: Path, pairs: Mapping[str, Sequence[Compared]], order: Sequence[str]) -> None:
    """Write all measures of all results as CSV, the systems in `order`, others last; pairs of a list with their names.

    Raises
    ------
    OutputError
        The file could not be written.
    """
    rows, places = [], {name: place for place, name in enumerate(order)}
    for case, results in pairs.items():
        for found in sorted(results, key=lambda one: places.get(one.name, len(places))):
            row: dict[str, object] = {"case": case} if case else {}
            row |= {"system": found.name, "similarity": found.similarity, "failure": found.failure}
            rows.append(row | {key: value_of(found, key) for key in MEASURES})
    with replacing(path) as part:
        write_rows(part, rows)
