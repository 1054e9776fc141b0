"""The page that switches parts of the network off and shows what changes, live and as a table over all parts."""

from __future__ import annotations

import html
from functools import cache, partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QFileDialog, QHBoxLayout, QLabel, QProgressBar, QWidget
from superqt.utils import signals_blocked

from napari_ran.config import RANConfig
from napari_ran.introspect.ablation import Ablated, AblationStep
from napari_ran.introspect.ablation_table import PARTS, AblationRow, AblationTable
from napari_ran.models import Ablation
from napari_ran.widgets._forms import button, combo
from napari_ran.widgets._layout import page_column
from napari_ran.widgets._timers import single_shot
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.inspection.ablation_work import (
    ablation_work,
    ablator_of,
    aligner_config,
    outcome_text,
    row_ablation,
    study_work,
    without,
)
from napari_ran.widgets.inspection.files import telling
from napari_ran.widgets.inspection.parts import PartsMatrix, StudyTable
from napari_ran.widgets.inspection.session import Session
from napari_ran.writing import replacing

SETTLE_MS = 250
"""Several boxes ticked in a row are one run."""

INTRO = "Untick a part: the network runs again without it."
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
        self._config: RANConfig | None = None
        self.study: AblationTable | None = None
        self.latest: Ablated | None = None
        self.runner, self.student = Worker(self), Worker(self)
        self._settle = single_shot(self, SETTLE_MS, self.run)
        self._build()
        self.runner.finished.connect(self._on_ablated)
        self.runner.failed.connect(self._on_run_failed)
        self.student.stepped.connect(self._on_study_step)
        self.student.finished.connect(self._on_study_done)
        self.student.failed.connect(self._on_study_failed)
        self.show_session(None)

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        self.intro = QLabel(INTRO)
        self.intro.setWordWrap(True)
        self.matrix = PartsMatrix()
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
        above = (self.intro, self.matrix, row, self.outcome)
        page_column(self, *above, self._study_row(), self.progress, self.table, self.export_button, self.note)

    def _study_row(self) -> QHBoxLayout:
        kinds = ((("head",), "Every head"), (("level",), "Every level"), (PARTS, "Everything"))
        self.which = combo("Parts of the table", "What is switched off one by one for the table.", kinds)
        tip = "Switch each part off by itself, in the background, and list what changes"
        self.study_button = button("Make table", tip, self.start_study)
        self.cancel_button = button("Cancel", "Stop; the rows that are finished stay", self.cancel_study)
        self.progress = QProgressBar()
        self.progress.setAccessibleName("Progress of the table")
        self.progress.setToolTip("<p>How many parts have been switched off so far</p>")
        self.progress.setFormat("%v of %m")
        self.table = StudyTable()
        self.table.wanted.connect(self._row_wanted)
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
        self._session, self.latest = session, None
        self._config = None if session is None else aligner_config(session.inspection)
        if session is not None:
            self._ablator = cache(partial(ablator_of, session.inspection))
        self.matrix.show_config(self._config)
        with signals_blocked(self.output_box):
            self.output_box.setChecked(True)
        self.intro.setText(EMPTY if self._config is None else INTRO)
        self.outcome.clear()
        self.note.clear()
        self._show_study(None)
        self.setEnabled(self._config is not None)

    @property
    def ablation(self) -> Ablation:
        """What is switched off."""
        return self.matrix.off | Ablation(output=not self.output_box.isChecked())

    def switch(self, ablation: Ablation) -> None:
        """Tick the boxes as an ablation says, and run it."""
        self.matrix.switch(ablation)
        with signals_blocked(self.output_box):
            self.output_box.setChecked(not ablation.output)
        self._changed()

    def reset(self) -> None:
        """Switch everything on."""
        self.switch(Ablation())

    # ---------------------------------------------------------------- live

    def _changed(self, item: Any = None) -> None:
        self._settle.start()

    def run(self) -> None:
        """Run the network without what is switched off, in the background."""
        if self._session is None or self._config is None:
            return
        ablation = self.ablation
        if not ablation:
            self.runner.drop()
            self.latest = None
            self.outcome.clear()
            self.ablated.emit(None)
            return
        self.outcome.setText(f"<i>{html.escape(ablation.describe())}: running…</i>")
        both = "inverse" in self._session.inspection.directions
        self.runner.start(ablation_work(self._ablator, ablation, both))

    def _on_ablated(self, found: Ablated) -> None:
        if self._session is None:
            return
        self.latest = found
        self.outcome.setText(outcome_text(found, self._ablator().baseline))
        self.note.setText(self._ablator().note)
        self.ablated.emit(without(self._session.inspection, found))

    def _on_run_failed(self, error: Exception) -> None:
        self.outcome.clear()
        self.failed.emit(error)

    # ---------------------------------------------------------------- the table

    def start_study(self) -> None:
        """Switch each part off by itself, in the background."""
        if self._session is None or self._config is None:
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

    def _on_study_done(self, table: AblationTable) -> None:
        self._show_running(False)
        self._show_study(table)

    def _on_study_failed(self, error: Exception) -> None:
        self._show_running(False)
        self.failed.emit(error)

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
        self.table.show_rows(rows)
        if table is not None:
            self.note.setText(table.note)

    def _row_wanted(self, row: AblationRow) -> None:
        if self._config is not None:
            self.switch(row_ablation(row, self._config))

    def _ask_where(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export the table", "ablation.csv", "Table (*.csv)")
        if path:
            self.export(path)

    def export(self, path: str | Path) -> None:
        """Write the table as CSV."""
        if self.study is None:
            return
        with telling(self.failed), replacing(path, "the table") as part:
            self.study.to_csv(part)
