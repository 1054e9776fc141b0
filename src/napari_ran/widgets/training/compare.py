"""The button that measures what instance optimisation alone reaches, to be drawn as a line in the curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton

from napari_ran.config import TrainConfig
from napari_ran.train.comparison import Compared, compare_with_instance, comparison_of
from napari_ran.widgets._worker import Task, Worker

TEXT = "Compare with instance optimisation"


class CompareButton(QPushButton):
    """Optimises a field for each validation pair in a thread; pressed again, it gives up.

    Signals
    -------
    found : Validation
        What instance optimisation reaches; also when that is known from an earlier time.
    failed : object
        The exception that ended it.
    """

    found = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__(TEXT)
        self.setToolTip(
            "<p>Fit a displacement field to each validation pair without a network, as Register does with the weights "
            "'none', and draw what that reaches as a line. It takes as long as registering these pairs, on the "
            "processor, and slows a training on the processor meanwhile. The line is kept with the training.</p>"
        )
        self._folder: Path | None = None
        self.worker = Worker(self)
        self.clicked.connect(self._on_clicked)
        self.worker.stepped.connect(self._on_step)
        self.worker.finished.connect(self._on_found)
        self.worker.failed.connect(self._on_failed)

    def clear(self) -> None:
        """Give up, and forget the run."""
        self.worker.drop()
        self._folder = None
        self._rest(done=False)
        self.setEnabled(False)

    def open(self, folder: Path, config: TrainConfig) -> None:
        """Look at a run: what is known of it is told at once."""
        if self._folder == folder and self.worker.task is not None:
            return
        self._folder = folder
        known = comparison_of(folder, config)
        self._rest(done=known is not None)
        if known is not None:
            self.found.emit(known)

    def _on_clicked(self) -> None:
        if self.worker.task is not None:
            self.worker.drop()
            self._rest(done=False)
            return
        folder = self._folder
        if folder is None:
            return

        def work(task: Task) -> Any:
            return (yield from compare_with_instance(folder))

        self.setText("Comparing… (press to cancel)")
        self.worker.start(work)

    def _on_step(self, event: Compared) -> None:
        share = (event.pair + event.share) / event.pairs
        self.setText(f"Comparing: pair {event.pair + 1} of {event.pairs}, {100 * share:.0f} % (press to cancel)")

    def _on_found(self, validation: Any) -> None:
        self._rest(done=True)
        self.found.emit(validation)

    def _on_failed(self, error: Exception) -> None:
        self._rest(done=False)
        self.failed.emit(error)

    def _rest(self, done: bool) -> None:
        self.setText(TEXT)
        self.setVisible(not done)
        self.setEnabled(self._folder is not None)
