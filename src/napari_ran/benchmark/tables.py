"""What a benchmark found, as files: the table in three forms, the comparisons, the labels and box plots."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from napari_ran._version import __version__
from napari_ran.benchmark.rows import START, RowResult
from napari_ran.cases.tables import MEASURES, label_rows, values_of, write_files
from napari_ran.config.benchmark import BenchmarkConfig
from napari_ran.evaluate import Comparison, Interval, bootstrap_mean, compare_paired
from napari_ran.figures.comparison import box_plots
from napari_ran.writing import replacing

LEADING = ("dice", "tre", "epe")
"""Measures that rows are compared by: the first that all rows have."""

COLUMNS: Mapping[str, tuple[str, int]] = {
    "dice": ("Dice", 3),
    "hd": ("HD (mm)", 2),
    "hd95": ("HD95 (mm)", 2),
    "asd": ("ASD (mm)", 2),
    "tre": ("TRE (mm)", 2),
    "epe": ("EPE (mm)", 2),
    "slip_percent": ("slip (%)", 0),
    "folding_percent": ("folding (%)", 3),
    "sdlogj": ("SDlogJ", 3),
    "seconds": ("time (s)", 1),
    "peak_gib": ("memory (GiB)", 2),
}
"""Measures of the table in print: heading and digits; a measure that no row has is left out."""


def write_benchmark(
    results: Sequence[RowResult], folder: str | Path, config: BenchmarkConfig, figures: bool = True
) -> list[Path]:
    """Write ``table.md``, ``table.tex``, ``table.csv``, ``labels.csv``, ``comparisons.csv`` and ``boxes.png``.

    Parameters
    ----------
    results : sequence of RowResult
        Rows in the order of the table.
    folder : path
        Where to write; made if missing.
    config : BenchmarkConfig
        `name` and `reference` are used.
    figures : bool
        Without figures, ``boxes.png`` is left out.

    Raises
    ------
    OutputError
        The folder may not be written to.
    """
    folder = Path(folder)
    done = [result for result in results if result.scores]
    leading = next((key for key in LEADING if done and all(values_of(result.scores, key) for result in done)), None)
    comparisons = [] if leading is None else _compared(done, leading, config.reference)
    headings, lines = _cells(results, comparisons, leading)
    texts = {
        "table.md": _markdown(config.name, headings, lines, results, comparisons, leading),
        "table.tex": _latex(headings, lines),
    }
    labels = [{"row": result.row.name, **row} for result in done for row in label_rows(result.scores)]
    tables = {"table.csv": _numbers(results), "labels.csv": labels, "comparisons.csv": _differences(comparisons)}
    written = write_files(folder, tables, texts)
    if figures and any(score.labels for result in done for score in result.scores):
        figure = box_plots(*_by_label(done), measure="Dice")
        with replacing(folder / "boxes.png", make_folder=True) as part:
            figure.savefig(part, format="png", dpi=150)
        written.append(folder / "boxes.png")
    return written


def _compared(done: Sequence[RowResult], leading: str, reference: str | None) -> list[Comparison]:
    """Return how every row differs from the reference, over the same cases."""
    value = MEASURES[leading].of
    systems = {
        result.row.name: [math.nan if (number := value(score)) is None else float(number) for score in result.scores]
        for result in done
        if result.row.name != START
    }
    if len(systems) < 2 or min(map(len, systems.values())) < 2:
        return []
    return compare_paired(systems, reference if reference in systems else next(iter(systems)))


def _cells(
    results: Sequence[RowResult], comparisons: Sequence[Comparison], leading: str | None
) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the text of every cell."""
    keys = [key for key in COLUMNS if any(values_of(result.scores, key) for result in results)]
    sized = any(result.parameters for result in results)
    corrected = {one.two: one.p_corrected for one in comparisons}
    headings = ["", *(["parameters (M)"] if sized else []), *(COLUMNS[key][0] for key in keys)]
    headings += ["p"] if comparisons else []
    lines = []
    for result in results:
        line = [result.row.name]
        if sized:
            line.append("" if result.parameters is None else f"{result.parameters / 1e6:.3f}")
        for key in keys:
            values, digits = values_of(result.scores, key), COLUMNS[key][1]
            if not values:
                line.append("failed" if result.failure and key == keys[0] else "")
            elif key == leading and len(values) > 1:
                line.append(_interval(bootstrap_mean(values), digits))
            else:
                line.append(f"{sum(values) / len(values):.{digits}f}")
        if comparisons:
            line.append(_probability(corrected.get(result.row.name)))
        lines.append(line)
    return headings, lines


