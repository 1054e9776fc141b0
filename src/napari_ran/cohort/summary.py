"""The summary of a cohort: a row for each pair, failures with their reasons, and the figures over all."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from napari_ran.cases.tables import MEASURES, figures_of, write_rows, write_tables
from napari_ran.cohort.pair import Outcome
from napari_ran.errors import InputError
from napari_ran.writing import replacing

PAIRS = "pairs.csv"
"""The table of all pairs, in the cohort's folder."""


def write_summary(outcomes: Sequence[Outcome], folder: Path) -> list[Path]:
    """Write ``pairs.csv`` and the tables of `write_tables` for what was measured; return their paths."""
    if not outcomes:
        return []
    scores = [one.score for one in outcomes if one.score is not None]
    return [write_pairs(outcomes, folder), *(write_tables(scores, folder) if scores else [])]


def write_pairs(outcomes: Sequence[Outcome], folder: Path) -> Path:
    """Write a row for each pair that has ended.

    Raises
    ------
    OutputError
        The folder may not be written to.
    """
    rows = []
    for one in outcomes:
        figures = dict.fromkeys(MEASURES) if one.score is None else figures_of(one.score)
        place = Path(one.folder).relative_to(folder).as_posix() if one.folder else ""
        rows.append(
            {"pair": one.name, "status": one.status, "reason": one.reason, "attempt": one.attempt,
             "seconds": round(one.seconds, 2), "folder": place, **figures}
        )  # fmt: skip
    with replacing(folder / PAIRS, "the table of the cohort", make_folder=True) as part:
        write_rows(part, rows)
    return folder / PAIRS


def read_outcomes(folder: str | Path) -> list[dict[str, str]]:
    """Return the rows of a cohort's ``pairs.csv``, their folders as whole paths.

    Parameters
    ----------
    folder : path
        The cohort's folder, or the table itself.

    Raises
    ------
    InputError
        There is no such table, or it is none of a cohort.
    """
    path = Path(folder).expanduser()
    path = path / PAIRS if path.is_dir() else path
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(str(path), f"the table cannot be read ({error})", "Give the folder of a cohort") from None
    if rows and not {"pair", "status", "folder"} <= set(rows[0]):
        raise InputError(str(path), "it is not the table of a cohort", f"Give the {PAIRS} that napari-ran batch writes")
    return [{**row, "folder": str(path.parent / row["folder"]) if row["folder"] else ""} for row in rows]
