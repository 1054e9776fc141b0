"""What a training minimises: the weighted terms of `ObjectiveSettings`, each a mean over the pairs of a batch.

Every term weighs each pair alike, so that the gradient of several processes, averaged, is that of one process with all
their pairs. All terms are computed in single precision, whatever the network computes in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from napari_ran import functional as F
from napari_ran import losses
from napari_ran.config.training import ObjectiveSettings
from napari_ran.errors import InputError
from napari_ran.looks import Start, together
from napari_ran.models import LevelOutput, ModelOutput
from napari_ran.train.batch import PairBatch
from napari_ran.train.looking import looks, multiple_of

TERMS = ("similarity", "smooth", "field", "dice", "landmarks", "inverse", "folding")
"""Names of the terms, which are the names of their weights."""


@dataclass(frozen=True, eq=False)
class _Direction:
    """One direction of a batch: its images, its field in voxels, and its levels' fields with their pool sizes.

    Where the network saw what a field before it had left, `field` is both together, and `start` is that before.
    """

    batch: PairBatch
    field: Tensor
    levels: tuple[tuple[int, Tensor], ...]
    start: Tensor | None = None

    def at_level(self, pool: int, field: Tensor) -> Tensor:
        """Return the field of a level on the images' grid."""
        there = F.cropped(F.upsample_field(field, pool), self.field.shape[2:])
        return there if self.start is None else F.compose(self.start, there)


class Opaque:
    """Carries a batch past wrappers that would convert every tensor they find to the network's precision."""

    def __init__(self, batch: PairBatch) -> None:
        self.batch = batch


class Trained(nn.Module):
    """A network together with its objective: a batch in, the loss and its terms out.

    Parameters
    ----------
    network : nn.Module
        Called as `RAN` is, and returns a `ModelOutput`.
    settings : ObjectiveSettings
        The objective.
    options : mapping, optional
        What else the network is called with.
    coarse : bool
        Whether it looks at coarser grids first, as a registration with it does: each look is judged, by what is left
        to it together with what the looks before found.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: ObjectiveSettings,
        options: Mapping[str, Any] | None = None,
        coarse: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.settings, self.options, self.coarse = network, settings, dict(options or {}), coarse

    def forward(self, held: Opaque) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch (a scalar) and its terms, detached: means over the looks."""
        wanted = self.settings
        asked = {"keep_levels": wanted.levels > 0, "both": wanted.both or wanted.inverse > 0}
        network = partial(self.network, **asked, **self.options)
        found = []
        for batch, start, output in looks(network, held.batch, self.coarse, multiple_of(self.network)):
            with torch.autocast(batch.fixed.device.type, enabled=False):
                found.append(objective(output, batch, wanted, start))
        found_losses, terms = zip(*found, strict=True)
        return torch.stack(found_losses).mean(), {
            name: torch.stack([each[name] for each in terms]).mean() for name in terms[0]
        }


def check_objective(settings: ObjectiveSettings, batch: PairBatch) -> None:
    """Refuse an objective whose terms the data cannot have.

    Raises
    ------
    InputError
        A term needs labels, landmarks or a true field, and a pair of them has none.
    """
    needs = {
        "dice": (batch.fixed_labels is not None, "label maps", "Name the label maps (data.labels)"),
        "landmarks": (bool(batch.fixed_points), "landmarks", "Name the landmarks in the list of pairs"),
        "field": (batch.truth is not None, "true field", "Use generated pairs"),
    }
    for name, (there, what, cure) in needs.items():
        if getattr(settings, name) and not there:
            raise InputError(f"objective.{name}", f"the data have no {what}", f"{cure}, or set the weight to 0")


