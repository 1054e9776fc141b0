"""What `TrainingProcess` starts: trains, tells, and obeys."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from napari_ran.config import TrainConfig
from napari_ran.errors import RanError
from napari_ran.train.checkpoint import LAST
from napari_ran.train.engine import fit
from napari_ran.train.events import TrainEvent, TrainFailed, TrainFinished, TrainStarted, TrainStep, Validated
from napari_ran.train.wire import CONFIG, EVENTS, command_in, encode


class StopAsked(Exception):  # noqa: N818  # not an error
    """The training was asked to stop."""


class Child:
    """Trains in a folder, writes the events there, and does what is asked there.

    Parameters
    ----------
    folder : Path
        The run; its settings are there.
    resume : bool
        Go on from its checkpoint.
    parent : int, optional
        Stop when this process has ended.
    """

    def __init__(self, folder: Path, resume: bool, parent: int | None) -> None:
        self.folder, self.resumed, self.parent = folder, resume, parent
        self.step, self.seconds = 0, 0.0
        self.best = folder / "best.safetensors"
        self.told_to_stop = False

    def run(self) -> int:
        """Train to the end and return the exit code."""
        with contextlib.suppress(OSError, AttributeError):
            os.nice(5)  # a viewer on the same machine comes first
        signal.signal(signal.SIGTERM, self._stop)
        with (self.folder / EVENTS).open("a", buffering=1, encoding="utf-8") as file:

            def tell(event: TrainEvent) -> None:
                with contextlib.suppress(OSError):  # a full disk must not end the training
                    file.write(encode(event) + "\n")

            run = fit(TrainConfig.from_yaml(self.folder / CONFIG), self.folder, self.resumed)
            try:
                for event in run:
                    tell(event)
                    self._note(event)
                    if not isinstance(event, TrainFinished):
                        self._obey()
            except StopAsked:
                run.close()  # type: ignore[attr-defined]
                tell(TrainFinished(self.step, self.seconds, "closed", self.best, self.folder / LAST))
            except RanError as error:
                tell(TrainFailed(self.step, str(error)))
                return 2
            except Exception as error:
                tell(TrainFailed(self.step, f"{type(error).__name__}: {error}"))
                raise
        return 0

    def _note(self, event: TrainEvent) -> None:
        if isinstance(event, TrainStep):
            self.step, self.seconds = event.step, event.seconds
        elif isinstance(event, TrainStarted):
            self.step = event.steps_done
        elif isinstance(event, Validated) and event.best:
            self.best = event.checkpoint

    def _obey(self) -> None:
        """Do what the command file says, as long as it says so."""
        while True:
            word = command_in(self.folder)
            if self.told_to_stop or word == "stop" or not self._wanted():
                raise StopAsked
            if word != "pause":
                return
            time.sleep(0.05)

    def _wanted(self) -> bool:
        if self.parent is None:
            return True
        import psutil

        return os.getppid() == self.parent if os.name == "posix" else bool(psutil.pid_exists(self.parent))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.told_to_stop = True


def main() -> int:
    """Train in the folder that the command line names; what `TrainingProcess.start` runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    return Child(arguments.folder, arguments.resume, arguments.parent).run()


if __name__ == "__main__":
    sys.exit(main())
