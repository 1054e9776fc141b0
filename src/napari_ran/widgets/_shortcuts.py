"""The keys of the widgets: each works while its dock has the focus, and none is one of napari's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QAbstractButton, QShortcut, QTabWidget, QWidget

from napari_ran.widgets._settings import setting


@dataclass(frozen=True)
class Keys:
    """A shortcut.

    Attributes
    ----------
    keys : str
        As Qt names them; Ctrl is the command key on a Mac.
    what : str
        What they do, for the documentation.
    """

    keys: str
    what: str


SHORTCUTS = {
    "run": Keys("Ctrl+Return", "Register, Train, Compare, Apply: start with what is chosen"),
    "stop": Keys("Ctrl+.", "Register, Train, Compare, Apply: stop, and keep what there is"),
    "back": Keys("Alt+Left", "Inspect: the stage before; Cohort: the pair above; Welcome: the step before"),
    "forward": Keys("Alt+Right", "Inspect: the next stage; Cohort: the pair below; Welcome: the next step"),
    "play": Keys("Alt+Return", "Inspect: play through the stages, or stop"),
    "previous_page": Keys("Ctrl+PgUp", "Register, Inspect, Train: the page to the left"),
    "next_page": Keys("Ctrl+PgDown", "Register, Inspect, Train: the page to the right"),
    "help": Keys("F1", "Every widget: its page of the documentation"),
}
"""By name; the table of docs/first-steps.md is made of it."""


def bind(owner: QWidget, **actions: QAbstractButton | Callable[[], None]) -> None:
    """Give a widget its keys, unless the plugin's settings say that there are none.

    A button is clicked, if it can be, and its tool tip names the keys.

    Parameters
    ----------
    owner : QWidget
        The keys work while it, or something in it, has the focus.
    **actions : QAbstractButton or function
        By the name in `SHORTCUTS`.
    """
    if not setting("start", "dock_keys"):
        return
    for name, action in actions.items():
        keys = QKeySequence(SHORTCUTS[name].keys)
        shortcut = QShortcut(keys, owner)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.setObjectName(name)
        if isinstance(action, QAbstractButton):
            shortcut.activated.connect(action.click)
            words = keys.toString(QKeySequence.SequenceFormat.NativeText)
            action.setToolTip(f"{action.toolTip()}<p>Keys: {words}</p>")
        else:
            shortcut.activated.connect(action)


def bind_pages(owner: QWidget, tabs: QTabWidget) -> None:
    """Let keys turn the pages of a widget."""

    def turn(by: int) -> None:
        tabs.setCurrentIndex((tabs.currentIndex() + by) % tabs.count())

    bind(owner, previous_page=lambda: turn(-1), next_page=lambda: turn(1))
