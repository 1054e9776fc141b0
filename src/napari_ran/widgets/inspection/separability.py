"""The page of the motion-separability PDF of this pair; slip and gap across a boundary are below it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Labels as LabelsLayer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QLabel, QWidget

import napari_ran as ran
from napari_ran.introspect.separability import Separability, SeparabilityDifference
from napari_ran.introspect.study import stage_separability
from napari_ran.transform import resample
from napari_ran.widgets._forms import button, combo
from napari_ran.widgets._layers import Source
from napari_ran.widgets._layout import form_layout, page_column
from napari_ran.widgets._worker import Task, Work, Worker
from napari_ran.widgets.inspection.boundary import BoundaryGroup
from napari_ran.widgets.inspection.files import save_figure, telling
from napari_ran.widgets.inspection.layers import InspectLayers
from napari_ran.widgets.inspection.pdf_plot import PdfPlot, Range
from napari_ran.widgets.inspection.session import Session
from napari_ran.writing import replacing

MOST_PAIRS = 400
EMPTY_MASK = "Labels, else the foreground"


class SeparabilityPage(QWidget):
    """Shows how differently near points move, at any stage, against the theory.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose label layers can be masks and whose shapes boundaries.
    layers : InspectLayers
        Where point pairs are lit up.

    Signals
    -------
    failed : Exception
        Something to be shown as a message.
    """

    failed = Signal(object)

    def __init__(self, viewer: Any, layers: InspectLayers) -> None:
        super().__init__()
        self._viewer, self._layers = viewer, layers
        self._session: Session | None = None
        self._direction = "forward"
        self._stale = True
        self.found: Separability | None = None
        self.change: SeparabilityDifference | None = None
        self._other: Separability | None = None
        self.worker = Worker(self)
        self.boundary = BoundaryGroup(viewer, layers, lambda: (self.stage_box.currentData(), self._direction))
        self.boundary.failed.connect(self.failed)
        self._build()
        self.worker.finished.connect(self._on_found)
        self.worker.failed.connect(self._on_failed)

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        self.stage_box = combo("Field after", "Which stage's field is measured.")
        self.other_box = combo("Compared with", "The difference to this stage is shown instead.")
        self.mask_box = combo(
            "Points", "Which points count as correctly registered: equal labels, or inside a labels layer of yours."
        )
        self.by_box = combo(
            "Probability",
            "Of a cell in the whole plane, as in the paper, or at each distance.",
            [("joint", "of a pair (as in the paper)"), ("conditional", "given the distance")],
        )
        form = form_layout()
        for title, box in (
            ("Field after", self.stage_box),
            ("Minus", self.other_box),
            ("Points", self.mask_box),
            ("Probability", self.by_box),
        ):
            form.addRow(title, box)
        for box in (self.stage_box, self.other_box, self.mask_box):
            box.activated.connect(self.measure)
        self.stage_box.activated.connect(self.boundary.clear)
        self.by_box.activated.connect(self._show)
        self.plot = PdfPlot(self._viewer)
        self.plot.brushed.connect(self.light_up)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setAccessibleName("What was measured")
        self.export_button = button("Export PDF…", "Write the table (CSV) or the figure (PNG, SVG)", self._ask_where)
        self.export_button.setEnabled(False)
        page_column(self, form, self.plot, self.text, self.export_button, self.boundary)

    # ---------------------------------------------------------------- what is measured

    def show_session(self, session: Session) -> None:
        """Offer the stages of another inspection; they are measured when the page is seen."""
        stages = session.inspection.stages
        before = self.stage_box.currentIndex(), self.other_box.currentIndex()
        same = self.stage_box.count() == len(stages)
        self._session, self._stale = session, True
        self._forget()
        self.plot.clear()
        self.text.clear()
        self.stage_box.clear()
        self.other_box.clear()
        self.other_box.addItem("nothing", None)
        for stage in stages:
            self.stage_box.addItem(stage.title, stage.index)
            self.other_box.addItem(stage.title, stage.index)
        self.stage_box.setCurrentIndex(before[0] if same else self.stage_box.count() - 1)
        self.other_box.setCurrentIndex(before[1] if same else 0)
        self.boundary.show_session(session)
        self.refresh()

    def refresh(self) -> None:
        """Measure when the page is seen and has not been measured yet; list the label layers that can be masks."""
        chosen = self.mask_box.currentText()
        self.mask_box.clear()
        self.mask_box.addItem(EMPTY_MASK, None)
        for layer in self._viewer.layers:
            if isinstance(layer, LabelsLayer):
                self.mask_box.addItem(f"inside '{layer.name}'", layer)
        self.mask_box.setCurrentIndex(max(0, self.mask_box.findText(chosen)))
        if self._session is not None and self._stale and self.isVisible():
            self.measure()

    def show_direction(self, direction: str) -> None:
        """Follow the chosen direction."""
        if direction != self._direction:
            self._direction, self._stale = direction, True
            self.boundary.clear()
            self.refresh()

    def measure(self, index: int = 0) -> None:
        """Measure the chosen stage, and the one it is compared with, in the background."""
        if self._session is None:
            return
        self._stale = False
        self._forget()
        self.text.setText("<i>measuring…</i>")
        layer = self.mask_box.currentData()
        try:
            source = None if layer is None else Source.of(layer, "mask")
        except ran.InputError as error:
            self._on_failed(error)
            return
        chosen = self.stage_box.currentData(), self.other_box.currentData()
        stages = [stage for stage in chosen if stage is not None]
        self.worker.start(separability_work(self._session, stages, self._direction, source))

    def _forget(self) -> None:
        """Let nothing of what was measured before be taken for what is chosen now."""
        self.worker.drop()
        self._layers.remove(["pairs"])
        self.found = self.change = None
        self.export_button.setEnabled(False)

    def _on_found(self, found: list[Separability]) -> None:
        self.found, self._other = found[0], found[1] if len(found) > 1 else None
        self.export_button.setEnabled(True)
        self._show()

    def _show(self, index: int = 0) -> None:
        if self.found is None:
            return
        by = self.by_box.currentData()
        self.change = None if self._other is None else self.found.difference(self._other, by)
        self.plot.show_pdf(self.found if self.change is None else self.change, by)
        lines = [f"{self.found.pairs:,} pairs of correct points"]
        if self.found.above_bound is not None:
            percent = 100 * self.found.above_bound
            share = f"{percent:.2g} %" if percent >= 0.01 or percent == 0 else "Less than 0.01 %"
            lines.append(f"{share} of pairs differ by more than the theory's bound")
        if self.change is not None:
            lines.append("Orange: more often than after the other stage. Violet: less often")
        self.text.setText(". ".join(lines) + ".")

    def _on_failed(self, error: Exception) -> None:
        self.text.clear()
        self.plot.clear()
        self.failed.emit(error)

    def stop(self) -> None:
        """Stop all work."""
        self.worker.drop()
        self.boundary.worker.drop()

    # ---------------------------------------------------------------- brushing

    def light_up(self, cells: tuple[Range, Range]) -> None:
        """Show the point pairs of some cells in the viewer, a line between the two points of each.

        Parameters
        ----------
        cells : ((int, int), (int, int))
            Distances and differences in voxels, first and last.
        """
        if self.found is None or self._session is None:
            return
        pairs = self.found.pairs_in(cells, MOST_PAIRS)
        if len(pairs) == 0:
            self._layers.remove(["pairs"])
            self.text.setText("No pair was drawn in these cells.")
            return
        # what lies before or behind the slice is seen as well: pairs are few and far between
        places = self._layers.into_slice(self._layers.to_viewer(field_grid(self._session).to_world(pairs)))
        lines = np.stack([places[:, 0], places[:, 1] - places[:, 0]], 1)
        colours = np.tile([0.34, 0.71, 0.91, 0.8], (len(lines), 1))
        self._layers.lines("pairs", lines, colours, "inspect · point pairs", 1.5)
        (p0, p1), (q0, q1) = cells
        where = f"distance {p0} to {p1}, difference {q0} to {q1} voxels"
        through = "" if self._layers.hidden_axis(self._session.ndim) is None else ", seen through all slices"
        self.text.setText(f"{len(pairs)} pairs at {where}{through}.")

    # ---------------------------------------------------------------- export

    def _ask_where(self) -> None:
        kinds = "Table (*.csv);;Picture (*.png);;Drawing (*.svg)"
        path, _ = QFileDialog.getSaveFileName(self, "Export the PDF", "separability.csv", kinds)
        if path:
            self.export(path)

    def export(self, path: str | Path) -> None:
        """Write what is shown: the table as CSV, or the figure as PNG or SVG, by the name's ending."""
        if self.found is None:
            return
        shown = self.found if self.change is None else self.change
        with telling(self.failed):
            if Path(path).suffix.lower() == ".csv":
                with replacing(path, "the table") as part:
                    shown.to_csv(part)
            else:
                save_figure(self._figure(), path)

    def _figure(self) -> Any:
        """Draw what is shown for paper."""
        from napari_ran.figures.separability import separability, separability_difference

        if self.change is not None:
            return separability_difference(self.change, (self.stage_box.currentText(), self.other_box.currentText()))
        assert self.found is not None
        return separability(self.found, self.by_box.currentData(), self.stage_box.currentText())


def field_grid(session: Session) -> ran.Grid:
    """Return the grid on which pairs are counted: the network's images', or the field's."""
    inspection = session.inspection
    return inspection.get("field", 0).grid if inspection.trace is None else inspection.trace.grid


def separability_work(session: Session, stages: list[int], direction: str, mask: Source | None) -> Work:
    """Return the work of measuring stages; it returns one `Separability` each."""

    def work(task: Task) -> Generator[Any, None, list[Separability]]:
        inside = None
        if mask is not None:
            inside = resample(mask.labels(), field_grid(session)).tensor > 0
        found = []
        for stage in stages:
            yield stage
            found.append(stage_separability(session.inspection, stage, direction, inside))
        return found

    return work
