"""Which layers are to be carried, and the image layers whose grids count."""

from __future__ import annotations

from typing import Any

from napari.layers import Image, Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPainter, QPaintEvent

from napari_ran.carrying import KINDS
from napari_ran.widgets._combos import LayerChoices
from napari_ran.widgets._ticks import TickList

EMPTY = "Open the layers that are to follow: images, labels, points, shapes, tracks or surfaces"
LINES = 8
"""Most lines of the list that are seen at once."""


class GridChoices(LayerChoices):
    """Image layers that say on which grids things lie.

    Signals
    -------
    listed : ()
        The layers of the viewer are others, or have other names.
    """

    listed = Signal()

    ROLES = {  # noqa: RUF012 (a table, read only)
        "fixed": (Image, "Fixed image", "The image that stayed, for files that do not say where they lie."),
        "moving": (
            Image,
            "Moving image",
            "The image that was moved: an FSL warp needs its grid, and what is brought back comes out on it.",
        ),
        "grid": (Image, "Image grid", "On which voxels images and labels come out. Points keep their own place."),
    }
    OPTIONAL = ("fixed", "moving", "grid")

    def refresh(self, event: Any = None) -> None:
        """Show the layers that there are."""
        super().refresh(event)
        self.listed.emit()

    def _guess(self, role: str) -> Layer | None:
        """Choose by the word in the name only: what is not sure is left to the file."""
        found = super()._guess(role) if role != "grid" else None
        return found if found is not None and role in found.name.lower() else None


class LayerList(TickList):
    """The layers of a viewer that can be carried; the topmost first, as in the viewer's list.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers can be chosen; call `refresh` when they have changed.
    """

    def __init__(self, viewer: Any) -> None:
        tip = (
            "Tick what is to follow the transform. Take originals: what was carried before would be interpolated twice."
        )
        super().__init__("Layers to bring along", tip)
        self._viewer = viewer
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def refresh(self) -> None:
        """Show the layers that there are; what was ticked stays ticked."""
        ticked = self.ticked()
        layers = [layer for layer in reversed(self._viewer.layers) if layer._type_string in KINDS]
        self.offer((f"{layer.name}  ·  {layer._type_string}", layer, layer in ticked) for layer in layers)
        self.setFixedHeight((max(self.sizeHintForRow(0), 18) + 2) * min(max(self.count(), 3), LINES) + 8)
        self.itemChanged.emit(None)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 (Qt's name)
        """Draw the list; while it is empty, what makes it fill."""
        super().paintEvent(event)
        if self.count() == 0:
            painter = QPainter(self.viewport())
            painter.setPen(self.palette().placeholderText().color())
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(self.viewport().rect().adjusted(6, 2, -6, -2), flags, EMPTY)

    def ticked(self) -> list[Layer]:
        """Return what is ticked and still there, from the bottom up."""
        ticked = [layer for layer, ticked in self.ticks().items() if ticked and layer in self._viewer.layers]
        return ticked[::-1]
