"""What the command line shows: progress bars, tables, and the viewer it opens at the end."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from napari_ran.steps import last

if TYPE_CHECKING:
    from napari_ran.applying import ApplyStep
    from napari_ran.benchmark import BenchmarkStep, RowResult
    from napari_ran.cases import CaseScore, CaseStep, Summary
    from napari_ran.cohort import CohortStep, Outcome
    from napari_ran.io.checkpoints import ModelCard
    from napari_ran.plan import MemoryPlan
    from napari_ran.registration import Run
    from napari_ran.report import Report
    from napari_ran.results import Registration
    from napari_ran.webpage import ReportStep

Row = tuple[str, float | None, float | None, str]
"""Name, value before registration, value after, unit."""


def follow(run: Run, quiet: bool = False) -> Registration:
    """Drive a run with a progress bar per stage, and return its result; Ctrl-C keeps the best so far.

    Raises
    ------
    KeyboardInterrupt
        It came before anything was found.
    """
    columns = (
        TextColumn("{task.description:<10}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=7)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[live]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
    )
    with Progress(*columns, console=Console(stderr=True, quiet=quiet), disable=quiet, expand=True) as progress:
        tasks: dict[str, TaskID] = {}
        try:
            for event in run:
                if event.stage not in tasks:
                    tasks[event.stage] = progress.add_task(event.stage, live="")
                live = "  ".join(f"{name} {value:.4g}" for name, value in event.metrics.items()) or escape(
                    event.message
                )
                progress.update(tasks[event.stage], completed=event.step, total=event.total, live=live)
        except KeyboardInterrupt:
            run.close()
            if not run.has_result:
                raise
            progress.console.print("[yellow]Stopping: finishing with the best registration so far ...[/]")
    return run.result()


@contextmanager
def _bar(
    steps: Generator[Any, None, Any],
    quiet: bool,
    *columns: ProgressColumn,
    expand: bool = True,
    transient: bool = False,
) -> Iterator[tuple[Progress, TaskID]]:
    """Show a bar, of what is done and in words what is being done unless columns are given; then close the steps."""
    columns = columns or (
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=7)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
    )
    console = Console(stderr=True, quiet=quiet, highlight=False)
    with (
        Progress(*columns, console=console, disable=quiet, expand=expand, transient=transient) as progress,
        closing(steps),  # takes away what was begun when something stops it
    ):
        yield progress, progress.add_task("")


def follow_report(steps: Generator[ReportStep, None, Path], quiet: bool = False) -> Path:
    """Drive the writing of an inspection's report with a progress bar, and return the page."""
    with _bar(steps, quiet) as (progress, task):

        def show(step: ReportStep) -> None:
            progress.update(task, completed=step.step, total=step.total, description=escape(step.message))

        page = last(steps, show)
        progress.update(task, completed=progress.tasks[0].total, description="done")
        return page


def follow_cases(steps: Generator[CaseStep, None, list[CaseScore]], quiet: bool = False) -> list[CaseScore]:
    """Drive the scoring of cases with a progress bar, and return the scores; Ctrl-C keeps what is finished."""
    with _bar(steps, quiet) as (progress, task):

        def show(step: CaseStep) -> None:
            done = step.number if step.score is not None else step.number - 1
            words = escape(f"{step.name}: {step.message}")
            progress.update(task, completed=done, total=step.total, description=words)

        return last(steps, show)


def follow_cohort(steps: Generator[CohortStep, None, list[Outcome]], quiet: bool = False) -> list[Outcome]:
    """Drive a cohort with a line for every pair that failed, and return the outcomes; Ctrl-C keeps what is finished."""
    with _bar(steps, quiet, transient=True) as (progress, task):

        def show(step: CohortStep) -> None:
            progress.update(task, completed=step.done + step.failed, total=step.total, description=escape(step.message))
            if step.dashboard:
                progress.console.print(f"The workers can be watched at {escape(step.dashboard)}")
            if step.outcome is not None and step.outcome.status == "failed":
                progress.console.print(escape(step.message), style="red")

        return last(steps, show)


def print_cohort(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Print how the pairs ended, what was measured, and where it is."""
    from napari_ran.cases import summarise
    from napari_ran.cohort import PAIRS

    console = Console(highlight=False, soft_wrap=True)
    failed = [one for one in outcomes if one.status == "failed"]
    console.print(f"{len(outcomes) - len(failed)} of {len(outcomes)} pairs registered.")
    scores = [one.score for one in outcomes if one.score is not None]
    if scores:
        print_summary(summarise(scores), [folder / PAIRS, folder / "summary.md"])
    for one in failed:
        console.print(f"[red]failed:[/] {escape(one.name)}: {escape(one.reason)}")


def follow_benchmark(steps: Generator[BenchmarkStep, None, list[RowResult]], quiet: bool = False) -> list[RowResult]:
    """Drive a benchmark, with a line for every finished row, and return the rows; Ctrl-C keeps what is finished."""
    columns = (TimeElapsedColumn(), TextColumn("{task.description}", table_column=Column(no_wrap=True, ratio=1)))
    with _bar(steps, quiet, *columns, transient=True) as (progress, task):

        def show(step: BenchmarkStep) -> None:
            words = escape(f"{step.row}: {step.message}")
            progress.update(task, description=words)
            if step.result is not None:
                progress.console.print(words, style="red" if step.result.failure else "")

        return last(steps, show)


def follow_apply(steps: Generator[ApplyStep, None, list[Path]], quiet: bool = False) -> list[Path]:
    """Carry files, with a line for each that is done and a bar for one that takes many parts, and return them."""
    columns = (BarColumn(bar_width=16), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with _bar(steps, quiet, *columns, expand=False, transient=True) as (progress, task):
        progress.update(task, visible=False)

        def show(step: ApplyStep) -> None:
            words = escape(step.name)
            progress.update(
                task, completed=step.done, total=step.parts, description=words, visible=0 < step.done < step.parts
            )
            if step.path is not None:
                progress.console.print(f"{words} -> {escape(str(step.path))}", soft_wrap=True)
            if step.warning:
                progress.console.print(f"[yellow]{escape(step.warning)}[/]", soft_wrap=True)

        return last(steps, show)


def print_benchmark(folder: Path) -> None:
    """Print a benchmark's table, and where its files are."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(escape((folder / "table.md").read_text(encoding="utf-8")))
    console.print(f"Files: {escape(', '.join(str(path) for path in sorted(folder.iterdir()) if path.is_file()))}")


def print_summary(summary: Sequence[Summary], files: Sequence[Path]) -> None:
    """Print the means over all cases with their intervals, and where the tables are."""
    table = _table("measure", "cases", "mean", "95 % interval", end="unit")
    for one in summary:
        found = one.interval
        mean, low, high = (_number(value, one.unit) for value in (found.mean, found.low, found.high))
        table.add_row(one.measure, str(one.cases), mean, f"{low} to {high}", one.unit)
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"Tables: {', '.join(escape(str(file)) for file in files)}")


