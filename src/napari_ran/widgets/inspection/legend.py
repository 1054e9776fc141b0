"""How to read the colours in the viewer, painted in the dock: a colour bar, a list of heads, a colour wheel."""

from __future__ import annotations

from typing import Any

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy

from napari_ran.widgets._plot import ThemedPlot, tick_names, ticks
from napari_ran.widgets.inspection.colours import ramp, wheel_channel
from napari_ran.widgets.inspection.views import Legend

BAR = 12
WHEEL = 76


class LegendWidget(ThemedPlot):
    """The legend of the view that is shown.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme gives the text's colour.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, "Legend", "What the colours in the viewer mean, with units")
        self.legend = Legend()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_legend(self, legend: Legend) -> None:
        """Show another legend."""
        if legend != self.legend:
            self.legend = legend
            self.updateGeometry()
            self.update()

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """As high as the legend needs."""
        line = self.fontMetrics().height()
        rows = -(-len(self.legend.colours) // 3)
        heights = {"bar": 2 * line + BAR + 8, "heads": line * (1 + rows) + 8 + 4 * rows, "wheel": WHEEL + 8}
        return QSize(200, heights.get(self.legend.kind, line + 6))

    minimumSizeHint = sizeHint  # noqa: N815 (Qt's name)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw the legend."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(self._text)
        {"bar": self._bar, "heads": self._heads, "wheel": self._wheel}.get(self.legend.kind, self._words)(painter)

    def _words(self, painter: QPainter) -> None:
        painter.drawText(QRectF(self.rect()), Qt.AlignmentFlag.AlignLeft, self.legend.title)

    def _bar(self, painter: QPainter) -> None:
        legend, line = self.legend, self.fontMetrics().height()
        painter.drawText(0, line - 3, f"{legend.title} ({legend.unit})" if legend.unit else legend.title)
        frame = QRectF(4, line + 2, self.width() - 8, BAR)
        table = ramp(legend.colormap)
        painter.drawImage(frame, as_image(np.repeat(table[None], 2, 0)))
        low, high = legend.limits
        marks = ticks(low, high, 4)
        for mark, words in zip(marks, tick_names(marks), strict=True):
            if not low <= mark <= high + 1e-9 * abs(high):
                continue
            x = frame.left() + (mark - low) / max(high - low, 1e-12) * frame.width()
            painter.drawLine(int(x), int(frame.bottom()), int(x), int(frame.bottom()) + 3)
            wide = painter.fontMetrics().horizontalAdvance(words) + 2
            left = min(max(0.0, x - wide / 2), self.width() - wide)  # the outermost numbers stay inside
            painter.drawText(QRectF(left, frame.bottom() + 3, wide, line), Qt.AlignmentFlag.AlignHCenter, words)

    def _heads(self, painter: QPainter) -> None:
        line = self.fontMetrics().height()
        painter.drawText(0, line - 3, self.legend.title)
        width = self.width() / 3
        for head, (colour, share) in enumerate(zip(self.legend.colours, self.legend.shares, strict=True)):
            x, y = (head % 3) * width, line + 5 + (head // 3) * (line + 4)
            painter.fillRect(QRectF(x, y + 2, line - 4, line - 4), QColor.fromRgbF(*colour))
            painter.drawText(QRectF(x + line + 2, y, width, line), Qt.AlignmentFlag.AlignLeft, f"{head}: {share:.0%}")

    def _wheel(self, painter: QPainter) -> None:
        painter.drawImage(QRectF(4, 4, WHEEL, WHEEL), _wheel_image(2 * WHEEL))
        line = self.fontMetrics().height()
        texts = (
            self.legend.title,
            "Colour: where the point goes",
            f"Strength: 0 to {self.legend.limits[1]:.1f} mm",
        )
        for row, text in enumerate(texts):
            box = QRectF(WHEEL + 14, 6 + row * (line + 4), self.width() - WHEEL - 16, 2 * line)
            painter.drawText(box, Qt.AlignmentFlag.AlignLeft, text)


def as_image(pixels: Any) -> QImage:
    """Return colours (H, W, 3), or (H, W, 4) with their opacity, 0 to 255, as an image of its own."""
    pixels = np.ascontiguousarray(pixels, dtype=np.uint8)
    height, width, channels = pixels.shape
    kind = QImage.Format.Format_RGB888 if channels == 3 else QImage.Format.Format_RGBA8888
    return QImage(pixels.data, width, height, channels * width, kind).copy()


def _wheel_image(side: int) -> QImage:
    """Return the colour wheel on a transparent ground."""
    up, right = np.mgrid[1 : -1 : side * 1j, -1 : 1 : side * 1j]
    length = np.hypot(up, right)
    unit = np.maximum(length, 1e-9)
    channels = [wheel_channel(right / unit, up / unit, c) for c in range(3)]
    edge = np.clip((1 - length) * side / 2, 0, 1)
    return as_image(255 * np.stack([*channels, length.clip(0, 1) * edge], -1))
