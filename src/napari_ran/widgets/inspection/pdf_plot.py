"""The motion-separability PDF, or the difference of two, painted by Qt; dragging over it chooses cells."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy

from napari_ran.introspect.separability import Separability, SeparabilityDifference
from napari_ran.widgets._plot import Axes, ThemedPlot, ticks
from napari_ran.widgets.inspection.axes import draw_numbers
from napari_ran.widgets.inspection.colours import ramp
from napari_ran.widgets.inspection.legend import as_image

DECADES = 5
"""Orders of magnitude that the colours of a probability span."""

SHOWN = 0.9995
"""Share of the pairs that the vertical axis shows."""

Range = tuple[int, int]


class PdfPlot(ThemedPlot):
    """Distance of two points against the difference of their displacements, with the bound of the theory.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the colours.

    Signals
    -------
    brushed : ((int, int), (int, int))
        Distances and differences, first and last, that were chosen with the mouse.
    """

    brushed = Signal(object)

    def __init__(self, viewer: Any) -> None:
        tip = (
            "How often two points at a distance (right) move differently (up), in voxels. The line is the largest "
            "difference that the network's layout can make. Drag over cells to see their point pairs."
        )
        super().__init__(viewer, "Motion-separability PDF", tip)
        self._image: Any = None
        self._distances, self._differences = (0.5, 1.5), (-0.5, 1.5)  # the outer edges of the cells
        self._bounds: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []
        self._press: QPointF | None = None
        self.cells: tuple[Range, Range] | None = None
        self.setFixedHeight(290)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.CrossCursor)

    def clear(self) -> None:
        """Show nothing."""
        self._image, self.cells = None, None
        self.update()

    def show_pdf(self, found: Separability | SeparabilityDifference, by: str) -> None:
        """Show a PDF, or the difference of two; `by` is "joint" or "conditional"."""
        if isinstance(found, Separability):
            plane = found.normalised("joint" if by == "joint" else "conditional")
            mass, bounds = found.histogram.sum(0), [found.bound]
            peak = max(float(plane.max()), 1e-300)
            scaled = 1 + np.log10(np.maximum(plane, 1e-300) / peak) / DECADES
            table = ramp("magma")
        else:
            plane, bounds = found.change, list(found.bounds)
            mass = np.abs(plane).sum(0)
            limit = max(float(np.abs(plane).max()), 1e-300)
            size = np.clip(1 + np.log10(np.maximum(np.abs(plane), 1e-300) / limit) / 3, 0, 1)
            scaled = 0.5 + 0.5 * np.sign(plane) * size
            table = ramp("PuOr_r")
        share = np.cumsum(mass) / max(float(mass.sum()), 1e-300)
        top = min(len(mass) - 1, max(int(np.searchsorted(share, SHOWN)) + 2, 14))
        colours = table[(255 * np.clip(scaled, 0, 1)).astype(np.uint8)][:, : top + 1]
        self._image = as_image(colours.transpose(1, 0, 2)[::-1])
        self._distances = float(found.distances[0]) - 0.5, float(found.distances[-1]) + 0.5
        self._differences = -0.5, top + 0.5
        self._bounds = [(found.distances, bound) for bound in bounds if bound is not None]
        self.cells = None
        self.update()

    # ---------------------------------------------------------------- drawing

    @property
    def axes(self) -> Axes:
        """Where distances (right) and differences (up) are in the widget, in pixels."""
        line = self.fontMetrics().height()
        frame = QRectF(34, line + 4, self.width() - 40, self.height() - 3 * line - 12)
        return Axes(frame, self._distances, self._differences)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw the plane, the bound, the axes and the brush."""
        painter = QPainter(self)
        axes = self.axes
        frame = axes.frame
        painter.setPen(self._faint)
        painter.drawRect(frame)
        if self._image is None:
            return
        painter.drawImage(frame, self._image)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setClipRect(frame)
        for index, (distances, bound) in enumerate(self._bounds):
            steps = [axes.point(p + side, q) for p, q in zip(distances, bound, strict=True) for side in (-0.5, 0.5)]
            for colour, width in (("black", 4.0), ("#56B4E9", 2.0)):
                style = Qt.PenStyle.DashLine if index else Qt.PenStyle.SolidLine
                painter.setPen(QPen(QColor(colour), width, style))
                painter.drawPolyline(QPolygonF(steps))
        if self.cells is not None:
            (low, high), (least, most) = self.cells
            painter.setPen(QPen(QColor("white"), 1.5))
            painter.drawRect(QRectF(axes.point(low - 0.5, most + 0.5), axes.point(high + 0.5, least - 0.5)))
        painter.setClipping(False)
        painter.setPen(self._text)
        (left, right), (_, top) = axes.steps, axes.values
        across = [p for p in ticks(left + 0.5, right - 0.5, 5) if left <= p <= right]
        up = [q for q in ticks(0, top - 0.5, 5) if q <= top]
        draw_numbers(painter, axes, across, up, "distance of two points (voxels)")
        painter.drawText(QPointF(frame.left(), frame.top() - 7), "difference of displacement (voxels)")

    # ---------------------------------------------------------------- brushing

    def _cell(self, place: QPointF) -> tuple[int, int]:
        frame, (left, right), (bottom, top) = self.axes.frame, self._distances, self._differences
        p = left + (place.x() - frame.left()) / frame.width() * (right - left)
        q = bottom + (frame.bottom() - place.y()) / frame.height() * (top - bottom)
        return (
            round(float(np.clip(p, left + 0.5, right - 0.5))),
            round(float(np.clip(q, bottom + 0.5, top - 0.5))),
        )

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Begin to choose cells."""
        if self._image is not None:
            self._press = event.position()
            self._select(event.position())

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Choose all cells between here and where the button went down."""
        if self._press is not None:
            self._select(event.position())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802 (Qt's name)
        """Tell which cells were chosen."""
        if self._press is not None:
            self._select(event.position())
            self._press = None
            self.brushed.emit(self.cells)

    def _select(self, place: QPointF) -> None:
        assert self._press is not None
        (p0, q0), (p1, q1) = self._cell(self._press), self._cell(place)
        self.cells = (min(p0, p1), max(p0, p1)), (min(q0, q1), max(q0, q1))
        self.update()
