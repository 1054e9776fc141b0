"""Paths: readable names, and one kind of error for what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

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


def leads_out(name: str) -> bool:
    """Whether a path inside a folder, as a file of that folder names it, may lead out of it."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def is_dicom(path: Path) -> bool:
    """Whether a file has the mark of DICOM after its preamble."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@contextmanager
def reading(path: str | Path, formats: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into an error that names it.

    Parameters
    ----------
    path : path
        The file, as it was asked for.
    formats : str
        What it might have been, for the error's sentence.

    Raises
    ------
    InputError
        In place of any other exception.
    """
    try:
        yield
    except InputError as error:
        raise InputError(str(path), error.problem, error.cure) from None
    except Exception as error:  # damaged files make the readers raise nearly anything
        problem = f"the file cannot be read ({reason_of(error)})"
        cure = f"It may be truncated or of another format; export or download it again as {formats}"
        raise InputError(str(path), problem, cure) from error
