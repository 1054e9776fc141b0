"""Which process is at work in a folder."""

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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with exclusively(folder):  # of two that look at the same time, one sees the other's lock
            other = running_process(folder)
            if other is not None:
                raise InputError(
                    "folder", f"process {other} is {doing} in {folder}", "Stop it or choose another folder"
                )
            (folder / LOCK).write_text(identity(), encoding="utf-8")
    except OSError as error:
        raise OutputError(str(folder), f"may not be written to ({error.strerror})", "Choose another folder") from error
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)


__all__ = ["LOCK", "identity", "living", "locked", "running_process"]
