"""A list of which some lines are ticked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QListWidget, QListWidgetItem
from superqt.utils import signals_blocked


class TickList(QListWidget):
    """A list with a box to tick in front of each line.

    Parameters
    ----------
    name, tip : str
        What it is, for screen readers, and what is said when the mouse rests on it.
    """

    def __init__(self, name: str, tip: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setToolTip(f"<p>{tip}</p>")
        self.setSpacing(1)

    def offer(self, choices: Iterable[tuple[str, Any, bool]]) -> None:
        """Show other lines: the text of each, what it stands for, and whether it is ticked."""
        with signals_blocked(self):
            self.clear()
            for text, thing, ticked in choices:
                item = QListWidgetItem(text)
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                item.setData(Qt.ItemDataRole.UserRole, thing)
                item.setCheckState(_state(ticked))
                self.addItem(item)

    def ticks(self) -> dict[Any, bool]:
        """Return what the lines stand for, from the top down, and whether each is ticked."""
        items = [self.item(row) for row in range(self.count())]
        return {item.data(Qt.ItemDataRole.UserRole): item.checkState() == Qt.CheckState.Checked for item in items}

    def tick(self, *things: Any) -> None:
        """Tick the lines of these and no other."""
        for row, thing in enumerate(self.ticks()):
            self.item(row).setCheckState(_state(thing in things))


def _state(ticked: bool) -> Qt.CheckState:
    return Qt.CheckState.Checked if ticked else Qt.CheckState.Unchecked
