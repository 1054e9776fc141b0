"""The record of a run: two CSV files, and TensorBoard's where it is installed."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from napari_ran.train.events import TrainStarted, TrainStep, Validated
from napari_ran.train.objective import TERMS
from napari_ran.writing import replacing

STEPS, VALIDATIONS = "log.csv", "validation.csv"


class TrainLog:
    """Writes ``log.csv`` (a row per step) and ``validation.csv``; a resumed run cuts them to where it goes on.

    Parameters
    ----------
    folder : Path
        Where they are.
    steps_done : int
        Rows beyond this step are dropped.
    """

    def __init__(self, folder: Path, steps_done: int) -> None:
        self._files: dict[str, TextIO] = {}
        self._folder = folder
        for name in (STEPS, VALIDATIONS):
            _cut(folder / name, steps_done)
        self._board = _tensorboard(folder, steps_done)

    def write(self, event: TrainStarted | TrainStep | Validated) -> None:
        """Add an event's row.

        Raises
        ------
        OSError
            It could not be written.
        """
        if isinstance(event, TrainStep):
            head = {"step": event.step, "seconds": round(event.seconds, 3), "loss": event.loss}
            terms = {name: event.terms.get(name, "") for name in TERMS}
            rest = {name: getattr(event, name) for name in ("gradient", "rate", "skipped", "data_seconds")}
            self._row(STEPS, head | terms | rest)
            self._draw("train", event.step, {"loss": event.loss, "rate": event.rate} | event.terms)
        elif isinstance(event, Validated):
            row = {"step": event.step, "seconds": round(event.seconds, 3), "kind": "best" if event.best else ""}
            self._row(VALIDATIONS, row | event.validation.to_dict())
            self._draw("validation", event.step, event.validation.to_dict())
        elif not event.steps_done:  # else the first part of the run has written it
            self._row(VALIDATIONS, {"step": 0, "seconds": 0.0, "kind": "identity"} | event.identity.to_dict())
            self._draw("identity", 0, event.identity.to_dict())

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        if self._board is not None:
            self._board.close()

    def _row(self, name: str, row: dict[str, Any]) -> None:
        if name not in self._files:
            path = self._folder / name
            new = not path.exists() or path.stat().st_size == 0
            self._files[name] = path.open("a", newline="", encoding="utf-8", buffering=1)
            if new:
                csv.writer(self._files[name]).writerow(row)
        csv.writer(self._files[name]).writerow("" if value is None else value for value in row.values())

    def _draw(self, group: str, step: int, values: dict[str, Any]) -> None:
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{group}/{name}", value, step)


def _cut(path: Path, steps_done: int) -> None:
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        with replacing(path, "the log") as part:  # what is in it must not be lost to a kill or a full disk
            part.write_text("".join(_until(lines, steps_done)), encoding="utf-8")


_MOST_DIGITS = 19  # no step has more; thousands of them would be refused with an error


def _until(lines: list[str], steps_done: int) -> Iterable[str]:
    """Keep the header and the whole rows up to a step; a killed process may have left half a row.

    A run that starts anew keeps none: it measures what it starts from again.
    """
    yield from lines[:1]
    for line in lines[1:] if steps_done else ():
        first = line.split(",", 1)[0]
        if line.endswith("\n") and first.isdecimal() and len(first) < _MOST_DIGITS and int(first) <= steps_done:
            yield line


def _tensorboard(folder: Path, steps_done: int) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=steps_done + 1)
