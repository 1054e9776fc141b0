"""The list of quantities with a thumbnail beside each: what a stage has, and why not the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QBrush, QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QListView, QListWidget, QListWidgetItem
from superqt.utils import signals_blocked

from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.quantities import Quantity
from napari_ran.widgets.inspection.legend import as_image
from napari_ran.widgets.inspection.views import THUMBNAIL


class QuantityList(QListWidget):
    """Chooses a quantity. Thumbnails are kept, so that each is made once for a stage and direction."""

    def __init__(self) -> None:
        super().__init__()
        self._thumbnails: dict[tuple[str, int, str], NDArray[np.uint8]] = {}
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setWordWrap(True)
        self.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        self.setGridSize(QSize(100, THUMBNAIL + 52))
        self.setFixedHeight(2 * (THUMBNAIL + 40) + 8)
        self.setAccessibleName("Quantity")
        self.setToolTip("<p>What is shown of the stage; grey where this stage has no such thing</p>")
        font = self.font()
        font.setPointSizeF(0.78 * font.pointSizeF() if font.pointSizeF() > 0 else 7)
        self.setFont(font)

    @property
    def chosen(self) -> str:
        """Name of the chosen quantity; empty where there is none."""
        item = self.currentItem()
        return "" if item is None else _name(item)

    def choose(self, name: str) -> None:
        """Choose a quantity by its name, if it is in the list."""
        for item in self._items():
            if _name(item) == name:
                self.setCurrentItem(item)

    def show_quantities(self, quantities: Sequence[Quantity], wanted: Sequence[str]) -> None:
        """Offer the quantities of another inspection and choose the first of those wanted that is there, else any."""
        self._thumbnails.clear()
        names = [quantity.name for quantity in quantities]
        with signals_blocked(self):
            self.clear()
            for quantity in quantities:
                item = QListWidgetItem(_blank(), quantity.title)
                item.setData(Qt.ItemDataRole.UserRole, quantity.name)
                item.setTextAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
                self.addItem(item)
            self.choose(next((name for name in wanted if name in names), names[0]))

    def show_stage(self, inspection: Inspection, stage: int, direction: str) -> None:
        """Say what a stage has, and why not the rest, and show the thumbnails that there are of it."""
        for item, quantity in zip(self._items(), inspection.quantities, strict=True):
            reason = inspection.why_not(quantity.name, stage, direction)
            item.setForeground(QColor(128, 128, 128) if reason else QBrush())  # no brush: the theme's colour
            why = f"<br><i>{reason}.</i>" if reason else ""
            item.setToolTip(f"<p>{quantity.help}{why}</p>")
            picture = self._thumbnails.get((quantity.name, stage, direction))
            if picture is not None:  # else that of the stage before stays
                item.setIcon(QIcon(_framed(picture)))

    def missing(self, inspection: Inspection, stage: int, direction: str) -> list[str]:
        """Return the quantities of a stage without a thumbnail."""
        found = inspection.available(stage, direction)
        return [name for name in found if (name, stage, direction) not in self._thumbnails]

    def keep(self, quantity: str, stage: int, direction: str, picture: NDArray[np.uint8]) -> None:
        """Keep a thumbnail for `show_stage`."""
        self._thumbnails[quantity, stage, direction] = picture

    def _items(self) -> list[QListWidgetItem]:
        return [self.item(row) for row in range(self.count())]


def _name(item: QListWidgetItem) -> str:
    return str(item.data(Qt.ItemDataRole.UserRole))


def _blank() -> QIcon:
    """Return the icon of a quantity whose thumbnail is not there yet."""
    pixmap = QPixmap(THUMBNAIL, THUMBNAIL)
    pixmap.fill(QColor(128, 128, 128, 40))
    return QIcon(pixmap)


def _framed(picture: NDArray[np.uint8]) -> QPixmap:
    """Return a picture in the middle of a square."""
    pixmap = QPixmap(THUMBNAIL, THUMBNAIL)
    pixmap.fill(QColor(0, 0, 0, 0))
    painter = QPainter(pixmap)
    height, width = picture.shape[:2]
    painter.drawImage((THUMBNAIL - width) // 2, (THUMBNAIL - height) // 2, as_image(picture))
    painter.end()
    return pixmap
