"""A line for a path, with buttons that ask for a folder or a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QWidget


class PathRow(QWidget):
    """An editor with the buttons that suit what its path may be.

    Parameters
    ----------
    editor : QLineEdit
        Holds the path.
    name : str
        What the path is, for dialogs and screen readers.
    files : str
        Filter of the file dialog, such as ``"Lists (*.csv)"``.
    """

    def __init__(self, editor: Any, name: str, files: str = "") -> None:
        super().__init__()
        self.editor, self._name, self._files = editor, name, files
        self.file_button = self._button("File…", "file", self._ask_for_file)
        self.folder_button = self._button("Folder…", "folder", self._ask_for_folder)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(editor, 1)
        row.addWidget(self.file_button)
        row.addWidget(self.folder_button)

    def offer(self, files: str, folder: bool) -> None:
        """Say which files can be named (a filter, empty for none), and whether a folder can."""
        self._files = files
        self.file_button.setVisible(bool(files))
        self.folder_button.setVisible(folder)

    def _button(self, text: str, what: str, slot: Callable[[], None]) -> QPushButton:
        button = QPushButton(text)
        button.setAccessibleName(f"{self._name}: choose a {what}")
        button.setToolTip(f"<p>Choose a {what} for: {self._name.lower()}</p>")
        button.clicked.connect(slot)
        return button

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, self._name, "", self._files)
        self._take(path)

    def _ask_for_folder(self) -> None:
        self._take(QFileDialog.getExistingDirectory(self, self._name))

    def _take(self, path: str) -> None:
        if path:
            self.editor.setText(path)
