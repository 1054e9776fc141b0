"""Where batches come from: a pair for every number of an endless sequence, prepared in the background.

Every pair is a function of (seed, number) alone. A run that was killed therefore goes on with the very pairs that it
would have seen, and several processes together see the pairs that one process with a larger batch would see.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from napari_ran.config import TrainConfig
from napari_ran.config.generated import PairConfig
from napari_ran.config.training import DataSettings
from napari_ran.data import Grid
from napari_ran.synthetic.generator import draw_pair, generator_for, render_pair
from napari_ran.train.augment import augmented, draw_augmentation
from napari_ran.train.batch import PairBatch, stack
from napari_ran.train.preparation import Preparation, load_label_map
from napari_ran.train.subjects import TrainPair, cohort_of, find_cohort, find_label_maps, too_many

HELD_OUT = 500_009
"""Added to the seed for generated pairs that a run is measured on."""


class PairSource(Protocol):
    """An endless sequence of pairs."""

    notes: list[str]
    count: int | None
    """Number of different pairs, None where there is no end of them."""

    def pair(self, index: int) -> PairBatch:
        """Return pair number `index`, batch size 1."""

    def grid(self, index: int) -> Grid:
        """Return the grid of pair number `index`, in the fixed image's world."""


class GeneratedSource:
    """Generated pairs; those of one group have one shape, so that they can be stacked."""

    count: int | None = None

    def __init__(self, config: PairConfig, seed: int, group: int = 1, label_maps: Sequence[Tensor] = ()) -> None:
        self.config, self.seed, self.group, self.label_maps = config, seed, group, label_maps
        self.notes: list[str] = []

    def pair(self, index: int) -> PairBatch:
        """Return generated pair number `index`."""
        record = draw_pair(self.config, generator_for(self.seed, index), self._shape(index), self.label_maps)
        made = render_pair(record, self.label_maps)
        return PairBatch(
            made.fixed,
            made.moving,
            (1.0,) * record.ndim,
            made.fixed_labels.int(),
            made.moving_labels.int(),
            made.truth,
        )

    def grid(self, index: int) -> Grid:
        """Return a grid of the shape of pair number `index`, one mm a voxel."""
        return Grid.from_spacing(self._shape(index))

    def _shape(self, index: int) -> tuple[int, ...]:
        shapes = self.config.shapes
        return shapes[int(torch.randint(len(shapes), (), generator=generator_for(self.seed + 1, index // self.group)))]


class CohortSource:
    """Pairs of subjects: a list in a new order every time round, or any two subjects, drawn independently."""

    def __init__(self, preparation: Preparation, seed: int, shuffle: bool = True) -> None:
        self.preparation, self.seed, self.shuffle = preparation, seed, shuffle
        self.notes = preparation.notes
        self.count = None if preparation.cohort.pairs is None else len(preparation.cohort.pairs)

    def pair(self, index: int) -> PairBatch:
        """Return the pair that is drawn for number `index`."""
        return self.preparation.pair(*self._drawn(index))

    def grid(self, index: int) -> Grid:
        """Return where in the world pair number `index` lies."""
        return self.preparation.grid(*self._drawn(index))

    def _drawn(self, index: int) -> tuple[int, int]:
        """Return the fixed and the moving subject of pair number `index`."""
        cohort = self.preparation.cohort
        if cohort.pairs is None:
            count = len(cohort.subjects)
            drawn = int(torch.randint(count * (count - 1), (), generator=generator_for(self.seed, index)))
            fixed, further = divmod(drawn, count - 1)
            return fixed, (fixed + 1 + further) % count
        count = len(cohort.pairs)
        turn, place = divmod(index, count)
        if self.shuffle:
            place = int(torch.randperm(count, generator=generator_for(self.seed, turn))[place])
        return cohort.pairs[place]


class Batches:
    """Background preparation of the batches of consecutive steps.

    Parameters
    ----------
    source : PairSource
        The pairs.
    config : TrainConfig
        Batch, augmentation and seed.
    first : int
        First step.
    rank, world : int
        Number of this process and of all processes.
    pin : bool
        Whether to put the batches into page-locked memory.
    """

    def __init__(
        self, source: PairSource, config: TrainConfig, first: int = 0, rank: int = 0, world: int = 1, pin: bool = False
    ) -> None:
        self.source, self.config = source, config
        self.rank, self.world, self.pin = rank, world, pin
        self._ready: queue.Queue[list[PairBatch] | BaseException] = queue.Queue(config.data.ahead)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(first,), name="training data", daemon=True)
        self._thread.start()

    def next(self) -> tuple[list[PairBatch], float]:
        """Return the batches of the next step, one per pass, and the seconds that were spent waiting for them."""
        start = time.perf_counter()
        found = self._ready.get()
        if isinstance(found, BaseException):
            self.close()
            raise found
        return found, time.perf_counter() - start

    def close(self) -> None:
        """End the background work."""
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.05)

    def at(self, step: int) -> list[PairBatch]:
        """Return the batches of a step, one per pass, augmented."""
        size, passes = self.config.optimiser.batch, self.config.optimiser.accumulate
        found = []
        for number in range(passes):
            first = ((step * passes + number) * self.world + self.rank) * size
            batch = stack([self._augmented(index) for index in range(first, first + size)])
            found.append(batch.pinned() if self.pin else batch)
        return found

    def _augmented(self, index: int) -> PairBatch:
        pair = self.source.pair(index)
        generator = generator_for(self.config.seed + 2, index)
        return augmented(draw_augmentation(self.config.augment, pair.shape, generator), pair)

    def _work(self, step: int) -> None:
        try:
            while not self._closed.is_set():
                self._put(self.at(step))
                step += 1
        except BaseException as error:  # handed to the thread that waits
            self._put(error)

    def _put(self, item: list[PairBatch] | BaseException) -> None:
        while not self._closed.is_set():
            try:
                self._ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue


@dataclass(frozen=True, eq=False)
class Sources:
    """The training pairs, the validation pairs, where the first of these lies, and what is to be said about them."""

    training: PairSource
    validation: list[PairBatch]
    place: Grid
    notes: list[str]


def find_sources(
    config: TrainConfig,
    ndim: int,
    world: int = 1,
    pairs: Sequence[TrainPair] | None = None,
    validation: Sequence[TrainPair] | None = None,
) -> Sources:
    """Return where a run's pairs come from, and the fixed set that it is measured on.

    Parameters
    ----------
    config : TrainConfig
        All settings.
    ndim : int
        Number of axes that the network takes.
    world : int
        Number of processes.
    pairs, validation : sequence of TrainPair, optional
        Pairs in memory, in place of those that the config names.
    """
    wanted, seed = config.validation, config.seed + HELD_OUT
    settings = config.data if pairs is None else config.data.replace(source="pairs")
    own = validation is None and wanted.data is None
    held = wanted.holdout if own else 0
    training: PairSource
    checked: PairSource
    notes: list[str] = []
    if settings.source == "generated":
        group = config.optimiser.batch * config.optimiser.accumulate * world
        maps = _label_maps(settings)
        if held and held >= len(maps):
            raise too_many(held, len(maps), "label maps")
        training = GeneratedSource(settings.generated, config.seed, group, maps[: len(maps) - held])
        checked = GeneratedSource(settings.generated, seed, label_maps=maps[-held:])  # all of them if none is held out
    else:
        cohort, rest = find_cohort(settings, pairs).split(held)
        training = CohortSource(Preparation(cohort, settings, ndim), config.seed)
        if own and rest is None:
            notes.append("There is no validation data: the training pairs themselves are measured.")
        checked = CohortSource(Preparation(rest or cohort, settings, ndim), seed, shuffle=False)
    if validation is not None:
        data = settings.replace(source="pairs")
        checked = CohortSource(Preparation(cohort_of(validation), data, ndim), seed, shuffle=False)
    elif wanted.data is not None:
        checked = _of(wanted.data, ndim, seed)
    found = [checked.pair(index) for index in range(min(wanted.pairs, checked.count or wanted.pairs))]
    return Sources(training, found, checked.grid(0), notes + checked.notes)


def _of(data: DataSettings, ndim: int, seed: int) -> PairSource:
    if data.source == "generated":
        return GeneratedSource(data.generated, seed, label_maps=_label_maps(data))
    return CohortSource(Preparation(find_cohort(data), data, ndim), seed, shuffle=False)


def _label_maps(data: DataSettings) -> list[Tensor]:
    return [load_label_map(file, data.spacing) for file in find_label_maps(data)]
