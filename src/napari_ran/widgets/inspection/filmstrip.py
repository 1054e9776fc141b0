"""All levels at the current slice side by side: drawn in the background, shown in a window of its own."""

from __future__ import annotations

import io
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QDialog, QFileDialog, QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

from napari_ran.introspect.inspection import Inspection
from napari_ran.widgets._forms import button
from napari_ran.widgets._worker import Task, Work, Worker
from napari_ran.widgets.inspection.files import save_figure, telling

VIEWS = ("sagittal", "coronal", "axial")
"""Planes by the world axis that they are cut across."""

WIDEST = 1240
"""Pixels that a filmstrip may be wide on the screen; the saved one is as large as it is."""


@dataclass(frozen=True, eq=False)
class Strip:
    """A figure and how it looks."""

    figure: Any
    png: bytes


def plane_name(inspection: Inspection, hidden: int) -> str:
    """Return the name of the plane that is shown when an array axis is hidden; empty in 2-D."""
    grid = inspection.get("field", 0).grid
    if grid.ndim == 2:
        return ""
    return VIEWS[int(np.abs(grid.direction[:, hidden]).argmax())]


def filmstrip_work(inspection: Inspection, view: str, position: NDArray[np.float64], direction: str) -> Work:
    """Return the work of drawing the filmstrip through a point (D,) in mm; it returns a `Strip`."""

    def work(task: Task) -> Generator[Any, None, Strip]:
        from napari_ran.figures.filmstrip import filmstrip, frames

        own, strip, plane = frames(inspection, view, position, direction)
        yield "drawing"
        heads = 0 if inspection.trace is None else inspection.trace.model.config.heads
        image = "Fixed" if direction == "forward" else "Moving"
        figure = filmstrip(own, strip, plane, heads, inspection.name, image)
        picture = io.BytesIO()
        figure.savefig(picture, format="png")
        return Strip(figure, picture.getvalue())

    return work


class FilmstripWindow(QDialog):
    """Shows a filmstrip and saves it.

    Parameters
    ----------
    strip : Strip
        What is shown.

    Signals
    -------
    failed : Exception
        What kept it from being saved.
    """

    failed = Signal(object)

    def __init__(self, strip: Strip, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.strip = strip
        self.setWindowTitle("Filmstrip of all levels")
        picture = QPixmap()
        picture.loadFromData(strip.png)
        if picture.width() > WIDEST:
            picture = picture.scaledToWidth(WIDEST, Qt.TransformationMode.SmoothTransformation)
        label = QLabel()
        label.setPixmap(picture)
        label.setAccessibleName("All levels at the current slice")
        label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        area = QScrollArea()
        area.setWidgetResizable(True)  # bars show up only where the picture is larger than the window
        area.setWidget(label)
        save = button("Save…", "Write the filmstrip to a picture or a drawing", self._ask)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(save)
        layout = QVBoxLayout(self)
        layout.addWidget(area)
        layout.addLayout(row)
        self.resize(min(picture.width() + 48, 1320), min(picture.height() + 104, 840))

    def _ask(self) -> None:
        kinds = "Picture (*.png);;Drawing (*.svg *.pdf)"
        path, _ = QFileDialog.getSaveFileName(self, "Save the filmstrip", "filmstrip.png", kinds)
        if path:
            self.save(path)

    def save(self, path: str | Path) -> None:
        """Write the figure; the name's ending decides the format."""
        with telling(self.failed):
            save_figure(self.strip.figure, path)


class Filmstrip(QObject):
    """Draws filmstrips in the background and shows them.

    Parameters
    ----------
    parent : QWidget
        Whose window it is.

    Signals
    -------
    busy : bool
        Whether one is being drawn.
    failed : Exception
        What ended it.
    """

    busy = Signal(bool)
    failed = Signal(object)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._parent = parent
        self.window: FilmstripWindow | None = None
        self.worker = Worker(self)
        self.worker.finished.connect(self._show)
        self.worker.failed.connect(self._fail)

    def draw(self, inspection: Inspection, hidden: int, position: NDArray[np.float64], direction: str) -> None:
        """Draw all levels in the plane across an array axis `hidden` through a point (D,) in mm."""
        self.busy.emit(True)
        self.worker.start(filmstrip_work(inspection, plane_name(inspection, hidden), position, direction))

    def _show(self, strip: Strip) -> None:
        self.busy.emit(False)
        self.window = FilmstripWindow(strip, self._parent)
        self.window.failed.connect(self.failed)
        self.window.show()

    def _fail(self, error: Exception) -> None:
        self.busy.emit(False)
        self.failed.emit(error)

    def stop(self) -> None:
        """Stop drawing and close the window."""
        self.worker.drop()
        self.busy.emit(False)
        if self.window is not None:
            self.window.close()
