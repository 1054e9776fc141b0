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
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

import napari_ran as ran
from napari_ran.errors import NotEnoughMemoryError, OutputError
from napari_ran.widgets._details import details
from napari_ran.widgets._forms import ConfigForm, button
from napari_ran.widgets._help import HelpWindow, open_page

MEMORY = "memory.md"


class MessagePanel(QFrame):
    """An error in words. The text can be selected; all there is to know about it can be copied with one button.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours.
    owner : QWidget
        Whose errors are shown; its name and the settings of its forms are among the details.
    page : str
        The page of the documentation that is about the owner.
    """

    def __init__(self, viewer: Any, owner: QWidget, page: str) -> None:
        super().__init__(owner)
        self._viewer, self._owner, self._page = viewer, owner, page
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
        tip = "Copy the message, the versions, the settings and where in the program it happened, to report it"
        self.copy_button = button("Copy details", tip, self.copy)
        self.help_button = button("How to…", "Open the page of the documentation that explains this", self.show_help)
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
        return MEMORY if isinstance(self._error, NotEnoughMemoryError | MemoryError) else self._page

    def details(self) -> str:
        """Return everything that helps to find the cause of the error, as text."""
        settings = []
        for form in self._owner.findChildren(ConfigForm):
            try:
                settings.append(form.get().to_yaml())
            except ran.RanError as error:
                settings.append(f"cannot be used: {error}")
        return details(self._error, type(self._owner).__name__, settings)

    def copy(self) -> None:
        """Put the details on the clipboard."""
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.details())
            self.copy_button.setText("Copied")

    def show_help(self) -> None:
        """Open the page of the documentation that explains the error."""
        self.help = open_page(self.page, self)

    def apply_theme(self) -> None:
        """Take the viewer's error colour."""
        theme = get_theme(self._viewer.theme)
        self.setStyleSheet(
            f"#ran_message {{ border: 1px solid {theme.error.as_hex()}; border-left: 4px solid {theme.error.as_hex()};"
            f" border-radius: 3px; background: {theme.background.as_hex()}; }}"
        )
