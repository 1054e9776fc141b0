"""What is being inspected, with the views of it that were made already, and the work that makes more."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import napari_ran as ran
from napari_ran.cache import Cache
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.lookup import Lookup
from napari_ran.introspect.quantities import QUANTITIES, StageMetrics
from napari_ran.webpage import provenance
from napari_ran.widgets._worker import Task, Work
from napari_ran.widgets.inspection.limits import Limits, Shares
from napari_ran.widgets.inspection.views import STYLES_OF_KIND, Choice, Picture, make_picture, thumbnail

ROOM = 512 * 2**20
"""Bytes of whole volumes that are kept for stepping back and forth while the viewer shows the volume."""

OF_CHANNELS = ("features", "refined")
"""Quantities with a part for each channel of the features; other parts are those of the heads."""


class Session:
    """One inspection with all that was found out about it so far.

    A view of a slice is made at once, in the GUI thread, as soon as it is `ready`: what holds for whole volumes, the
    limits that all stages share for example, is found once, in the background. A whole volume is always made there.

    Parameters
    ----------
    inspection : Inspection
        What is inspected.
    limits : Limits, optional
        Another inspection's contrast limits, to be comparable with it.
    """

    def __init__(self, inspection: Inspection, limits: Limits | None = None) -> None:
        self.inspection = inspection
        self.limits = Limits(inspection) if limits is None else limits
        self.shares = Shares(inspection)
        self.shelf = Cache(ROOM, least=1)  # whole views by what they show
        self.metrics: dict[tuple[int, str], StageMetrics] = {}
        self._prepared: set[tuple[Any, ...]] = set()
        self._one_at_a_time = threading.Lock()

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return int(self.inspection.get("field", 0).grid.ndim)

    def parts(self, quantity: str, stage: int) -> tuple[str, int]:
        """Return what the parts of a quantity are, heads or channels, and how many it has at a stage."""
        what = "Channel" if quantity in OF_CHANNELS else "Head"
        trace, level = self.inspection.trace, self.inspection.stages[stage].level
        if trace is None or level is None or QUANTITIES[quantity].kind in ("vector", "scalar", "image"):
            return what, 1
        info = trace.model.level_info[level]
        return what, info.channels if quantity in OF_CHANNELS else info.heads

    def ready(self, choice: Choice, whole: bool = False) -> bool:
        """Whether a view (of a slice, or of the whole volume) is to be had without much computing."""
        return self.shelf.find(choice) is not None or (not whole and self._needs(choice) in self._prepared)

    def picture(self, choice: Choice, whole: bool = False) -> Picture:
        """Return a view; slow unless it is `ready`, and then not for the GUI thread.

        Raises
        ------
        InputError
            The stage has no such quantity.
        """
        found: Picture | None = self.shelf.find(choice)
        if found is None and not whole and self.ready(choice):
            return self._made(choice)
        with self._one_at_a_time:
            found = self.shelf.find(choice)
            if found is not None:
                return found
            self.inspection.image(choice.direction)  # what it will be shown on, made here as well
            found = self._made(choice)
            if not Lookup(self.inspection, *choice.address).local:
                self.inspection.get(*choice.address)
            self._prepared.add(self._needs(choice))
            if whole:
                found.complete()
                self.shelf.put(choice, found, found.kept)
            return found

    def _made(self, choice: Choice) -> Picture:
        return make_picture(self.inspection, choice, self.limits, self.shares)

    def _needs(self, choice: Choice) -> tuple[Any, ...]:
        """Return what has to be known before a view is quickly made: most is common to the stages of a quantity."""
        limits = {"colour": choice.plane, "grid": None, "single": None}.get(choice.style, "all")
        own_stage = QUANTITIES[choice.quantity].kind == "masks" or self.inspection.trace is None
        return choice.quantity, choice.direction, limits, choice.stage if own_stage else None

    def allowed(self, choice: Choice) -> Choice | None:
        """Return the choice with a style that fits its quantity; None where the stage has no such quantity."""
        stages = self.inspection.stages
        if not 0 <= choice.stage < len(stages):
            return None
        if self.inspection.why_not(*choice.address):
            return None
        styles = STYLES_OF_KIND[QUANTITIES[choice.quantity].kind]
        return choice if choice.style in styles else replace(choice, style=styles[0])

    def has(self, choice: Choice) -> bool:
        """Whether the stage exists in this direction at all."""
        return not self.inspection.why_not("field", choice.stage, choice.direction)

    def neighbours(self, choice: Choice) -> list[Choice]:
        """Return the same view of the stages beside, the next one first."""
        beside = (replace(choice, stage=choice.stage + step) for step in (1, -1))
        return [found for found in map(self.allowed, beside) if found is not None]


def picture_work(session: Session, choices: Iterable[Choice], whole: bool = False) -> Work:
    """Return the work of making views: it yields each; what cannot be made raises only when it is the first."""

    def work(task: Task) -> Generator[Picture, None, None]:
        for number, choice in enumerate(choices):
            try:
                yield session.picture(choice, whole)
            except ran.InputError:
                if number == 0:
                    raise

    return work


def thumbnail_work(session: Session, stage: int, direction: str, quantities: Iterable[str]) -> Work:
    """Return the work of making thumbnails: it yields (quantity, stage, direction, RGB array)."""

    def work(task: Task) -> Generator[tuple[str, int, str, NDArray[np.uint8]], None, None]:
        for quantity in quantities:
            choice = Choice(quantity, stage, direction)
            yield quantity, stage, direction, thumbnail(session.inspection, choice, session.limits)

    return work


def metrics_work(session: Session, stage: int, direction: str) -> Work:
    """Return the work of measuring a stage: it returns ((stage, direction), metrics)."""

    def work(task: Task) -> Generator[Any, None, tuple[tuple[int, str], StageMetrics]]:
        yield from ()
        key = (stage, direction)
        if key not in session.metrics:
            session.metrics[key] = session.inspection.metrics(stage, direction)
        return key, session.metrics[key]

    return work


def loading_work(folder: Path) -> Work:
    """Return the work of reading a saved result; it returns the inspection."""

    def work(task: Task) -> Generator[Any, None, Inspection]:
        yield from ()
        inspection = Inspection.load(folder)
        inspection.details = provenance(folder)
        return inspection

    return work
