"""Held-out figures of a network on generated pairs that it has never seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.config import PairConfig
from napari_ran.io.checkpoints import looks_coarsely
from napari_ran.looks import together
from napari_ran.models import RAN
from napari_ran.synthetic.generator import GeneratedPair, generate_batch
from napari_ran.train.batch import PairBatch
from napari_ran.train.looking import looks


@dataclass(frozen=True)
class HeldOut:
    """Means over held-out pairs, of the network and of doing nothing.

    Attributes
    ----------
    pairs : int
        Number of pairs.
    epe, epe_identity : float
        Mean end-point error over all voxels, in voxels.
    epe_visible, epe_visible_identity : float
        The same over the voxels whose counterpart can be seen in the moving image.
    dice, dice_identity : float
        Mean overlap over the labels that occur in both images, the outside of the body left out.
    folding_percent : float
        Share of voxels with a Jacobian determinant at or below zero, in percent.
    better : int
        Number of pairs with a smaller end-point error than the identity's.
    """

    pairs: int
    epe: float
    epe_identity: float
    epe_visible: float
    epe_visible_identity: float
    dice: float
    dice_identity: float
    folding_percent: float
    better: int

    def to_dict(self) -> dict[str, float]:
        """Return plain Python values."""
        return asdict(self)


def evaluate_model(model: RAN, config: PairConfig, seed: int, pairs: int) -> HeldOut:
    """Measure a network on the first `pairs` pairs of the sequence that `seed` names; its mode is left as it was.

    It looks at each pair as a registration with its weights does. The seed must differ from the training's.
    """
    device = next(model.parameters()).device
    coarse = looks_coarsely(model)
    rows = []
    with _evaluating(model), torch.no_grad():
        for index in range(pairs):
            pair = generate_batch(config, seed, index).to(device)
            batch = PairBatch(pair.fixed, pair.moving, (1.0,) * model.config.ndim)
            *_, (_, start, output) = looks(partial(model, both=False), batch, coarse, model.multiple)
            rows.append(_measure(pair, together(start, output).forward))
    means = {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
    return HeldOut(pairs=pairs, better=sum(row["epe"] < row["epe_identity"] for row in rows), **means)


def end_point_error(field: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean length of ``field - truth`` (B, D, *S) over `mask` (B, 1, *S), in the fields' unit."""
    error = torch.linalg.vector_norm(field - truth, dim=1, keepdim=True)
    mean: Tensor = error.mean() if mask is None else error[mask].mean()
    return mean


def mean_dice(fixed: Tensor, moving: Tensor, field: Tensor) -> float | None:
    """Return the mean overlap of the labels that both maps have, the background left out; None where there are none.

    A label that the field moves out of sight counts as 0.

    Parameters
    ----------
    fixed, moving : (B, 1, *S) tensors
        Label maps.
    field : (B, D, *S) tensor
        Displacement in voxels on the fixed grid.
    """
    warped = F.warp(moving.float(), field, "nearest", "zeros").to(fixed.dtype)
    common = set(torch.unique(fixed).tolist()) & set(torch.unique(moving).tolist()) - {0}
    sizes = [(fixed == label, warped == label) for label in sorted(common)]
    overlaps = [2 * float((one & two).sum()) / float(one.sum() + two.sum()) for one, two in sizes]
    return sum(overlaps) / len(overlaps) if overlaps else None


def _measure(pair: GeneratedPair, field: Tensor) -> dict[str, float]:
    field = field.float()
    still = torch.zeros_like(field)
    overlaps = [mean_dice(pair.fixed_labels, pair.moving_labels, one) for one in (field, still)]
    return {
        "epe": float(end_point_error(field, pair.truth)),
        "epe_identity": float(end_point_error(still, pair.truth)),
        "epe_visible": float(end_point_error(field, pair.truth, pair.visible)),
        "epe_visible_identity": float(end_point_error(still, pair.truth, pair.visible)),
        "dice": math.nan if overlaps[0] is None else overlaps[0],
        "dice_identity": math.nan if overlaps[1] is None else overlaps[1],
        "folding_percent": 100 * float((F.jacobian_determinant(field) <= 0).float().mean()),
    }


@contextmanager
def _evaluating(model: RAN) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
