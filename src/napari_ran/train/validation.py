"""How good a network is on a fixed set of pairs, and how good doing nothing is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.config.training import ObjectiveSettings
from napari_ran.looks import Start, together
from napari_ran.models import ModelOutput
from napari_ran.train.batch import PairBatch
from napari_ran.train.evaluation import end_point_error, mean_dice
from napari_ran.train.events import Validation
from napari_ran.train.looking import looks
from napari_ran.train.objective import objective, similarity_of

_FIGURES = ("loss", "similarity", "dice", "tre_mm", "epe", "folding_percent")
_LARGER = {"dice"}
"""Figures of which more is better; of the others less is."""


def validate(
    network: Callable[..., ModelOutput] | None,
    pairs: Sequence[PairBatch],
    settings: ObjectiveSettings,
    device: torch.device,
    add: Callable[[Tensor], Tensor] = lambda sums: sums,
    coarse: bool = False,
    multiple: int = 1,
) -> Validation:
    """Measure a network.

    Parameters
    ----------
    network : callable, optional
        Called as `RAN` is; None measures the identity.
    pairs : sequence of PairBatch
        This process's share of the validation pairs.
    settings : ObjectiveSettings
        What the loss is; the final field's forward direction alone counts.
    device : torch.device
        Where to compute.
    add : callable
        Returns the sum of a tensor over all processes.
    coarse : bool
        Whether the network looks at coarser grids first.
    multiple : int
        What it pads images to.
    """
    settings = settings.replace(levels=0.0, both=False)
    sums = torch.zeros(len(_FIGURES) + 1, 2, dtype=torch.float64)
    with torch.no_grad():
        for pair in pairs:
            there = pair.to(device)
            if network is None:
                still = there.fixed.new_zeros(1, len(there.shape), *there.shape)
                output, start = ModelOutput(still, still), None
            else:
                asked = partial(network, keep_levels=False, both=settings.inverse > 0)
                *_, (_, start, output) = looks(asked, there, coarse, multiple)
            figures = _measured(output, start, there, settings)
            for row, name in enumerate(_FIGURES):
                if (value := figures[name]) is not None:
                    sums[row] += torch.tensor([value, 1.0], dtype=torch.float64)
    sums[-1, 0] = len(pairs)
    sums = add(sums)
    means = {name: float(sums[row, 0] / sums[row, 1]) if sums[row, 1] else None for row, name in enumerate(_FIGURES)}
    return Validation(pairs=int(sums[-1, 0]), **means)  # type: ignore[arg-type]


def figure_of(validation: Validation, wanted: str) -> tuple[str, float]:
    """Return the figure by which weights are judged and its value, smaller is better.

    `wanted` is one of the names of `ValidationSettings.best`; a figure that the pairs do not have gives the loss.
    """
    names = ("dice", "tre_mm", "epe", "loss") if wanted == "auto" else ({"tre": "tre_mm"}.get(wanted, wanted), "loss")
    name = next(name for name in names if getattr(validation, name) is not None)
    value = float(getattr(validation, name))
    return name, -value if name in _LARGER else value


def _measured(
    output: ModelOutput, start: Start | None, pair: PairBatch, settings: ObjectiveSettings
) -> dict[str, float | None]:
    output = output.map(Tensor.float)
    with torch.autocast(pair.fixed.device.type, enabled=False):
        field = together(start, output).forward
        loss, terms = objective(output, pair, settings, start)
        similarity = terms.get("similarity")
        if similarity is None:
            similarity = similarity_of(field, pair, settings)
        folds = F.jacobian_determinant(field) <= 0
    return {
        "loss": float(loss),
        "similarity": float(similarity),
        "dice": _dice(field, pair),
        "tre_mm": _landmark_error(field, pair),
        "epe": None if pair.truth is None else float(end_point_error(field, pair.truth)),
        "folding_percent": 100 * float(folds.float().mean()),
    }


def _dice(field: Tensor, pair: PairBatch) -> float | None:
    if pair.fixed_labels is None or pair.moving_labels is None:
        return None
    return mean_dice(pair.fixed_labels, pair.moving_labels, field)


def _landmark_error(field: Tensor, pair: PairBatch) -> float | None:
    if not pair.fixed_points or not len(pair.fixed_points[0]):
        return None
    fixed, moving = pair.fixed_points[0], pair.moving_points[0]
    ndim = fixed.shape[1]
    moved = F.sample(field, fixed.T.reshape(1, ndim, -1, *[1] * (ndim - 1)), padding="border").reshape(ndim, -1).T
    millimetres = (fixed + moved - moving) * fixed.new_tensor(pair.spacing)
    return float(torch.linalg.vector_norm(millimetres, dim=1).mean())
