"""The story of a benchmark: check everything, train what has no weights, score every row, write the tables.

Whatever is finished is kept in the folder, so that a benchmark can be made in pieces and goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_ran.benchmark.rows import Row, RowResult, rows_of, solver_of
from napari_ran.benchmark.tables import write_benchmark
from napari_ran.cases import Case, file_name, finished_cases, read_cases, score_cases
from napari_ran.config import TrainConfig
from napari_ran.config.benchmark import BenchmarkConfig, SystemEntry
from napari_ran.errors import InputError, OutputError
from napari_ran.io.checkpoints import SUFFIX, load_network
from napari_ran.peers import PeerError, check_peer
from napari_ran.steps import relay
from napari_ran.train import TrainFinished, TrainStep, Validated, fit
from napari_ran.train.parts import Part, parts_of
from napari_ran.writing import replacing

TRAINING, SCORES = "training", "scores"
"""Folders of the trainings and of the scores."""

FINISHED = "finished"
"""Empty file in the folder of a training, or of its part, that has come to its end."""


@dataclass(frozen=True)
class BenchmarkStep:
    """Progress: what is being done for which row, and the row's result once it is there."""

    row: str
    message: str
    result: RowResult | None = None


def run_benchmark(
    config: BenchmarkConfig, folder: str | Path, only: Collection[str] = ()
) -> Generator[BenchmarkStep, None, list[RowResult]]:
    """Compare systems and tools as the settings say.

    Parameters
    ----------
    config : BenchmarkConfig
        What to compare.
    folder : path
        Receives trainings and scores; tables after every row, and figures at the end.
    only : collection of str
        Names of systems, tools or rows to do now; all when empty. Rows that were finished before are in the tables too.

    Yields
    ------
    BenchmarkStep
        Closing the generator keeps what is finished, and a checkpoint of the training under way.

    Returns
    -------
    list of RowResult
        The finished rows and those that failed.

    Raises
    ------
    InputError
        Before anything starts: a file is missing, a system or tool is not known or not installed, weights cannot be
        read.
    """
    folder = Path(folder).expanduser()
    benchmark = _Benchmark(config, folder)
    chosen = benchmark.chosen(only)
    benchmark.check(chosen)
    with replacing(folder / "benchmark.yaml", "the settings", make_folder=True) as part:
        part.write_text(config.to_yaml(), encoding="utf-8")
    results: dict[str, RowResult] = {}
    for row in benchmark.rows:
        result = benchmark.finished(row)
        if result is None and row in chosen:
            result = yield from benchmark.result(row)
            write_benchmark([*results.values(), result], folder, config, figures=False)
        if result is not None:
            results[row.name] = result
            yield BenchmarkStep(row.name, result.failure or "done", result)
    write_benchmark(list(results.values()), folder, config)
    return list(results.values())


class _Benchmark:
    """What is to be done, and what is known of each system so far."""

    def __init__(self, config: BenchmarkConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.rows = rows_of(config)
        self.cases: list[Case] = read_cases(config.cases)
        self._failures: dict[str, InputError] = {}

    def chosen(self, only: Collection[str]) -> list[Row]:
        """Return the rows to do now."""
        if not only:
            return self.rows
        named = {row.name: {row.name, *([row.system.name] if row.system else [])} for row in self.rows}
        known = set().union(*named.values())
        unknown = sorted(set(only) - known)
        if unknown:
            raise InputError("only", f"there is no '{unknown[0]}'", f"Names are {', '.join(sorted(known))}")
        return [row for row in self.rows if named[row.name] & set(only)]

    def check(self, rows: list[Row]) -> None:
        """Refuse everything that can be refused before the long work."""
        for row in rows:
            if row.peer is not None:
                check_peer(row.peer.tool)
            elif row.system is not None:
                self._check(row.system)
        names = [row.name for row in self.rows]
        if self.config.reference is not None and self.config.reference not in names:
            raise InputError("reference", f"there is no row '{self.config.reference}'", f"Rows are {', '.join(names)}")

    def _check(self, entry: SystemEntry) -> None:
        if entry.weights is None:
            self._parts(entry)
        elif entry.weights != "none":
            load_network(entry.weights)

    def finished(self, row: Row) -> RowResult | None:
        """Return a row's result if nothing of it has to be made."""
        weights = self._weights(row)
        if row.system is not None and weights is None:
            return None
        scores = finished_cases(self.cases, self._place(row), solver_of(row, self.config, weights))
        return None if scores is None else RowResult(row, tuple(scores), parameters=_parameters(weights))

    def result(self, row: Row) -> Generator[BenchmarkStep, None, RowResult]:
        """Train a row's network if need be, and score the row; what fails is told by the row and stops no other."""
        try:
            if row.system is not None and row.system.weights is None:
                yield from self._train(row.system)
            weights = self._weights(row)
            steps = score_cases(self.cases, self._place(row), solver_of(row, self.config, weights))
            total = len(self.cases)
            scores = yield from relay(
                steps, lambda step: BenchmarkStep(row.name, f"{step.name} ({step.number} of {total}): {step.message}")
            )
        except OutputError:
            raise
        except (PeerError, InputError) as error:
            return RowResult(row, failure=str(error))
        return RowResult(row, tuple(scores), parameters=_parameters(weights))

    def _train(self, entry: SystemEntry) -> Generator[BenchmarkStep, None, None]:
        """Train a system through all parts, going on where it was stopped; a failure is remembered."""
        if entry.name in self._failures:
            raise self._failures[entry.name]
        parts = self._parts(entry)
        try:
            for number, part in enumerate(parts, start=1):
                where = f"part {number} of {len(parts)}, " if len(parts) > 1 else ""
                done = part.folder / FINISHED
                if done.exists():
                    continue
                with closing(fit(part.config, part.folder, resume=True)) as events:
                    for event in events:
                        if isinstance(event, TrainStep | Validated):
                            share = min(1.0, part.config.budget.spent(event.step, event.seconds))
                            yield BenchmarkStep(entry.name, f"training: {where}step {event.step}, {share:.0%}")
                        if isinstance(event, TrainFinished):
                            done.touch()
        except InputError as error:
            self._failures[entry.name] = error
            raise

    def _parts(self, entry: SystemEntry) -> list[Part]:
        files = [Path(name) for name in self.config.training]
        settings: dict[str, Any] = {"model": {"preset": entry.name}} if "model" not in entry.training else {}
        settings |= entry.training
        configs = [TrainConfig.from_yaml(file).replace(**settings) for file in files]
        return parts_of(files, configs, self.folder / TRAINING / file_name(entry.name), resume=True)

    def _weights(self, row: Row) -> str | None:
        """Return the weights of a row's network, as far as there are some."""
        if row.system is None:
            return "none"
        if row.system.weights is not None:
            return row.system.weights
        best = self._parts(row.system)[-1].folder / f"best{SUFFIX}"
        return str(best) if best.is_file() and (best.parent / FINISHED).exists() else None

    def _place(self, row: Row) -> Path:
        return self.folder / SCORES / file_name(row.name)


def _parameters(weights: str | None) -> int | None:
    """Return the number of trained values in a file of weights."""
    if weights in (None, "none"):
        return None
    return sum(parameter.numel() for parameter in load_network(str(weights)).parameters())
