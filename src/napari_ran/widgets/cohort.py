"""The Cohort widget: the pairs that ``napari-ran batch`` registered, one after the other in the viewer."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)
from superqt.utils import signals_blocked

import napari_ran as ran
from napari_ran.cohort import original_files, read_outcomes
from napari_ran.io import load_image, load_labels
from napari_ran.io.layers import LayerData, to_layer_data
from napari_ran.widgets._cells import NumberCell
from napari_ran.widgets._docked import DockedWidget
from napari_ran.widgets._forms import button
from napari_ran.widgets._layers import Look, difference_layer, own_results, place_layer, placed, styled
from napari_ran.widgets._progress import counted
from napari_ran.widgets._shortcuts import bind
from napari_ran.widgets._worker import Task, Work, Worker

COLUMNS = {
    "pair": "Pair",
    "status": "Status",
    "dice": "Dice",
    "tre": "TRE (mm)",
    "folding_percent": "Folds (%)",
    "seconds": "Time (s)",
}
"""Columns of the table; those that no pair has a value for are left out."""

DECIMALS = {"dice": 3, "tre": 2, "folding_percent": 2, "seconds": 1}
"""Of the columns that hold numbers."""

PREFIX = "cohort "
"""Begins the names and the marks of the layers, see `own_result`."""


class CohortWidget(DockedWidget):
    """Opens the folder of a cohort, lists its pairs, and shows the one that is chosen.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that shows them.
    """

    help_page = "cohorts.md"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.rows: list[dict[str, str]] = []
        self.opener = Worker(self)
        self._build()
        self._connect()
        self._show_rows()
        self._follow_viewer(True)

    def _build(self) -> None:
        self.open_button = button("Open…", "The folder that napari-ran batch wrote its results to", self._ask)
        self.title = QLabel("Open the folder that 'napari-ran batch' wrote.")
        self.title.setWordWrap(True)
        self.table = _pairs_table()
        above, below = ("The pair above in the table, as it is sorted", "The pair below in the table, as it is sorted")
        self.back_button = button("◀ Previous", above, lambda: self.step(-1))
        self.next_button = button("Next ▶", below, lambda: self.step(1))
        self.status = QLabel()
        self.status.setWordWrap(True)
        top, bottom = QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.title, 1)
        top.addWidget(self.open_button)
        bottom.addWidget(self.back_button)
        bottom.addWidget(self.next_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addLayout(top)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.message)
        layout.addWidget(self.status)
        layout.addLayout(bottom)
        self.setMinimumWidth(360)
        bind(self, back=self.back_button, forward=self.next_button)

    def _connect(self) -> None:
        self.table.itemSelectionChanged.connect(self._show_pair)
        self.opener.finished.connect(self._on_opened)
        self.opener.failed.connect(self._on_failed)

    # ---------------------------------------------------------------- the list

    def open(self, folder: str | Path) -> None:
        """Open the folder of a cohort, and show its first pair."""
        self.message.hide()
        try:
            rows = read_outcomes(folder)
        except ran.InputError as error:
            self.message.show_error(error, {})
            return
        self.rows = rows
        failed = sum(row["status"] == "failed" for row in rows)
        self.title.setText(
            f"{Path(folder).name}: {counted(len(rows), 'pair')}" + (f", {failed} failed" if failed else "")
        )
        self._show_rows()
        if rows:
            self.table.selectRow(0)

    def step(self, by: int) -> None:
        """Go to another pair, in the order of the table."""
        self.table.selectRow(min(max(self.table.currentRow() + by, 0), self.table.rowCount() - 1))

    def _ask(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Open the folder of a cohort")
        if folder:
            self.open(folder)

    def _show_rows(self) -> None:
        columns = {key: text for key, text in COLUMNS.items() if any(row.get(key) for row in self.rows)}
        with signals_blocked(self.table):
            self.table.setSortingEnabled(False)
            self.table.clearSelection()
            self.table.setColumnCount(len(columns))
            self.table.setHorizontalHeaderLabels(list(columns.values()))
            self.table.setRowCount(len(self.rows))
            for number, row in enumerate(self.rows):
                for column, key in enumerate(columns):
                    cell = _cell(key, row.get(key, ""))
                    cell.setData(Qt.ItemDataRole.UserRole, number)
                    cell.setToolTip(row.get("reason", ""))
                    self.table.setItem(number, column, cell)
            if columns:
                self.table.resizeColumnsToContents()
                self.table.horizontalHeader().setStretchLastSection(True)
            self.table.setSortingEnabled(True)
        for offered in (self.back_button, self.next_button):
            offered.setEnabled(bool(self.rows))

    # ---------------------------------------------------------------- one pair

    def _show_pair(self) -> None:
        chosen = self.table.selectedItems()
        if not chosen:
            return
        row = self.rows[chosen[0].data(Qt.ItemDataRole.UserRole)]
        self.message.hide()
        self.opener.drop()
        if row["status"] == "failed":
            self.status.setText(f"{row['pair']} failed: {row['reason']}")
            return
        self.status.setText(f"Reading {row['pair']}…")
        self.opener.start(opening_work(row["pair"], Path(row["folder"])))

    def _on_opened(self, opened: tuple[str, list[tuple[str, LayerData]]]) -> None:
        name, layers = opened
        marks, before = {mark for mark, _ in layers}, own_results(self.viewer)
        for mark, layer in before.items():
            if mark.startswith(PREFIX) and mark not in marks:
                self.viewer.layers.remove(layer)
        for mark, data in layers:
            layer = place_layer(self.viewer, mark, data)
            if isinstance(layer, Labels) and mark not in before:
                layer.contour = 2  # both images stay to be seen
        self.status.setText(f"{name}, {self.table.currentRow() + 1} of {len(self.rows)}")

    def _on_failed(self, error: Exception) -> None:
        self.status.clear()
        self.message.show_error(error, {})


def opening_work(name: str, folder: Path) -> Work:
    """Return the work of reading a pair's images: it returns the pair's name and its layers."""

    def work(task: Task) -> Generator[Any, None, tuple[str, list[tuple[str, LayerData]]]]:
        yield from ()
        files = original_files(folder)
        fixed, warped = load_image(files["fixed"]), load_image(folder / "warped.nii.gz")
        look = Look.of_images(fixed, warped)
        layers = [
            _layer("fixed", to_layer_data(fixed), look, contrast_limits=look.fixed_limits),
            _layer("warped", to_layer_data(warped), look, contrast_limits=look.limits, opacity=0.5),
            _layer("difference", difference_layer(fixed, warped), look, visible=False),
        ]
        if "fixed_labels" in files:
            labels = load_labels(files["fixed_labels"])
            layers.append(_layer("fixed labels", to_layer_data(labels), look, visible=False))
        if (carried := folder / "warped_labels.nii.gz").is_file():
            layers.append(_layer("warped labels", to_layer_data(load_labels(carried)), look))
        return name, layers

    return work


def _layer(name: str, layer: LayerData, look: Look, **style: Any) -> tuple[str, LayerData]:
    """Return a layer with its mark, which is its name too."""
    mark = f"{PREFIX}{name}"
    return mark, placed(styled(layer, name=mark, **style), mark, look)


def _pairs_table() -> QTableWidget:
    """Return an empty table, of which one row can be chosen."""
    table = QTableWidget()
    table.setAccessibleName("Pairs")
    table.setToolTip("<p>The pairs of the cohort; choose one to see it, click a head to sort</p>")
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.verticalHeader().hide()
    table.setSortingEnabled(True)
    return table


def _cell(key: str, text: str) -> QTableWidgetItem:
    """Make a cell; numbers are sorted as numbers."""
    try:
        return NumberCell(float(text) if text else None, DECIMALS[key])
    except (KeyError, ValueError):
        return QTableWidgetItem(text)
