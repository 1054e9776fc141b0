"""The page that edits a network's layout and shows what the equations say, before anyone trains it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QTableWidgetItem,
    QWidget,
)

import napari_ran as ran
from napari_ran.config import PRESETS, RANConfig
from napari_ran.models.cost import multiply_accumulates, parameters
from napari_ran.theory import level_table, separability_area, separability_curve
from napari_ran.widgets._forms import combo
from napari_ran.widgets._layout import form_layout, page_column
from napari_ran.widgets._plot import Axes, ThemedPlot, ticks
from napari_ran.widgets._timers import single_shot
from napari_ran.widgets._worker import Task, Work, Worker
from napari_ran.widgets.inspection.axes import draw_numbers
from napari_ran.widgets.inspection.colours import head_colours
from napari_ran.widgets.inspection.tables import WholeTable, rich_table

FARTHEST = 96
"""Distances of Delta_inf that are drawn, in voxels: there the layouts differ."""

SETTLE_MS = 200
"""How long the layout must rest before the network is counted."""

SHAPES = {2: "192 x 192", 3: "96 x 80 x 128"}
SPIN_WIDTH = 56
LARGEST = 32
"""Pool or dilation that can be chosen."""

HEADS = ("pool", "dil.", "a", "T", "t")
TIPS = (
    "Pool size p: the level's voxel in voxels of the image. Halves or stays from level to level and ends at 1.",
    "Dilation of the level's two dilated convolutions.",
    "Capture range a: the largest displacement that the level can find, in voxels.",
    "T: largest difference of two displacements that this level and all finer ones can make, in voxels.",
    "t: distance from which the level can tell two voxels apart, in voxels.",
)


class TheoryPage(QWidget):
    """Presets, editable pools and dilations, and what follows from them.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.worker = Worker(self)
        self.worker.finished.connect(self._on_cost)
        self.worker.failed.connect(self._on_cost_failed)
        self._settle = single_shot(self, SETTLE_MS, self._count)
        self.config: RANConfig | None = None
        self._build(viewer)
        self.show_config(RANConfig.preset("RAN3"), "RAN3")

    def _build(self, viewer: Any) -> None:
        names = [(name, name) for name in PRESETS]
        self.preset_box = combo("Start from", "A preset to change.", names)
        self.against_box = combo("Compared with", "A preset whose curve is drawn as well.", names)
        self.against_box.setCurrentIndex(max(0, self.against_box.findData("RAN0")))
        self.preset_box.activated.connect(self._preset_chosen)
        self.against_box.activated.connect(self._changed)
        self.shape_edit = QLineEdit(SHAPES[3])
        self.shape_edit.setAccessibleName("Image size")
        self.shape_edit.setToolTip("<p>Voxels of the image, for the multiply-accumulates</p>")
        self.shape_edit.textChanged.connect(self._changed)
        form = form_layout()
        form.addRow("Start from", self.preset_box)
        form.addRow("Compared with", self.against_box)
        form.addRow("Image size", self.shape_edit)
        self.table = WholeTable(0, len(HEADS))
        self.table.setAccessibleName("Levels of the layout")
        self.table.setToolTip("<p>One row per level; the capture range is in voxels of the image</p>")
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        for column, (head, tip) in enumerate(zip(HEADS, TIPS, strict=True)):
            item = QTableWidgetItem(head)
            item.setToolTip(f"<p>{tip}</p>")
            self.table.setHorizontalHeaderItem(column, item)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        for column in (0, 1):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(column, SPIN_WIDTH)
        self.table.verticalHeader().setDefaultSectionSize(28)
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.figures = QLabel()
        self.figures.setTextFormat(Qt.TextFormat.RichText)
        self.figures.setAccessibleName("Size of the network")
        self.plot = BoundPlot(viewer)
        page_column(self, form, self.table, self.problem, self.plot, self.figures)

    def show_config(self, config: RANConfig, name: str = "") -> None:
        """Begin with a layout: a preset's, or that of the network that is inspected."""
        self._base = config
        index = self.preset_box.findData(name)
        if index < 0:
            self.preset_box.setPlaceholderText("the inspected network")
        self.preset_box.setCurrentIndex(index)
        self.shape_edit.setText(SHAPES[config.ndim])
        self.table.setRowCount(config.levels)
        self.table.setVerticalHeaderLabels([f"level {level}" for level in range(config.levels)])
        for level, (pool, dilation) in enumerate(zip(config.pools, config.dilations, strict=True)):
            for column, value in enumerate((pool, dilation)):
                box = QSpinBox()
                box.setRange(1, LARGEST)
                box.setValue(value)
                box.setAccessibleName(f"{HEADS[column]} of level {level}")
                box.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
                box.setAlignment(Qt.AlignmentFlag.AlignCenter)
                box.setToolTip("Type, or use the arrow keys or the mouse wheel")
                box.setStyleSheet("min-width: 0px; padding: 1px 2px;")  # napari's style asks for 90 pixels
                box.setFixedWidth(SPIN_WIDTH - 2)
                box.valueChanged.connect(self._changed)
                self.table.setCellWidget(level, column, box)
        self.table.updateGeometry()
        self._changed()

    def values(self, column: int) -> tuple[int, ...]:
        """Return the pools (0) or dilations (1) that are shown."""
        return tuple(self.table.cellWidget(level, column).value() for level in range(self.table.rowCount()))

    def _preset_chosen(self, index: int) -> None:
        name = self.preset_box.currentData()
        self.show_config(RANConfig.preset(name, ndim=self._base.ndim), name)

    def _changed(self, value: Any = None) -> None:
        """Show what follows from the layout at once; count the network a little later, in the background."""
        try:
            self.config = self._base.replace(pools=self.values(0), dilations=self.values(1))
        except ran.InputError as error:
            self.config = None
            name = error.argument.rpartition(".")[2].capitalize()
            self.problem.setText(f"{name} {error.problem}. {error.cure}.")
            self.problem.show()
            self._show_invalid()
            return
        self.problem.hide()
        for row in level_table(self.config):
            for column, number in enumerate((row.capture_range, row.total_difference, row.threshold), start=2):
                item = QTableWidgetItem(f"{number:g}")
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.table.setItem(row.level, column, item)
        against = self.against_box.currentData()
        distances = np.arange(FARTHEST + 1)
        curves = {
            "this layout": separability_curve(self.config, distances),
            against: separability_curve(RANConfig.preset(against), distances),
        }
        self.plot.show_curves(distances, curves)
        self._settle.start()

    def _show_invalid(self) -> None:
        """Leave nothing on show that does not belong to the numbers typed."""
        self._settle.stop()
        self.worker.drop()
        self.figures.setText("")
        self.plot.show_curves(np.arange(FARTHEST + 1), {})
        for level in range(self.table.rowCount()):
            for column in range(2, len(HEADS)):
                self.table.setItem(level, column, QTableWidgetItem())

    def _count(self) -> None:
        if self.config is None:
            return
        try:
            shape = tuple(int(part) for part in self.shape_edit.text().lower().replace("×", "x").split("x"))
        except ValueError:
            self.figures.setText("Write the image size like 96 x 80 x 128.")
            return
        other = RANConfig.preset(self.against_box.currentData(), ndim=self._base.ndim)
        self.worker.start(cost_work(self.config, other, shape))

    def _on_cost(self, rows: list[tuple[str, ...]]) -> None:
        head = ("", "<i>this layout</i>", f"<i>{self.against_box.currentData()}</i>")
        self.figures.setText(rich_table([head, *rows]))

    def _on_cost_failed(self, error: Exception) -> None:
        self.figures.setText(f"{error.problem}." if isinstance(error, ran.InputError) else str(error))

    def stop(self) -> None:
        """Stop all work."""
        self._settle.stop()
        self.worker.drop()


