"""Which training the Progress page shows: one of the viewer's own, or that of any folder."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QMessageBox, QWidget

import napari_ran as ran
from napari_ran.widgets._forms import button, combo
from napari_ran.widgets.training.runs import all_runs, delete_run, runs_folder, state_of

NONE = "no training yet"


class RunChooser(QWidget):
    """The list of trainings, with buttons to open another folder and to delete one.

    Signals
    -------
    chosen : Path
        The user wants to see the training of this folder.
    deleted : Path
        The training of this folder is gone.
    failed : object
        The exception that kept one from being deleted.
    """

    chosen = Signal(object)
    deleted = Signal(object)
    failed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._folder: Path | None = None
        self._ready = True
        self.box = combo("Training", "The trainings that were started here, the newest first.")
        tip = "Show another training by its folder: it may run, have ended or be resumed"
        self.open_button = button("Open…", tip, self._ask_what_to_open)
        tip = "Delete this training with its checkpoints; a model that it gave stays"
        self.delete_button = button("Delete…", tip, self._ask_to_delete)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.box, 1)
        row.addWidget(self.open_button)
        row.addWidget(self.delete_button)
        self.box.activated.connect(self._on_chosen)
        self.refresh()

    def show_run(self, folder: Path | None) -> None:
        """Show which training is looked at."""
        self._folder = folder
        self.refresh()

    def set_ready(self, ready: bool) -> None:
        """Allow another training to be chosen, or not."""
        self._ready = ready
        self.refresh()

    def refresh(self) -> None:
        """List the trainings that there are now."""
        runs = all_runs()
        if self._folder is not None and self._folder not in runs and self._folder.exists():
            runs = {self._folder: state_of(self._folder)} | runs
        self.box.clear()
        for folder, state in runs.items():
            self.box.addItem(f"{folder.name}   ({state})", str(folder))
            self.box.setItemData(self.box.count() - 1, str(folder), Qt.ItemDataRole.ToolTipRole)
        self.box.setCurrentIndex(-1 if self._folder is None else self.box.findData(str(self._folder)))
        self.box.setPlaceholderText("choose a training" if runs else NONE)
        self.box.setEnabled(self._ready and bool(runs))
        self.open_button.setEnabled(self._ready)
        mine = self._folder is not None and self._folder.parent == runs_folder()
        self.delete_button.setEnabled(self._ready and mine and self.box.currentIndex() >= 0)

    def delete(self) -> None:
        """Delete the training that is shown."""
        folder = self._folder
        if folder is None:
            return
        try:
            delete_run(folder)
        except ran.RanError as error:
            self.failed.emit(error)
            return
        self.show_run(None)
        self.deleted.emit(folder)

    def _on_chosen(self, index: int) -> None:
        self.chosen.emit(Path(self.box.itemData(index)))

    def _ask_what_to_open(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a training", str(runs_folder()))
        if path:
            self.chosen.emit(Path(path))

    def _ask_to_delete(self) -> None:
        name = "" if self._folder is None else self._folder.name
        question = f"Delete the training '{name}' with its checkpoints and snapshots?\nA model that it gave stays."
        if QMessageBox.question(self, "Delete the training", question) == QMessageBox.StandardButton.Yes:
            self.delete()
