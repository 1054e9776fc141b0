"""Instance optimisation of the network: a few steps of Adam on a copy of its weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from napari_ran.config import InstanceConfig
from napari_ran.instance.events import InstanceResult, InstanceStep
from napari_ran.instance.field import GAIN, TINY, resolve_similarity
from napari_ran.instance.folds import unfold
from napari_ran.instance.pyramid import Pyramid
from napari_ran.instance.terms import Sampled, Term
from napari_ran.models.outputs import ModelOutput
from napari_ran.models.systems import Levelled, Network

PATIENCE = 10
"""Steps without a gain after which the fit ends."""

WARM_UP = 5
"""Steps over which the step size rises; without it the field jumps by voxels at the start."""


def optimise_network(
    model: Network,
    fixed: Tensor,
    moving: Tensor,
    config: InstanceConfig,
    spacing: Sequence[float],
    keep_levels: bool = False,
) -> Generator[InstanceStep, None, InstanceResult]:
    """Fit a copy of a network to one pair, without supervision: similarity plus edge-aware smoothness (Eq. 13).

    Parameters
    ----------
    model : RAN or PairNetwork
        Stays as it is.
    fixed, moving : (1, 1, *S) tensors
        Intensities in [0, 1] on one grid, roughly aligned.
    config : InstanceConfig
        What was left out is chosen here.
    spacing : sequence of D floats
        Voxel size in mm.
    keep_levels : bool
        Keep what every level computed, of the fitted network and of the network as it came.

    Yields
    ------
    InstanceStep
        One for each level that the network has passed, and one for each step.

    Returns
    -------
    InstanceResult
        With the best output; its field is the result's, but for folds that were smoothed. With `keep_levels` also the
        fitted network, and what the given one had computed.
    """
    measure, messages = resolve_similarity(fixed, moving, config)
    config = config.resolved(similarity=measure)
    pyramid = Pyramid(fixed, moving, spacing, measure, config.replace(points=2 * fixed.numel()))
    fitted = copy.deepcopy(model).requires_grad_()
    fit = _Fit(pyramid, fitted)
    if measure == "mind":
        for message in pyramid.describe():
            yield fit.event(message)
    term = pyramid.term(pyramid.shape)
    part = term.draw()
    before, stopped = math.nan, False
    unfitted: ModelOutput | None = None
    while True:
        first = keep_levels and fit.step == 0
        iteration = fitted.iterate(moving, fixed, keep_levels=first)
        while True:
            try:
                with torch.enable_grad():
                    level = next(iteration)
            except StopIteration as stop:
                output: ModelOutput = stop.value
                break
            yield fit.event(f"fitting the network, level {level.level + 1} of {level.total}")
        loss = fit.value(output, term, part)
        before = fit.similarity if fit.step == 0 else before
        unfitted = output.map(Tensor.detach) if first else unfitted
        yield fit.event("fitting the network")
        stopped = fit.waited >= PATIENCE or not math.isfinite(fit.loss)
        if stopped or fit.step == fit.total:
            break  # the last pass has only valued what the last step reached
        fit.advance(loss)
        del output, loss
    best = fit.finish(moving, fixed, keep_levels)
    field = unfold(best.field)
    result = InstanceResult(field, best, fit.step, before, fit.best_similarity, stopped, messages)
    if not keep_levels or not isinstance(fitted, Levelled):
        return result
    return replace(result, before=unfitted, model=fitted.eval())


class _Fit:
    """The state that the events of one fit share."""

    def __init__(self, pyramid: Pyramid, model: Network) -> None:
        self.pyramid, self.model, self.total = pyramid, model, pyramid.config.network_steps
        self.step, self.waited = 0, 0
        self.similarity, self.loss = math.nan, math.inf
        self.best_similarity, self.best_loss = math.nan, math.inf
        self._best: ModelOutput | None = None
        self._weights: dict[str, Tensor] = {}
        self._optimiser = torch.optim.Adam(model.parameters())
        self._regulariser = pyramid.regulariser(pyramid.shape)

    def event(self, message: str) -> InstanceStep:
        """Return the event for what is being done."""
        like = self.pyramid.fixed
        field = like.new_zeros((1, self.pyramid.ndim, *self.pyramid.shape)) if self._best is None else self._best.field
        return InstanceStep(self.step, self.total, -1, self.similarity, self.loss, message, lambda: field)

    @torch.enable_grad()
    def value(self, output: ModelOutput, term: Term, part: Sampled) -> Tensor:
        """Return the loss of what the network computed, and remember it when it is the best so far."""
        pyramid = self.pyramid
        displacement = part.displacement(output.field, pyramid.shape)
        dissimilarity = term(part, displacement)
        field = pyramid.to_mm(output.field, pyramid.shape)
        loss = torch.log(dissimilarity + TINY) + self._regulariser(field)
        self.similarity, self.loss = 1 - float(dissimilarity.detach()), float(loss.detach())
        self.waited = 0 if self.loss < self.best_loss - GAIN else self.waited + 1
        if self.loss < self.best_loss or self._best is None:
            inverse = None if output.inverse_field is None else output.inverse_field.detach()
            self._best = ModelOutput(output.field.detach(), inverse, ())
            self.best_loss, self.best_similarity = self.loss, self.similarity
            self._weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        return loss

    def advance(self, loss: Tensor) -> None:
        """Take one step of Adam."""
        self.step += 1
        for group in self._optimiser.param_groups:
            group["lr"] = self.pyramid.config.network_learning_rate * min(1.0, self.step / WARM_UP)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimiser.step()

    @torch.no_grad()
    def finish(self, moving: Tensor, fixed: Tensor, keep_levels: bool) -> ModelOutput:
        """Return the best output, computed anew when its levels are wanted."""
        if self._best is not None and not keep_levels:
            return self._best
        self.model.load_state_dict(self._weights)
        output: ModelOutput = self.model(moving, fixed, keep_levels=True)
        return output
