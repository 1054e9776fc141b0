"""A docked widget with one run at a time: what both Apply and Compare do around their runs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from qtpy.QtWidgets import QWidget

from napari_ran.widgets._combos import LayerChoices
from napari_ran.widgets._docked import DockedWidget
from napari_ran.widgets._forms import button
from napari_ran.widgets._layout import page_column, scrolled
from napari_ran.widgets._progress import ProgressPanel
from napari_ran.widgets._shortcuts import bind
from napari_ran.widgets._worker import Work, Worker


class RunningWidget(DockedWidget):
    """A button starts a run in the background, another stops it; what is finished stays.

    A subclass says what is run (`run`), whether it can be (`_ready`), and what a step and the end bring (`_on_step`,
    `_on_finished`).

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer that it is docked in.

    Attributes
    ----------
    choices : LayerChoices
        The layers that a run is about; a subclass makes it.
    """

    choices: LayerChoices

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self.runner, self.progress = Worker(self), ProgressPanel()
        self.runner.stepped.connect(self._on_step)
        self.runner.finished.connect(self._on_finished)
        self.runner.failed.connect(self._on_failed)
        self.runner.released.connect(self._on_released)

    def _build(self, *parts: QWidget, verb: str, run: str, cancel: str) -> None:
        """Lay out a page of parts above the message, the progress and the buttons, whose tool tips are given."""
        page = QWidget()
        page_column(page, *parts, spacing=8)
        self.run_button, self.cancel_button = button(verb, run, self.run), button("Cancel", cancel, self.cancel)
        self._lay_out(scrolled(page), self.progress, self.run_button, self.cancel_button)
        bind(self, run=self.run_button, stop=self.cancel_button)

    # ---------------------------------------------------------------- running

    @abstractmethod
    def run(self) -> None:
        """Start a run with what is chosen."""

    def cancel(self) -> None:
        """Stop; what is finished stays."""
        self.runner.stop()
        self.progress.say("Stopping…")
        self._enable()

    def _start(self, work: Work) -> None:
        self.runner.start(work)
        self._enable()

    @abstractmethod
    def _ready(self) -> bool:
        """Whether there is something to run."""

    def _enable(self) -> None:
        """Enable what can be done now."""
        self.run_button.setEnabled(self.runner.task is None and self._ready())
        self.cancel_button.setEnabled(self.runner.task is not None and not self._stopping())

    def _stopping(self) -> bool:
        return self.runner.task is not None and self.runner.task.stopping.is_set()

    def _show(self, share: float, words: str) -> None:
        """Show how far the run is; one that stops says so until it has."""
        self.progress.show_share(share)
        if not self._stopping():
            self.progress.say(words)

    @abstractmethod
    def _on_step(self, step: Any) -> None:
        """Show what a step of the run brings."""

    @abstractmethod
    def _on_finished(self, whole: bool) -> None:
        """Say how it went; `whole` is False for a run that was stopped."""

    def _on_failed(self, error: Exception) -> None:
        self._rest()
        self._complain(error)

    def _on_released(self) -> None:
        self.runner.drop()
        self._on_finished(False)

    def _rest(self, words: str = "") -> None:
        self.progress.rest(words)
        self._enable()

    def _complain(self, error: Exception) -> None:
        self.message.show_error(error, self.choices.titles())

    # ---------------------------------------------------------------- end of life

    def shut(self) -> None:
        """Stop all work and let go of the viewer."""
        if self._open:
            super().shut()
            self._rest()

    def _follow_viewer(self, follow: bool) -> None:
        super()._follow_viewer(follow)
        self.choices.follow_viewer(follow)
