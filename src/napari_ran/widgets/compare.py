"""The Compare widget: one pair or a list of pairs, several systems, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QGroupBox, QLabel, QLineEdit, QVBoxLayout, QWidget

import napari_ran as ran
from napari_ran.benchmark import Candidate, candidates_for
from napari_ran.cases import Case
from napari_ran.inputs import Inputs
from napari_ran.widgets._combos import LayerChoices
from napari_ran.widgets._forms import combo
from napari_ran.widgets._layout import Section, form_layout, row_of_widgets
from napari_ran.widgets._models import models
from napari_ran.widgets._paths import PathRow
from napari_ran.widgets._progress import counted
from napari_ran.widgets._remembered import FormMemory
from napari_ran.widgets._running import RunningWidget
from napari_ran.widgets._series import axes_of_space
from napari_ran.widgets._ticks import TickList
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.comparison.kept import KeptFields
from napari_ran.widgets.comparison.results import ResultsPanel
from napari_ran.widgets.comparison.work import ListStep, comparing_work, listing_work, reading_work


class CompareWidget(RunningWidget):
    """Choose systems, run them on the pair, see what each found and where they differ.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are registered.
    """

    help_page = "compare.md"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.choices = LayerChoices(napari_viewer, self)
        self.found = ResultsPanel(napari_viewer)
        self.reader = Worker(self)
        self._cases: list[Case] = []
        self._list_ndim = 3
        self._build(
            *(self._images_group(), self._systems_group(), self.found),
            verb="Compare",
            run="Register the pair, or every pair of the list, with every system that is ticked",
            cancel="Stop; what is finished stays",
        )
        self.setMinimumWidth(380)
        chosen = {"affine": self.affine, "view": self.found.view, "measure": self.found.measure}
        self.memory = FormMemory(self, "compare", editors=chosen)
        self._connect()
        self._on_source()
        self._rest()
        self._follow_viewer(True)

    # ---------------------------------------------------------------- layout

    def _images_group(self) -> QWidget:
        group = QGroupBox("Images")
        column = QVBoxLayout(group)
        sources = [("layers", "the loaded pair"), ("list", "a list of pairs")]
        self.source = combo("Compare on", "The pair that is loaded here, or the pairs of a list.", sources)
        self.list_path = QLineEdit()
        self.list_path.setAccessibleName("List of pairs")
        self.list_path.setPlaceholderText("pairs.csv")
        self.list_path.setToolTip(
            "<p>A CSV file with the columns fixed, moving and, as far as there are some, fixed_labels, moving_labels, "
            "fixed_landmarks, moving_landmarks; or a Learn2Reg JSON file.</p>"
        )
        self.list_row = PathRow(self.list_path, "List of pairs")
        self.list_row.offer("Lists (*.csv *.json)", folder=False)
        self.list_note = QLabel()
        self.list_note.setWordWrap(True)
        self.pair = QWidget()
        form = form_layout(self.pair)
        form.setContentsMargins(0, 0, 0, 0)
        self.choices.add_to(form, "fixed", "moving")
        form.addRow(self._annotations_section())
        column.addWidget(row_of_widgets(QLabel("Compare on"), self.source))
        for part in (self.pair, self.list_row, self.list_note):
            column.addWidget(part)
        return group

    def _annotations_section(self) -> QWidget:
        section = Section("Labels and points (to measure with)")
        content = QWidget()
        self.choices.add_to(form_layout(content), *LayerChoices.OPTIONAL)
        return section.fill(content)

    def _systems_group(self) -> QWidget:
        group = QGroupBox("Systems")
        column = QVBoxLayout(group)
        self.systems = TickList(
            "Systems to compare",
            "Tick what is to be compared: networks alone or with the field optimised for this pair, no network, and "
            "the other tools that are installed (pip install 'napari-ran[peers]').",
        )
        kinds = [("auto", "auto"), ("none", "none"), ("centre", "middles"), ("affine", "affine")]
        self.affine = combo("Alignment before", "The same for all: how the images are brought together first.", kinds)
        column.addWidget(self.systems)
        column.addWidget(row_of_widgets(QLabel("Alignment before"), self.affine))
        return group

    def _connect(self) -> None:
        self.choices.changed.connect(self.show_candidates)
        self.systems.itemChanged.connect(self._enable)
        self.source.currentIndexChanged.connect(self._on_source)
        self.list_path.textChanged.connect(self._read_list)
        self.reader.finished.connect(self._on_list)
        self.reader.failed.connect(self._on_bad_list)
        self.found.failed.connect(self._complain)
        self.found.said.connect(self.progress.say)
        self.found.differ.finished.connect(self._hide_moving)

    # ---------------------------------------------------------------- choosing

    def show_candidates(self) -> None:
        """Offer what can register images of so many axes; what was ticked stays ticked."""
        before = self.systems.ticks()
        names = [candidate.name for candidate in self._candidates()]
        self.systems.offer((name, name, before.get(name, number < 3)) for number, name in enumerate(names))
        height = (self.systems.sizeHintForRow(0) + 2) * min(self.systems.count(), 10) + 12
        self.systems.setFixedHeight(max(height, 60))
        self._enable()

    @property
    def of_list(self) -> bool:
        """Whether the pairs of a list are to be compared on."""
        return bool(self.source.currentData() == "list")

    @property
    def ndim(self) -> int:
        """Number of axes of what is to be compared on."""
        if self.of_list:
            return self._list_ndim
        layers = {role: layer for role in ("fixed", "moving") if (layer := self.choices.layer(role)) is not None}
        return axes_of_space(layers) if layers else 3

    def choose_list(self, path: str | Path) -> None:
        """Compare on the pairs of a list."""
        self.source.setCurrentIndex(self.source.findData("list"))
        self.list_path.setText(str(path))

    def _on_source(self) -> None:
        self.pair.setVisible(not self.of_list)
        self.list_row.setVisible(self.of_list)
        self.list_note.setVisible(self.of_list)
        self.show_candidates()

    def _read_list(self) -> None:
        self._cases = []
        self.message.hide()
        path = self.list_path.text().strip()
        self.list_note.setText(f"Reading {Path(path).name}…" if path else "")
        self._enable()
        if path:
            self.reader.start(reading_work(Path(path)))
        else:
            self.reader.drop()

    def _on_list(self, read: tuple[list[Case], int]) -> None:
        self._cases, self._list_ndim = read
        labelled = sum(None not in (case.fixed_labels, case.moving_labels) for case in self._cases)
        pointed = sum(None not in (case.fixed_landmarks, case.moving_landmarks) for case in self._cases)
        parts = [f"{number} with {what}" for number, what in ((labelled, "labels"), (pointed, "points")) if number]
        self.list_note.setText(", ".join([counted(len(self._cases), "pair"), *parts]))
        self.show_candidates()

    def _on_bad_list(self, error: Exception) -> None:
        self.list_note.clear()
        self._complain(error)

    def tick(self, *names: str) -> None:
        """Tick these systems and no other."""
        self.systems.tick(*names)

    def _candidates(self) -> list[Candidate]:
        return candidates_for(self.ndim, ran.RegistrationConfig(affine=self.affine.currentData()))

    def _ready(self) -> bool:
        return any(self.systems.ticks().values()) and (bool(self._cases) or not self.of_list)

    def _enable(self) -> None:
        wanted = sum(self.systems.ticks().values())
        self.run_button.setText(f"Compare {counted(wanted, 'system')}" if wanted else "Compare")
        super()._enable()

    # ---------------------------------------------------------------- running

    def run(self) -> None:
        """Register the pair, or every pair of the list, with every system that is ticked."""
        self.message.hide()
        ticked = self.systems.ticks()
        wanted = [candidate for candidate in self._candidates() if ticked.get(candidate.name)]
        if self.of_list:
            kept = KeptFields()
            self.found.begin(None, self._cases, kept)
            work = listing_work(self._cases, wanted, kept)
        else:
            try:
                sources, look = self.choices.sources()
            except ran.InputError as error:
                self._complain(error)
                return
            self.found.begin(look)
            work = comparing_work(sources, wanted)
        self.memory.keep()
        self.progress.show_event("check", 0, 1, "reading the images")
        self._start(work)

    def _on_step(self, step: Inputs | ListStep) -> None:
        if isinstance(step, Inputs):
            self.found.set_pair(step)
            return
        one = step.step
        done = (step.number - 1 + (one.number - (one.found is None)) / one.total) / step.total
        which = f"{step.case} ({step.number} of {step.total}), " if step.case else ""
        self._show(done, f"{which}{one.name} ({one.number} of {one.total}): {one.message}")
        if one.found is not None:
            self.found.add(one.found, step.case)

    def _on_finished(self, whole: bool) -> None:
        failed = self.found.failures
        words = "Done." if whole else "Stopped: what was finished is shown."
        self._rest(words + (f" {failed} failed: see the row{'s' * (failed != 1)}." if failed else ""))
        self.found.show_layers()

    def _hide_moving(self) -> None:
        """Let the fixed image shine through where fields differ: they lie on it."""
        if (moving := self.choices.layer("moving")) is not None:
            moving.visible = False

    def _follow_viewer(self, follow: bool) -> None:
        super()._follow_viewer(follow)
        (models.changed.connect if follow else models.changed.disconnect)(self.show_candidates)
