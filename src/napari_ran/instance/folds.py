"""Take the last folds out of a field."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ran import functional

_ROUNDS = 24


def folding_share(field: Tensor) -> float:
    """Return the share of voxels of (1, D, *S) whose Jacobian determinant is at or below zero."""
    return float((functional.jacobian_determinant(field) <= 0).float().mean())


@torch.no_grad()
def unfold(field: Tensor, share: float = 0.0) -> Tensor:
    """Smooth a field around its folds until at most a `share` of the voxels folds.

    Parameters
    ----------
    field : (1, D, *S) tensor
        Displacement in voxels.
    share : float
        Accepted share of folded voxels.

    Returns
    -------
    (1, D, *S) tensor
        Equal to `field` away from folds. A field that folds everywhere may keep some after the last round.
    """
    pool = F.max_pool2d if field.ndim == 4 else F.max_pool3d
    for turn in range(_ROUNDS):
        folded = functional.jacobian_determinant(field)[:, None] <= 0.01
        if float(folded.float().mean()) <= share:
            break
        reach = 1 + turn // 4  # stubborn folds are smoothed over a wider neighbourhood
        near = pool(folded.to(field.dtype), 2 * reach + 1, stride=1, padding=reach)
        near = functional.gaussian_smooth(near, 1.0)
        smoothed = functional.gaussian_smooth(field, 0.7 + 0.3 * reach)
        field = smoothed.sub_(field).mul_(near).add_(field)
    return field
