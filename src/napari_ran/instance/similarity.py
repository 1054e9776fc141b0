"""Which similarity suits a pair, and where the fixed image shows something to compare."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from napari_ran.instance.search import pool_to
from napari_ran.losses import box_mean

Measure = Literal["ncc", "mse", "mind"]

FLAT = 0.01
"""A voxel counts when the standard deviation of the intensities (of [0, 1]) around it exceeds this."""

AGREEING = 0.85
"""Least agreement of the contrasts, of -1 to 1, for which images count as of one contrast: see `choose_similarity`."""

AGREEMENT_WINDOW = 9

_MOST_VOXELS = 500_000


def informative(fixed: Tensor) -> Tensor:
    """Return 1 where the image (1, 1, *S) varies around the voxel and 0 in flat background, (1, 1, *S).

    All ones where nothing, or next to nothing, varies.
    """
    variance = box_mean(fixed * fixed, 5) - box_mean(fixed, 5) ** 2
    mask = (variance > FLAT**2).to(fixed.dtype)
    return mask if float(mask.mean()) > 0.01 else torch.ones_like(fixed)


def choose_similarity(fixed: Tensor, moving: Tensor) -> tuple[Measure, str]:
    """Choose the similarity for two aligned images and say why.

    Where both images of a pair vary, they brighten in the same direction if they are of one contrast. The local
    covariances over the sum of their absolute values say how far they agree: 1 everywhere, -1 for inverted contrast,
    about 0 if the contrasts have nothing to do with each other. A correlation of all intensities would not do: a dark
    background correlates with another whatever is in front of it.

    Parameters
    ----------
    fixed, moving : (1, 1, *S) tensors
        Intensities in [0, 1] on one grid. The better they are aligned, the surer the choice: two images of one contrast
        that lie far apart need not agree.

    Returns
    -------
    name : {"ncc", "mind"}
        ``mind`` for images whose contrasts differ, ``ncc`` otherwise.
    reason : str
        One sentence.
    """
    factor = max(1.0, (fixed.numel() / _MOST_VOXELS) ** (1 / (fixed.ndim - 2)))
    shape = [max(min(n, 4), int(n / factor)) for n in fixed.shape[2:]]
    a, b = pool_to(fixed, shape), pool_to(moving, shape)
    means = box_mean(torch.cat([a, b, a * a, b * b, a * b], 1), AGREEMENT_WINDOW)
    mean_a, mean_b, aa, bb, ab = means.unbind(1)
    seen = (aa - mean_a**2 > FLAT**2) & (bb - mean_b**2 > FLAT**2)
    covariance = (ab - mean_a * mean_b)[seen].double()
    value = float(covariance.sum() / covariance.abs().sum().clamp_min(1e-12))
    if value >= AGREEING:
        return "ncc", f"Similarity: local NCC, as the contrasts agree ({value:.2f})"
    return "mind", f"Similarity: MIND, as the contrasts differ (agreement {value:.2f})"


__all__ = ["FLAT", "Measure", "choose_similarity", "informative"]
