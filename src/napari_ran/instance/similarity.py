"""Which similarity suits a pair, and where the fixed image shows something to compare."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from napari_ran.losses import box_mean

Measure = Literal["ncc", "mse", "mind"]

FLAT = 0.01
"""A voxel counts when the standard deviation of the intensities (of [0, 1]) around it exceeds this."""

CORRELATED = 0.3
"""Least correlation of the aligned intensities for which the images count as of one contrast."""

_MOST_SAMPLES = 500_000


def informative(fixed: Tensor) -> Tensor:
    """Return 1 where the image (1, 1, *S) varies around the voxel and 0 in flat background, (1, 1, *S).

    All ones where nothing, or next to nothing, varies.
    """
    variance = box_mean(fixed * fixed, 5) - box_mean(fixed, 5) ** 2
    mask = (variance > FLAT**2).to(fixed.dtype)
    return mask if float(mask.mean()) > 0.01 else torch.ones_like(fixed)


def choose_similarity(fixed: Tensor, moving: Tensor) -> tuple[Measure, str]:
    """Choose the similarity for two aligned images and say why.

    Parameters
    ----------
    fixed, moving : (1, 1, *S) tensors
        Intensities in [0, 1] on one grid. The better they are aligned, the surer the choice: two images of one contrast
        that lie far apart need not correlate.

    Returns
    -------
    name : {"ncc", "mind"}
        ``mind`` for images whose intensities do not correlate, ``ncc`` otherwise.
    reason : str
        One sentence.
    """
    stride = max(1, fixed.numel() // _MOST_SAMPLES)
    a, b = (image.flatten()[::stride].double() for image in (fixed, moving))
    seen = (a > 0.02) & (b > 0.02)  # the common background correlates whatever the contrasts
    if int(seen.sum()) < 50:
        seen = torch.ones_like(seen)
    value = _correlation(a[seen], b[seen])
    if value >= CORRELATED:
        return "ncc", f"Similarity: local NCC, as the intensities correlate ({value:.2f})"
    return "mind", f"Similarity: MIND, as the intensities hardly correlate ({value:.2f})"


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-12))


__all__ = ["FLAT", "Measure", "choose_similarity", "informative"]
