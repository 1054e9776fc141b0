"""Tables of scored cases: a row per case, a row per label, and a summary with intervals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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


_Value = Callable[[CaseScore], float | None]

MEASURES: Mapping[str, tuple[str, str, _Value]] = {
    "dice_before": ("Dice before", "", lambda score: score.mean("dice_before")),
    "dice": ("Dice", "", lambda score: score.mean("dice")),
    "hd": ("Hausdorff distance", "mm", lambda score: score.mean("hd")),
    "hd95": ("Hausdorff distance, 95 %", "mm", lambda score: score.mean("hd95")),
    "asd": ("Average surface distance", "mm", lambda score: score.mean("asd")),
    "tre_before": (
        "Landmark error before",
        "mm",
        lambda score: None if score.tre_before is None else score.tre_before.mean,
    ),
    "tre": ("Landmark error", "mm", lambda score: None if score.tre is None else score.tre.mean),
    "epe_before": ("End-point error before", "mm", lambda score: score.epe_before),
    "epe": ("End-point error", "mm", lambda score: score.epe),
    "slip_percent": ("Slip recovered", "%", lambda score: score.slip_percent),
    "folding_percent": ("Folding", "%", lambda score: score.folding_percent),
    "negative_in_tissue": ("Negative determinants in tissue", "voxels", lambda score: score.negative_in_tissue),
    "sdlogj": ("SDlogJ (Learn2Reg)", "", lambda score: score.sdlogj),
    "paper_dice": ("Dice, released code", "", lambda score: score.mean("paper_dice")),
    "paper_hd": ("Hausdorff distance, released code", "voxels", lambda score: score.mean("paper_hd")),
    "paper_asd": ("Average surface distance, released code", "voxels", lambda score: score.mean("paper_asd")),
    "paper_detj": ("Negative determinants, released code", "voxels", lambda score: score.paper_detj),
    "seconds": ("Time", "s", lambda score: score.seconds),
    "peak_gib": ("Peak memory", "GiB", lambda score: score.peak_bytes and score.peak_bytes / 2**30),
}
"""Column to title, unit and value of a case; of labels the mean over those that were scored."""


def summarise(scores: Sequence[CaseScore]) -> list[Summary]:
    """Return every measure that some case has, over the cases that have it."""
    found = []
    for title, unit, value in MEASURES.values():
        values = [float(number) for score in scores if (number := value(score)) is not None]
        if values:
            found.append(Summary(title, unit, len(values), bootstrap_mean(values)))
    return found


def write_tables(scores: Sequence[CaseScore], folder: str | Path) -> list[Path]:
    """Write ``cases.csv``, ``labels.csv``, ``summary.json`` and ``summary.md``; return their paths.

    Raises
    ------
    OutputError
        The folder may not be written to.
    """
    folder, summary = Path(folder), summarise(scores)
    labels = [
        {"case": score.name, "label": label, "name": score.label_names.get(label, ""), **one.to_dict()}
        for score in scores
        for label, one in score.labels.items()
    ]
    cases = [{"case": score.name, **{key: value(score) for key, (_, _, value) in MEASURES.items()}} for score in scores]
    texts = {
        "summary.json": json.dumps([asdict(one) for one in summary], indent=1) + "\n",
        "summary.md": _markdown(scores, summary),
    }
    written = []
    for name, rows in {"cases.csv": cases, "labels.csv": labels}.items():
        if rows:
            with replacing(folder / name, make_folder=True) as part:
                write_rows(part, rows)
            written.append(folder / name)
    for name, text in texts.items():
        with replacing(folder / name, make_folder=True) as part:
            part.write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written


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
