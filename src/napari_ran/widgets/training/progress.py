"""The second page of the Train widget: the curves of a training, how far it is and how long it still takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QLabel, QWidget

from napari_ran.config import TrainConfig
from napari_ran.train import TrainEvent, TrainNote, TrainStarted, TrainStep, Validated, Validation
from napari_ran.widgets._layout import page_column
from napari_ran.widgets.training.chooser import RunChooser
from napari_ran.widgets.training.compare import CompareButton
from napari_ran.widgets.training.curves import CurvePlot
from napari_ran.widgets.training.replay import ReplayPanel

MEASURES = {
    "dice": ("Dice (higher is better)", "Dice"),
    "tre_mm": ("landmark error in mm (lower is better)", "landmark error"),
    "epe": ("end-point error in voxels (lower is better)", "end-point error"),
    "similarity": ("dissimilarity of the images (lower is better)", "dissimilarity"),
}
"""Figures of a validation, the most telling first; the second plot shows the first that can be measured."""

_EMPTY_LOSS = "The loss of each step appears here"
_EMPTY_FIGURE = "What is measured on the validation pairs appears here"


class ProgressPage(QWidget):
    """Two plots, a few lines of text and the replay of a training, filled by its events.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme the curves follow, and where the replay is shown.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.loss = CurvePlot(viewer, "loss", _EMPTY_LOSS)
        self.figure = CurvePlot(viewer, "validation", _EMPTY_FIGURE)
        self.figures = QLabel()
        self.figures.setWordWrap(True)
        self.figures.setAccessibleName("Best validation so far")
        self.notes = QLabel()
        self.notes.setWordWrap(True)
        self.notes.setAccessibleName("Notes of the training")
        self.runs, self.replay, self.compare_button = RunChooser(), ReplayPanel(viewer), CompareButton()
        self.compare_button.found.connect(self._compared)
        for plot in (self.loss, self.figure):
            self.replay.turned_to.connect(plot.mark)
        above = (self.runs, self.loss, self.figure, self.figures)
        page_column(self, *above, self.compare_button, self.replay, self.notes)
        self.clear()

    def clear(self) -> None:
        """Show nothing of the run before."""
        self.replay.clear()
        self.compare_button.clear()
        self.folder: Path | None = None
        self._checks: dict[int, Validated] = {}
        self.loss.clear()
        self.figure.clear()
        self.figures.clear()
        self.notes.clear()
        self.config: TrainConfig | None = None
        self.last: TrainStep | None = None
        self._identity: Validation | None = None
        self._measure = "similarity"
        self._notes: list[str] = []
        self._rate = _Rate()

    def open(self, folder: Path | None) -> None:
        """Look at the run of a folder, whose events come next."""
        self.folder = folder
        self.runs.show_run(folder)

    def show_events(self, events: Sequence[TrainEvent]) -> None:
        """Take in what has happened since the last time."""
        for event in events:
            self._show_event(event)
        if any(isinstance(event, Validated) for event in events):
            self.replay.refresh()
        if any(isinstance(event, TrainStarted) for event in events):
            self.runs.refresh()

    def _show_event(self, event: TrainEvent) -> None:
        if isinstance(event, TrainStarted):
            self._begin(event)
        elif isinstance(event, TrainStep):
            self.last = event
            self._rate.add(event.step, event.seconds)
            self.loss.add("training", event.step, event.loss, smooth=True)
        elif isinstance(event, Validated):
            self._checks[event.step] = event
            self.loss.add("validation", event.step, event.validation.loss)
            self._measured(event)
        elif isinstance(event, TrainNote) and event.message not in self._notes:
            self._notes.append(event.message)
            self.notes.setText("\n".join(f"• {text}" for text in self._notes))

    def status(self) -> str:
        """Return step, rate and time left in one line."""
        if self.config is None or self.last is None:
            return "Preparing…"
        parts = [f"Step {self.last.step}"]
        if self._rate.value:
            parts.append(_rate_text(self._rate.value))
            parts.append(f"{duration(self.seconds_left())} left")
        if self.last.skipped:
            parts.append(f"{self.last.skipped} steps skipped")
        return ", ".join(parts)

    def seconds_left(self) -> float:
        """Return the time until the first of the two budgets is used up."""
        if self.config is None or self.last is None:
            return 0.0
        budget = self.config.budget
        by_steps = (budget.steps - self.last.step) / self._rate.value if self._rate.value else float("inf")
        by_time = float("inf") if budget.minutes is None else 60 * budget.minutes - self.last.seconds
        return max(0.0, min(by_steps, by_time))

    def fraction(self) -> float:
        """Return the share of the budget that is used up."""
        if self.config is None or self.last is None:
            return 0.0
        return min(1.0, self.config.budget.spent(self.last.step, self.last.seconds))

    def _begin(self, event: TrainStarted) -> None:
        self.config, self._identity = event.config, event.identity
        self._rate = _Rate()
        self.loss.set_line(event.identity.loss)
        self._measure = next((name for name in MEASURES if getattr(event.identity, name) is not None), "similarity")
        self.figure.title = MEASURES[self._measure][0]
        value = getattr(event.identity, self._measure)
        self.figure.set_line(value)
        if event.steps_done == 0 and event.config.model.start == "scratch" and value is not None:
            self.figure.add("validation", 0, value)
        if self.folder is not None:
            self.replay.open(self.folder, event.config.validation.snapshots > 0, self._checks)
            self.compare_button.open(self.folder, event.config)

    def _compared(self, found: Validation) -> None:
        """Draw what instance optimisation alone reaches."""
        self.loss.set_goal(found.loss)
        self.figure.set_goal(getattr(found, self._measure))

    def _measured(self, event: Validated) -> None:
        value = getattr(event.validation, self._measure)
        if value is None:
            return
        self.figure.add("validation", event.step, value)
        if event.best:
            start = getattr(self._identity, self._measure, None)
            before = "" if start is None else f" (identity {start:.3f})"
            self.figures.setText(
                f"Best so far, at step {event.step}: {MEASURES[self._measure][1]} {value:.3f}{before}, "
                f"folding {event.validation.folding_percent:.2g} %"
            )


class _Rate:
    """Steps per second over the last few dozen steps."""

    def __init__(self) -> None:
        self._marks: list[tuple[int, float]] = []

    def add(self, step: int, seconds: float) -> None:
        self._marks = [*self._marks[-39:], (step, seconds)]

    @property
    def value(self) -> float:
        """Steps per second; 0 as long as it is not known."""
        if len(self._marks) < 2:
            return 0.0
        (first, begin), (last, end) = self._marks[0], self._marks[-1]
        return (last - first) / (end - begin) if end > begin else 0.0


def duration(seconds: float) -> str:
    """Return a time as one says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _rate_text(rate: float) -> str:
    return f"{rate:.1f} steps/s" if rate >= 1 else f"{1 / rate:.1f} s/step"
