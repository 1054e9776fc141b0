"""The page that switches parts of the network off and shows what changes, live and as a table over all parts."""

from __future__ import annotations

import html
from collections.abc import Generator
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ran.errors import OutputError
from napari_ran.introspect.ablation import Ablated, AblationStep, Ablator
from napari_ran.introspect.ablation_table import PARTS, AblationRow, AblationTable
from napari_ran.models import Ablation
from napari_ran.widgets._forms import button, combo
from napari_ran.widgets._worker import Task, Work, Worker
from napari_ran.widgets.inspection.ablation_work import (
    ablatable,
    given_annotations,
    outcome_text,
    row_ablation,
    row_title,
    study_work,
    without,
)
from napari_ran.widgets.inspection.colours import head_colours
from napari_ran.widgets.inspection.session import Session
from napari_ran.widgets.inspection.tables import WholeTable, badge
from napari_ran.writing import replacing

SETTLE_MS = 250
"""Several boxes ticked in a row are one run."""

WHOLE = (
    ("confidences", "new", "Confidence of the level's own residual; off, it is 1 everywhere."),
    ("previous_confidences", "old", "Confidence of the field carried from the level before; off, it is 1 everywhere."),
    ("feedback", "fb", "Feedback that refines the features for the next level; off, they go on unrefined."),
    ("levels", "all", "The whole level; off, it is passed over."),
)
"""Columns after the heads: name in `Ablation`, header, help."""

EMPTY = "Only the levels of a Residual Aligner Network can be switched off; here there are none."


