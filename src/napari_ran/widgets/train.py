"""The Train widget: layers, a folder or generated pairs in, a model in every chooser out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QProgressBar

import napari_ran as ran
from napari_ran.config import TrainConfig
from napari_ran.train import TrainFailed, TrainFinished
from napari_ran.train.checkpoint import has_checkpoint
from napari_ran.train.process import TrainingProcess
from napari_ran.train.wire import CONFIG
from napari_ran.widgets._docked import DockedWidget
from napari_ran.widgets._forms import button
from napari_ran.widgets._layout import page_tabs
from napari_ran.widgets._models import models
from napari_ran.widgets._progress import ProgressPanel
from napari_ran.widgets._remembered import FormMemory
from napari_ran.widgets._shortcuts import bind, bind_pages
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.training.models import ModelsPage
from napari_ran.widgets.training.preview import GeneratedPreview
from napari_ran.widgets.training.progress import ProgressPage
from napari_ran.widgets.training.runs import (
    Leash,
    folder_of,
    note_failure,
    open_runs,
    resuming_work,
    saving_work,
    starting_work,
    take_up,
)
from napari_ran.widgets.training.setup import TrainSetup

POLL_MS = 200
"""How often the training is asked for news."""

WELCOME = "Choose what to learn from and press Train."


class TrainWidget(DockedWidget):
    """Train a network in a child process and watch it learn.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers can be learned from.
    """

    help_page = "train-in-the-viewer.md"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.leash = Leash()
        self._state = "ready"
        self.setup, self.page, self.models = TrainSetup(napari_viewer), ProgressPage(napari_viewer), ModelsPage()
        self.starter, self.saver, self.generated = Worker(self), Worker(self), GeneratedPreview(napari_viewer, self)
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        chosen = {"source": self.setup.source, "at_close": self.setup.at_close}
        self.memory = FormMemory(self, "train", self.setup.form, chosen, leave_out=("name", "version"))
        self._build()
        self._connect()
        self._show_state("ready", WELCOME)
        self._follow_viewer(True)

    @property
    def run(self) -> TrainingProcess | None:
        """The training that is shown."""
        return self.leash.run

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        pages = (
            ("Set up", self.setup, "What to learn from, how, and for how long"),
            ("Progress", self.page, "How the training goes, and those that went before"),
            ("Models", self.models, "Your models and the bundled ones, with their cards"),
        )
        self.tabs = page_tabs("Pages of Train", pages)
        self.progress = ProgressPanel()
        self.bar: QProgressBar = self.progress.bar
        self.bar.setAccessibleName("Share of the budget that is used up")
        self.bar.setToolTip("<p>Share of the minutes or steps that is used up, in percent</p>")
        self.start_button = button("Train", "Start a training with these settings, in a process of its own", self.start)
        self.pause_button = button("Pause", "Let the training wait after its step, or go on", self.pause)
        self.stop_button = button("Stop", "End the training; the best weights so far become a model", self.stop)
        self.resume_button = button("Resume", "Let the training of this page go on from where it ended", self.resume)
        buttons = (self.start_button, self.pause_button, self.stop_button, self.resume_button)
        self._lay_out(self.tabs, self.progress, *buttons)
        self.setMinimumWidth(340)
        bind(self, run=self.start_button, stop=self.stop_button)
        bind_pages(self, self.tabs)

    def _connect(self) -> None:
        self.page.runs.chosen.connect(self.attach)
        self.page.runs.deleted.connect(self._on_deleted)
        self.setup.at_close.activated.connect(self._tie)
        self.setup.files.reset_button.clicked.connect(self._reset)
        self.setup.files.loaded.connect(self.message.hide)
        self.setup.files.said.connect(self.progress.say)
        self.setup.files.failed.connect(self._complain)
        self.setup.files.chosen_to_save.connect(self.save_settings)
        self.setup.preview_button.clicked.connect(self.preview)
        self.starter.finished.connect(self._on_started)
        self.saver.finished.connect(lambda path: self.progress.say(f"Settings written to {path}."))
        for worker in (self.starter, self.saver):
            worker.failed.connect(self._on_failed)
        self.destroyed.connect(self.leash.let_go)
        for part in (self.generated, self.page.replay, self.page.compare_button, self.page.runs):
            part.failed.connect(self._complain)
        self.models.failed.connect(self._complain)
        self.models.said.connect(self.progress.say)
        self._timer.timeout.connect(self._look)
        models.changed.connect(self.setup.refresh_models)

    # ---------------------------------------------------------------- a training

    def start(self) -> None:
        """Start a training with the chosen data and settings."""
        self.message.hide()
        try:
            config, pairs, validation = self.setup.get()
            folder = folder_of(config.name)
        except ran.RanError as error:
            self._complain(error)
            return
        self.memory.keep()
        self._begin("Writing the data and starting the process…")
        self.starter.start(starting_work(config, folder, pairs, validation, self.setup.at_close.currentData()))

    def pause(self) -> None:
        """Let the training wait after its step, or go on."""
        run = self.run
        if run is None:
            return
        if self._state == "paused":
            if self._told(run.resume):
                self._show_state("running")
        elif self._told(run.pause):
            self._show_state("paused", f"Paused. {self.page.status()}")

    def stop(self) -> None:
        """End the training; the best weights so far become a model."""
        if self.run is not None and self._told(self.run.stop):
            self._show_state("stopping", "Stopping after this step…")

    def _told(self, order: Callable[[], None]) -> bool:
        """Give the training an order, and return whether that could be done."""
        try:
            order()
        except OSError as error:  # a full disk, say
            self._complain(error)
            return False
        return True

    def resume(self) -> None:
        """Let the training that ended go on from its checkpoint, with the budget that the form shows."""
        self.message.hide()
        if self.run is None:
            return
        try:
            config = TrainConfig.from_yaml(self.run.folder / CONFIG)
            config = config.replace(budget=self.setup.form.get().budget)
        except ran.RanError as error:
            self._complain(error)
            return
        self._show_state("starting", "Starting the process…")
        self.starter.start(resuming_work(config, self.run.folder, self.setup.at_close.currentData()))

    def attach(self, folder: str | Path) -> None:
        """Show the training of a folder, from its beginning."""
        self.message.hide()
        try:
            run = TrainingProcess.attach(folder)
        except ran.RanError as error:
            self._complain(error)
            return
        self._begin("Reading what the training has told so far…")
        self._listen(run)

    def _begin(self, text: str) -> None:
        self.leash.run = None
        self.page.clear()
        self._show_state("starting", text)
        self.tabs.setCurrentIndex(1)

    def _on_started(self, run: TrainingProcess) -> None:
        self._listen(run)
        self.setup.offer_name()
        self.page.replay.watch()

    def _listen(self, run: TrainingProcess) -> None:
        self.leash.run = run
        self.page.open(run.folder)
        self.setup.at_close.setCurrentIndex(self.setup.at_close.findData(run.outlives))
        self._timer.start()
        self._look()

    def _tie(self) -> None:
        """Let the training that runs outlive the viewer, or not, as chosen now."""
        run = self.run
        if run is not None and not run.ended:
            self._told(lambda: run.tie(self.setup.at_close.currentData()))

    def _on_deleted(self, folder: Path) -> None:
        self.leash.run = None
        self.page.clear()
        self.message.hide()
        self._show_state("ready", f"The training '{folder.name}' was deleted.")

    def _look(self) -> None:
        """Take in what the training has told since the last time."""
        run = self.run
        if run is None:
            return
        events = run.poll()
        self.page.show_events(events)
        if run.ended:
            self._timer.stop()
            self._on_end(events[-1])
        elif self._state != "stopping":
            self._show_state("paused" if run.state == "paused" else "running")

    def _on_end(self, event: Any) -> None:
        if isinstance(event, TrainFailed):
            if self.run is not None:
                note_failure(self.run.folder)
            self._show_state("ready", "")
            problem, _, cure = event.message.rstrip(".").partition(". ")
            self._complain(ran.InputError("The training failed", problem, cure or "See the settings"))
        elif isinstance(event, TrainFinished) and self.run is not None:
            how = {"closed": "Stopped", "early stop": "No longer getting better"}.get(event.reason, "Done")
            name = self.page.config.name if self.page.config else self.run.folder.name
            try:
                name = take_up(self.run.folder, event.best, name)
            except ran.RanError as error:
                self._show_state("ready", f"{how} at step {event.step}.")
                self._complain(error)
                return
            models.changed.emit()
            self.models.choose(name)
            self._show_state("ready", f"{how} at step {event.step}. The model '{name}' can be chosen now.")

    def _on_failed(self, error: Exception) -> None:
        if self._state == "starting":
            self._show_state("ready", "")
        self._complain(error)

    def _complain(self, error: Exception) -> None:
        self.progress.say("")
        self.message.show_error(error, self.setup.titles())

    def _show_state(self, state: str, text: str = "") -> None:
        """Enable what can be done now and say what is going on."""
        changed, self._state = state != self._state, state
        if changed:
            self.page.runs.set_ready(state == "ready")
        at_work = state in ("running", "paused")
        self.start_button.setEnabled(state == "ready")
        self.resume_button.setEnabled(state == "ready" and self.run is not None and has_checkpoint(self.run.folder))
        self.pause_button.setEnabled(at_work)
        self.pause_button.setText("Go on" if state == "paused" else "Pause")
        self.stop_button.setEnabled(at_work)
        if state == "ready":
            self.progress.rest(text)
            return
        self.bar.show()
        self.bar.setValue(int(1000 * self.page.fraction()))
        paused = "Paused. " if state == "paused" else ""
        self.progress.say(text or paused + self.page.status())

    # ---------------------------------------------------------------- a generated pair

    def preview(self) -> None:
        """Add one generated pair to the viewer; another one each time."""
        self.message.hide()
        try:
            config = self.setup.form.get()
        except ran.InputError as error:
            self._complain(error)
            return
        self.generated.show_next(config.data.generated)

    # ---------------------------------------------------------------- files

    def _reset(self) -> None:
        """Show what the form showed at first, with a name that is free."""
        self.memory.reset()
        self.setup.offer_name()

    def save_settings(self, path: str | Path) -> None:
        """Write the settings that the form shows to a YAML file, with the layers beside it."""
        self.message.hide()
        try:
            config, pairs, validation = self.setup.get()
        except ran.RanError as error:
            self._complain(error)
            return
        self.saver.start(saving_work(Path(path), config, pairs, validation))

    # ---------------------------------------------------------------- end of life

    def shut(self) -> None:
        """Stop listening; the training stops or goes on, as chosen."""
        if self._open:
            self._timer.stop()
            self.leash.let_go()
            self.page.replay.shut()
            super().shut()

    def _follow_viewer(self, follow: bool) -> None:
        super()._follow_viewer(follow)
        self.setup.pair.follow_viewer(follow)
        self.setup.validation.follow_viewer(follow)
        if follow and self._state == "ready":
            waiting = open_runs()
            if waiting:
                self.attach(waiting[0])
