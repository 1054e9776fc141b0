"""The settings of a form as a YAML file: the buttons, and the dialogs that ask which one."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QWidget

from napari_ran.widgets._forms import button

_KIND = "Settings (*.yaml *.yml)"


class SettingsRow(QWidget):
    """Buttons that show the first settings again, read a file, and write one.

    Parameters
    ----------
    name : str
        File name to offer.
    load_tip, save_tip : str
        What is read and written.

    Attributes
    ----------
    chosen_to_load, chosen_to_save : Signal
        With the path that the user chose.
    """

    chosen_to_load = Signal(str)
    chosen_to_save = Signal(str)

    def __init__(self, name: str, load_tip: str, save_tip: str) -> None:
        super().__init__()
        self._name = name
        self.reset_button = button("Defaults", "Show the settings that the form had at first, and remember those")
        self.load_button = button("Load settings…", load_tip, self._ask_what_to_load)
        self.save_button = button("Save settings…", save_tip, self._ask_where_to_save)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for part in (self.reset_button, self.load_button, self.save_button):
            row.addWidget(part)

    def _ask_what_to_load(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Load settings", "", _KIND)
        if path:
            self.chosen_to_load.emit(path)

    def _ask_where_to_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save settings", self._name, _KIND)
        if path:
            self.chosen_to_save.emit(path)
