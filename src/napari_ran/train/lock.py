"""The folder of a run: which process is at work in it, and that it can be written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_ran.errors import InputError, OutputError
from napari_ran.owners import exclusively, identity, living

LOCK = "run.lock"


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
