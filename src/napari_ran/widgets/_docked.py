"""A widget that lives in a dock of the viewer and lets go of it when the dock is closed."""

from __future__ import annotations

from typing import Any, ClassVar

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_ran.widgets._access import Spoken
from napari_ran.widgets._help import HelpWindow, open_page
from napari_ran.widgets._message import MessagePanel
from napari_ran.widgets._plot import ThemedPlot
from napari_ran.widgets._shortcuts import bind
from napari_ran.widgets._worker import Worker


class DockedWidget(QWidget):
    """Shuts down when its dock is removed, for which no close event comes, and wakes up when it is docked again.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer that it is docked in.

    Attributes
    ----------
    help_page : str
        The page of the documentation that is about this widget.
    message : MessagePanel
        Shows errors; the widget lays it out.
    """

    help_page: ClassVar[str] = "index.md"

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.message = MessagePanel(viewer, self, self.help_page)
        self._open = False
        self._spoken: Spoken | None = None
        self.help: HelpWindow | None = None

    def event(self, event: QEvent) -> bool:
        """Notice that the dock has come or gone."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None:
                self.shut()
            else:
                self._dress()
                if not self._open:
                    self._follow_viewer(True)
        return bool(super().event(event))

    def _lay_out(self, page: QWidget, progress: QWidget, *buttons: QPushButton) -> None:
        """Put the page above the message, the progress and a row of buttons, of which the first is twice as wide."""
        row = QHBoxLayout()
        for button in buttons:
            row.addWidget(button, 2 if button is buttons[0] else 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(page, 1)
        layout.addWidget(self.message)
        layout.addWidget(progress)
        layout.addLayout(row)

    def show_help(self) -> None:
        """Open the page of the documentation that is about this widget."""
        self.help = open_page(self.help_page, self)

    def _dress(self) -> None:
        """Give the finished widget what every one of ours has: descriptions for screen readers, and the help key."""
        if self._spoken is None:
            self._spoken = Spoken(self)
            bind(self, help=self.show_help)

    def shut(self) -> None:
        """Stop all work and let go of the viewer; more than once does no harm."""
        if self._open:
            for worker in self.findChildren(Worker):
                worker.drop()
            self._follow_viewer(False)

    def _follow_viewer(self, follow: bool) -> None:
        """Listen to the viewer, or no longer."""
        self._open = follow
        theme = self.viewer.events.theme
        (theme.connect if follow else theme.disconnect)(self._apply_theme)
        if follow:
            self._apply_theme()

    def _apply_theme(self, event: Any = None) -> None:
        """Let all that paints itself take the viewer's colours."""
        for part in (self.message, *self.findChildren(ThemedPlot)):
            part.apply_theme()
