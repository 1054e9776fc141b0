"""Means over boxes of voxels, fast by separable sums, with a fast gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

SMALL_WINDOW = 5
"""Windows up to this are summed voxel by voxel: so few additions cost less than a padded copy."""


def box_mean(image: Tensor, window: int) -> Tensor:
    """Average (B, C, *S) over a box of `window` voxels along each axis, counting only voxels inside the image.

    A box of even size reaches one voxel further upwards than downwards.
    """
    mean: Tensor = _box_mean(image, window)
    return mean


def _counts_inside(image: Tensor, window: int) -> Tensor:
    """Return how many voxels of the box around each voxel lie inside the image, (*S)."""
    counts = image.new_ones(())
    for axis, size in enumerate(image.shape[2:]):
        along = _counts(size, window, image.dtype, image.device)
        counts = counts * along.view([-1] + [1] * (image.ndim - 3 - axis))
    return counts


@lru_cache(maxsize=256)
def _counts(size: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return how many of a window's voxels lie inside, for each place along an axis of `size` voxels."""
    place, below = torch.arange(size), (window - 1) // 2
    high, low = (place + window - 1 - below).clamp_max(size - 1), (place - below).clamp_min(0)
    return (high - low + 1).to(device, dtype)


class _BoxMean(torch.autograd.Function):
    """Mean over a box, cut at the borders; its gradient is the sum over the mirrored box of what each mean passes on.

    Passes through autograd's own record of every addition take several times as long.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, window: int) -> Tensor:
        ctx.window, ctx.counts = window, _counts_inside(image, window)
        return _box_sum(image, window, (window - 1) // 2).div_(ctx.counts)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return _box_sum(grad_outputs[0] / ctx.counts, ctx.window, ctx.window // 2), None


_box_mean: Callable[..., Any] = _BoxMean.apply


def _box_sum(image: Tensor, window: int, below: int) -> Tensor:
    """Sum `window` neighbours along every axis, `below` of them below."""
    for axis in range(2, image.ndim):
        image = _box_sum_along(image, axis, window, below)
    return image


def _box_sum_along(image: Tensor, axis: int, window: int, below: int) -> Tensor:
    """Sum `window` neighbours along one axis, `below` of them below."""
    size = image.shape[axis]
    if window > SMALL_WINDOW or window > size:
        return _doubled_sum_along(image, axis, window, below)
    steps = [step for step in range(-below, window - below) if step]
    if not steps:
        return image.clone()
    total, first = torch.empty_like(image), steps[0]
    alone = 0 if first < 0 else size - first, abs(first)  # those without a neighbour at the first step
    total.narrow(axis, *alone).copy_(image.narrow(axis, *alone))
    for step in steps:
        start, length = max(step, 0), size - abs(step)
        before = image if step == first else total
        place = start - step, length
        torch.add(before.narrow(axis, *place), image.narrow(axis, start, length), out=total.narrow(axis, *place))
    return total


def _doubled_sum_along(image: Tensor, axis: int, window: int, below: int) -> Tensor:
    """Do the same for a large window, from sums of 1, 2, 4, ... neighbours."""
    if window == 1:
        return image
    size = image.shape[axis]
    pad = [0] * (2 * (image.ndim - 2))
    pad[2 * (image.ndim - 1 - axis)], pad[2 * (image.ndim - 1 - axis) + 1] = below, window - 1 - below
    doubled = F.pad(image, pad)
    total = image.new_zeros(())
    start, width = 0, 1
    while True:
        if window & width:
            part = doubled.narrow(axis, start, size)
            total = total + part if start == 0 else total.add_(part)
            start += width
        if 2 * width > window:
            break
        length = doubled.shape[axis] - width
        doubled = doubled.narrow(axis, 0, length) + doubled.narrow(axis, width, length)
        width *= 2
    return total
