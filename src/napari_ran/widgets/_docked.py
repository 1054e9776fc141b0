"""A widget that lives in a dock of the viewer and lets go of it when the dock is closed."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget


class DockedWidget(QWidget):
    """Shuts down when its dock is removed, for which no close event comes, and wakes up when it is docked again."""

    def __init__(self) -> None:
        super().__init__()
        self._open = False

    def event(self, event: QEvent) -> bool:
        """Notice that the dock has come or gone."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None:
                self.shut()
            elif not self._open:
                self._follow_viewer(True)
        return bool(super().event(event))

    def shut(self) -> None:
        """Stop all work and let go of the viewer; more than once does no harm."""
        raise RuntimeError(f"{type(self).__name__} does not say how to shut down")

    def _follow_viewer(self, follow: bool) -> None:
        """Listen to the viewer, or no longer; sets ``_open``."""
        raise RuntimeError(f"{type(self).__name__} does not say how to follow the viewer")