def objective(
    output: ModelOutput, batch: PairBatch, settings: ObjectiveSettings, start: Start | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of what a network found for a batch, and its terms without their weights, detached.

    A term that the batch has nothing for (labels, landmarks, a true field) is left out. Where the network saw the
    moving images as `start` warps them, both together are judged.
    """
    whole = together(start, ModelOutput(output.field, output.inverse_field).map(Tensor.float))
    field, inverse = whole.forward, whole.backward
    before = (None, None) if start is None else (start.forward, start.backward)
    directions = [_Direction(batch, field, _fields(output.levels, "forward"), before[0])]
    if settings.both and inverse is not None:
        directions.append(_Direction(batch.swapped(), inverse, _fields(output.levels, "inverse"), before[1]))
    terms: dict[str, Tensor] = {}
    for name in TERMS:
        if not getattr(settings, name):
            continue
        if name == "inverse":
            if inverse is not None:
                terms[name] = losses.inverse_consistency(field, inverse)
            continue
        found = [value for one in directions if (value := _COMPUTE[name](one, settings)) is not None]
        if found:
            terms[name] = torch.stack(found).mean()
    # a batch without any of the terms (no common label, say) still has a gradient, which is zero
    loss = 0 * field.sum()
    for name, value in terms.items():
        loss = loss + getattr(settings, name) * value
    return loss, {name: value.detach() for name, value in terms.items()}


def similarity_of(field: Tensor, batch: PairBatch, settings: ObjectiveSettings) -> Tensor:
    """Return the dissimilarity of the fixed images and the moving ones warped by a field (B, D, *S), a scalar."""
    return _similarity(_Direction(batch, field, ()), settings)


def _fields(levels: Sequence[LevelOutput], side: str) -> tuple[tuple[int, Tensor], ...]:
    found = ((level.pool_size, getattr(level, side)) for level in levels)
    return tuple((pool, direction.field.float()) for pool, direction in found if direction is not None)


def _shared(one: _Direction, share: float, term: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the mean of the final field's term and the mean of the levels' terms by the share of the levels."""
    final = term(one.field)
    if not share or not one.levels:
        return final
    coarse = [term(one.at_level(pool, field)) for pool, field in one.levels]
    return (1 - share) * final + share * torch.stack(coarse).mean()


def _similarity(one: _Direction, settings: ObjectiveSettings) -> Tensor:
    batch = one.batch
    mask = None if settings.foreground is None else _even(losses.foreground(batch.fixed, settings.foreground))

    def compared(field: Tensor) -> Tensor:
        warped = F.warp(batch.moving, field, padding="border")
        if settings.compare == "ncc":
            return losses.local_ncc(warped, batch.fixed, settings.window, mask)
        if settings.compare == "mse":
            return losses.mse(warped, batch.fixed, mask)
        return losses.mind_loss(warped, batch.fixed, mask=mask)

    return _shared(one, settings.levels, compared)


def _even(mask: Tensor) -> Tensor:
    """Return a mask of which every pair has the same sum, so that every pair weighs alike."""
    mask = mask.float()
    return mask / mask.mean(dim=tuple(range(1, mask.ndim)), keepdim=True).clamp_min(1e-6)


def _smooth(one: _Direction, settings: ObjectiveSettings) -> Tensor:
    if settings.smoothness == "released":
        return losses.released_smoothness(one.field, one.batch.fixed, settings.edge_scale)
    weight = losses.edge_weight(one.batch.fixed, settings.edge_scale) if settings.smoothness == "edges" else None
    return losses.smoothness(one.field, weight)


def _field(one: _Direction, settings: ObjectiveSettings) -> Tensor | None:
    truth = one.batch.truth
    if truth is None:
        return None
    squared = settings.field_error == "squared"
    return _shared(one, settings.levels, lambda field: losses.field_error(field, truth, squared))


def _dice(one: _Direction, settings: ObjectiveSettings) -> Tensor | None:
    fixed, moving = one.batch.fixed_labels, one.batch.moving_labels
    if fixed is None or moving is None:
        return None
    return losses.dice_loss(fixed, moving, one.field, settings.labels or None)


def _landmarks(one: _Direction, settings: ObjectiveSettings) -> Tensor | None:
    batch = one.batch
    if not any(len(points) for points in batch.fixed_points):
        return None
    return losses.landmark_loss(one.field, batch.fixed_points, batch.moving_points, batch.spacing)


def _folding(one: _Direction, settings: ObjectiveSettings) -> Tensor:
    return losses.folding_penalty(one.field)


_COMPUTE: dict[str, Callable[[_Direction, ObjectiveSettings], Tensor | None]] = {
    "similarity": _similarity,
    "smooth": _smooth,
    "field": _field,
    "dice": _dice,
    "landmarks": _landmarks,
    "folding": _folding,
}
