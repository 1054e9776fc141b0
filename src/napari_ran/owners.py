"""Which process works in a folder: who it is, whether it lives, and keeping others out."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_ran.errors import InputError, OutputError
from napari_ran.parsing import parse_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = "run.lock"
"""The file that says which process works in the folder of a run."""


def identity() -> str:
    """Return what tells this process from any other, one that is later given its number included."""
    import psutil

    return json.dumps({"pid": os.getpid(), "started": psutil.Process().create_time(), "host": socket.gethostname()})


def living(text: str) -> int | None:
    """Return the number of the process of an `identity`, or None if it has ended, or runs on another machine."""
    import psutil

    try:
        found = parse_json(text)
        process = psutil.Process(int(found["pid"]))
        same = abs(process.create_time() - float(found["started"])) < 2
        alive = same and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return int(found["pid"]) if alive else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, psutil.Error):
        return None


def elsewhere(text: str) -> bool:
    """Whether an `identity` is of a process of another machine, of which nothing can be known."""
    try:
        return bool(parse_json(text)["host"] != socket.gethostname())
    except (ValueError, KeyError, TypeError):
        return False


@contextmanager
def exclusively(folder: Path) -> Iterator[None]:
    """Wait until no other process of this machine is in this block for the same folder, and keep others out.

    A process that is killed lets go at once. Where a file system or Windows cannot lock folders, nothing is locked.
    """
    handle = None
    if fcntl is not None:
        try:
            handle = os.open(folder, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # not every network's file system can
            pass
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def running_process(folder: Path) -> int | None:
    """Return the number of the process that works in this folder, or None; a dead one's lock does not count."""
    try:
        return living((folder / LOCK).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def refuse_busy(folder: Path, doing: str = "training") -> None:
    """Raise `InputError` if a process works in this folder; `doing` is what is done there, for the sentence."""
    other = running_process(folder)
    if other is not None:
        raise InputError("folder", f"process {other} is {doing} in {folder}", "Stop it or choose another folder")


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Make a folder to write in; what the system refuses meanwhile is an `OutputError` of the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(str(folder), f"may not be written to ({error.strerror})", "Choose another folder") from error


@contextmanager
def locked(folder: Path, doing: str = "training") -> Iterator[None]:
    """Keep other processes from working in this folder.

    Parameters
    ----------
    folder : Path
        Made if needed.
    doing : str
        What is done there, for the error's sentence.

    Raises
    ------
    InputError
        One does so already.
    OutputError
        The folder may not be written to.
    """
    with written(folder), exclusively(folder):  # of two that look at the same time, one sees the other's lock
        refuse_busy(folder, doing)
        (folder / LOCK).write_text(identity(), encoding="utf-8")
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
