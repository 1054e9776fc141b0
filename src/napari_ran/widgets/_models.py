"""Tells every chooser of models in this process when there are others."""

from __future__ import annotations

from qtpy.QtCore import QObject, Signal


class Models(QObject):
    """The models that can be chosen by name.

    Signals
    -------
    changed : ()
        One came, went or was renamed.
    """

    changed = Signal()


models = Models()
