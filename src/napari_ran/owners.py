"""Which process works in a folder: who it is, whether it lives, and letting one at a time do something there."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_ran.parsing import parse_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


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


__all__ = ["elsewhere", "exclusively", "identity", "living"]
