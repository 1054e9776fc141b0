"""What every control says about itself: a name and an explanation, for the mouse and for a screen reader."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QScrollBar,
    QTabBar,
    QWidget,
)

KINDS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QProgressBar,
    QTabBar,
)
"""What counts as a control, besides everything of ours that paints itself (plots and legends)."""

_QTS_OWN = (QAbstractSpinBox, QAbstractItemView, QComboBox, QLineEdit, QTabBar)
"""Controls whose inner parts (a box's line, a list's scroll bar, a table's corner) are not controls of their own."""


def controls(owner: QWidget) -> Iterator[QWidget]:
    """Yield every control of a widget, hidden ones too, without the parts that Qt made for itself."""
    for child in owner.findChildren(QWidget):
        if isinstance(child, QScrollBar | QHeaderView) or _inner(child, owner):
            continue
        if isinstance(child, KINDS) or _paints_itself(child):
            yield child


def name_of(control: QWidget) -> str:
    """Return what a screen reader calls a control: its accessible name, its own text, or the caption beside it."""
    if control.accessibleName():
        return str(control.accessibleName())
    if isinstance(control, QAbstractButton):
        return str(control.text())
    captions = (label for label in control.window().findChildren(QLabel) if label.buddy() is control)
    return next((str(label.text()) for label in captions), "")


def plain(tooltip: str) -> str:
    """Return a tool tip without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", tooltip))).strip()


def tips_of(control: QWidget) -> list[str]:
    """Return the explanations of a control; a row of tabs has one for each tab."""
    if isinstance(control, QTabBar):
        return [plain(control.tabToolTip(index)) for index in range(control.count())]
    return [plain(control.toolTip())]


def explain_buttons(buttons: QDialogButtonBox, accept: str) -> None:
    """Say what the buttons of a dialog do: the one that accepts does what `accept` says, any other nothing."""
    for button in buttons.buttons():
        accepts = buttons.buttonRole(button) == QDialogButtonBox.ButtonRole.AcceptRole
        button.setToolTip(f"<p>{accept if accepts else 'Close this and change nothing'}</p>")


class Spoken(QObject):
    """Gives every control of a widget its tool tip as a description for screen readers, without tags, and keeps it so.

    Parameters
    ----------
    owner : QWidget
        Whose controls are described, now and whenever one of their tool tips changes.
    """

    def __init__(self, owner: QWidget) -> None:
        super().__init__(owner)
        for control in controls(owner):
            self._describe(control)
            control.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 (Qt's name)
        """Take notice of a new tool tip."""
        if event.type() == QEvent.Type.ToolTipChange and isinstance(watched, QWidget):
            self._describe(watched)
        return False

    @staticmethod
    def _describe(control: QWidget) -> None:
        words = " ".join(tips_of(control)) if isinstance(control, QTabBar) else plain(control.toolTip())
        control.setAccessibleDescription(words)


def _inner(child: QWidget, owner: QWidget) -> bool:
    """Whether a widget is a part of one of Qt's own controls."""
    parent = child.parent()
    while isinstance(parent, QWidget) and parent is not owner:
        if isinstance(parent, _QTS_OWN) and not type(child).__module__.startswith("napari_ran"):
            return True
        parent = parent.parent()
    return False


def _paints_itself(child: QWidget) -> bool:
    return any("paintEvent" in kind.__dict__ and kind.__module__.startswith("napari_ran") for kind in type(child).mro())
