"""Paths: readable names, one kind of error for what cannot be read, and writing that is all or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from napari_ran.errors import InputError, OutputError

_DOUBLE_SUFFIXES = (".nii.gz", ".mrk.json")


def suffix_of(path: str | Path) -> str:
    """Return the lower-case suffix, with ``.nii.gz`` and ``.mrk.json`` taken as one."""
    name = Path(path).name.lower()
    return next((double for double in _DOUBLE_SUFFIXES if name.endswith(double)), Path(name).suffix)


def stem_of(path: str | Path) -> str:
    """Return the file's name without its (possibly double) suffix."""
    name = Path(path).name
    suffix = suffix_of(name)
    return name[: -len(suffix)] if suffix else name


def existing(path: str | Path) -> Path:
    """Return the path, with ``~`` expanded.

    Raises
    ------
    InputError
        Nothing is there, or it is an empty file.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise InputError(str(path), "there is no such file or folder", "Check the path")
    if found.is_file() and found.stat().st_size == 0:
        raise InputError(str(path), "the file is empty", "Export or download it again")
    return found


def unreadable(path: str | Path, error: BaseException, formats: str) -> InputError:
    """Turn a reader's exception into the one error that users see."""
    return InputError(
        str(path),
        f"the file cannot be read ({reason_of(error)})",
        f"It may be truncated or of another format; export or download it again as {formats}",
    )


def reason_of(error: BaseException) -> str:
    """Return the telling part of an exception's text, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # ITK puts the cause last, behind "itk::ERROR: Class(0x...): "
    return lines[-1].split("): ", 1)[-1].rstrip(".")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file all or nothing: yields a temporary path in the same folder, which then takes the place of `path`.

    Raises
    ------
    OutputError
        The folder is missing or not writable, or there is no space left. What was at `path` stays as it was.
    """
    target = Path(path).expanduser()
    if not target.parent.is_dir():
        raise OutputError(str(path), f"the folder {target.parent} does not exist", "Create it or choose another folder")
    # the name's end stays, since writers choose the format by it
    temporary = target.with_name(f".{uuid4().hex[:8]}-{target.name}")
    try:
        yield temporary
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # SimpleITK reports a failed write as RuntimeError
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else reason_of(error)
        cure = "Free some space or choose another folder" if full else "Choose a folder with space where you may write"
        raise OutputError(str(path), f"the file could not be written ({reason})", cure) from error
    finally:
        temporary.unlink(missing_ok=True)
