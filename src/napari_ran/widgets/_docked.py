"""A widget that lives in a dock of the viewer and lets go of it when the dock is closed."""

from __future__ import annotations

from typing import ClassVar

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget

from napari_ran.widgets._access import Spoken
from napari_ran.widgets._help import HelpWindow, open_page
from napari_ran.widgets._shortcuts import bind


class DockedWidget(QWidget):
    """Shuts down when its dock is removed, for which no close event comes, and wakes up when it is docked again.

    Attributes
    ----------
    help_page : str
        The page of the documentation that is about this widget.
    """

    help_page: ClassVar[str] = "index.md"

    def __init__(self) -> None:
        super().__init__()
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
        raise RuntimeError(f"{type(self).__name__} does not say how to shut down")

    def _follow_viewer(self, follow: bool) -> None:
        """Listen to the viewer, or no longer; sets ``_open``."""
        raise RuntimeError(f"{type(self).__name__} does not say how to follow the viewer")
