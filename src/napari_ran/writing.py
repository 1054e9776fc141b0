"""Writing a file whole or not at all: what was there stays until the new one is complete."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_ran.errors import OutputError, RanError, brief

_PART = ".part"
_ABANDONED = 3600.0
"""Seconds after which a part belongs to a process that was killed: no file here takes that long to write."""

_SWAPPED = 10.0
"""Seconds after which an exchange of folders was cut short: it takes two renamings."""

_ASIDE = ".old"


@contextmanager
def replacing(
    path: str | Path,
    what: str = "the file",
    cure: str | None = None,
    *,
    previous: Path | None = None,
    durable: bool = False,
    make_folder: bool = False,
) -> Iterator[Path]:
    """Yield a path of the same name in a passing folder beside `path`; what was written there then takes its place.

    Parameters
    ----------
    path : path
        The file to write; or a folder, which takes the place of a folder.
    what, cure : str
        What the file is and what to do when it cannot be written, for the error's sentence.
    previous : Path, optional
        Where to move what was at `path`; it is given up when left out.
    durable : bool
        Have the file on the disk before it takes the place of the old one, lest a power cut takes both.
    make_folder : bool
        Make the folder if there is none.

    Raises
    ------
    OutputError
        The folder is missing or not writable, or there is no space left. What was at `path` stays as it was.
    """
    target, made = Path(path).expanduser(), None
    try:
        if make_folder:
            target.parent.mkdir(parents=True, exist_ok=True)
        elif not target.parent.is_dir():
            missing = f"{what} could not be written (the folder {target.parent} does not exist)"
            raise OutputError(str(path), missing, "Create it or choose another folder")
        _remove_abandoned(target)
        # the file's own name, since writers choose the format by its end, where no search for such files sees it
        made = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=_PART, dir=target.parent))
        yield made / target.name
        if durable:
            _flush(made / target.name)
        if previous is not None and target.exists():
            os.replace(target, previous)
        _put(made / target.name, target)
    except RanError:
        raise
    except (OSError, RuntimeError) as error:  # SimpleITK reports a failed write as RuntimeError
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else reason_of(error)
        space = "Free some space or choose another folder" if full else "Choose a folder with space where you may write"
        raise OutputError(str(path), f"{what} could not be written ({reason})", cure or space) from error
    finally:
        if made is not None:
            _discard(made)


def reason_of(error: BaseException) -> str:
    """Return the telling part of an exception's text, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # ITK puts the cause last, behind "itk::ERROR: Class(0x...): "
    return brief(lines[-1].split("): ", 1)[-1].rstrip("."))


def _put(made: Path, target: Path) -> None:
    """Move what was made to its place; a folder that is there goes for another folder only, and once that is there."""
    if not (made.is_dir() and target.is_dir()):
        os.replace(made, target)
        return
    aside = made.with_name(f"{made.name}{_ASIDE}")  # in the passing folder, with which it goes
    os.replace(target, aside)
    try:
        os.replace(made, target)
    except OSError:
        os.replace(aside, target)
        raise


def _discard(made: Path) -> None:
    """Remove a passing folder, into which threads of a writer that has failed may still put files for a moment."""
    for _ in range(20):
        shutil.rmtree(made, ignore_errors=True)
        if not made.exists():
            return
        time.sleep(0.05)


def _flush(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _remove_abandoned(target: Path) -> None:
    """Remove the parts of this file that killed processes left behind, and bring back what they had put aside."""
    for part in target.parent.glob(f".{glob.escape(target.name)}-*{_PART}"):
        try:
            age, aside = time.time() - part.stat().st_mtime, part / f"{target.name}{_ASIDE}"
            if age > _SWAPPED and aside.exists() and not target.exists():
                whole = part / target.name  # complete, or nothing would have been put aside for it
                os.replace(whole if whole.exists() else aside, target)
            if age > _ABANDONED:
                shutil.rmtree(part, ignore_errors=True)
        except OSError:  # its writer has just finished
            continue
