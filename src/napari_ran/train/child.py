"""What `TrainingProcess` starts: a training that is told of and commanded by the files of its folder."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

from napari_ran.config import TrainConfig
from napari_ran.errors import RanError
from napari_ran.train.events import TrainFailed
from napari_ran.train.recorded import recorded_fit, tell
from napari_ran.train.wire import CONFIG


def main() -> int:
    """Train in the folder that the command line names, with the settings that are there, and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)  # a viewer on the same machine comes first
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: ended.append(number))
    try:
        config = TrainConfig.from_yaml(arguments.folder / CONFIG)
    except RanError as error:
        tell(arguments.folder, TrainFailed(0, str(error)))
        return 2
    try:
        for _ in recorded_fit(config, arguments.folder, arguments.resume, stop=lambda: bool(ended)):
            pass
    except RanError:  # the folder tells why
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
