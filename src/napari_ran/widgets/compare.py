"""The Compare widget: one pair, several systems, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

import napari_ran as ran
from napari_ran.benchmark import Candidate, Compared, PairStep, candidates_for
from napari_ran.inputs import Inputs
from napari_ran.io.layers import LayerData
from napari_ran.widgets._combos import LayerChoices
from napari_ran.widgets._docked import DockedWidget
from napari_ran.widgets._forms import combo
from napari_ran.widgets._layers import Look
from napari_ran.widgets._models import models
from napari_ran.widgets._pages import Section, form_layout, scrolled
from napari_ran.widgets._panels import MessagePanel, ProgressPanel
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.comparison.boxes import KINDS, BoxPlot
from napari_ran.widgets.comparison.layers import VIEWS, ComparedLayers
from napari_ran.widgets.comparison.table import ComparisonTable
from napari_ran.widgets.comparison.work import comparing_work, differing_work, showing_work

ALL = "all others"


class CompareWidget(DockedWidget):
    """Choose systems, run them on the pair, see what each found and where they differ.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are registered.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.results: list[Compared] = []
        self.choices = LayerChoices(napari_viewer, self)
        self.layers = ComparedLayers(napari_viewer)
        self.runner, self.shower, self.differ = Worker(self), Worker(self), Worker(self)
        self._inputs: Inputs | None = None
        self._look: Look | None = None
        self._ndim = 0
        self._shown = ""
        self._build()
        self._connect()
        self.show_candidates()
        self._rest("")
        self._follow_viewer(True)

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(4, 6, 8, 6)
        column.setSpacing(8)
        for part in (self._images_group(), self._annotations_section(), self._systems_group(), self._results_group()):
            column.addWidget(part)
        column.addStretch(1)
        self.progress, self.message = ProgressPanel(), MessagePanel(self.viewer)
        self.run_button, self.cancel_button = QPushButton("Compare"), QPushButton("Cancel")
        self.run_button.setToolTip("Register the moving image to the fixed image with every system that is ticked")
        self.cancel_button.setToolTip("Stop; what is finished stays")
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button, 2)
        buttons.addWidget(self.cancel_button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(scrolled(page), 1)
        layout.addWidget(self.message)
        layout.addWidget(self.progress)
        layout.addLayout(buttons)
        self.setMinimumWidth(380)

    def _images_group(self) -> QWidget:
        group = QGroupBox("Images")
        form = form_layout(group)
        for role in ("fixed", "moving"):
            form.addRow(self.choices.caption(role), self.choices.boxes[role])
        return group

    def _annotations_section(self) -> QWidget:
        section = Section("Labels and points (to measure with)")
        content = QWidget()
        form = form_layout(content)
        for role in LayerChoices.OPTIONAL:
            form.addRow(self.choices.caption(role), self.choices.boxes[role])
        return section.fill(content)

    def _systems_group(self) -> QWidget:
        group = QGroupBox("Systems")
        column = QVBoxLayout(group)
        self.systems = QListWidget()
        self.systems.setAccessibleName("Systems to compare")
        self.systems.setToolTip(
            "<p>Tick what is to be compared: networks alone or with the field optimised for this pair, no network, and "
            "the other tools that are installed (pip install 'napari-ran[peers]').</p>"
        )
        self.affine = combo("Alignment before", "The same for all: how the images are brought together first.")
        for name, text in (("auto", "auto"), ("none", "none"), ("centre", "middles"), ("affine", "affine")):
            self.affine.addItem(text, name)
        row = QHBoxLayout()
        row.addWidget(QLabel("Alignment before"))
        row.addWidget(self.affine, 1)
        column.addWidget(self.systems)
        column.addLayout(row)
        return group

    def _results_group(self) -> QWidget:
        self.outcome = QGroupBox("Results")
        column = QVBoxLayout(self.outcome)
        self.table, self.boxes = ComparisonTable(), BoxPlot(self.viewer)
        self.view = combo("Show", "What every result's layer shows, with one colour scale for all.")
        for key, text in VIEWS.items():
            self.view.addItem(text, key)
        self.scale = QLabel()
        self.scale.setWordWrap(True)
        self.grid = QCheckBox("Side by side")
        self.grid.setToolTip("<p>Show all results beside each other, moved and zoomed together.</p>")
        self.measure = combo("Measure", "What is drawn of every label.")
        for key, text in KINDS.items():
            self.measure.addItem(text, key)
        self.one = combo("One system", "Where does this one's field differ …")
        self.other = combo("Other system", "… from this one's, or from those of all others?")
        self.differ_button = QPushButton("Show where they differ")
        self.differ_button.setToolTip("<p>Distance of the two fields in mm, as a layer: dark where they agree.</p>")
        self.export_button = QPushButton("Export table…")
        self.export_button.setToolTip("Write all measures to a CSV file")
        self.clear_button = QPushButton("Remove layers")
        self.clear_button.setToolTip("Take the layers of this comparison out of the viewer; the table stays")
        column.addWidget(self.table)
        column.addLayout(_row(QLabel("Show"), self.view))
        column.addWidget(self.grid)
        column.addWidget(self.scale)
        column.addLayout(_row(QLabel("Differ"), self.one, self.other))
        column.addWidget(self.differ_button)
        column.addLayout(_row(QLabel("Labels by"), self.measure))
        column.addWidget(self.boxes)
        column.addLayout(_row(self.export_button, self.clear_button))
        return self.outcome

    def _connect(self) -> None:
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self.choices.changed.connect(self.show_candidates)
        self.systems.itemChanged.connect(self._count)
        self.runner.stepped.connect(self._on_step)
        self.runner.finished.connect(self._on_finished)
        self.runner.failed.connect(self._complain)
        self.runner.released.connect(self._on_released)
        self.shower.stepped.connect(self._on_layer)
        self.shower.finished.connect(self._on_shown)
        self.shower.failed.connect(self._complain)
        self.differ.finished.connect(self._on_difference)
        self.differ.failed.connect(self._complain)
        self.table.chosen.connect(self.choose)
        self.view.currentIndexChanged.connect(self.show_layers)
        self.grid.toggled.connect(self._lay_out)
        self.measure.currentIndexChanged.connect(self._draw_boxes)
        self.differ_button.clicked.connect(self.show_difference)
        self.export_button.clicked.connect(self._ask_where_to_export)
        self.clear_button.clicked.connect(self._clear_layers)
        for worker in (self.runner, self.shower, self.differ):
            # not a method of this widget: it is already gone when it is called
            self.destroyed.connect(worker.current.drop)

    # ---------------------------------------------------------------- choosing

    def show_candidates(self) -> None:
        """Offer what can register images of so many axes; what was ticked stays ticked."""
        layer = self.choices.layer("fixed")
        self._ndim = layer.ndim if layer is not None and layer.ndim in (2, 3) else 3
        before = dict(self._ticks().items())
        blocked = self.systems.blockSignals(True)
        self.systems.clear()
        for number, candidate in enumerate(self._candidates()):
            item = QListWidgetItem(candidate.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
            wanted = before.get(candidate.name, number < 3)
            item.setCheckState(Qt.CheckState.Checked if wanted else Qt.CheckState.Unchecked)
            self.systems.addItem(item)
        self.systems.blockSignals(blocked)
        height = self.systems.sizeHintForRow(0) * min(self.systems.count(), 10) + 12
        self.systems.setFixedHeight(max(height, 60))
        self._count()

    def tick(self, *names: str) -> None:
        """Tick these systems and no other."""
        for row in range(self.systems.count()):
            item = self.systems.item(row)
            item.setCheckState(Qt.CheckState.Checked if item.text() in names else Qt.CheckState.Unchecked)

    def _ticks(self) -> dict[str, bool]:
        items = (self.systems.item(row) for row in range(self.systems.count()))
        return {item.text(): item.checkState() == Qt.CheckState.Checked for item in items}

    def _candidates(self) -> list[Candidate]:
        return candidates_for(self._ndim, ran.RegistrationConfig(affine=self.affine.currentData()))

    def _count(self) -> None:
        wanted = sum(self._ticks().values())
        self.run_button.setText("Compare" if not wanted else f"Compare {wanted} system{'s' * (wanted != 1)}")
        self.run_button.setEnabled(wanted > 0 and not self.cancel_button.isEnabled())

    # ---------------------------------------------------------------- running

    def run(self) -> None:
        """Register the pair with every system that is ticked."""
        self.message.hide()
        try:
            sources, self._look = self.choices.sources()
        except ran.InputError as error:
            self._complain(error)
            return
        ticked = self._ticks()
        wanted = [candidate for candidate in self._candidates() if ticked.get(candidate.name)]
        self.shower.drop()
        self.layers.remove()
        self.grid.setChecked(False)
        self.results, self._inputs, self._shown = [], None, ""
        self._fill()
        self.cancel_button.setEnabled(True)
        self.run_button.setEnabled(False)
        self.progress.show_event("check", 0, 1, "reading the layers")
        self.runner.start(comparing_work(sources, wanted))

    def cancel(self) -> None:
        """Stop; what is finished stays."""
        self.cancel_button.setEnabled(False)
        self.progress.say("Stopping…")
        self.runner.stop()

    def _on_step(self, step: Inputs | PairStep) -> None:
        if isinstance(step, Inputs):
            self._inputs = step
            return
        self.progress.bar.show()
        self.progress.bar.setValue(int(1000 * (step.number - (step.found is None)) / step.total))
        self.progress.say(f"{step.name} ({step.number} of {step.total}): {step.message}")
        if step.found is not None:
            self.results.append(step.found)
            self._fill()

    def _on_finished(self, whole: bool) -> None:
        failed = sum(found.failure is not None for found in self.results)
        words = "Done." if whole else "Stopped: what was finished is shown."
        self._rest(words + (f" {failed} failed: see its row." if failed else ""))
        self.show_layers()

    def _on_released(self) -> None:
        self.runner.drop()
        self._on_finished(False)

    def _rest(self, words: str) -> None:
        self.cancel_button.setEnabled(False)
        self.progress.rest(words)
        self._count()
        self._fill()

    def _complain(self, error: Exception) -> None:
        self._rest("")
        self.message.show_error(error, {role: self.choices.title(role) for role in LayerChoices.ROLES})

    # ---------------------------------------------------------------- results

    def _fill(self) -> None:
        """Show the results in the table, the boxes and the choosers."""
        self.table.fill(self.results)
        self._draw_boxes()
        found = [one.name for one in self.results if one.field is not None]
        for box, first in ((self.one, ()), (self.other, (ALL,))):
            before = box.currentText()
            box.clear()
            box.addItems([*first, *found])
            box.setCurrentText(before if before in (*first, *found) else found[-1] if found and not first else ALL)
        for part in (self.view, self.grid, self.one, self.other, self.differ_button, self.clear_button):
            part.setEnabled(len(found) > 1 or (part in (self.view, self.clear_button) and bool(found)))
        self.export_button.setEnabled(bool(self.results))
        has_labels = any(one.score is not None and one.score.labels for one in self.results)
        self.measure.setEnabled(has_labels)

    def _draw_boxes(self) -> None:
        self.boxes.fill(self.results, self.measure.currentData())

    def show_layers(self) -> None:
        """Make every result's layer anew, showing what is chosen."""
        if self._inputs is not None and self._look is not None and self.results:
            task = showing_work(list(self.results), self.view.currentData(), self._inputs.fixed, self._look)
            self.shower.start(task)

    def _on_layer(self, made: tuple[str, LayerData]) -> None:
        name, data = made
        last = [found.name for found in self.results if found.field is not None][-1:]
        self.layers.put(name, data, self.grid.isChecked() or name == (self._shown or "".join(last)))

    def _on_shown(self, largest: float) -> None:
        scale = {
            "difference": f"Blue to red: \N{MINUS SIGN}{largest:.3g} to {largest:.3g}, the same for all.",
            "magnitude": f"Dark blue to red: 0 to {largest:.3g} mm, the same for all.",
            "jacobian": "Blue shrinks, white keeps, red grows (0 to 2); folds are magenta.",
        }
        self.scale.setText(scale.get(self.view.currentData(), ""))
        names = [found.name for found in self.results if found.field is not None]
        if names:
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
        found = {one.name: one for one in self.results if one.field is not None}
        one, other = self.one.currentText(), self.other.currentText()
        chosen = list(found.values()) if other == ALL else [found[name] for name in dict.fromkeys((one, other))]
        self.differ.start(differing_work(chosen, self._look))

    def _on_difference(self, data: LayerData) -> None:
        self.grid.setChecked(False)
        self.layers.put_disagreement(data)
        if (moving := self.choices.layer("moving")) is not None:
            moving.visible = False  # what shines through is the fixed image, which the field lies on
        self.scale.setText(f"Black to white: 0 to {data[1]['contrast_limits'][1]:.3g} mm between the fields.")

    def _clear_layers(self) -> None:
        self.shower.drop()
        self.grid.setChecked(False)
        self.layers.remove()

    def export(self, path: str | Path) -> None:
        """Write the table to a CSV file."""
        try:
            self.table.export(Path(path))
        except ran.RanError as error:
            self._complain(error)
        else:
            self.progress.say(f"Table written to {path}.")

    def _ask_where_to_export(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export the table", "comparison.csv", "Table (*.csv)")
        if path:
            self.export(path)

    # ---------------------------------------------------------------- end of life

    def shut(self) -> None:
        """Stop all work and let go of the viewer."""
        if not self._open:
            return
        for worker in (self.runner, self.shower, self.differ):
            worker.drop()
        self._follow_viewer(False)
        self._rest("")

    def _follow_viewer(self, follow: bool) -> None:
        self._open = follow
        self.choices.follow_viewer(follow)
        theme = self.viewer.events.theme
        for slot in (self.boxes.apply_theme, self.message.apply_theme):
            (theme.connect if follow else theme.disconnect)(slot)
        if follow:
            models.changed.connect(self.show_candidates)
        else:
            models.changed.disconnect(self.show_candidates)


def _row(*parts: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for part in parts:
        row.addWidget(part, 0 if isinstance(part, QLabel | QCheckBox) else 1)
    return row
