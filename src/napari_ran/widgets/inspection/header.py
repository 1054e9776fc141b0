"""The top of the Inspect widget: what is inspected, and the menu to choose something else."""

from __future__ import annotations

from qtpy.QtWidgets import QGridLayout, QLabel, QMenu, QToolButton, QWidget

from napari_ran.widgets.inspection.export import ONE_ARROW


class Header(QWidget):
    """Title, menu and a note.

    Parameters
    ----------
    title : str
        What it says at first.
    beside : QWidget
        Another button, to the right of the menu.

    Attributes
    ----------
    latest, saved, field : QAction
        Of the menu: the viewer's latest registration, a saved result, a field of another tool.
    """

    def __init__(self, title: str, beside: QWidget) -> None:
        super().__init__()
        self.title, self.note = QLabel(title), QLabel()
        for label, name in ((self.title, "What is inspected"), (self.note, "Note")):
            label.setWordWrap(True)
            label.setAccessibleName(name)
        self.note.hide()
        button = QToolButton()
        button.setText("Choose ▾")
        button.setStyleSheet(ONE_ARROW)
        button.setToolTip("Choose what to inspect")
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(button)
        menu.setToolTipsVisible(True)
        self.latest = menu.addAction("Latest registration of this viewer")
        self.saved = menu.addAction("Saved result…")
        self.field = menu.addAction("Field of another tool…")
        button.setMenu(menu)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(0, 1)
        layout.addWidget(self.title, 0, 0)
        layout.addWidget(button, 0, 1)
        layout.addWidget(beside, 0, 2)
        layout.addWidget(self.note, 1, 0, 1, 3)

    def say(self, note: str) -> None:
        """Show a note below the title, or none."""
        self.note.setText(note)
        self.note.setVisible(bool(note))
