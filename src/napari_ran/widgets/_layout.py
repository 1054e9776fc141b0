"""How the pages of the widgets are laid out: sections that fold, forms, columns, rows, scroll bars."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget
from superqt import QCollapsible


class Section(QCollapsible):
    """A collapsible part of the form; its arrow is text, so that it has the theme's colour."""

    def __init__(self, title: str) -> None:
        super().__init__(title, expandedIcon=QIcon(), collapsedIcon=QIcon())
        self._title = title
        self.setDuration(0)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.layout().setSpacing(2)
        self.toggleButton().setAccessibleName(title)
        self.toggleButton().setToolTip(f"<p>Show or hide: {title[:1].lower()}{title[1:]}</p>")
        self.toggled.connect(self._show_arrow)
        self._show_arrow(False)

    def fill(self, content: QWidget) -> QWidget:
        """Put the content in and fold it away."""
        self.content().layout().setContentsMargins(0, 0, 0, 0)
        self.addWidget(content)
        self.collapse(animate=False)
        return self

    def _show_arrow(self, expanded: bool) -> None:
        self.setText(f"{'▾' if expanded else '▸'}  {self._title}")


def page_column(page: QWidget, *parts: QWidget) -> QVBoxLayout:
    """Put parts below each other on a page that scrolls; what is left of the height stays empty below them."""
    column = QVBoxLayout(page)
    column.setContentsMargins(4, 6, 8, 6)
    column.setSpacing(8)
    for part in parts:
        column.addWidget(part)
    column.addStretch(1)
    return column


def form_layout(owner: QWidget) -> QFormLayout:
    """Return a new form layout for a widget, as all our forms have."""
    form = QFormLayout(owner)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
    form.setContentsMargins(6, 6, 6, 6)
    form.setVerticalSpacing(4)
    return form


def scrolled(page: QWidget) -> QScrollArea:
    """Return a page with scroll bars where it does not fit."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QScrollArea.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(page)
    return area


def row_of_widgets(*parts: QWidget) -> QWidget:
    """Return some widgets in a row; labels and check boxes keep their size."""
    row = QWidget()
    fill_row(row, *parts)
    return row


def fill_row(row: QWidget, *parts: QWidget) -> None:
    """Put widgets beside each other into another one; labels and check boxes keep their size."""
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        layout.addWidget(part, 0 if isinstance(part, QLabel | QCheckBox) else 1)
