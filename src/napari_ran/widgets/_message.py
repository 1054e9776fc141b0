"""An error in words: what is wrong with which argument, the cure, the details to copy, and the way to the how-to."""

from __future__ import annotations

import html
from typing import Any

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

import napari_ran as ran
from napari_ran.errors import NotEnoughMemoryError, OutputError
from napari_ran.widgets._details import details
from napari_ran.widgets._docked import DockedWidget
from napari_ran.widgets._forms import ConfigForm
from napari_ran.widgets._help import HelpWindow, open_page

MEMORY = "memory.md"
GENERAL = "index.md"


class MessagePanel(QFrame):
    """An error in words. The text can be selected; all there is to know about it can be copied with one button.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours.
    parent : QWidget, optional
        The owner.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._error: BaseException | None = None
        self.help: HelpWindow | None = None
        self.setObjectName("ran_message")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.text.setAccessibleName("Error message")
        self.text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        self._build()
        self.apply_theme()
        self.hide()

    def _build(self) -> None:
        close = QToolButton()
        close.setText("×")
        close.setToolTip("<p>Dismiss the message</p>")
        close.setAccessibleName("Dismiss the message")
        close.clicked.connect(self.hide)
        self.copy_button, self.help_button = QPushButton("Copy details"), QPushButton("How to…")
        self.copy_button.setToolTip(
            "<p>Copy the message, the versions, the settings and where in the program it happened, to report it</p>"
        )
        self.help_button.setToolTip("<p>Open the page of the documentation that explains this</p>")
        self.copy_button.clicked.connect(self.copy)
        self.help_button.clicked.connect(self.show_help)
        top, row, layout = QHBoxLayout(), QHBoxLayout(), QVBoxLayout(self)
        top.addWidget(self.text, 1)
        top.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        row.addStretch(1)
        row.addWidget(self.copy_button)
        row.addWidget(self.help_button)
        layout.setContentsMargins(8, 6, 4, 6)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addLayout(row)

    def show_error(self, error: BaseException, titles: dict[str, str]) -> None:
        """Show an exception: those meant for users as argument, problem and cure, others as they are."""
        self._error = error
        self.copy_button.setText("Copy details")
        if isinstance(error, ran.InputError):
            head, problem, cure = titles.get(error.argument, error.argument), error.problem, error.cure
        elif isinstance(error, OutputError):
            head, problem, cure = error.path, error.problem, error.cure
        else:
            head = "Unexpected error"
            problem = f"{type(error).__name__}: {error}"
            cure = "Please report it with the details that the button copies"
        sentence = cure if cure.endswith((".", "?", "!")) else f"{cure}."
        parts = (html.escape(text) for text in (head, f"{problem[:1].upper()}{problem[1:]}", sentence))
        self.text.setText("<b>{}</b><br>{}.<br><i>{}</i>".format(*parts))
        self.show()

    @property
    def page(self) -> str:
        """The page of the documentation that explains what is shown."""
        owner = self._owner()
        if isinstance(self._error, NotEnoughMemoryError | MemoryError):
            return MEMORY
        return GENERAL if owner is None else owner.help_page

    def details(self) -> str:
        """Return everything that helps to find the cause of the error, as text."""
        owner = self._owner()
        forms = [] if owner is None else owner.findChildren(ConfigForm)
        settings = []
        for form in forms:
            try:
                settings.append(form.get().to_yaml())
            except ran.RanError as error:
                settings.append(f"cannot be used: {error}")
        widget = "" if owner is None else type(owner).__name__
        return details(self._error, widget, settings)

    def copy(self) -> None:
        """Put the details on the clipboard."""
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.details())
            self.copy_button.setText("Copied")

    def show_help(self) -> None:
        """Open the page of the documentation that explains the error."""
        self.help = open_page(self.page, self)

    def apply_theme(self, event: Any = None) -> None:
        """Take the viewer's error colour."""
        theme = get_theme(self._viewer.theme)
        self.setStyleSheet(
            f"#ran_message {{ border: 1px solid {theme.error.as_hex()}; border-left: 4px solid {theme.error.as_hex()};"
            f" border-radius: 3px; background: {theme.background.as_hex()}; }}"
        )

    def _owner(self) -> DockedWidget | None:
        """Return the widget whose message this is."""
        parent = self.parent()
        while parent is not None and not isinstance(parent, DockedWidget):
            parent = parent.parent()
        return parent
