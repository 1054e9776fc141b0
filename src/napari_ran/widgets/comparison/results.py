"""What a comparison found: the table, the layers of one pair, box plots, and where two systems differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QFileDialog, QGroupBox, QLabel, QVBoxLayout
from superqt.utils import signals_blocked

import napari_ran as ran
from napari_ran.benchmark import Compared
from napari_ran.cases import Case
from napari_ran.inputs import Inputs
from napari_ran.io.layers import LayerData
from napari_ran.widgets._forms import button, combo
from napari_ran.widgets._layers import Look
from napari_ran.widgets._layout import row_of_widgets
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.comparison.boxes import KINDS, BoxPlot
from napari_ran.widgets.comparison.kept import KeptFields
from napari_ran.widgets.comparison.layers import VIEWS, ComparedLayers
from napari_ran.widgets.comparison.table import ComparisonTable, export_table, mean_rows, row_of
from napari_ran.widgets.comparison.work import LOADED, differing_work, opening_work, showing_work

ALL = "all others"
EVERY_CASE = "all: means"


class ResultsPanel(QGroupBox):
    """Results of one pair, or of the pairs of a list of which one is looked at.

    Signals
    -------
    said : str
        Something to tell below the progress.
    failed : object
        An exception to show.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the layers are shown.
    """

    said = Signal(str)
    failed = Signal(object)

    def __init__(self, viewer: Any) -> None:
        super().__init__("Results")
        self.viewer = viewer
        self.pairs: dict[str, list[Compared]] = {}
        self.results: list[Compared] = []
        """Of the pair that is looked at, with their fields."""
        self.layers = ComparedLayers(viewer)
        self.shower, self.differ, self.opener = Worker(self), Worker(self), Worker(self)
        self._cases: dict[str, Case] = {}
        self._kept: KeptFields | None = None
        self._inputs: Inputs | None = None
        self._look: Look | None = None
        self._shown = ""
        self._build()
        self._connect()
        self.fill()

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        column = QVBoxLayout(self)
        self.table, self.boxes = ComparisonTable(), BoxPlot(self.viewer)
        self.case_box = combo("Pair", "The means over all pairs, or one pair with its layers.")
        self.view = combo("Show", "What every result's layer shows, with one colour scale for all.", VIEWS.items())
        self.scale = QLabel()
        self.scale.setWordWrap(True)
        self.grid = QCheckBox("Side by side")
        self.grid.setToolTip("<p>Show all results beside each other, moved and zoomed together.</p>")
        tip = "What is drawn of every label, or of the points of every pair."
        self.measure = combo("Measure", tip, KINDS.items())
        self.one = combo("One system", "Where does this one's field differ …")
        self.other = combo("Other system", "… from this one's, or from those of all others?")
        apart = "Distance of the two fields in mm, as a layer: dark where they agree."
        self.differ_button = button("Show where they differ", apart, self.show_difference)
        write = "Write all measures, of every pair, to a CSV file"
        self.export_button = button("Export table…", write, self._ask_where_to_export)
        clear = "Take the layers of this comparison out of the viewer; the table stays"
        self.clear_button = button("Remove layers", clear, self.clear_layers)
        self.case_row = row_of_widgets(QLabel("Pair"), self.case_box)
        for part in (
            self.case_row,
            self.table,
            row_of_widgets(QLabel("Show"), self.view),
            self.grid,
            self.scale,
            row_of_widgets(QLabel("Differ"), self.one, self.other),
            self.differ_button,
            row_of_widgets(QLabel("Plot"), self.measure),
            self.boxes,
            row_of_widgets(self.export_button, self.clear_button),
        ):
            column.addWidget(part)

    def _connect(self) -> None:
        self.shower.stepped.connect(self._on_layer)
        self.shower.finished.connect(self._on_shown)
        self.differ.finished.connect(self._on_difference)
        self.opener.finished.connect(self._on_opened)
        for worker in self.workers:
            worker.failed.connect(self.failed)
        self.table.chosen.connect(self.choose)
        self.case_box.currentIndexChanged.connect(self.open_case)
        self.view.currentIndexChanged.connect(self.show_layers)
        self.grid.toggled.connect(self._lay_out)
        self.measure.currentIndexChanged.connect(self._draw_boxes)

    @property
    def workers(self) -> tuple[Worker, ...]:
        """What works for this panel."""
        return self.shower, self.differ, self.opener

    # ---------------------------------------------------------------- a new comparison

    def begin(self, look: Look | None = None, cases: Sequence[Case] = (), kept: KeptFields | None = None) -> None:
        """Forget what was found; `look` is that of the loaded pair, `cases` and `kept` belong to a list."""
        self._close()
        self.pairs, self._shown = {}, ""
        self._look, self._kept = look, kept
        self._cases = {case.name: case for case in cases}
        with signals_blocked(self.case_box):
            self.case_box.clear()
            self.case_box.addItem(EVERY_CASE, LOADED)
        self.fill()

    def _close(self) -> None:
        """Let go of the pair that is looked at, with its layers."""
        for worker in self.workers:
            worker.drop()
        self.layers.remove()
        self.grid.setChecked(False)
        self.scale.clear()
        self.results, self._inputs = [], None

    def set_pair(self, inputs: Inputs) -> None:
        """Say which pair is registered."""
        self._inputs = inputs

    def add(self, found: Compared, case: str = LOADED) -> None:
        """Add a result."""
        if case not in self.pairs:
            self.pairs[case] = []
            if case:
                self.case_box.addItem(case, case)
        self.pairs[case].append(found)
        if not case:
            self.results.append(found)
        self.fill()

    @property
    def of_list(self) -> bool:
        """Whether the pairs come from a list."""
        return bool(self._cases)

    @property
    def case(self) -> str:
        """The pair of the list that is looked at; empty for all of them, and where there is no list."""
        return self.case_box.currentData() or LOADED

    @property
    def _fields(self) -> dict[str, Compared]:
        """What has a field, of the pair that is looked at, by name."""
        return {found.name: found for found in self.results if found.field is not None}

    @property
    def failures(self) -> int:
        """How many registrations failed."""
        return sum(found.failure is not None for results in self.pairs.values() for found in results)

    # ---------------------------------------------------------------- showing

    def fill(self) -> None:
        """Show the results in the table, the boxes and the choosers."""
        self.case_row.setVisible(self.of_list)
        if self.of_list and not self.case:
            self.table.fill(mean_rows(self.pairs))
        else:
            self.table.fill([row_of(found) for found in self.pairs.get(self.case, [])])
        self._draw_boxes()
        found = list(self._fields)
        for box, first in ((self.one, ()), (self.other, (ALL,))):
            before = box.currentText()
            box.clear()
            box.addItems([*first, *found])
            box.setCurrentText(before if before in (*first, *found) else found[-1] if found and not first else ALL)
        for part in (self.view, self.clear_button):
            part.setEnabled(bool(found))
        for part in (self.grid, self.one, self.other, self.differ_button):
            part.setEnabled(len(found) > 1)
        self.export_button.setEnabled(any(self.pairs.values()))

    def _draw_boxes(self) -> None:
        pairs = self.pairs if self.of_list and not self.case else {LOADED: self.pairs.get(self.case, [])}
        self.boxes.fill(pairs, self.measure.currentData())

    def open_case(self) -> None:
        """Show the pair that is chosen: its images, its results and their layers; nothing for all pairs."""
        self._close()
        self.fill()
        if self.case and self._kept is not None:
            self.said.emit(f"Opening {self.case}…")
            self.opener.start(opening_work(self._cases[self.case], list(self.pairs[self.case]), self._kept))

    def _on_opened(self, opened: tuple[Inputs, list[Compared], Look, list[tuple[str, LayerData]]]) -> None:
        self._inputs, self.results, self._look, images = opened
        self.layers.put_pair(images)
        self.viewer.reset_view()
        self.said.emit("")
        self.fill()
        self.show_layers()

    def show_layers(self) -> None:
        """Make every result's layer anew, showing what is chosen."""
        if self._inputs is not None and self._look is not None and self.results:
            task = showing_work(list(self.results), self.view.currentData(), self._inputs.fixed, self._look)
            self.shower.start(task)

    def _on_layer(self, made: tuple[str, LayerData]) -> None:
        name, data = made
        self.layers.put(name, data, self.grid.isChecked() or name == (self._shown or [*self._fields][-1]))

    def _on_shown(self, largest: float) -> None:
        scale = {
            "difference": f"Blue to red: \N{MINUS SIGN}{largest:.3g} to {largest:.3g}, the same for all.",
            "magnitude": f"Dark blue to yellow: 0 to {largest:.3g} mm, the same for all.",
            "jacobian": "Blue shrinks, white keeps, red grows (0 to 2); folds are black.",
        }
        self.scale.setText(scale.get(self.view.currentData(), ""))
        if names := list(self._fields):
            self.choose(self._shown if self._shown in names else names[-1])

    def choose(self, name: str) -> None:
        """Show one result."""
        self._shown = name
        self.boxes.mark(name)
        self.layers.choose(name)

    def _lay_out(self, side_by_side: bool) -> None:
        self.layers.side_by_side(side_by_side)
        if not side_by_side:
            self.layers.choose(self._shown)

    def show_difference(self) -> None:
        """Show where the chosen fields differ."""
        if self._look is None:
            return
        found, one, other = self._fields, self.one.currentText(), self.other.currentText()
        chosen = list(found.values()) if other == ALL else [found[name] for name in dict.fromkeys((one, other))]
        self.differ.start(differing_work(chosen, self._look))

    def _on_difference(self, data: LayerData) -> None:
        self.grid.setChecked(False)
        self.layers.put_disagreement(data)  # what shines through is the fixed image, which the field lies on
        self.scale.setText(f"Black to white: 0 to {data[1]['contrast_limits'][1]:.3g} mm between the fields.")

    def clear_layers(self) -> None:
        """Take the layers out of the viewer."""
        self.shower.drop()
        self.grid.setChecked(False)
        self.layers.remove()

    def export(self, path: str | Path) -> None:
        """Write the table to a CSV file."""
        try:
            export_table(Path(path), self.pairs, self.table.names())
        except ran.RanError as error:
            self.failed.emit(error)
        else:
            self.said.emit(f"Table written to {path}.")

    def _ask_where_to_export(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export the table", "comparison.csv", "Table (*.csv)")
        if path:
            self.export(path)
