"""What a run has found so far, and how its parts are driven: the workings behind the story of `registration`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.config import RegistrationConfig
from napari_ran.data import DisplacementField, Grid
from napari_ran.errors import InputError
from napari_ran.introspect.trace import FITTED, NetworkTrace, model_on_cpu, on_cpu
from napari_ran.io.checkpoints import ModelCard, default_weights, load_network
from napari_ran.models import Levelled, ModelOutput, Network
from napari_ran.preprocess import PreparedPair

INVERSE_ITERATIONS = 20
"""Enough wherever the field has an inverse; where it folds or leaves the grid, more would not help."""

LARGE = 500_000
"""Voxels from which on an inverse is found at half the resolution first, and then in few iterations."""

HALF_ITERATIONS = 10
"""Iterations there: more bring it no closer to what half the resolution can hold."""

LAST_ITERATIONS = 5
"""Iterations at the full resolution after that."""


@dataclass(eq=False)
class Working:
    """What has been found so far: enough to finish at any moment.

    Attributes
    ----------
    prepared : PreparedPair, optional
        The pair on the working grid.
    forward, backward : (1, D, *S) tensor, optional
        Fields on the working grid; `backward` is the network's other direction.
    refined : bool
        Whether `forward` is no longer the network's, so that `backward` is only a start for its inverse.
    tiled : bool
        Whether `forward` and `backward` are the network's after another look at tiles.
    best_field : callable, optional
        Returns the best field of an optimisation that has not ended.
    kept : NetworkTrace, optional
        What the network computed, where it was to be kept.
    messages : list of str
        What was chosen and why, in sentences.
    """

    prepared: PreparedPair | None = None
    forward: Tensor | None = None
    backward: Tensor | None = None
    refined: bool = False
    tiled: bool = False
    best_field: Callable[[], Tensor] | None = None
    kept: NetworkTrace | None = None
    messages: list[str] = field(default_factory=list)

    @property
    def pair(self) -> PreparedPair:
        """The prepared pair."""
        if self.prepared is None:
            raise RuntimeError("the pair has not been prepared: stages run in their order")
        return self.prepared

    def leave_device(self) -> None:
        """Bring what has been found to the processor; the best field of an optimisation that broke off counts."""
        if self.best_field is not None:
            self.forward, self.refined, self.best_field = self.best_field(), True, None
        self.forward = None if self.forward is None else self.forward.cpu()
        self.backward = None if self.backward is None else self.backward.cpu()

    def keep(
        self,
        model: Levelled,
        grid: Grid,
        images: tuple[Tensor, Tensor],
        output: ModelOutput,
        start: Tensor | None = None,
    ) -> None:
        """Keep what a network computed for the fixed and the moving image (1, 1, *S) on `grid`.

        `start` (1, D, *S) is the field, in voxels of it, by which the network saw the moving image warped.
        """
        fixed, moving = (image.detach().cpu() for image in images)
        start = None if start is None else start.detach().to("cpu", torch.float32)
        affine, model = self.pair.affine, model_on_cpu(model)
        self.kept = NetworkTrace(model, name_of(model), grid, affine, fixed, moving, on_cpu(output), start=start)

    def keep_fitted(self, before: ModelOutput | None, before_model: Levelled) -> None:
        """Note that the network of what is kept was fitted to the pair, and what it had computed before."""
        if self.kept is not None and before is not None:
            name, before_model = name_of(before_model) + FITTED, model_on_cpu(before_model)
            self.kept = replace(self.kept, card_name=name, before=on_cpu(before), before_model=before_model)

    def fields(self) -> tuple[DisplacementField, DisplacementField]:
        """Return the deformable part on the working grid in both directions, the best so far.

        The network's other direction holds only for the network's own field. Once that has been refined, the other
        direction becomes the inverse of the refined field, found by fixed-point iteration from the network's.
        """
        grid = self.pair.grid
        refined = self.best_field is not None or self.refined
        forward = self.best_field() if self.best_field is not None else self.forward
        if forward is None:
            forward = torch.zeros((1, grid.ndim, *grid.shape))
        backward = self.backward
        if refined or backward is None:
            backward = _inverted(forward, backward)
        return (
            DisplacementField(forward[0].cpu(), grid, "fixed", "moving"),
            DisplacementField(backward[0].cpu(), grid, "moving", "fixed"),
        )

    def trace(self, forward: DisplacementField, backward: DisplacementField) -> NetworkTrace | None:
        """Return what was kept, with the fields of `fields` where they are not the network's own."""
        if self.kept is None:
            return None
        if self.refined or self.best_field is not None:
            return replace(self.kept, refined=forward, refined_inverse=backward)
        if self.tiled:
            return replace(self.kept, refined=forward, refined_inverse=backward, refined_by="Tiles")
        if self.kept.before is not None and not torch.equal(self.kept.output.field[0], forward.tensor):
            return replace(self.kept, refined=forward, refined_by="Folds smoothed")  # of the forward direction alone
        return self.kept


def _inverted(field: Tensor, start: Tensor | None) -> Tensor:
    """Return the inverse of a field (1, D, *S); that of a large one is found at half the resolution first."""
    shape = field.shape[2:]
    if shape.numel() <= LARGE:
        return F.invert(field, start, INVERSE_ITERATIONS)[0]
    half = [-(-n // 2) for n in shape]
    smaller, guess = F.resize_field(field, half), None if start is None else F.resize_field(start, half)
    inverse = F.resize_field(F.invert(smaller, guess, HALF_ITERATIONS)[0], shape)
    for rows in F.slabs(shape):  # each voxel by itself
        grid, part = F.voxel_grid(shape, field, rows), inverse[:, :, rows]
        for _ in range(LAST_ITERATIONS):
            part = F.sample(field, grid + part, padding="border").neg_()
        inverse[:, :, rows] = part
    return inverse


def network_for(ndim: int, config: RegistrationConfig) -> tuple[Network | None, str]:
    """Return the network to start from, or None, and say which and why."""
    if config.weights == "none":
        return None, "No network: weights='none'"
    name = default_weights(ndim) if config.weights == "auto" else config.weights
    if name is None:
        return None, f"No network: there are no bundled weights for {ndim}-D images"
    model = load_network(name)
    if model.card.ndim != ndim:
        raise InputError(
            "weights",
            f"'{name}' is for {model.card.ndim}-D images, these are {ndim}-D",
            "Choose other weights, or weights='auto'",
        )
    if config.keep_levels and not isinstance(model, Levelled):
        raise InputError(
            "keep_levels",
            f"'{name}' is a {model.system}, which has no levels to look into",
            "Switch keep_levels off, or choose other weights",
        )
    return model.eval(), f"Network weights: {name}"


def name_of(model: Network) -> str:
    """Return what a network's weights are called."""
    card: ModelCard | None = getattr(model, "card", None)
    return "untrained weights" if card is None else card.name
