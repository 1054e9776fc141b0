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
from napari_ran.train.engine import fit
from napari_ran.train.events import TrainEvent, TrainFailed, TrainStarted
from napari_ran.train.lock import living
from napari_ran.train.wire import CONFIG, EVENTS, PARENT, command_in, encode


class Child:
    """Trains in a folder, writes the events there, and does what is asked there.

    Parameters
    ----------
    folder : Path
        The run; its settings are there.
    resume : bool
        Go on from its checkpoint.
    """

    def __init__(self, folder: Path, resume: bool) -> None:
        self.folder, self.resumed = folder, resume
        self.step = 0
        self.told_to_stop = False

    def run(self) -> int:
        """Train to the end and return the exit code."""
        with contextlib.suppress(OSError, AttributeError):
            os.nice(5)  # a viewer on the same machine comes first
        signal.signal(signal.SIGTERM, self._stop)
        if os.environ.get("LOCAL_RANK", "0") != "0":  # one of several processes, of which the first one talks
            for _ in fit(TrainConfig.from_yaml(self.folder / CONFIG), self.folder, self.resumed):
                pass
            return 0
        with (self.folder / EVENTS).open("a", buffering=1, encoding="utf-8") as file:

            def tell(event: TrainEvent) -> None:
                self.step = event.steps_done if isinstance(event, TrainStarted) else event.step
                with contextlib.suppress(OSError):  # a full disk must not end the training
                    file.write(encode(event) + "\n")

            try:
                config = TrainConfig.from_yaml(self.folder / CONFIG)
                for event in fit(config, self.folder, self.resumed, stop=self._asked_to_stop):
                    tell(event)
            except RanError as error:
                tell(TrainFailed(self.step, str(error)))
                return 2
            except Exception as error:
                tell(TrainFailed(self.step, f"{type(error).__name__}: {error}"))
                raise
        return 0

    def _asked_to_stop(self) -> bool:
        """Wait as long as the command file says so, and return whether to stop."""
        while True:
            word = command_in(self.folder)
            if self.told_to_stop or word == "stop" or not self._wanted():
                return True
            if word != "pause":
                return False
            time.sleep(0.05)

    def _wanted(self) -> bool:
        """Whether the process with which this one ends is still there, if there is one."""
        try:
            return living((self.folder / PARENT).read_text(encoding="utf-8")) is not None
        except OSError:
            return True

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.told_to_stop = True


def main() -> int:
    """Train in the folder that the command line names; what `TrainingProcess.start` runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    return Child(arguments.folder, arguments.resume).run()


if __name__ == "__main__":
    sys.exit(main())
