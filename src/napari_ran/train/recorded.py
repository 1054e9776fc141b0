"""A training that tells its story to its folder, where another process can read it, pause it and end it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from napari_ran.config import TrainConfig
from napari_ran.errors import RanError
from napari_ran.owners import living, refuse_busy, written
from napari_ran.train.checkpoint import refuse_begun
from napari_ran.train.engine import fit
from napari_ran.train.events import TrainEvent, TrainFailed
from napari_ran.train.wire import COMMAND, EVENTS, PARENT, command_in, encode


def recorded_fit(
    config: TrainConfig, folder: Path, resume: bool = False, stop: Callable[[], bool] | None = None
) -> Generator[TrainEvent]:
    """Train as `fit` does; the events are written to the folder, and the commands that are put there are obeyed.

    Of several processes the first one alone writes and obeys.

    Parameters
    ----------
    config, folder, resume, stop
        As for `fit`.

    Raises
    ------
    InputError, OutputError
        As `fit`; the folder tells of it, too.
    """
    wanted = stop or (lambda: False)
    if not first_process():
        yield from fit(config, folder, resume, stop=wanted)
        return
    step = 0
    try:
        with closing(fit(config, folder, resume, stop=lambda: _asked_to_stop(folder, wanted))) as events:
            for event in events:
                step = event.step
                tell(folder, event)
                yield event
    except RanError as error:
        tell(folder, TrainFailed(step, str(error)))
        raise
    except Exception as error:
        tell(folder, TrainFailed(step, f"{type(error).__name__}: {error}"))
        raise


def make_ready(folder: Path, resume: bool) -> None:
    """Make a folder ready for a training: no command of an earlier one stands there, nor its story if it is a new one.

    Raises
    ------
    InputError
        A process trains there, or it holds a training and `resume` is not set.
    OutputError
        It may not be written to.
    """
    refuse_busy(folder)
    refuse_begun(folder, resume)
    with written(folder):
        for name in (COMMAND, PARENT) if resume else (COMMAND, PARENT, EVENTS):
            (folder / name).unlink(missing_ok=True)


def tell(folder: Path, event: TrainEvent) -> None:
    """Add an event to the story in a folder; a full disk must not end a training."""
    with contextlib.suppress(OSError), (folder / EVENTS).open("a", encoding="utf-8") as file:
        file.write(encode(event) + "\n")


def first_process() -> bool:
    """Whether this is the one process of several that talks."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"))


def _asked_to_stop(folder: Path, wanted: Callable[[], bool]) -> bool:
    """Wait as long as the command in the folder says so, and return whether to stop."""
    while True:
        word = command_in(folder)
        if wanted() or word == "stop" or _orphaned(folder):
            return True
        if word != "pause":
            return False
        time.sleep(0.05)


def _orphaned(folder: Path) -> bool:
    """Whether the process with which this one is to end has ended."""
    try:
        return living((folder / PARENT).read_text(encoding="utf-8")) is None
    except OSError:
        return False