def print_page(page: Path, note: str = "") -> None:
    """Print where an inspection's page is, and what it lacks."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"Page: {escape(str(page))}")
    if note:
        console.print(f"- {escape(note)}")


def print_report(report: Report, exact: Sequence[Row] = ()) -> None:
    """Print the measures, what was chosen on the way, and the cost of each stage.

    Parameters
    ----------
    report : Report
        What was measured.
    exact : sequence of Row
        Further rows, from a known truth.
    """
    console = Console()
    table = _table("measure", "before", "after", end="unit")
    for name, before, after, unit in (*report.table(), *exact):
        table.add_row(name, _number(before, unit), _number(after, unit), unit)
    console.print(table)
    for message in report.messages:
        console.print(f"- {escape(message)}", highlight=False, soft_wrap=True)
    if report.stages:
        stages = ", ".join(f"{stage.name} {stage.seconds:.1f} s" for stage in report.stages)
        highest = max(report.stages, key=lambda stage: stage.peak_bytes)
        memory = "process memory" if highest.memory == "process" else "GPU memory"
        console.print(
            f"{report.seconds:.1f} s on {report.device} ({stages}); peak {memory} {highest.peak_bytes / 2**30:.2f} GiB",
            highlight=False,
            soft_wrap=True,
        )


def print_plan(plan: MemoryPlan) -> None:
    """Print what each stage of a run is predicted to need, and what was chosen."""
    table = _table("stage", "needs (GiB)", "free (GiB)", end="on")
    for name, needed, free, device in plan.table():
        table.add_row(name, f"{needed:.2f}", f"{free:.2f}", device)
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    for text in (plan.line, *plan.choices):
        console.print(f"- {escape(text)}")


def print_files(folder: Path) -> None:
    """Print where the results are."""
    files = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file()))
    Console().print(f"Saved in {escape(str(folder))}: {escape(files)}", highlight=False, soft_wrap=True)


def print_models(cards: Sequence[ModelCard]) -> None:
    """Print what is known about each of the weights that are installed."""
    console = Console(soft_wrap=True, highlight=False)
    if not cards:
        console.print("No weights are installed.")
    for card in cards:
        console.print(f"[bold]{escape(card.name)}[/]  {card.preset}, {card.ndim}-D, {card.licence}")
        figures = ", ".join(f"{name} {value:.3g}" for name, value in card.figures.items())
        trained = f"{card.steps} steps, {card.minutes:.0f} minutes, seed {card.seed}"
        facts = {
            "objective": card.objective,
            "data": card.data,
            "trained": trained,
            "held out": figures,
            "looks": card.looks,
            "limits": card.limits,
        }
        for name, text in facts.items():
            if text:
                console.print(f"  {name:<10}{escape(text)}")
        console.print()


def has_screen() -> bool:
    """Whether a window could be opened here."""
    return sys.platform in ("win32", "darwin") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def open_viewer(files: Sequence[Path], quiet: bool = False) -> bool:
    """Open napari on some files, with the Register widget, in a process of its own; return whether it was started.

    The viewer is never imported here: the command line works, and stays quick, without it.
    """
    console = Console(stderr=True, quiet=quiet, soft_wrap=True)
    if not has_screen():
        console.print("No screen here, so napari is not opened.", highlight=False)
        return False
    if importlib.util.find_spec("napari") is None:
        console.print('napari is not installed; to see the result in it: pip install "napari-ran[all]"', markup=False)
        return False
    command = [
        sys.executable,
        "-m",
        "napari",
        *map(str, files),
        "--plugin",
        "napari-ran",
        "--with",
        "napari-ran",
        "Register (RAN)",
    ]
    console.print("Opening napari ...", highlight=False)
    subprocess.Popen(command, start_new_session=True)
    return True


def _table(first: str, *numbers: str, end: str) -> Table:
    table = Table(first)
    for heading in numbers:
        table.add_column(heading, justify="right")
    table.add_column(end)
    return table


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    value = 0.0 if abs(value) < 1e-9 else value  # no minus before a zero
    small = unit == "%" and 0.00005 < abs(value) < 0.1  # a few folds must not look like none
    return f"{value:.4f}" if small else f"{value:.2f}" if unit else f"{value:.3f}"
