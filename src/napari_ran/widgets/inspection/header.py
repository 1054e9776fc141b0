"""The top of the Inspect widget: what is inspected, and the menu to choose something else."""

from __future__ import annotations

import html

from qtpy.QtWidgets import QGridLayout, QLabel, QMenu, QToolButton, QWidget

ONE_ARROW = "QToolButton::menu-indicator { image: none; }"
"""Style of a button whose text has an arrow already."""


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
        button, menu = menu_button("Choose ▾", "Choose what to inspect")
        self.latest = menu.addAction("Latest registration of this viewer")
        self.saved = menu.addAction("Saved result…")
        self.field = menu.addAction("Field of another tool…")
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(0, 1)
        layout.addWidget(self.title, 0, 0)
        layout.addWidget(button, 0, 1)
        layout.addWidget(beside, 0, 2)
        layout.addWidget(self.note, 1, 0, 1, 3)

    def show_name(self, name: str) -> None:
        """Show what is inspected."""
        self.title.setText(f"<b>{html.escape(name)}</b>")

    def say(self, note: str) -> None:
        """Show a note below the title, or none."""
        self.note.setText(note)
        self.note.setVisible(bool(note))


def menu_button(text: str, tip: str) -> tuple[QToolButton, QMenu]:
    """Return a button that opens a menu, and the menu."""
    button = QToolButton()
    button.setText(text)
    button.setStyleSheet(ONE_ARROW)
    button.setToolTip(tip)
    button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
    menu = QMenu(button)
    menu.setToolTipsVisible(True)
    button.setMenu(menu)
    return button, menu
