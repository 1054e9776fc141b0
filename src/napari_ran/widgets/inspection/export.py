"""Writing the report of an inspection from the dock: a menu, and a bar that shows how far it is."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QProgressBar, QPushButton, QWidget

from napari_ran.introspect.inspection import Inspection
from napari_ran.webpage import ReportStep, report_steps
from napari_ran.widgets._worker import Task, Work, Worker
from napari_ran.widgets.inspection.header import menu_button

LINK = "#4a90e2"
"""Qt's own blue cannot be read on the dark theme; this one can on both."""


def report_work(inspection: Inspection, folder: Path, ablation: bool) -> Work:
    """Return the work of writing the report; it yields `ReportStep` and returns the page, or None when stopped."""

    def work(task: Task) -> Generator[Any, None, Path | None]:
        steps = report_steps(inspection, folder, ablation=ablation)
        try:
            while not task.stopping.is_set():
                try:
                    yield next(steps)
                except StopIteration as stop:
                    page: Path = stop.value
                    return page
        finally:
            steps.close()
        return None

    return work


class ExportBar(QWidget):
    """Progress of the report, a way to stop it, and afterwards the way to the page; hidden until one is written.

    Signals
    -------
    failed : object
        The exception that ended it.
    """

    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.inspection: Inspection | None = None
        self.worker = Worker(self)
        tip = "Write a page with everything there is to see, and the arrays of every stage"
        self.button, menu = menu_button("Export ▾", tip)
        self.button.setAccessibleName("Export a report")
        self.button.setEnabled(False)
        self.plain_action = menu.addAction("Report…")
        self.whole_action = menu.addAction("Report with ablation of every head…")
        self.whole_action.setToolTip("Runs the network again for every head: minutes on a large volume")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(8)
        self.bar.setAccessibleName("Progress of the report")
        self.bar.setToolTip("<p>How much of the report is written</p>")
        self.words = QLabel()
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.LinksAccessibleByMouse)
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip("Stop writing; nothing is left behind")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.bar, 1)
        layout.addWidget(self.words, 2)
        layout.addWidget(self.stop_button)
        self.hide()
        self.plain_action.triggered.connect(lambda: self._ask(False))
        self.whole_action.triggered.connect(lambda: self._ask(True))
        self.stop_button.clicked.connect(self.worker.stop)
        self.words.linkActivated.connect(lambda link: QDesktopServices.openUrl(QUrl(link)))
        self.worker.stepped.connect(self._on_step)
        self.worker.finished.connect(self._on_finished)
        self.worker.failed.connect(self._on_failed)

    def show_inspection(self, inspection: Inspection) -> None:
        """Offer to export something else; a report that is being written goes on."""
        self.inspection = inspection
        self.button.setEnabled(True)
        self.whole_action.setEnabled(inspection.trace is not None)

    def write(self, folder: str | Path, ablation: bool = False) -> None:
        """Write the report into a folder, in the background."""
        if self.inspection is None:
            return
        self._working(True)
        self.words.setText("Beginning…")
        self.worker.start(report_work(self.inspection, Path(folder), ablation))

    def stop(self) -> None:
        """Stop writing, and take the bar away."""
        self.worker.drop()
        self._working(False)
        self.hide()

    def _ask(self, ablation: bool) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the report")
        if folder:
            self.write(folder, ablation)

    def _working(self, on: bool) -> None:
        self.show()
        self.bar.setVisible(on)
        self.stop_button.setVisible(on)
        self.button.setEnabled(not on and self.inspection is not None)

    def _on_step(self, step: ReportStep) -> None:
        self.bar.setRange(0, step.total)
        self.bar.setValue(step.step)
        self.words.setText(step.message[:1].upper() + step.message[1:])

    def _on_finished(self, page: Path | None) -> None:
        self._working(False)
        if page is None:
            self.words.setText("Stopped; nothing was written.")
            return
        link = QUrl.fromLocalFile(str(page.absolute())).toString()
        self.words.setText(f'Written: <a href="{link}" style="color: {LINK}">{page.parent.name}/{page.name}</a>')

    def _on_failed(self, error: Exception) -> None:
        self.stop()
        self.failed.emit(error)