class AblationPage(QWidget):
    """Check boxes for every part, the change that a part makes, and a table over all parts.

    Signals
    -------
    ablated : Inspection or None
        What remains of the network is to be shown; None for the whole network.
    failed : Exception
        Something to be shown as a message.
    """

    ablated = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._session: Session | None = None
        self._ablator: Ablator | None = None
        self.study: AblationTable | None = None
        self.latest: Ablated | None = None
        self.runner, self.student = Worker(self), Worker(self)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self.run)
        self._build()
        self.runner.finished.connect(self._on_ablated)
        self.runner.failed.connect(self._on_failed)
        self.student.stepped.connect(self._on_study_step)
        self.student.finished.connect(self._on_study_done)
        self.student.failed.connect(self._on_failed)
        self.show_session(None)

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        self.intro = QLabel("Untick a part: the network runs again without it.")
        self.intro.setWordWrap(True)
        self.matrix = WholeTable()
        self.matrix.setAccessibleName("Parts of the network by level")
        self.matrix.setToolTip("<p>One row per level, one box per part; a part without its tick is switched off</p>")
        self.matrix.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.matrix.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.matrix.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.matrix.setShowGrid(False)
        self.matrix.itemChanged.connect(self._changed)
        self.output_box = QCheckBox("Output convolution")
        self.output_box.setChecked(True)
        self.output_box.setToolTip("<p>The last convolution; off, the field of the last level is the result.</p>")
        self.output_box.toggled.connect(self._changed)
        self.reset_button = button("All on", "Switch every part on again", self.reset)
        row = QHBoxLayout()
        row.addWidget(self.output_box, 1)
        row.addWidget(self.reset_button)
        self.outcome = QLabel()
        self.outcome.setTextFormat(Qt.TextFormat.RichText)
        self.outcome.setWordWrap(True)
        self.outcome.setAccessibleName("What changed")
        self.note = QLabel()
        self.note.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 6, 8, 6)
        for part in (self.intro, self.matrix):
            layout.addWidget(part)
        layout.addLayout(row)
        layout.addWidget(self.outcome)
        layout.addLayout(self._study_row())
        layout.addWidget(self.progress)
        layout.addWidget(self.table)
        layout.addWidget(self.export_button)
        layout.addWidget(self.note)
        layout.addStretch(1)

    def _study_row(self) -> QHBoxLayout:
        self.which = combo("Parts of the table", "What is switched off one by one for the table.")
        for title, parts in (("Every head", ("head",)), ("Every level", ("level",)), ("Everything", PARTS)):
            self.which.addItem(title, parts)
        tip = "Switch each part off by itself, in the background, and list what changes"
        self.study_button = button("Make table", tip, self.start_study)
        self.cancel_button = button("Cancel", "Stop; the rows that are finished stay", self.cancel_study)
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Progress of the table")
        self.progress.setToolTip("<p>How many parts have been switched off so far</p>")
        self.progress.setFormat("%v of %m")
        self.table = QTableWidget(0, 5)
        self.table.setAccessibleName("What switching each part off changes")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setHorizontalHeaderLabels(["Off", "mm", "Δ simil.", "Δ Dice", "Δ TRE"])
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(22)
        self.table.setShowGrid(False)
        self.table.setMinimumHeight(180)
        self.table.sortByColumn(1, Qt.SortOrder.DescendingOrder)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.table.itemDoubleClicked.connect(self._row_wanted)
        self.table.setToolTip("<p>Mean change of the field in mm, and of the figures. Double-click to see it.</p>")
        self.export_button = button("Export table…", "Write the table to a CSV file", self._ask_where)
        row = QHBoxLayout()
        row.addWidget(self.which, 1)
        row.addWidget(self.study_button)
        row.addWidget(self.cancel_button)
        return row

    # ---------------------------------------------------------------- what is inspected

    def show_session(self, session: Session | None) -> None:
        """Offer the parts of another network."""
        self.stop()
        self._session, self._ablator, self.study, self.latest = session, None, None, None
        config = None if session is None else ablatable(session.inspection)
        self._fill_matrix(config)
        self.intro.setText(EMPTY if config is None else "Untick a part: the network runs again without it.")
        self.outcome.clear()
        self.note.clear()
        self._show_study(None)
        self.setEnabled(config is not None)

    def _fill_matrix(self, config: Any) -> None:
        self.matrix.blockSignals(True)
        self.output_box.blockSignals(True)
        self.output_box.setChecked(True)
        self.output_box.blockSignals(False)
        heads = 0 if config is None else config.heads
        levels = 0 if config is None else config.levels
        self.matrix.setRowCount(levels)
        self.matrix.setColumnCount(heads + len(WHOLE) if levels else 0)
        titles = [*(str(head) for head in range(heads)), *(title for _, title, _ in WHOLE)]
        helps = [*(f"Head {head}" for head in range(heads)), *(text for _, _, text in WHOLE)]
        for column in range(self.matrix.columnCount()):
            item = QTableWidgetItem("" if column < heads else titles[column])
            item.setToolTip(f"<p>{helps[column]}</p>")
            if column < heads:
                item.setIcon(badge(titles[column], QColor.fromRgbF(*head_colours(heads)[column])))
            self.matrix.setHorizontalHeaderItem(column, item)
        self.matrix.setVerticalHeaderLabels([f"level {level}" for level in range(levels)])
        for level in range(levels):
            for column in range(self.matrix.columnCount()):
                name = None if column < heads else WHOLE[column - heads][0]
                item = QTableWidgetItem()
                item.setFlags(Qt.ItemFlag.NoItemFlags)
                if self._exists(config, level, name):
                    item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
                    item.setCheckState(Qt.CheckState.Checked)
                    what = f"head {column}" if name is None else helps[column].split(";")[0].split(".")[0].lower()
                    item.setToolTip(f"Level {level}: {what}")
                self.matrix.setItem(level, column, item)
        header = self.matrix.horizontalHeader()
        header.setMinimumSectionSize(22)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        for column in range(heads, self.matrix.columnCount()):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.matrix.verticalHeader().setDefaultSectionSize(24)
        self.matrix.updateGeometry()
        self.matrix.blockSignals(False)

    @staticmethod
    def _exists(config: Any, level: int, name: str | None) -> bool:
        if name == "previous_confidences":
            return bool(config.confidence) and level > 0
        if name == "confidences":
            return bool(config.confidence)
        return bool(config.feedback) if name == "feedback" else True

    @property
    def ablation(self) -> Ablation:
        """What is switched off."""
        heads = self.matrix.columnCount() - len(WHOLE)
        off: dict[str, set[Any]] = {"heads": set(), **{name: set() for name, _, _ in WHOLE}}
        for level in range(self.matrix.rowCount()):
            for column in range(self.matrix.columnCount()):
                item = self.matrix.item(level, column)
                checkable = bool(item.flags() & Qt.ItemFlag.ItemIsUserCheckable)
                if checkable and item.checkState() == Qt.CheckState.Unchecked:
                    if column < heads:
                        off["heads"].add((level, column))
                    else:
                        off[WHOLE[column - heads][0]].add(level)
        return Ablation(
            **{name: frozenset(places) for name, places in off.items()}, output=not self.output_box.isChecked()
        )

    def switch(self, ablation: Ablation) -> None:
        """Tick the boxes as an ablation says, and run it."""
        heads = self.matrix.columnCount() - len(WHOLE)
        self.matrix.blockSignals(True)
        for level in range(self.matrix.rowCount()):
            for column in range(self.matrix.columnCount()):
                item = self.matrix.item(level, column)
                if column < heads:
                    off = (level, column) in ablation.heads
                else:
                    off = level in getattr(ablation, WHOLE[column - heads][0])
                if item.flags() & Qt.ItemFlag.ItemIsUserCheckable:
                    item.setCheckState(Qt.CheckState.Unchecked if off else Qt.CheckState.Checked)
        self.matrix.blockSignals(False)
        self.output_box.blockSignals(True)
        self.output_box.setChecked(not ablation.output)
        self.output_box.blockSignals(False)
        self._changed()

    def reset(self) -> None:
        """Switch everything on."""
        self.switch(Ablation())

    # ---------------------------------------------------------------- live

    def _changed(self, item: Any = None) -> None:
        self._settle.start()

    def run(self) -> None:
        """Run the network without what is switched off, in the background."""
        if self._session is None or ablatable(self._session.inspection) is None:
            return
        ablation = self.ablation
        if not ablation:
            self.runner.drop()
            self.latest = None
            self.outcome.clear()
            self.ablated.emit(None)
            return
        self.outcome.setText(f"<i>{html.escape(ablation.describe())}: running…</i>")
        self.runner.start(self._ablation_work(ablation))

    def _ablation_work(self, ablation: Ablation) -> Work:
        inspection = self._session.inspection if self._session is not None else None

        def work(task: Task) -> Generator[Any, None, Ablated | None]:
            if self._ablator is None and inspection is not None and inspection.trace is not None:
                self._ablator = Ablator(inspection.trace, **given_annotations(inspection))
            ablator = self._ablator
            if ablator is None or inspection is None:
                return None
            _ = ablator.baseline
            steps = ablator.run(ablation, keep_levels=True, both="inverse" in inspection.directions)
            while not task.stopping.is_set():
                try:
                    yield next(steps)
                except StopIteration as stop:
                    return stop.value  # type: ignore[no-any-return]
            return None

        return work

    def _on_ablated(self, found: Ablated | None) -> None:
        if found is None or self._session is None or self._ablator is None:
            return
        self.latest = found
        self.outcome.setText(outcome_text(found, self._ablator))
        self.note.setText(self._ablator.note)
        self.ablated.emit(without(self._session.inspection, found))

    def _on_failed(self, error: Exception) -> None:
        self.outcome.clear()
        self._show_running(False)
        self.failed.emit(error)

    # ---------------------------------------------------------------- the table

    def start_study(self) -> None:
        """Switch each part off by itself, in the background."""
        trace = None if self._session is None else self._session.inspection.trace
        if trace is None or self._session is None:
            return
        self._show_study(None)
        self._show_running(True)
        self.student.start(study_work(self._session.inspection, self.which.currentData()))

    def cancel_study(self) -> None:
        """Stop the table; the lines that are done stay."""
        self.student.drop()
        self._show_running(False)

    def stop(self) -> None:
        """Stop all work."""
        self._settle.stop()
        self.runner.drop()
        self.cancel_study()

    def _on_study_step(self, step: AblationStep) -> None:
        self.progress.setRange(0, step.total)
        self.progress.setValue(step.step)
        if step.row is not None:
            self._show_study(step.table)

    def _on_study_done(self, table: AblationTable | None) -> None:
        self._show_running(False)
        if table is not None:
            self._show_study(table)

    def _show_running(self, running: bool) -> None:
        self.progress.setVisible(running)
        self.progress.setRange(0, 0)
        self.cancel_button.setEnabled(running)
        self.study_button.setEnabled(not running)

    def _show_study(self, table: AblationTable | None) -> None:
        self.study = table
        rows = () if table is None else table.rows
        self.table.setVisible(bool(rows))
        self.export_button.setVisible(bool(rows))
        self.table.setSortingEnabled(False)
        self.table.setRowCount(len(rows))
        if table is not None:
            self.note.setText(table.note)
        for index, row in enumerate(rows):
            values = (row.mean_mm, row.similarity_change, row.dice_change, row.tre_change_mm)
            name = QTableWidgetItem(row_title(row))
            name.setData(Qt.ItemDataRole.UserRole, row)
            self.table.setItem(index, 0, name)
            for column, (value, digits) in enumerate(zip(values, (3, 4, 4, 3), strict=True), start=1):
                item = QTableWidgetItem()
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                if value is not None:  # a number, so that the column sorts as numbers
                    item.setData(Qt.ItemDataRole.DisplayRole, round(value, digits))
                self.table.setItem(index, column, item)
        self.table.setSortingEnabled(True)

    def _row_wanted(self, item: Any) -> None:
        row: AblationRow = self.table.item(item.row(), 0).data(Qt.ItemDataRole.UserRole)
        self.switch(row_ablation(row))

    def _ask_where(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export the table", "ablation.csv", "Table (*.csv)")
        if path:
            self.export(path)

    def export(self, path: str | Path) -> None:
        """Write the table as CSV."""
        if self.study is None:
            return
        try:
            with replacing(path, "the table") as part:
                self.study.to_csv(part)
        except OutputError as error:
            self.failed.emit(error)
