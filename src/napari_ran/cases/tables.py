"""Tables of scored cases: a row per case, a row per label, and a summary with intervals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from napari_ran.cases.scores import CaseScore
from napari_ran.evaluate import Interval, bootstrap_mean
from napari_ran.writing import replacing


@dataclass(frozen=True)
class Summary:
    """One measure over all cases that have it: its unit, their number, and the mean with its 95 % interval."""

    measure: str
    unit: str
    cases: int
    interval: Interval


class Measure(NamedTuple):
    """A figure of a case: what to call it, its unit, and how it is taken from the case's score."""

    title: str
    unit: str
    of: Callable[[CaseScore], float | None]


MEASURES: Mapping[str, Measure] = {
    "dice_before": Measure("Dice before", "", lambda score: score.mean("dice_before")),
    "dice": Measure("Dice", "", lambda score: score.mean("dice")),
    "hd": Measure("Hausdorff distance", "mm", lambda score: score.mean("hd")),
    "hd95": Measure("Hausdorff distance, 95 %", "mm", lambda score: score.mean("hd95")),
    "asd": Measure("Average surface distance", "mm", lambda score: score.mean("asd")),
    "tre_before": Measure(
        "Landmark error before", "mm", lambda score: None if score.tre_before is None else score.tre_before.mean
    ),
    "tre": Measure("Landmark error", "mm", lambda score: None if score.tre is None else score.tre.mean),
    "epe_before": Measure("End-point error before", "mm", lambda score: score.epe_before),
    "epe": Measure("End-point error", "mm", lambda score: score.epe),
    "slip_percent": Measure("Slip recovered", "%", lambda score: score.slip_percent),
    "folding_percent": Measure("Folding", "%", lambda score: score.folding_percent),
    "negative_in_tissue": Measure("Negative determinants in tissue", "voxels", lambda score: score.negative_in_tissue),
    "sdlogj": Measure("SDlogJ (Learn2Reg)", "", lambda score: score.sdlogj),
    "paper_dice": Measure("Dice, released code", "", lambda score: score.mean("paper_dice")),
    "paper_hd": Measure("Hausdorff distance, released code", "voxels", lambda score: score.mean("paper_hd")),
    "paper_asd": Measure("Average surface distance, released code", "voxels", lambda score: score.mean("paper_asd")),
    "paper_detj": Measure("Negative determinants, released code", "voxels", lambda score: score.paper_detj),
    "seconds": Measure("Time", "s", lambda score: score.seconds),
    "peak_gib": Measure("Peak memory", "GiB", lambda score: score.peak_bytes and score.peak_bytes / 2**30),
}
"""The figures by the columns of the tables; of labels the mean over those that were scored."""


def figures_of(score: CaseScore) -> dict[str, float | None]:
    """Return every figure of a case, None where it does not apply."""
    return {key: measure.of(score) for key, measure in MEASURES.items()}


def values_of(scores: Sequence[CaseScore], key: str) -> list[float]:
    """Return a figure of the cases that have it."""
    return [float(number) for score in scores if (number := MEASURES[key].of(score)) is not None]


def summarise(scores: Sequence[CaseScore]) -> list[Summary]:
    """Return every measure that some case has, over the cases that have it."""
    found = {measure: values_of(scores, key) for key, measure in MEASURES.items()}
    return [
        Summary(measure.title, measure.unit, len(values), bootstrap_mean(values))
        for measure, values in found.items()
        if values
    ]


def write_tables(scores: Sequence[CaseScore], folder: str | Path) -> list[Path]:
    """Write ``cases.csv``, ``labels.csv``, ``summary.json`` and ``summary.md``; return their paths.

    Raises
    ------
    OutputError
        The folder may not be written to.
    """
    summary = summarise(scores)
    cases = [{"case": score.name, **figures_of(score)} for score in scores]
    texts = {
        "summary.json": json.dumps([asdict(one) for one in summary], indent=1) + "\n",
        "summary.md": _markdown(scores, summary),
    }
    return write_files(Path(folder), {"cases.csv": cases, "labels.csv": label_rows(scores)}, texts)


def label_rows(scores: Sequence[CaseScore]) -> list[dict[str, object]]:
    """Return a row for each label of each case."""
    return [
        {"case": score.name, "label": label, "name": score.label_names.get(label, ""), **one.to_dict()}
        for score in scores
        for label, one in score.labels.items()
    ]


def write_files(
    folder: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]], texts: Mapping[str, str]
) -> list[Path]:
    """Write tables that have a row as CSV files, and texts, by their names; return their paths.

    Raises
    ------
    OutputError
        The folder may not be written to.
    """
    full = {name: rows for name, rows in tables.items() if rows}
    for name, rows in full.items():
        with replacing(folder / name, make_folder=True) as part:
            write_rows(part, rows)
    for name, text in texts.items():
        with replacing(folder / name, make_folder=True) as part:
            part.write_text(text, encoding="utf-8")
    return [folder / name for name in (*full, *texts)]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of equal keys as a CSV file; None becomes an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)


def _markdown(scores: Sequence[CaseScore], summary: Sequence[Summary]) -> str:
    lines = ["| measure | unit | cases | mean [95 % interval] |", "|---|---|---|---|"]
    lines += [f"| {one.measure} | {one.unit} | {one.cases} | {one.interval} |" for one in summary]
    unmatched = {score.name: score.unmatched for score in scores if score.unmatched}
    if unmatched:
        lines += ["", "Labels that one map alone has are not scored:", ""]
        lines += [f"- {name}: {', '.join(map(str, ids))}" for name, ids in unmatched.items()]
    return "\n".join(lines) + "\n"
