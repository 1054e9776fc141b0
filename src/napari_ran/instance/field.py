"""Instance optimisation of the displacement field: a discrete search, then Adam from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from napari_ran import functional, losses
from napari_ran.config import InstanceConfig
from napari_ran.instance.events import InstanceResult, InstanceStep
from napari_ran.instance.folds import unfold
from napari_ran.instance.guide import Guide
from napari_ran.instance.known import Adam
from napari_ran.instance.pyramid import Pyramid, search_grids
from napari_ran.instance.regular import Regulariser
from napari_ran.instance.search import consistent, coupled_convex
from napari_ran.instance.similarity import Measure, choose_similarity
from napari_ran.instance.terms import Sampled, Term

SEARCH_STEPS = 20
"""Share of the progress that the preparation and the discrete search take, in steps."""

CHECK_EVERY = 10
"""Steps between two checks of the objective."""

PATIENCE = 3
"""The last level ends after this many checks without a gain."""

COARSE_PATIENCE = 2
"""The levels before it, which only prepare it, end after this many."""

GAIN = 1e-3
"""Least decrease of the objective that counts as a gain."""

TINY = 1e-4
"""Added to the dissimilarity before its logarithm, so that equal images end the race."""


class Rate(NamedTuple):
    """How the step size falls over a level, as shares of the learning rate: from `first` to `last`, bent by `power`."""

    first: float
    last: float
    power: int

    def after(self, share: float) -> float:
        """Return the rate after a share of the steps."""
        return self.last + (self.first - self.last) * (1 - share) ** self.power


USUAL, FINE = Rate(1.0, 0.1, 1), Rate(0.7, 0.014, 2)
"""Usually; and on the last of several levels, where a step compares only some voxels: small steps end better there."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A field with its value.

    Attributes
    ----------
    control : (1, D, *K) tensor
        Displacement in mm on some grid that covers the working grid's box.
    similarity, loss, measures
        As in `InstanceStep`.
    """

    control: Tensor
    similarity: float
    loss: float
    measures: dict[str, float] = field(default_factory=dict)


class Judge:
    """Values any field by one and the same part of the images at full resolution."""

    def __init__(self, pyramid: Pyramid, term: Term) -> None:
        self._pyramid, self._term, self._part = pyramid, term, term.draw()
        self._shape = pyramid.control_shape(1)
        self._regulariser = pyramid.regulariser(self._shape)

    @torch.no_grad()
    def __call__(self, control: Tensor) -> Candidate:
        """Return the field together with its similarity and loss."""
        resized = functional.resize(control, self._shape)
        loss, dissimilarity = _objective(self._pyramid, self._term, self._part, resized, self._regulariser)
        measures = {guide.name: guide.measure(resized) for guide in self._pyramid.guides}
        return Candidate(control, 1 - float(dissimilarity), float(loss), measures)


def _objective(
    pyramid: Pyramid, term: Term, part: Sampled, control: Tensor, regulariser: Regulariser
) -> tuple[Tensor, Tensor]:
    """Return the loss, log dissimilarity + smoothness + folds, and the dissimilarity.

    The logarithm makes the balance independent of how much noise keeps the images apart, and so of the modality.
    """
    displacement = pyramid.to_voxels(part.displacement(control, term.shape), term.shape)
    dissimilarity = term(part, displacement)
    loss = torch.log(dissimilarity + TINY) + regulariser(control)
    for guide in pyramid.guides:
        loss = loss + guide(control)
    return loss, dissimilarity.detach()


class _Run:
    """The state that the events of one optimisation share."""

    def __init__(self, pyramid: Pyramid, start: Candidate, total: int, decided: bool) -> None:
        self.pyramid, self.best, self.total = pyramid, start, total
        self.step, self.decided = 0, decided

    def consider(self, candidate: Candidate) -> None:
        if candidate.loss < self.best.loss:
            self.best = candidate

    def event(self, level: int, message: str) -> InstanceStep:
        best = self.best

        def best_field() -> Tensor:
            with torch.no_grad():
                return self.pyramid.field_at_full_resolution(best.control)

        # values by another measure than the last one would not compare with those that follow
        similarity, loss = (best.similarity, best.loss) if self.decided else (math.nan, math.inf)
        return InstanceStep(
            min(self.step, self.total), self.total, level, similarity, loss, message, best_field, best.measures
        )


def optimise_at_once(
    fixed: Tensor,
    moving: Tensor,
    initial: Tensor | None,
    config: InstanceConfig,
    spacing: Sequence[float],
    guides: tuple[Guide, ...] = (),
    masks: tuple[Tensor | None, Tensor | None] = (None, None),
    proposal: Tensor | None = None,
) -> Generator[InstanceStep, None, InstanceResult]:
    """Fit a displacement field to one pair.

    A discrete search proposes a field, the best of it and of the first guesses is refined by Adam from coarse to fine,
    and what still folds is smoothed. The same input gives the same field; the global random state is not used.

    Parameters
    ----------
    fixed, moving : (1, 1, *S) tensors
        Intensities in [0, 1] on one grid, roughly aligned.
    initial : (1, D, *S) tensor or None
        A first guess in voxels, such as a network's field.
    config : InstanceConfig
        What was left out is chosen here.
    spacing : sequence of D floats
        Voxel size in mm.
    guides : tuple of Guide
        What leads the fit beside the images.
    masks : pair of (1, 1, *S) tensor or None
        Where the fixed and the moving image count: 1, elsewhere 0.
    proposal : (1, D, *S) tensor, optional
        Another first guess in voxels, from a coarser grid. What a search finds from zero is tried beside it.

    Yields
    ------
    InstanceStep
        Several a second; on volumes of a few million voxels a few single steps take about a second.

    Returns
    -------
    InstanceResult
        Closing the generator early loses nothing: the last event's `best_field` stays valid.
    """
    # whether the contrasts agree shows once the images are roughly aligned; the search compares by MIND anyhow
    measure: Measure = "mind" if config.similarity == "auto" else config.similarity
    messages: tuple[str, ...] = ()
    pyramid = Pyramid(fixed, moving, spacing, measure, config.resolved(similarity=measure))
    pyramid.guides = guides
    pyramid.look_only(*masks)
    factors = _factors(pyramid)
    zero = fixed.new_zeros((1, pyramid.ndim, *pyramid.control_shape(1)))
    guesses = [pyramid.to_mm(known.detach(), pyramid.shape) for known in (initial, proposal) if known is not None]
    start = zero if initial is None else guesses[0]
    if proposal is None:
        guesses.append(zero)
    total, decided = SEARCH_STEPS + len(factors) * pyramid.steps, config.similarity != "auto"
    run = _Run(pyramid, Candidate(start, math.nan, math.inf), total, decided)

    if config.search or measure == "mind":
        for message in pyramid.describe():
            yield run.event(-1, message)
    term = pyramid.term(pyramid.shape)
    yield run.event(-1, "preparing the comparison")
    judge = Judge(pyramid, term)
    before = judge(start)
    for guess in guesses:
        run.consider(before if guess is start else judge(guess))
    yield run.event(-1, "comparing first guesses")
    rival: Candidate | None = None
    if config.search and proposal is not None:
        scout = _Run(pyramid, judge(zero), total, decided)
        for step in _search(scout, judge):
            yield run.event(-1, step.message)
        rival = scout.best
    if config.search:
        yield from _search(run, judge)
    if config.similarity == "auto":
        measure, reason = choose_similarity(fixed, _warped(pyramid, run.best))
        messages, run.decided = (reason,), measure == pyramid.measure
        yield run.event(-1, reason)
        if not run.decided:
            pyramid.compare_by(measure, config.resolved(similarity=measure))
            term = pyramid.term(pyramid.shape)
            judge = Judge(pyramid, term)
            before = judge(start)
            run.best = judge(run.best.control)
            run.decided = True
    if masks[1] is not None:
        pyramid.follow(run.best.control)
        term = pyramid.term(pyramid.shape)
        judge = Judge(pyramid, term)
        before = judge(start)
        run.best = judge(run.best.control)
    pyramid.release()
    if rival is not None:  # only now it is decided by what to compare
        run.consider(judge(rival.control))
    for guide in guides:
        run.consider(judge(guide.drawn(run.best.control)))
    run.step = SEARCH_STEPS
    steps, early = 0, False
    for level, factor in enumerate(factors):
        compared = pyramid.last_term(term) if factor == 1 else pyramid.term(pyramid.shape_at(factor))
        taken = yield from _refine(run, judge, compared, factor, level)
        early |= taken < pyramid.steps
        steps += taken
        run.step = SEARCH_STEPS + (level + 1) * pyramid.steps
    yield run.event(len(factors) - 1, "removing the last folds")
    found = unfold(pyramid.field_at_full_resolution(run.best.control))
    for guide in guides:
        found = guide.settled(found)
    yield run.event(len(factors) - 1, "done")
    after = judge(pyramid.to_mm(found, pyramid.shape))
    return InstanceResult(found, None, steps, before.similarity, after.similarity, early, messages)


def _warped(pyramid: Pyramid, candidate: Candidate) -> Tensor:
    """Return the moving image as a candidate warps it."""
    with torch.no_grad():
        return functional.warp(pyramid.moving, pyramid.field_at_full_resolution(candidate.control), padding="border")


def resolve_similarity(fixed: Tensor, moving: Tensor, config: InstanceConfig) -> tuple[Measure, tuple[str, ...]]:
    """Return the similarity to use and what to say about it."""
    if config.similarity != "auto":
        return config.similarity, ()
    measure, reason = choose_similarity(fixed, moving)
    return measure, (reason,)


def _factors(pyramid: Pyramid) -> list[int]:
    """Return the voxel sizes of the levels, leaving out grids too coarse to hold anything."""
    wanted = [2 ** (pyramid.config.levels - 1 - level) for level in range(pyramid.config.levels)]
    return [factor for factor in wanted if factor == 1 or max(pyramid.shape_at(factor)) >= 12]


def _search(run: _Run, judge: Judge) -> Generator[InstanceStep, None, None]:
    """Search displacements on two coarse grids, each around the field so far."""
    pyramid = run.pyramid
    grids = search_grids(pyramid.shape, pyramid.spacing, pyramid.config.search)
    for stage, (shape, reach) in enumerate(grids):
        fixed, moving = pyramid.features("mind", shape)
        weight = pyramid.weight(shape)
        current = pyramid.to_voxels(functional.resize(run.best.control, shape), shape)
        warped = functional.warp(moving, current, padding="border")
        found: list[Tensor] = []
        for direction, (one, two) in enumerate(((fixed, warped), (warped, fixed))):
            steps = coupled_convex(one, two, reach, weight)
            while True:
                try:
                    share = next(steps)
                except StopIteration as stop:
                    found.append(stop.value)
                    break
                run.step = round(SEARCH_STEPS * (2 * stage + direction + share) / (2 * len(grids)))
                yield run.event(-1, "searching displacements")
        update = consistent(found[0], found[1])
        run.consider(judge(pyramid.to_mm(functional.compose(current, update), shape)))
        yield run.event(-1, "searching displacements")


def _refine(run: _Run, judge: Judge, term: Term, factor: int, level: int) -> Generator[InstanceStep, None, int]:
    """Optimise the field on one level, from the best field so far; return the number of steps."""
    pyramid, config = run.pyramid, run.pyramid.config
    shape = pyramid.control_shape(factor)
    regulariser = pyramid.regulariser(shape)
    raw = functional.resize(run.best.control, shape).clone().requires_grad_()
    optimiser = Adam(raw)
    last = factor == 1
    size = config.learning_rate * factor * min(pyramid.spacing)
    rate = FINE if last and level and term.in_parts else USUAL
    start, waited = run.step, 0
    best = math.inf if last else run.best.loss
    message = f"level {level + 1} of {len(_factors(pyramid))}"

    def advance(step: int) -> None:
        with torch.enable_grad():
            control = losses.box_mean(raw, 3)  # neighbours move together: smoother updates
            loss, _ = _objective(pyramid, term, term.draw(), control, regulariser)
            (gradient,) = torch.autograd.grad(loss, raw)
        optimiser.step(gradient, size * rate.after(step / pyramid.steps))

    for step in range(pyramid.steps):
        advance(step)
        run.step = start + step + 1
        if step % CHECK_EVERY == CHECK_EVERY - 1 or step == pyramid.steps - 1:
            candidate = judge(losses.box_mean(raw.detach(), 3))
            run.consider(candidate)
            waited = 0 if candidate.loss < best - GAIN else waited + 1
            best = min(best, candidate.loss)
            if waited >= (PATIENCE if last else COARSE_PATIENCE):
                return step + 1
        yield run.event(level, message)
    return pyramid.steps
