"""The Compare widget: one pair or a list of pairs, several systems, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

import napari_ran as ran
from napari_ran.benchmark import Candidate, PairStep, candidates_for
from napari_ran.cases import Case
from napari_ran.inputs import Inputs
from napari_ran.widgets._combos import LayerChoices
from napari_ran.widgets._docked import DockedWidget
from napari_ran.widgets._forms import combo
from napari_ran.widgets._layout import Section, form_layout, row_of_widgets, scrolled
from napari_ran.widgets._message import MessagePanel
from napari_ran.widgets._models import models
from napari_ran.widgets._paths import PathRow
from napari_ran.widgets._progress import ProgressPanel
from napari_ran.widgets._remembered import FormMemory
from napari_ran.widgets._shortcuts import bind
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.comparison.kept import KeptFields
from napari_ran.widgets.comparison.results import LOADED, ResultsPanel
from napari_ran.widgets.comparison.work import ListStep, comparing_work, listing_work, reading_work


class CompareWidget(DockedWidget):
    """Choose systems, run them on the pair, see what each found and where they differ.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are registered.
    """

    help_page = "compare.md"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.choices = LayerChoices(napari_viewer, self)
        self.found = ResultsPanel(napari_viewer)
        self.runner, self.reader = Worker(self), Worker(self)
        self._cases: list[Case] = []
        self._list_ndim = 3
        self._build()
        chosen = {"affine": self.affine, "view": self.found.view, "measure": self.found.measure}
        self.memory = FormMemory(self, "compare", editors=chosen)
        self._connect()
        self._on_source()
        self._rest("")
        self._follow_viewer(True)

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(4, 6, 8, 6)
        column.setSpacing(8)
        for part in (self._images_group(), self._systems_group(), self.found):
            column.addWidget(part)
        column.addStretch(1)
        self.progress, self.message = ProgressPanel(), MessagePanel(self.viewer)
        self.run_button, self.cancel_button = QPushButton("Compare"), QPushButton("Cancel")
        self.run_button.setToolTip("Register the pair, or every pair of the list, with every system that is ticked")
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
        bind(self, run=self.run_button, stop=self.cancel_button)

    def _images_group(self) -> QWidget:
        group = QGroupBox("Images")
        column = QVBoxLayout(group)
        self.source = combo("Compare on", "The pair that is loaded here, or the pairs of a list.")
        self.source.addItem("the loaded pair", "layers")
        self.source.addItem("a list of pairs", "list")
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
        for role in ("fixed", "moving"):
            form.addRow(self.choices.caption(role), self.choices.boxes[role])
        form.addRow(self._annotations_section())
        column.addWidget(row_of_widgets(QLabel("Compare on"), self.source))
        for part in (self.pair, self.list_row, self.list_note):
            column.addWidget(part)
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
        self.systems.setSpacing(1)
        self.systems.setAccessibleName("Systems to compare")
        self.systems.setToolTip(
            "<p>Tick what is to be compared: networks alone or with the field optimised for this pair, no network, and "
            "the other tools that are installed (pip install 'napari-ran[peers]').</p>"
        )
        self.affine = combo("Alignment before", "The same for all: how the images are brought together first.")
        for name, text in (("auto", "auto"), ("none", "none"), ("centre", "middles"), ("affine", "affine")):
            self.affine.addItem(text, name)
        column.addWidget(self.systems)
        column.addWidget(row_of_widgets(QLabel("Alignment before"), self.affine))
        return group

    def _connect(self) -> None:
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self.choices.changed.connect(self.show_candidates)
        self.systems.itemChanged.connect(self._count)
        self.runner.stepped.connect(self._on_step)
        self.runner.finished.connect(self._on_finished)
        self.runner.failed.connect(self._complain)
        self.runner.released.connect(self._on_released)
        self.source.currentIndexChanged.connect(self._on_source)
        self.list_path.textChanged.connect(self._read_list)
        self.reader.finished.connect(self._on_list)
        self.reader.failed.connect(self._on_bad_list)
        self.found.failed.connect(self._complain)
        self.found.said.connect(self.progress.say)
        self.found.differ.finished.connect(self._hide_moving)
        for worker in (self.runner, self.reader):
            # not a method of this widget: it is already gone when it is called
            self.destroyed.connect(worker.current.drop)

    # ---------------------------------------------------------------- choosing

    def show_candidates(self) -> None:
        """Offer what can register images of so many axes; what was ticked stays ticked."""
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
        height = (self.systems.sizeHintForRow(0) + 2) * min(self.systems.count(), 10) + 12
        self.systems.setFixedHeight(max(height, 60))
        self._count()

    @property
    def of_list(self) -> bool:
        """Whether the pairs of a list are to be compared on."""
        return bool(self.source.currentData() == "list")

    @property
    def ndim(self) -> int:
        """Number of axes of what is to be compared on."""
        layer = self.choices.layer("fixed")
        if self.of_list:
            return self._list_ndim
        return int(layer.ndim) if layer is not None and layer.ndim in (2, 3) else 3

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
        self._count()
        if path:
            self.reader.start(reading_work(Path(path)))
        else:
            self.reader.drop()

    def _on_list(self, read: tuple[list[Case], int]) -> None:
        self._cases, self._list_ndim = read
        labelled = sum(None not in (case.fixed_labels, case.moving_labels) for case in self._cases)
        pointed = sum(None not in (case.fixed_landmarks, case.moving_landmarks) for case in self._cases)
        parts = [f"{number} with {what}" for number, what in ((labelled, "labels"), (pointed, "points")) if number]
        number = f"{len(self._cases)} pair{'s' * (len(self._cases) != 1)}"
        self.list_note.setText(", ".join([number, *parts]))
        self.show_candidates()

    def _on_bad_list(self, error: Exception) -> None:
        self.list_note.clear()
        self._complain(error)

    def tick(self, *names: str) -> None:
        """Tick these systems and no other."""
        for row in range(self.systems.count()):
            item = self.systems.item(row)
            item.setCheckState(Qt.CheckState.Checked if item.text() in names else Qt.CheckState.Unchecked)

    def _ticks(self) -> dict[str, bool]:
        items = (self.systems.item(row) for row in range(self.systems.count()))
        return {item.text(): item.checkState() == Qt.CheckState.Checked for item in items}

    def _candidates(self) -> list[Candidate]:
        return candidates_for(self.ndim, ran.RegistrationConfig(affine=self.affine.currentData()))

    def _count(self) -> None:
        wanted = sum(self._ticks().values())
        self.run_button.setText("Compare" if not wanted else f"Compare {wanted} system{'s' * (wanted != 1)}")
        there = bool(self._cases) or not self.of_list
        self.run_button.setEnabled(wanted > 0 and there and not self.cancel_button.isEnabled())

    # ---------------------------------------------------------------- running

    def run(self) -> None:
        """Register the pair, or every pair of the list, with every system that is ticked."""
        self.message.hide()
        ticked = self._ticks()
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
        self.cancel_button.setEnabled(True)
        self.run_button.setEnabled(False)
        self.progress.show_event("check", 0, 1, "reading the images")
        self.runner.start(work)

    def cancel(self) -> None:
        """Stop; what is finished stays."""
        self.cancel_button.setEnabled(False)
        self.progress.say("Stopping…")
        self.runner.stop()

    def _on_step(self, step: Inputs | PairStep | ListStep) -> None:
        if isinstance(step, Inputs):
            self.found.set_pair(step)
            return
        case, before, pairs = (step.case, step.number - 1, step.total) if isinstance(step, ListStep) else (LOADED, 0, 1)
        one = step.step if isinstance(step, ListStep) else step
        done = (before + (one.number - (one.found is None)) / one.total) / pairs
        self.progress.bar.show()
        self.progress.bar.setValue(int(1000 * done))
        which = f"{case} ({before + 1} of {pairs}), " if case else ""
        self.progress.say(f"{which}{one.name} ({one.number} of {one.total}): {one.message}")
        if one.found is not None:
            self.found.add(one.found, case)

    def _on_finished(self, whole: bool) -> None:
        failed = self.found.failures
        words = "Done." if whole else "Stopped: what was finished is shown."
        self._rest(words + (f" {failed} failed: see the row{'s' * (failed != 1)}." if failed else ""))
        self.found.show_layers()

    def _on_released(self) -> None:
        self.runner.drop()
        self._on_finished(False)

    def _rest(self, words: str) -> None:
        self.cancel_button.setEnabled(False)
        self.progress.rest(words)
        self._count()

    def _hide_moving(self) -> None:
        """Let the fixed image shine through where fields differ: they lie on it."""
        if (moving := self.choices.layer("moving")) is not None:
            moving.visible = False

    def _complain(self, error: Exception) -> None:
        self._rest("")
        self.message.show_error(error, {role: self.choices.title(role) for role in LayerChoices.ROLES})

    # ---------------------------------------------------------------- end of life

    def shut(self) -> None:
        """Stop all work and let go of the viewer."""
        if not self._open:
            return
        for worker in (self.runner, self.reader, *self.found.workers):
            worker.drop()
        self._follow_viewer(False)
        self._rest("")

    def _follow_viewer(self, follow: bool) -> None:
        self._open = follow
        self.choices.follow_viewer(follow)
        theme = self.viewer.events.theme
        for slot in (self.found.boxes.apply_theme, self.message.apply_theme):
            (theme.connect if follow else theme.disconnect)(slot)
        if follow:
            models.changed.connect(self.show_candidates)
        else:
            models.changed.disconnect(self.show_candidates)
