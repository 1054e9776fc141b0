"""The Register widget: two layers in, the registration's layers out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog

import napari_ran as ran
from napari_ran.widgets._docked import DockedWidget
from napari_ran.widgets._forms import button
from napari_ran.widgets._layout import page_tabs
from napari_ran.widgets._progress import ProgressPanel
from napari_ran.widgets._remembered import FormMemory
from napari_ran.widgets._shortcuts import bind, bind_pages
from napari_ran.widgets._worker import Work, Worker
from napari_ran.widgets.inspection.recent import recent_of
from napari_ran.widgets.registering.export import ExportDialog
from napari_ran.widgets.registering.pages import LABELS, ResultPage, SetupPage
from napari_ran.widgets.registering.results import ResultLayers
from napari_ran.widgets.registering.work import (
    STAGES_WITH_RESULT,
    Finished,
    exporting_work,
    registration_work,
    saving_work,
)

SETUP_TIP = "Which images, and how they are registered"
RESULT_TIP = "How the run goes, the figures of its result, and where to save it"
WELCOME = "Open two images to begin (File > Open Sample has some)."


class RegisterWidget(DockedWidget):
    """Choose two layers, register them in the background, see the result as layers.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are registered.
    """

    help_page = "quickstart.md"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.result: ran.Registration | None = None
        self._notes: tuple[str, ...] = ()
        self._stage = ""
        self.setup = SetupPage(napari_viewer)
        self.outcome = ResultPage(napari_viewer)
        self.choices, self.form, self.plot = self.setup.choices, self.setup.form, self.outcome.plot
        self.worker = Worker(self)
        self.saver = Worker(self)
        self.placer = ResultLayers(napari_viewer, self)
        self.memory = FormMemory(self, "register", self.form, self.setup.result_boxes)
        self._build()
        self._connect()
        self._show_state("ready")
        self._follow_viewer(True)

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        pages = (("Set up", self.setup, SETUP_TIP), ("Result", self.outcome, RESULT_TIP))
        self.tabs = page_tabs("Pages of Register", pages)
        self.progress = ProgressPanel()
        tip = "Register the moving image to the fixed image with these settings"
        self.register_button = button("Register", tip, self.register)
        self.cancel_button = button("Cancel", "Stop, and keep the best field found so far", self.cancel)
        self._lay_out(self.tabs, self.progress, self.register_button, self.cancel_button)
        self.setMinimumWidth(340)
        bind(self, run=self.register_button, stop=self.cancel_button)
        bind_pages(self, self.tabs)

    def _connect(self) -> None:
        self.outcome.save_button.clicked.connect(self._ask_where_to_save)
        self.outcome.export_button.clicked.connect(self._ask_how_to_export)
        self.outcome.inspect_button.clicked.connect(self.inspect)
        self.setup.files.reset_button.clicked.connect(self.memory.reset)
        self.setup.files.loaded.connect(self.message.hide)
        self.setup.files.said.connect(self.progress.say)
        self.setup.files.failed.connect(self._complain)
        self.setup.files.chosen_to_save.connect(self.save_settings)
        self.choices.changed.connect(self._images_changed)
        self.worker.stepped.connect(self._on_event)
        self.worker.finished.connect(self._on_finished)
        self.worker.failed.connect(self._on_failed)
        self.worker.released.connect(self._on_released)
        self.saver.finished.connect(self._on_saved)
        self.saver.failed.connect(self._on_save_failed)
        self.placer.done.connect(self._on_placed)
        self.placer.failed.connect(self._on_failed)

    # ---------------------------------------------------------------- running

    @property
    def busy(self) -> bool:
        """Whether a run goes on, or its layers are still being added."""
        return self._state != "ready"

    def register(self) -> None:
        """Start a run with the chosen layers and settings."""
        self.message.hide()
        try:
            sources, look = self.choices.sources()
            config = self.form.get()
        except ran.InputError as error:
            self._complain(error)
            return
        self.memory.keep()
        initial = self.setup.initial.text().strip()
        self.placer.stop()
        self.plot.clear()
        self._show_state("running")
        self.tabs.setCurrentIndex(1)
        self.worker.start(registration_work(sources, config, self.setup.wanted_results(), look, initial))

    def cancel(self) -> None:
        """Stop the run; the best field so far is kept."""
        self._show_state("stopping")
        self.worker.stop()

    def _on_event(self, event: ran.Event) -> None:
        self._stage = event.stage
        if self._state == "running":
            self.progress.show_event(event.stage, event.step, event.total, event.message)
        if "similarity" in event.metrics:
            self.plot.add(event.stage, event.metrics["similarity"])

    def _on_finished(self, finished: Finished | None) -> None:
        if finished is None:
            self._show_state("ready", "Cancelled before anything was found.")
            return
        self.result, self._notes = finished.result, finished.notes
        recent_of(self.viewer).put(finished.result)
        self.outcome.show_report(finished.result.report)
        self.progress.show_event("layers", 0, 1, "adding them to the viewer")
        self.placer.place(finished.layers)

    def _on_placed(self) -> None:
        report = self.result.report if self.result else None
        if report is not None:
            how = "Done" if report.complete else "Stopped early: the best field so far is shown"
            self._show_state("ready", f"{how} ({report.seconds:.1f} s).")

    def _on_failed(self, error: Exception) -> None:
        self._complain(error)
        self._show_state("ready", "")

    def _on_released(self) -> None:
        """Give the GUI back although the run has not answered yet."""
        if self._stage in STAGES_WITH_RESULT:
            self._show_state("ready", "Cancelled. The best field so far appears as soon as it is composed.")
        else:
            self.worker.drop()
            self._show_state("ready", "Cancelled before anything was found.")

    def _complain(self, error: Exception) -> None:
        self.progress.say("")
        self.message.show_error(error, {**self.choices.titles(), "initial": "Start from", **LABELS})

    def _show_state(self, state: str, text: str = "") -> None:
        """Enable what can be done now and say what is going on."""
        self._state = state
        self.register_button.setEnabled(state == "ready")
        self.cancel_button.setEnabled(state == "running")
        self.outcome.inspect_button.setEnabled(self.result is not None)
        self._offer_files()
        if state == "running":
            self._stage = "check"
            self.progress.show_event("check", 0, 1)
        elif state == "stopping":
            self.progress.say("Stopping…")
        else:
            self.progress.rest(text)
            self._images_changed()

    def _images_changed(self) -> None:
        if self._state == "ready" and self.progress.status.text() in ("", WELCOME):
            missing = any(self.choices.layer(role) is None for role in ("fixed", "moving"))
            self.progress.say(WELCOME if missing else "")

    def inspect(self) -> None:
        """Open the Inspect widget, which shows this result, in the place of this one: a tab leads back."""
        dock, _ = self.viewer.window.add_plugin_dock_widget("napari-ran", "Inspect (RAN)", tabify=True)
        dock.show()
        dock.raise_()

    # ---------------------------------------------------------------- files

    def save(self, folder: str | Path) -> None:
        """Write the result into a folder, in the background."""
        if self.result is not None:
            self._write(f"Saving to {folder}…", saving_work(self.result, Path(folder)))

    def export(self, path: str | Path, format: str, inverse: bool = False) -> None:
        """Write the transform for another tool, in the background."""
        if self.result is not None:
            self._write(f"Writing {Path(path).name}…", exporting_work(self.result, Path(path), format, inverse))

    def _write(self, words: str, work: Work) -> None:
        self.progress.say(words)
        self.saver.start(work)
        self._offer_files()

    def save_settings(self, path: str | Path) -> None:
        """Write the settings that the form shows to a YAML file."""
        try:
            self.form.get().to_yaml(path)
        except ran.RanError as error:
            self._complain(error)
        else:
            self.progress.say(f"Settings written to {path}.")

    def _on_saved(self, path: Path) -> None:
        self._offer_files()
        self.progress.say(f"Saved to {path}.")

    def _on_save_failed(self, error: Exception) -> None:
        self._offer_files()
        self._complain(error)

    def _offer_files(self) -> None:
        """Let the result be written, one thing at a time."""
        possible = self.result is not None and self._state == "ready" and self.saver.task is None
        for offered in (self.outcome.save_button, self.outcome.export_button):
            offered.setEnabled(possible)

    def _ask_how_to_export(self) -> None:
        if self.result is None:
            return
        dialog = ExportDialog(self.result.field.grid.ndim, self._notes, self)
        if dialog.exec() and (path := dialog.ask_where()) is not None:
            self.export(path, dialog.format, dialog.inverse)

    def _ask_where_to_save(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Save the result into a folder")
        if folder:
            self.save(folder)

    # ---------------------------------------------------------------- end of life

    def shut(self) -> None:
        """Stop all work and let go of the viewer."""
        if self._open:
            super().shut()
            self.placer.stop()
            self._show_state("ready")

    def _follow_viewer(self, follow: bool) -> None:
        super()._follow_viewer(follow)
        self.choices.follow_viewer(follow)
