"""Slip and gap across a boundary: between two labels, or across paths that the user drew."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QGroupBox, QHBoxLayout, QLabel, QVBoxLayout

from napari_ran.errors import InputError
from napari_ran.introspect.boundary import BoundaryMotion, boundary_motion
from napari_ran.introspect.study import stage_labels
from napari_ran.widgets._forms import button, combo
from napari_ran.widgets._worker import Task, Work, Worker
from napari_ran.widgets.inspection.drawn import Drawn, drawn
from napari_ran.widgets.inspection.files import telling
from napari_ran.widgets.inspection.layers import InspectLayers
from napari_ran.widgets.inspection.session import Session
from napari_ran.writing import replacing


@dataclass(frozen=True)
class Between:
    """The boundary between a label and another, or all else."""

    first: int
    second: int | None
    words: str


class BoundaryGroup(QGroupBox):
    """Measures sliding of the shown session's field.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose shapes can be boundaries.
    layers : InspectLayers
        The viewer's space.
    measured : callable
        Returns the stage and the direction whose field is measured.

    Signals
    -------
    failed : Exception
        Something to be shown as a message.
    """

    failed = Signal(object)

    def __init__(self, viewer: Any, layers: InspectLayers, measured: Callable[[], tuple[int, str]]) -> None:
        super().__init__("Sliding across a boundary")
        self._viewer, self._layers, self._measured = viewer, layers, measured
        self._session: Session | None = None
        self._words = ""
        self.motion: BoundaryMotion | None = None
        self.worker = Worker(self)
        self.worker.finished.connect(self._on_motion)
        self.worker.failed.connect(self._on_failed)
        self._build()

    def _build(self) -> None:
        self.first_box = combo("One side", "A label on one side of the boundary.")
        self.second_box = combo("Other side", "A label on the other side; everything else when left open.")
        tip = "Slip along the boundary of two labels, and the gap across it, in mm"
        self.labels_button = button("Between labels", tip, self.measure_labels)
        tip = (
            "Draw a path, a line or an outline along the boundary in a shapes layer, then press. The selected shapes "
            "count, or all when none is selected."
        )
        self.path_button = button("Across drawn path", tip, self.measure_path)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setAccessibleName("Slip and gap")
        tip = "Write the motion along the boundary (mm) to a CSV file"
        self.export_button = button("Export boundary…", tip, self._ask_where)
        self.export_button.hide()
        sides, buttons = QHBoxLayout(), QHBoxLayout()
        for box in (self.first_box, self.second_box):
            sides.addWidget(box, 1)
        for part in (self.labels_button, self.path_button):
            buttons.addWidget(part)
        layout = QVBoxLayout(self)
        layout.addLayout(sides)
        layout.addLayout(buttons)
        layout.addWidget(self.text)
        layout.addWidget(self.export_button)

    def show_session(self, session: Session) -> None:
        """Offer the labels of another inspection."""
        self._session = session
        self.clear()
        labels = session.inspection.labels
        self.first_box.clear()
        self.second_box.clear()
        self.second_box.addItem("all else", None)
        for label in [] if labels is None else sorted(set(labels[0].ids)):
            for box in (self.first_box, self.second_box):
                box.addItem(labels[0].names.get(label, f"label {label}"), label)  # type: ignore[index]
        if self.second_box.count() > 2:
            self.second_box.setCurrentIndex(2)
        for part in (self.first_box, self.second_box, self.labels_button):
            part.setEnabled(labels is not None)

    def clear(self) -> None:
        """Forget what was measured: it is of another field."""
        self.worker.drop()
        self.motion = None
        self.text.clear()
        self.export_button.hide()

    def measure_labels(self) -> None:
        """Measure slip and gap between the two chosen labels."""
        first, second = self.first_box.currentData(), self.second_box.currentData()
        if first is not None:
            names = f"{self.first_box.currentText()} and {self.second_box.currentText()}"
            self._measure(Between(first, second, f"Between {names}"))

    def measure_path(self) -> None:
        """Measure slip and gap across the selected paths of a shapes layer, or all where none is selected."""
        if self._session is None:
            return
        try:
            self._measure(drawn(self._viewer, self._layers, self._session.ndim))
        except InputError as error:
            self._on_failed(error)

    def _measure(self, where: Between | Drawn) -> None:
        if self._session is not None:
            self.clear()
            self._words = where.words
            self.text.setText("<i>measuring…</i>")
            self.worker.start(boundary_work(self._session, *self._measured(), where))

    def _on_motion(self, motion: BoundaryMotion) -> None:
        self.motion = motion
        found = motion.summary()
        self.text.setText(
            f"{self._words}: slip {found['slip_mean_mm']:.2f} mm on average, 95 % below {found['slip_p95_mm']:.2f} mm; "
            f"gap {found['gap_mean_mm']:+.2f} mm on average, 95 % within {found['absolute_gap_p95_mm']:.2f} mm. "
            f"{int(found['points']):,} points."
        )
        self.export_button.show()

    def _on_failed(self, error: Exception) -> None:
        self.clear()
        self.failed.emit(error)

    def _ask_where(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export the boundary", "boundary.csv", "Table (*.csv)")
        if path:
            self.export(path)

    def export(self, path: str) -> None:
        """Write one line per point of the boundary as CSV."""
        if self.motion is None:
            return
        with telling(self.failed), replacing(path, "the table") as part:
            self.motion.to_csv(part)


def boundary_work(session: Session, stage: int, direction: str, where: Between | Drawn) -> Work:
    """Return the work of measuring a boundary; it returns the `BoundaryMotion`."""

    def work(task: Task) -> Generator[Any, None, BoundaryMotion]:
        yield from ()
        inspection = session.inspection
        field = inspection.source.transform(inspection.stages[stage], direction)
        if isinstance(where, Drawn):
            return where.motion(field)
        labels: NDArray[Any] = stage_labels(inspection, direction).array
        return boundary_motion(field, labels == where.first, None if where.second is None else labels == where.second)

    return work
