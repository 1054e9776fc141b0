"""The points of the voxel probe that are kept: a table to compare them in, and their export."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_ran.introspect.probe import Probe
from napari_ran.introspect.quantities import Stage
from napari_ran.widgets._forms import button
from napari_ran.widgets.inspection.colours import head_colours
from napari_ran.widgets.inspection.files import telling
from napari_ran.widgets.inspection.stages import short_name
from napari_ran.widgets.inspection.tables import WholeTable
from napari_ran.writing import replacing

CAPTION = "Kept points: displacement in mm after each stage"


class KeptPoints(QWidget):
    """A table of points, one per row; hidden while there are none.

    Signals
    -------
    changed : ()
        There are other points than before.
    chosen : Probe
        One of them is to be seen.
    failed : Exception
        Something to be shown as a message.
    """

    changed = Signal()
    chosen = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.points: list[Probe] = []
        self._stages: Sequence[Stage] = ()
        caption = QLabel(CAPTION)
        caption.setWordWrap(True)  # or the page is wider than a narrow dock, which cuts it off
        self.table = self._new_table()
        buttons = QHBoxLayout()
        tip = "Forget the selected points, or the last one when none is selected"
        buttons.addWidget(button("Remove", tip, self.remove_selected))
        tip = "Write all contributions, masks and confidences of the kept points"
        buttons.addWidget(button("Export CSV…", tip, self._ask_where))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(caption)
        layout.addWidget(self.table)
        layout.addLayout(buttons)
        self.hide()

    def _new_table(self) -> QTableWidget:
        table = WholeTable()
        table.setAccessibleName(CAPTION)
        table.setToolTip("<p>A row for each point that was kept; choose one to see its path again</p>")
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(22)
        table.itemSelectionChanged.connect(self._row_selected)
        return table

    def show_stages(self, stages: Sequence[Stage]) -> None:
        """Begin anew with an inspection of other stages."""
        self.points, self._stages = [], stages
        self._show()

    def add(self, point: Probe) -> None:
        """Keep a point, unless it is kept already."""
        if point not in self.points:
            self.points.append(point)
            self._show()

    def remove_selected(self) -> None:
        """Forget the selected points, or the last one when none is selected."""
        rows = {index.row() for index in self.table.selectedIndexes()} or {len(self.points) - 1}
        self.points = [point for row, point in enumerate(self.points) if row not in rows]
        self._show()

    def _show(self) -> None:
        heads = ["", *(short_name(stage) for stage in self._stages)]
        with signals_blocked(self.table):
            self.table.setColumnCount(len(heads))
            self.table.setHorizontalHeaderLabels(heads)
            self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
            self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
            self.table.setRowCount(len(self.points))
            for row, pin in enumerate(self.points):
                self._fill(row, pin)
        self.table.updateGeometry()
        self.setVisible(bool(self.points))
        self.changed.emit()

    def _fill(self, row: int, pin: Probe) -> None:
        lengths = [_short(float(np.linalg.norm(stage.displacement))) for stage in pin.stages]
        for column, text in enumerate([f"P{row + 1}", *lengths]):
            item = QTableWidgetItem(text)
            item.setToolTip("({}) mm, {}".format(", ".join(f"{v:.1f}" for v in pin.point), pin.direction))
            if column == 0:
                item.setData(Qt.ItemDataRole.DecorationRole, pin_colour(row))
            item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
            self.table.setItem(row, column, item)

    def _row_selected(self) -> None:
        rows = [index.row() for index in self.table.selectedIndexes()]
        if rows and rows[0] < len(self.points):
            self.chosen.emit(self.points[rows[0]])

    def _ask_where(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export the kept points", "points.csv", "Table (*.csv)")
        if path:
            self.export(path)

    def export(self, path: str | Path) -> None:
        """Write one line per point, stage and contribution."""
        if not self.points:
            return
        with telling(self.failed), replacing(path, "the table") as part:
            write_points(self.points, part)


def write_points(pins: list[Probe], path: Path) -> None:
    """Write one line per point (there is at least one), stage and contribution; positions and vectors in mm, RAS."""
    axes = "xyz"[: len(pins[0].point)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        place, moved = [f"{a}_mm" for a in axes], [f"displacement_{a}_mm" for a in axes]
        what = ["confidence", "previous_confidence", "part", "head", "mask"]
        writer.writerow(["point", "direction", *place, "stage", *moved, *what, *(f"part_{a}_mm" for a in axes)])
        for number, pin in enumerate(pins, start=1):
            for stage in pin.stages:
                head = [f"P{number}", pin.direction, *pin.point, stage.stage.title, *stage.displacement]
                for part in stage.contributions:
                    mask = None if part.head is None or stage.masks is None else stage.masks[part.head]
                    row = [*head, stage.confidence, stage.previous_confidence, part.kind, part.head, mask, *part.mm]
                    writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])


def _short(length: float) -> str:
    return f"{length:.2f}" if length < 10 else f"{length:.1f}"


def pin_colour(index: int) -> QColor:
    """Return the colour of a kept point."""
    return QColor.fromRgbF(*head_colours(8)[(index + 5) % 8])
