"""The latest registration of each viewer, handed from the Register widget to the Inspect widget."""

from __future__ import annotations

import weakref
from typing import Any

from qtpy.QtCore import QObject, Signal

import napari_ran as ran


class Recent(QObject):
    """The latest registration of one viewer.

    Signals
    -------
    changed : ()
        There is a new one.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.result: ran.Registration | None = None

    def put(self, result: ran.Registration) -> None:
        """Remember a registration in place of the one before."""
        self.result = result
        self.changed.emit()


_OF_VIEWERS: dict[int, Recent] = {}


def recent_of(viewer: Any) -> Recent:
    """Return the memory of a viewer, itself or napari's proxy around it; it goes when the viewer goes."""
    real = getattr(viewer, "__wrapped__", viewer)
    key = id(real)
    if key not in _OF_VIEWERS:
        _OF_VIEWERS[key] = Recent()
        weakref.finalize(real, _OF_VIEWERS.pop, key, None)
    return _OF_VIEWERS[key]
