"""Lists of pairs: CSV files with a row for each, whether they are registered, scored or trained on."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napari_ran.errors import InputError
from napari_ran.io.files import stem_of

FILES = (
    *("fixed", "moving", "fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks"),
    *("field", "truth", "mask"),
)
"""Columns that name files, relative to the list; beside them a list may have the column ``name``."""


def read_pair_list(path: Path) -> list[tuple[str, dict[str, Path]]]:
    """Return the name of each pair of a list, by default those of its images, and its files by their columns.

    Raises
    ------
    InputError
        The list cannot be read, has no pair or a column that is not known, a row lacks an image, or files are missing
        or empty: all of them are named.
    """
    cure = f"Use the columns name, {', '.join(FILES)}"
    try:
        table = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), skipinitialspace=True)
        rows = [(table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(str(path), f"the list cannot be read ({error})", "Give a CSV file") from None
    if unknown := [column for column in table.fieldnames or () if column not in ("name", *FILES)]:
        raise InputError(str(path), f"unknown column '{unknown[0]}'", cure)
    pairs = [_pair(path, line, row, cure) for line, row in rows]
    if not pairs:
        raise InputError(str(path), "the list holds no pair", cure)
    refuse_missing(path, (file for _, files in pairs for file in files.values()))
    return pairs


def refuse_missing(path: Path, files: Iterable[Path]) -> None:
    """Refuse a list that names files that are not there, or have nothing in them.

    Raises
    ------
    InputError
        There are some: all of them are named.
    """
    missing = list(dict.fromkeys(str(file) for file in files if not is_there(file) or _is_empty(file)))
    if missing:
        many = "a file is" if len(missing) == 1 else f"{len(missing)} files are"
        problem = f"{many} missing or empty: {', '.join(missing)}"
        raise InputError(str(path), problem, "Mend the list, or bring the files")


def is_there(path: Path) -> bool:
    """Whether a file or folder is there; a name that none can have is not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_empty(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == 0


def _pair(path: Path, line: int, row: dict[Any, Any], cure: str) -> tuple[str, dict[str, Path]]:
    if any(row.pop(None, ())):  # where csv puts what is beyond the columns
        raise InputError(str(path), f"line {line} has more values than there are columns", cure)
    given = {column: text.strip() for column, text in row.items() if text and text.strip()}
    if "fixed" not in given or "moving" not in given:
        raise InputError(str(path), f"line {line} lacks the fixed or the moving image", cure)
    name = given.pop("name", "") or f"{stem_of(given['fixed'])}-{stem_of(given['moving'])}"
    return name, {column: path.parent / Path(text).expanduser() for column, text in given.items()}


__all__ = ["FILES", "is_there", "read_pair_list", "refuse_missing"]
