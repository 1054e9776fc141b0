"""Tables as high as their rows, tables in rich text, and a head's number on its colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qtpy.QtCore import QEvent, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QSizePolicy, QTableWidget

BADGE = 16
"""Side of a badge in pixels."""


class WholeTable(QTableWidget):
    """A table that shows all its rows: the page around it scrolls, the table does not."""

    def __init__(self, rows: int = 0, columns: int = 0) -> None:
        super().__init__(rows, columns)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the height of the header and of all rows."""
        height = self.horizontalHeader().sizeHint().height() + self.verticalHeader().length() + 2 * self.frameWidth()
        return QSize(super().sizeHint().width(), height)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the same height; narrower is possible."""
        return QSize(super().minimumSizeHint().width(), self.sizeHint().height())

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 (Qt's name)
        """Ask for another height when a theme brings other fonts and margins."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self.updateGeometry()


def rich_table(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of cells (rich text) as a table in rich text."""
    cells = ("".join(f"<td>{cell}&nbsp;&nbsp;</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def badge(text: str, colour: QColor) -> QIcon:
    """Return a few letters on a colour, readable on any theme."""
    scale = 2  # for screens of twice the density
    picture = QPixmap(scale * BADGE, scale * BADGE)
    picture.setDevicePixelRatio(scale)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawRoundedRect(QRectF(0, 0, BADGE, BADGE), 3, 3)
    light = 0.299 * colour.red() + 0.587 * colour.green() + 0.114 * colour.blue() > 140
    painter.setPen(QColor("black" if light else "white"))
    font = painter.font()
    font.setBold(True)
    font.setPixelSize(11)
    painter.setFont(font)
    painter.drawText(QRectF(0, 0, BADGE, BADGE), Qt.AlignmentFlag.AlignCenter, text)
    painter.end()
    return QIcon(picture)
