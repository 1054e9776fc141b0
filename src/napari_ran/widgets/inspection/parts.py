"""The parts of a network as check boxes, and what switching each off changes as a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem
from superqt.utils import signals_blocked

from napari_ran.config import RANConfig
from napari_ran.introspect.ablation import study_parts
from napari_ran.introspect.ablation_table import AblationRow, Part
from napari_ran.models import Ablation
from napari_ran.widgets._cells import NumberCell
from napari_ran.widgets.inspection.ablation_work import row_title
from napari_ran.widgets.inspection.colours import head_colours
from napari_ran.widgets.inspection.tables import WholeTable, badge

WHOLE: dict[Part, tuple[str, str]] = {
    "confidence": ("new", "Confidence of the level's own residual; off, it is 1 everywhere."),
    "previous confidence": ("old", "Confidence of the field carried from the level before; off, it is 1 everywhere."),
    "feedback": ("fb", "Feedback that refines the features for the next level; off, they go on unrefined."),
    "level": ("all", "The whole level; off, it is passed over."),
}
"""Columns after the heads: kind of the part to header and help."""


class PartsMatrix(WholeTable):
    """One row per level, one box per part; a part without its tick is switched off."""

    def __init__(self) -> None:
        super().__init__()
        self._boxes: list[tuple[Ablation, QTableWidgetItem]] = []
        self.setAccessibleName("Parts of the network by level")
        self.setToolTip("<p>One row per level, one box per part; a part without its tick is switched off</p>")
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.verticalHeader().setDefaultSectionSize(24)

    def show_config(self, config: RANConfig | None) -> None:
        """Show the boxes of a network, all with their ticks; none without a network."""
        with signals_blocked(self):
            self._boxes = []
            self.setRowCount(0 if config is None else config.levels)
            self.setColumnCount(0 if config is None else config.heads + len(WHOLE))
            if config is not None:
                self._fill(config)
        self.updateGeometry()

    def _fill(self, config: RANConfig) -> None:
        for column, colour in enumerate(head_colours(config.heads)):
            self._name(column, "", f"Head {column}").setIcon(badge(str(column), QColor.fromRgbF(*colour)))
        for column, (title, tip) in enumerate(WHOLE.values(), start=config.heads):
            self._name(column, title, tip)
        self.setVerticalHeaderLabels([f"level {level}" for level in range(config.levels)])
        for level in range(config.levels):
            for column in range(self.columnCount()):
                item = QTableWidgetItem()
                item.setFlags(Qt.ItemFlag.NoItemFlags)  # a level need not have every part
                self.setItem(level, column, item)
        kinds = list(WHOLE)
        for (part, row, head), off in study_parts(config, ("head", *kinds)).items():
            if row is None:  # what belongs to no level has no box
                continue
            item = self.item(row, config.heads + kinds.index(part) if head is None else head)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked)
            what = f"head {head}" if part == "head" else WHOLE[part][1].split(";")[0].lower()
            item.setToolTip(f"Level {row}: {what}")
            self._boxes.append((off, item))
        header = self.horizontalHeader()
        header.setMinimumSectionSize(22)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        for column in range(config.heads, self.columnCount()):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)

    def _name(self, column: int, title: str, tip: str) -> QTableWidgetItem:
        item = QTableWidgetItem(title)
        item.setToolTip(f"<p>{tip}</p>")
        self.setHorizontalHeaderItem(column, item)
        return item

    @property
    def off(self) -> Ablation:
        """The parts without their tick."""
        without = (part for part, box in self._boxes if box.checkState() == Qt.CheckState.Unchecked)
        return reduce(or_, without, Ablation())

    def switch(self, ablation: Ablation) -> None:
        """Take the ticks from the parts that an ablation switches off, and give them to all others."""
        with signals_blocked(self):
            for part, box in self._boxes:
                off = part | ablation == ablation
                box.setCheckState(Qt.CheckState.Unchecked if off else Qt.CheckState.Checked)


class StudyTable(QTableWidget):
    """What switching each part off changes, a row for each.

    Signals
    -------
    wanted : AblationRow
        The network without this part is to be seen.
    """

    wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__(0, 5)
        self.setAccessibleName("What switching each part off changes")
        self.setToolTip("<p>Mean change of the field in mm, and of the figures. Double-click to see it.</p>")
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalHeaderLabels(["Off", "mm", "Δ simil.", "Δ Dice", "Δ TRE"])
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.setShowGrid(False)
        self.setMinimumHeight(180)
        self.sortByColumn(1, Qt.SortOrder.DescendingOrder)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.itemDoubleClicked.connect(self._tell)

    def show_rows(self, rows: Sequence[AblationRow]) -> None:
        """Show other rows, sorted as the user has sorted the ones before."""
        self.setSortingEnabled(False)
        self.setRowCount(len(rows))
        for index, row in enumerate(rows):
            name = QTableWidgetItem(row_title(row))
            name.setData(Qt.ItemDataRole.UserRole, row)
            self.setItem(index, 0, name)
            values = (row.mean_mm, row.similarity_change, row.dice_change, row.tre_change_mm)
            for column, (value, digits) in enumerate(zip(values, (3, 4, 4, 3), strict=True), start=1):
                self.setItem(index, column, NumberCell(value, digits))
        self.setSortingEnabled(True)

    def _tell(self, item: Any) -> None:
        self.wanted.emit(self.item(item.row(), 0).data(Qt.ItemDataRole.UserRole))
