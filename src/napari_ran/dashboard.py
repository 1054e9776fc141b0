"""What ``napari-ran train`` shows: a live table at a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from napari_ran.config import TrainConfig
from napari_ran.train import (
    TrainEvent,
    TrainFinished,
    TrainStarted,
    TrainStep,
    Validated,
    Validation,
)
from napari_ran.train.recorded import first_process, make_ready, recorded_fit

LINE_SECONDS = 10.0
"""Time between two lines where there is no terminal."""

_FIGURES = {
    "loss": ("Objective", ".4f"),
    "similarity": ("Dissimilarity", ".4f"),
    "dice": ("Dice", ".4f"),
    "tre_mm": ("Landmark error (mm)", ".3f"),
    "epe": ("End-point error (voxels)", ".3f"),
    "folding_percent": ("Folding (%)", ".3f"),
}


class Dashboard:
    """Shows the events of a training.

    Parameters
    ----------
    console : Console
        Where to.
    config : TrainConfig
        For the budget.
    """

    def __init__(self, console: Console, config: TrainConfig) -> None:
        self.console, self.config = console, config
        self.identity: Validation | None = None
        self.step: TrainStep | None = None
        self.latest: Validated | None = None
        self.best: Validated | None = None
        self._first: tuple[int, float] | None = None
        self._rate = 0.0
        self._printed = -math.inf

    def take(self, event: TrainEvent) -> None:
        """Take in an event; where there is no terminal, print what matters as a line."""
        if isinstance(event, TrainStarted):
            self.identity = event.identity
            done = event.steps_done
            self._line(f"{'Resumed after' if done else 'Started at'} step {done}. {self._figures(self.identity)}")
        elif isinstance(event, TrainStep):
            self._take_step(event)
        elif isinstance(event, Validated):
            self.latest = event
            self.best = event if event.best else self.best
            mark = " (best so far)" if event.best else ""
            self._line(f"Validation at step {event.step}: {self._figures(event.validation)}{mark}")
        elif isinstance(event, TrainFinished):
            self.finished(event.reason, event.best)
        else:
            self.console.print(f"- {escape(event.message)}", highlight=False, soft_wrap=True)

    def finished(self, reason: str, best: Path) -> None:
        """Print how it ended and where the best weights are."""
        words = {"budget": "The budget is spent", "early stop": "No better validation for long", "closed": "Stopped"}
        kept = f"The best weights are in {best}" if best.exists() else "No weights were validated yet"
        self.console.print(f"{words.get(reason, reason)}. {escape(kept)}.", highlight=False, soft_wrap=True)

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = [self._progress()]
        if self.step is not None:
            parts.append(_terms(self.step))
        if self.identity is not None:
            parts.append(self._validation())
        return Group(*parts)

    @property
    def share(self) -> float:
        """Spent share of the budget."""
        if self.step is None:
            return 0.0
        return min(1.0, self.config.budget.spent(self.step.step, self.step.seconds))

    @property
    def left(self) -> float | None:
        """Seconds that are left, at the speed since this part of the run began."""
        if self.step is None or self._first is None or self.share <= 0:
            return None
        budget, seconds = self.config.budget, self.step.seconds
        taken = self.step.step - self._first[0]
        ways = [] if budget.minutes is None else [60 * budget.minutes - seconds]
        if taken:
            ways.append((budget.steps - self.step.step) * (seconds - self._first[1]) / taken)
        return max(0.0, min(ways)) if ways else None

    def _take_step(self, event: TrainStep) -> None:
        if self._first is None:
            self._first = (event.step, event.seconds)
        self.step = event
        now = time.monotonic()
        if not self.console.is_terminal and now - self._printed >= LINE_SECONDS:
            self._printed = now
            terms = " ".join(f"{name} {value:.4g}" for name, value in event.terms.items())
            left = "" if self.left is None else f", {_time(self.left)} left"
            self._line(f"Step {event.step}, {_time(event.seconds)}{left}: loss {event.loss:.4g} ({terms})")

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _figures(self, found: Validation | None) -> str:
        """Return the figures of a validation against those of the identity, in words."""
        if found is None:
            return ""
        words = []
        for name, (title, style) in _FIGURES.items():
            value = getattr(found, name)
            if value is not None:
                still = None if found is self.identity or self.identity is None else getattr(self.identity, name)
                words.append(f"{title} {value:{style}}" + ("" if still is None else f" (identity {still:{style}})"))
        return ", ".join(words)

    def _progress(self) -> Table:
        table = Table.grid(padding=(0, 2))
        step = 0 if self.step is None else self.step.step
        spent = 0.0 if self.step is None else self.step.seconds
        left = "" if self.left is None else f"{_time(self.left)} left"
        bar = ProgressBar(total=1.0, completed=self.share, width=24)
        table.add_row(Text(self.config.name, style="bold"), f"step {step}", bar, _time(spent), left)
        return table

    def _validation(self) -> Table:
        at = "" if self.latest is None else f" at step {self.latest.step}"
        best = "" if self.best is None else f" (step {self.best.step})"
        table = Table("validation" + at)
        for heading in ("identity", "now", f"best{best}"):
            table.add_column(heading, justify="right")
        for name, (title, style) in _FIGURES.items():
            found = [
                None if one is None else getattr(one, name)
                for one in (
                    self.identity,
                    self.latest and self.latest.validation,
                    self.best and self.best.validation,
                )
            ]
            if any(value is not None for value in found):
                table.add_row(title, *("" if value is None else f"{value:{style}}" for value in found))
        return table


def follow_training(
    config: TrainConfig, folder: Path, resume: bool, quiet: bool = False, console: Console | None = None
) -> str:
    """Train with a dashboard, and return why it ended: ``budget``, ``early stop`` or ``closed``.

    Ctrl-C ends the training after the step that it takes, with a checkpoint; a second one ends it at once.
    """
    main = first_process()
    if main:
        make_ready(folder, resume)
    console = console or Console(stderr=True, quiet=quiet or not main)
    board = Dashboard(console, config)
    live = Live(board, console=console, refresh_per_second=4) if console.is_terminal and main else nullcontext()
    reason = "closed"
    with live, _interruptible() as interrupted:
        for event in recorded_fit(config, folder, resume, stop=interrupted):
            board.take(event)
            if isinstance(event, TrainFinished):
                reason = event.reason
    if reason == "closed":
        console.print("Go on with --resume.", highlight=False)
    return reason


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C was pressed; a second press raises as always."""
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield asked.is_set
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _terms(now: TrainStep) -> Text:
    terms = "  ".join(f"{name} {value:.4g}" for name, value in now.terms.items())
    text = Text(f"loss {now.loss:.4g}  {terms}  gradient {now.gradient:.2g}  rate {now.rate:.2g}")
    if now.skipped:
        text.append(f"  {now.skipped} steps skipped", style="yellow")
    if now.data_seconds > 0.05:
        text.append(f"  waited {now.data_seconds:.2f} s for data", style="yellow")
    return text


def _time(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
