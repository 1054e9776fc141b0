"""Which process is training in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_ran.errors import InputError, OutputError

LOCK = "run.lock"


def running_process(folder: Path) -> int | None:
    """Return the number of the process that trains in this folder, or None; a dead one's lock does not count."""
    try:
        return living((folder / LOCK).read_text(encoding="utf-8"))
    except OSError:
        return None


def identity() -> str:
    """Return what tells this process from any other, one that is later given its number included."""
    import psutil

    return json.dumps({"pid": os.getpid(), "started": psutil.Process().create_time()})


def living(text: str) -> int | None:
    """Return the number of the process of an `identity`, or None if it has ended."""
    import psutil

    try:
        found = json.loads(text)
        process = psutil.Process(int(found["pid"]))
        same = abs(process.create_time() - float(found["started"])) < 2
        alive = same and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return int(found["pid"]) if alive else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in this folder.

    Raises
    ------
    InputError
        One does so already.
    OutputError
        The folder may not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        other = running_process(folder)
        if other is not None:
            raise InputError("folder", f"process {other} is training in {folder}", "Stop it or choose another folder")
        (folder / LOCK).write_text(identity(), encoding="utf-8")
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise OutputError(str(folder), f"may not be written to ({error.strerror})", "Choose another folder") from error
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
