"""The list of cases: a CSV file with a row for each pair."""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from pathlib import Path

from napari_ran.errors import InputError
from napari_ran.io.files import stem_of


@dataclass(frozen=True)
class Case:
    """One pair, as files.

    Attributes
    ----------
    name : str
        What to call it; by default the names of both images.
    fixed, moving : Path
        The images.
    fixed_labels, moving_labels : Path, optional
        Their label maps: with both, overlap and surface distances are measured.
    fixed_landmarks, moving_landmarks : Path, optional
        Their landmarks: with both, the target registration error is measured.
    field : Path, optional
        A displacement field that maps fixed to moving points; without one, the pair is registered.
    truth : Path, optional
        The exact field, where it is known: the end-point error and the slip at the borders of the labels are measured.
    """

    name: str
    fixed: Path
    moving: Path
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    fixed_landmarks: Path | None = None
    moving_landmarks: Path | None = None
    field: Path | None = None
    truth: Path | None = None


COLUMNS = tuple(part.name for part in fields(Case))


def read_cases(path: str | Path) -> list[Case]:
    """Read a list of cases.

    Parameters
    ----------
    path : path
        A CSV file whose columns are called like the attributes of `Case`; files are named relative to it.

    Raises
    ------
    InputError
        The list cannot be read, a row lacks an image, two cases have one name, or files are missing: all of them are
        named.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(str(path), "there is no such file", "Give a CSV file with a row for each pair")
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(str(path), f"the list cannot be read ({error})", "Give a CSV file") from None
    cure = f"Use the columns {', '.join(COLUMNS)}"
    if not rows:
        raise InputError(str(path), "the list holds no case", cure)
    unknown = [key for key in rows[0] if key not in COLUMNS]
    if unknown:
        raise InputError(str(path), f"unknown column '{unknown[0]}'", cure)
    cases = [_case(path, number, row, cure) for number, row in enumerate(rows, start=2)]
    _check_files(path, cases)
    taken: set[str] = set()
    for case in cases:
        if case.name in taken:
            raise InputError(str(path), f"two cases are called '{case.name}'", "Give each a name of its own")
        taken.add(case.name)
    return cases


def _case(path: Path, line: int, row: dict[str, str], cure: str) -> Case:
    given = {key: text.strip() for key, text in row.items() if key and text and text.strip()}
    if "fixed" not in given or "moving" not in given:
        raise InputError(str(path), f"line {line} lacks the fixed or the moving image", cure)
    name = given.pop("name", "") or f"{stem_of(Path(given['fixed']))}-{stem_of(Path(given['moving']))}"
    return Case(name, **{key: path.parent / Path(text).expanduser() for key, text in given.items()})


def _check_files(path: Path, cases: list[Case]) -> None:
    named = [getattr(case, key) for case in cases for key in COLUMNS[1:]]
    missing = list(dict.fromkeys(str(file) for file in named if file is not None and not file.exists()))
    if missing:
        listed = ", ".join(missing)
        many = "a file is" if len(missing) == 1 else f"{len(missing)} files are"
        raise InputError(str(path), f"{many} missing: {listed}", "Mend the list, or bring the files")