def cost_work(config: RANConfig, other: RANConfig, shape: tuple[int, ...]) -> Work:
    """Return the work of counting two networks; it returns rows of name, this, other."""

    def work(task: Task) -> Generator[Any, None, list[tuple[str, ...]]]:
        both = config, other
        rows: list[tuple[str, ...]] = [("Parameters", *(f"{parameters(each):,}" for each in both))]
        for name, ways in (("GMAC, both directions", True), ("GMAC, forward only", False)):
            yield name
            rows.append((name, *(f"{multiply_accumulates(each, shape, ways) / 1e9:.0f}" for each in both)))
        area = (f"{separability_area(each, FARTHEST):,.0f}" for each in both)
        return [*rows, (f"Area below p = {FARTHEST}", *area)]

    return work


class BoundPlot(ThemedPlot):
    """Delta_inf(p) of some layouts, as steps.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours.
    """

    def __init__(self, viewer: Any) -> None:
        tip = "Largest difference of two displacements that can be made at a distance p (Eq. 9)"
        super().__init__(viewer, "Largest difference of displacement against distance", tip)
        self._distances: NDArray[np.int64] = np.arange(1)
        self._curves: dict[str, NDArray[np.float64]] = {}
        self.setFixedHeight(210)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_curves(self, distances: NDArray[np.int64], curves: dict[str, NDArray[np.float64]]) -> None:
        """Show other curves over the same distances."""
        self._distances, self._curves = distances, curves
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw axes and curves."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = self.fontMetrics().height()
        frame = QRectF(36, line + 4, self.width() - 44, self.height() - 3 * line - 10)
        marks = ticks(0, max([1.0, *(float(curve.max()) for curve in self._curves.values())]), 4)
        right = float(self._distances[-1]) or 1.0
        axes = Axes(frame, (0, right), (0, marks[-1]))
        painter.setPen(QPen(self._faint, 1))
        for mark in marks:
            painter.drawLine(axes.point(0, mark), axes.point(right, mark))
        painter.setPen(self._text)
        across = [mark for mark in ticks(0, right, 5) if mark <= right]
        draw_numbers(painter, axes, across, marks, "distance p (voxels)")
        painter.drawText(QPointF(0, line - 3), "separable difference (voxels)")
        colours = [self.visible(QColor.fromRgbF(*colour)) for colour in head_colours(2)]
        for index, (name, curve) in enumerate(self._curves.items()):
            colour = colours[1 - index % 2]
            points = [axes.point(p + step, q) for p, q in zip(self._distances, curve, strict=True) for step in (0, 1)]
            painter.setPen(QPen(colour, 2, Qt.PenStyle.DashLine if index else Qt.PenStyle.SolidLine))
            painter.drawPolyline(QPolygonF(points[:-1]))
            painter.drawText(QPointF(frame.left() + 8, frame.top() + (index + 1) * line), name)
