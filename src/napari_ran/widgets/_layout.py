"""How the pages of the widgets are laid out: sections that fold, forms, columns, rows, scroll bars."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtCore import Qt
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
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


def page_column(page: QWidget, *parts: QWidget | QLayout, spacing: int = -1) -> None:
    """Put parts below each other on a page that scrolls; what is left of the height stays empty below them.

    The space between them is in pixels, the style's own where it is negative.
    """
    column = QVBoxLayout(page)
    column.setContentsMargins(4, 6, 8, 6)
    column.setSpacing(spacing)
    for part in parts:
        (column.addLayout if isinstance(part, QLayout) else column.addWidget)(part)
    column.addStretch(1)


def add_captioned(form: QFormLayout, title: str, editor: QWidget, row: QWidget | None = None) -> QLabel:
    """Add an editor, or the row that it stands in, to a form, with a caption that explains it as the editor does."""
    caption = QLabel(title)
    caption.setBuddy(editor)
    caption.setToolTip(editor.toolTip())
    form.addRow(caption, editor if row is None else row)
    return caption


def form_layout(owner: QWidget | None = None) -> QFormLayout:
    """Return a new form layout, as all our forms have: a widget's, or one to put into another layout."""
    form = QFormLayout(owner)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.DontWrapRows)
    if owner is not None:
        form.setContentsMargins(6, 6, 6, 6)
    form.setVerticalSpacing(4)
    return form


def page_tabs(name: str, pages: Iterable[tuple[str, QWidget, str]]) -> QTabWidget:
    """Return pages that scroll, behind a row of tabs.

    Parameters
    ----------
    name : str
        What the row is called by screen readers.
    pages : iterable
        Of each page its title, itself, and what it is for.
    """
    tabs = QTabWidget()
    tabs.tabBar().setAccessibleName(name)
    for title, page, tip in pages:
        tabs.setTabToolTip(tabs.addTab(scrolled(page), title), f"<p>{tip}</p>")
    return tabs


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
