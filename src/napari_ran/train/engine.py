"""The training loop: `fit` yields an event per step and can be stopped, killed and resumed at any of them.

Every batch is a function of (seed, step), so nothing but the step number has to be remembered for the data; weights,
their running mean and the optimiser are in the checkpoint. A run that was killed and resumed therefore takes the same
steps as one that was not, and several processes take those of one process with all their pairs.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from napari_ran.config import TrainConfig
from napari_ran.config.training import BudgetSettings
from napari_ran.errors import InputError, OutputError, brief
from napari_ran.io.checkpoints import looks_coarsely
from napari_ran.owners import locked
from napari_ran.train.checkpoint import LAST, State, has_checkpoint, newest_checkpoint, refuse_begun, write_checkpoint
from napari_ran.train.events import TrainEvent, TrainFinished, TrainNote, TrainStarted, TrainStep, Validated, Validation
from napari_ran.train.keeping import best_name, keep_pair, keep_snapshot, save_best
from napari_ran.train.launch import fabric_for, first_levels, held, laid_out, network_for, parts_to_hold
from napari_ran.train.log import TrainLog
from napari_ran.train.looking import multiple_of
from napari_ran.train.objective import Trained, check_objective
from napari_ran.train.optimisation import Optimisation, learning_rate
from napari_ran.train.sources import Batches, Sources, find_sources
from napari_ran.train.subjects import TrainPair
from napari_ran.train.validation import figure_of, validate
from napari_ran.train.wire import CONFIG

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_COUNTERS = ("step", "seconds", "skipped", "bad", "lowest", "stale")

LoggedT = TypeVar("LoggedT", TrainStarted, TrainStep, Validated)


def fit(
    config: TrainConfig,
    folder: str | Path,
    resume: bool = False,
    *,
    model: nn.Module | None = None,
    pairs: Sequence[TrainPair] | None = None,
    validation: Sequence[TrainPair] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Generator[TrainEvent]:
    """Train a network, yielding what happens.

    `folder` receives ``config.yaml``, ``log.csv``, ``validation.csv``, the checkpoints ``last.ckpt`` and
    ``previous.ckpt``, the weights ``best.safetensors`` with their card, and, if wanted, ``snapshots`` with a validation
    pair to look at. Closing the generator writes a checkpoint; killing the process loses at most the steps since the
    last one.

    Parameters
    ----------
    config : TrainConfig
        What to do.
    folder : path
        Where to keep everything; one process at a time may train in it.
    resume : bool
        Go on from the checkpoint in `folder` where there is one.
    model : nn.Module, optional
        A network to train in place of the one that the config names. It is called as `RAN` is, and holds the averaged
        weights when the run has ended.
    pairs, validation : sequence of TrainPair, optional
        Pairs in memory to train on and to validate with, in place of those that the config names.
    stop : callable, optional
        Asked after every step; the run ends when it says yes in any of several processes, which cannot be closed one
        by one.

    Raises
    ------
    InputError
        The settings, the data or the checkpoints cannot be used, or the run diverges.
    OutputError
        The folder may not be written to.
    """
    folder = Path(folder).expanduser()
    fabric = fabric_for(config.compute)
    with ExitStack() as stack:
        if fabric.is_global_zero:
            stack.enter_context(locked(folder))
        refuse_begun(folder, resume)
        stack.enter_context(_deterministic(config.compute.deterministic))
        network = model if model is not None else network_for(config.model, config.seed)
        ndim = max(parameter.ndim for parameter in network.parameters()) - 2
        found = find_sources(config, ndim, fabric.world_size, pairs, validation)
        run = _Run(fabric, network, config, folder, found, stop or (lambda: False))
        yield from run.events(resume)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _clock_for(budget: BudgetSettings, device: torch.device) -> Callable[[], float]:
    """Return the clock of a run, in seconds."""
    if budget.clock == "wall":
        return time.perf_counter
    if device.type != "cpu":
        raise InputError(
            "budget.clock", f"a processor's time says nothing about a run on {device}", "Set budget.clock=wall"
        )
    return time.process_time


class _Run:
    """One run: its counters, and the story from the first event to the last."""

    def __init__(
        self,
        fabric: Fabric,
        network: nn.Module,
        config: TrainConfig,
        folder: Path,
        sources: Sources,
        stop: Callable[[], bool],
    ) -> None:
        self.fabric, self.network, self.config, self.folder = fabric, network, config, folder
        self.source = sources.training
        self.held_out = sources.validation[fabric.global_rank :: fabric.world_size]
        self.place = sources.place
        self.notes = sources.notes
        self.options, left_out = first_levels(network, config.model.levels)
        laid_out(held(network, (*parts_to_hold(network, config.model), *left_out)), config.compute.channels_last)
        self.coarse = looks_coarsely(network, config.model.coarse_looks)
        trained = Trained(network, config.objective, self.options, self.coarse)
        self.optimisation = Optimisation(fabric, trained, config)
        self.step, self.seconds, self.skipped, self.bad = 0, 0.0, 0, 0
        self.lowest, self.stale, self.saved = math.inf, 0, -1
        self._uncounted = 0.0
        self._now = _clock_for(config.budget, fabric.device)
        self._stop, self._asked_to_stop = stop, False

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        return self.config.budget.spent(self.step, self.seconds)

    @property
    def reason(self) -> str | None:
        """Why the run is over, or None."""
        patience = self.config.validation.patience
        if patience is not None and self.stale >= patience:
            return "early stop"
        return "budget" if self.progress >= 1 else "closed" if self._asked_to_stop else None

    def events(self, resume: bool) -> Generator[TrainEvent]:
        """Yield the whole run."""
        every, save_every = self.config.validation.every, self.config.validation.save_every
        if resume and has_checkpoint(self.folder):
            self.load()
        check_objective(self.config.objective, self.source.pair(0))
        log = TrainLog(self.folder, self.step) if self.fabric.is_global_zero else None
        if self.fabric.is_global_zero:
            self.config.to_yaml(self.folder / CONFIG)
            self._keep_start()
        batches = self._batches()
        try:
            yield self._logged(log, TrainStarted(self.config, self.step, self._measured(None)))
            if self.step == 0 and self.config.model.start != "scratch":
                yield self._logged(log, self.validated())  # the weights as they are: kept until something is better
            while not self.reason:
                yield self._logged(log, self.advance(batches))
                due = self.step % every == 0 or self.reason not in (None, "closed")
                check = self._logged(log, self.validated()) if due else None
                if self.step % (save_every or every) == 0 or self.reason:
                    self.save()  # after the log and before the event: who sees it can rely on both
                if check is not None:
                    yield check
                yield from self._noted()
        except GeneratorExit:
            self.save()
            raise
        finally:
            batches.close()
            if log is not None:
                log.close()
        self.network.load_state_dict(self.optimisation.average.state_dict())
        yield TrainFinished(self.step, self.seconds, self.reason, self.best, self.folder / LAST)

    @property
    def best(self) -> Path:
        """The file of the best weights."""
        return self.folder / best_name(self.network)

    def advance(self, batches: Batches) -> TrainStep:
        """Take one step."""
        with self._clock():
            data, waited = batches.next()
            rate = learning_rate(self.config, self.step, self.progress)
            taken = self.optimisation.step(data, rate, self.step)
            self.step += 1
            self.skipped += not taken.finite
            self.bad = 0 if taken.finite else self.bad + 1
        self._agree()
        if self.bad >= self.config.optimiser.not_finite:
            raise InputError(
                "optimiser.rate",
                f"the training diverged: {self.bad} steps in a row up to step {self.step} had no finite gradient",
                f"Lower the rate or lengthen the warm-up; what was kept is in {self.folder}",
            )
        return TrainStep(self.step, self.seconds, taken.loss, taken.terms, taken.gradient, rate, self.skipped, waited)

    def validated(self) -> Validated:
        """Measure the averaged weights, and keep them if they are the best."""
        with self._clock():
            found = self._measured(self.optimisation.average)
            value = figure_of(found, self.config.validation.best)[1]
            better = value < self.lowest
            self.lowest, self.stale = (value, 0) if better else (self.lowest, self.stale + 1)
            if self.fabric.is_global_zero:
                with self._forgiven():
                    if better:
                        save_best(self.optimisation.average, self.best, self.config, self.step, self.seconds, found)
                    keep_snapshot(self.optimisation.average, self.folder, self.config, self.step, self.seconds)
        return Validated(self.step, self.seconds, found, better, self.best if better else self.folder / LAST)

    def save(self) -> None:
        """Write a checkpoint, unless this step has one; a full disk is noted, and keeps the one before."""
        if self.saved == self.step or not self.fabric.is_global_zero or sys.is_finalizing():
            return
        with self._clock(), self._forgiven():
            write_checkpoint(self.state(), self.folder)
            self.saved = self.step

    def state(self) -> State:
        """Return what a checkpoint holds."""
        counters = {name: getattr(self, name) for name in _COUNTERS}
        return counters | {"config": self.config.to_dict()} | self.optimisation.state()

    def load(self) -> None:
        """Go back to the newest checkpoint that can be read."""
        state, note = newest_checkpoint(self.folder)
        if note:
            self.notes.append(note)
        try:
            before = TrainConfig(**state["config"]).to_dict()
            counters = {name: type(getattr(self, name))(state[name]) for name in _COUNTERS}
            if not 0 <= counters["seconds"] < math.inf or math.isnan(counters["lowest"]):
                raise ValueError("its counters are no numbers")
            self.optimisation.load(state)
        except Exception as error:  # a state of other parts makes PyTorch raise nearly anything
            reason = brief(next(iter(str(error).splitlines()), type(error).__name__))
            raise InputError(
                "folder", f"its checkpoint is of another network ({reason})", "Choose another folder"
            ) from None
        changed = [name for name, value in self.config.to_dict().items() if before[name] != value and name != "budget"]
        if changed:
            self.notes.append(f"Going on with settings that differ from those of the first part: {', '.join(changed)}.")
        for name, value in counters.items():
            setattr(self, name, value)
        self.saved = self.step

    def _measured(self, network: nn.Module | None) -> Validation:
        with self.fabric.autocast():
            called = None if network is None else partial(network, **self.options)
            return validate(
                called,
                self.held_out,
                self.config.objective,
                self.fabric.device,
                self.optimisation.add,
                self.coarse,
                multiple_of(self.network),
            )

    def _keep_start(self) -> None:
        """Keep what the course of the run is looked at with: a validation pair, and the weights of the start."""
        if not self.config.validation.snapshots:
            return
        with self._forgiven():
            keep_pair(self.held_out[0], self.place, self.folder)
            if self.step == 0:
                keep_snapshot(self.optimisation.average, self.folder, self.config, 0, 0.0)

    def _batches(self) -> Batches:
        rank, world = self.fabric.global_rank, self.fabric.world_size
        return Batches(self.source, self.config, self.step, rank, world, self.fabric.device.type == "cuda")

    def _noted(self) -> Iterator[TrainNote]:
        """Yield what has been noticed since the last time, by this run or by its data."""
        for notes in (self.notes, self.source.notes):
            while notes:
                yield TrainNote(self.step, notes.pop(0))

    def _logged(self, log: TrainLog | None, event: LoggedT) -> LoggedT:
        if log is not None:
            with self._forgiven():
                log.write(event)
        return event

    @contextmanager
    def _clock(self) -> Iterator[None]:
        """Take the time of the body, to be counted with the next step."""
        start = self._now()
        yield
        self._uncounted += self._now() - start

    def _agree(self) -> None:
        """Count the time as the first process took it, and stop if any is asked to: all end at the same step."""
        mine = self._uncounted if self.fabric.is_global_zero else 0.0
        seconds, asked = self.optimisation.add(torch.tensor([mine, float(self._stop())])).tolist()
        self.seconds += seconds
        self._asked_to_stop = asked > 0
        self._uncounted = 0.0

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        """Turn a file that cannot be written into a note: the training goes on, and what was there is kept."""
        try:
            yield
        except OSError as error:  # OutputError is one
            text = str(error) if isinstance(error, OutputError) else f"The log could not be written ({error.strerror})."
            if text not in self.notes:
                self.notes.append(text)
