"""The settings of a form as a YAML file: the buttons, the dialogs that ask which one, and reading it."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_ran.config import FrozenConfig
from napari_ran.errors import RanError
from napari_ran.widgets._forms import button
from napari_ran.widgets._layout import fill_row

_KIND = "Settings (*.yaml *.yml)"


class SettingsRow(QWidget):
    """Buttons that show the first settings again, read a file, and write one.

    Parameters
    ----------
    name : str
        File name to offer.
    config : type of FrozenConfig
        What a file is read as.
    load_tip, save_tip : str
        What is read and written.

    Signals
    -------
    loaded : FrozenConfig
        What a file holds.
    said : str
        What was done, in words.
    failed : object
        The exception that kept a file from being read.
    chosen_to_save : str
        The path that the user chose.
    """

    loaded = Signal(object)
    said = Signal(str)
    failed = Signal(object)
    chosen_to_save = Signal(str)

    def __init__(self, name: str, config: type[FrozenConfig], load_tip: str, save_tip: str) -> None:
        super().__init__()
        self._name, self._config = name, config
        self.reset_button = button("Defaults", "Show the settings that the form had at first, and remember those")
        self.load_button = button("Load settings…", load_tip, self._ask_what_to_load)
        self.save_button = button("Save settings…", save_tip, self._ask_where_to_save)
        fill_row(self, self.reset_button, self.load_button, self.save_button)

    def load(self, path: str | Path) -> None:
        """Read the settings of a YAML file."""
        try:
            found = self._config.from_yaml(path)
        except RanError as error:
            self.failed.emit(error)
        else:
            self.loaded.emit(found)
            self.said.emit(f"Settings loaded from {path}.")

    def _ask_what_to_load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load settings", "", _KIND)
        if path:
            self.load(path)

    def _ask_where_to_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save settings", self._name, _KIND)
        if path:
            self.chosen_to_save.emit(path)