def _interval(found: Interval, digits: int) -> str:
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _probability(value: float | None) -> str:
    return "" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _markdown(
    title: str,
    headings: Sequence[str],
    lines: Sequence[Sequence[str]],
    results: Sequence[RowResult],
    comparisons: Sequence[Comparison],
    leading: str | None,
) -> str:
    rows = [headings, ["---", *("---:" for _ in headings[1:])], *lines]
    text = [f"# {title}", "", *("| " + " | ".join(cell or " " for cell in row) + " |" for row in rows), ""]
    cases = max((len(result.scores) for result in results), default=0)
    notes = [f"{cases} case{'s' * (cases != 1)}."]
    if leading is not None and cases > 1:
        notes.append(f"{MEASURES[leading].title} with the 95 % bootstrap interval over cases.")
    if comparisons:
        notes.append(f"p: Wilcoxon signed-rank test against {comparisons[0].one}, corrected by Holm's method.")
    machine = f"napari-ran {__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    notes.append(f"{machine}, {torch.get_num_threads()} thread(s) on {platform.machine()}.")
    text.append(" ".join(notes))
    failures = [f"- {result.row.name}: {result.failure}" for result in results if result.failure]
    return "\n".join([*text, *(["", "Failed:", "", *failures] if failures else [])]) + "\n"


def _latex(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    def escaped(cells: Sequence[str]) -> str:
        return " & ".join(_escaped(cell) for cell in cells) + r" \\"

    body = [rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}", r"\toprule", escaped(headings), r"\midrule"]
    return "\n".join([*body, *map(escaped, lines), r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    for letter in "&%#_$":
        text = text.replace(letter, f"\\{letter}")
    return text.replace("<", r"\textless ")


def _numbers(results: Sequence[RowResult]) -> list[dict[str, object]]:
    """Return the whole table: mean, bounds and number of cases of every measure."""
    rows: list[dict[str, object]] = []
    for result in results:
        row: dict[str, object] = {"row": result.row.name, "parameters": result.parameters, "failure": result.failure}
        for key in MEASURES:
            values = values_of(result.scores, key)
            found = bootstrap_mean(values) if values else None
            row |= {key: found and found.mean, f"{key}_low": found and found.low, f"{key}_high": found and found.high}
            row[f"{key}_cases"] = len(values)
        rows.append(row)
    return rows


def _differences(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    return [
        {
            "one": one.one,
            "two": one.two,
            "difference": one.difference.mean,
            "low": one.difference.low,
            "high": one.difference.high,
            "p": one.p_value,
            "p_corrected": one.p_corrected,
            "cases": one.cases,
        }
        for one in comparisons
    ]


def _by_label(done: Sequence[RowResult]) -> tuple[dict[str, dict[int, list[float]]], dict[int, str]]:
    """Return the overlap of each row's labels over the cases, and the labels' names."""
    values: dict[str, dict[int, list[float]]] = {}
    names: dict[int, str] = {}
    for result in done:
        labels = values.setdefault(result.row.name, {})
        for score in result.scores:
            names |= score.label_names
            for label, one in score.labels.items():
                labels.setdefault(label, []).append(one.dice)
    return values, names
