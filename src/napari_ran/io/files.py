"""Paths: readable names, and one kind of error for what cannot be read."""

from __future__ import annotations

from pathlib import Path

from napari_ran.errors import InputError
from napari_ran.writing import reason_of

_DOUBLE_SUFFIXES = (".nii.gz", ".mrk.json", ".ome.zarr")


def suffix_of(path: str | Path) -> str:
    """Return the lower-case suffix, with double ones such as ``.nii.gz`` and ``.ome.zarr`` taken as one."""
    name = Path(path).name.lower()
    return next((double for double in _DOUBLE_SUFFIXES if name.endswith(double)), Path(name).suffix)


def stem_of(path: str | Path) -> str:
    """Return the file's name without its (possibly double) suffix; of an OME-TIFF file also without ``.ome``."""
    name = Path(path).name
    suffix = suffix_of(name)
    stem = name[: -len(suffix)] if suffix else name
    return stem.removesuffix(".ome") if suffix in (".tif", ".tiff") else stem


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
