"""Similarities and regularisers for training and for instance optimisation, in 2-D and 3-D alike.

All are differentiable, finite for constant regions, and smaller is better. Images are (B, 1, *S) with intensities in
[0, 1]; fields are (B, D, *S) in voxels unless a spacing is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

VARIANCE_FLOOR = 1e-5
"""Added to local variances of intensities in [0, 1]: a window with a standard deviation below 0.003 is flat."""


def box_mean(image: Tensor, window: int) -> Tensor:
    """Average (B, C, *S) over a box of `window` voxels along each axis, counting only voxels inside the image.

    A box of even size reaches one voxel further upwards than downwards.
    """
    counts = image.new_ones(())
    for axis in range(image.ndim - 2):
        ones = image.new_ones([1] * (axis + 2) + [image.shape[axis + 2]] + [1] * (image.ndim - 3 - axis))
        counts = counts * _box_sum_along(ones, axis + 2, window, (window - 1) // 2)
    total: Tensor = _box_sum(image, window, (window - 1) // 2)
    return total / counts


class _BoxSum(torch.autograd.Function):
    """Sum over a box, cut at the borders; its gradient is the sum over the mirrored box.

    Passes through autograd's own record of every addition take several times as long.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, window: int, below: int) -> Tensor:
        ctx.window, ctx.below = window, below
        for axis in range(2, image.ndim):
            image = _box_sum_along(image, axis, window, below)
        return image

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        return _box_sum(grad_outputs[0], ctx.window, ctx.window - 1 - ctx.below), None, None


_box_sum: Callable[..., Any] = _BoxSum.apply


def _box_sum_along(image: Tensor, axis: int, window: int, below: int) -> Tensor:
    """Sum `window` neighbours along one axis, `below` of them below, from sums of 1, 2, 4, ... neighbours."""
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


def local_ncc(a: Tensor, b: Tensor, window: int = 9, mask: Tensor | None = None) -> Tensor:
    """Return one minus the mean squared local normalised cross correlation, a scalar in [0, 1].

    Parameters
    ----------
    a, b : (B, 1, *S) tensors
        Images with intensities in [0, 1]. A local linear change of contrast, inversion included, does not matter.
    window : int
        Side of the box in voxels.
    mask : (B, 1, *S) tensor, optional
        Weight of each window by its centre; the statistics inside a window use all voxels.
    """
    return 1 - _mean(local_ncc_map(a, b, window), mask)


def local_ncc_map(a: Tensor, b: Tensor, window: int = 9) -> Tensor:
    """Return the squared local normalised cross correlation around each voxel, (B, 1, *S) in [0, 1]."""
    # the statistics do not depend on the mean, and centred values cancel less in single precision
    centre = a.detach().mean()
    a, b = a - centre, b - centre
    mean_a, mean_b, aa, bb, ab = box_mean(torch.cat([a, b, a * a, b * b, a * b], 1), window).unbind(1)
    covariance = ab - mean_a * mean_b
    variance_a = (aa - mean_a * mean_a).clamp_min(0) + VARIANCE_FLOOR
    variance_b = (bb - mean_b * mean_b).clamp_min(0) + VARIANCE_FLOOR
    return (covariance * covariance / (variance_a * variance_b))[:, None]


def mse(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of two images (B, C, *S), weighted by `mask` (B, 1, *S) when one is given."""
    return _mean((a - b) ** 2, mask)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return values.mean()
    weight = mask.to(values.dtype).expand_as(values)
    return (values * weight).sum() / weight.sum().clamp_min(1e-6)


def mind_ssc(image: Tensor, radius: int = 2, dilation: int = 2, typical: float | None = None) -> Tensor:
    """Return the self-similarity context descriptor of an image.

    Each channel compares two patches beside the voxel, ``exp(-d / mean d)`` with ``d`` their mean squared difference,
    so it does not change when the intensities are mapped linearly or inverted. The pairs are those neighbours at
    `dilation` voxels along the axes that stand at a right angle to each other (Heinrich et al., MICCAI 2013).

    Parameters
    ----------
    image : (B, 1, *S) tensor
        Any intensities.
    radius : int
        Radius of the compared patches in voxels.
    dilation : int
        Distance of the patches' centres from the voxel, in voxels.
    typical : float, optional
        Mean squared difference of such patches in the whole image, where `image` is a part of it; see `mind_typical`.

    Returns
    -------
    (B, N, *S) tensor
        In (0, 1]; N is 12 in 3-D and 4 in 2-D. A constant region gives ones.
    """
    distance = box_mean(torch.cat(list(_mind_differences(image, dilation)), 1), 2 * radius + 1)
    scale = distance.detach().mean() if typical is None else distance.new_tensor(typical)
    distance = distance - distance.amin(1, keepdim=True)
    noise = distance.mean(1, keepdim=True)
    floor = torch.finfo(image.dtype).tiny * 1e6  # a constant image has no typical value
    noise = torch.minimum(torch.maximum(noise, scale * 1e-3 + floor), scale * 1e3 + floor)
    return torch.exp(-distance / noise)


def mind_typical(image: Tensor, dilation: int = 2) -> float:
    """Return the mean squared difference that `mind_ssc` takes as typical for a whole image (B, 1, *S)."""
    means = [difference.mean() for difference in _mind_differences(image, dilation)]
    return float(torch.stack(means).mean())


def _mind_differences(image: Tensor, dilation: int) -> Iterator[Tensor]:
    """Yield the squared difference of each pair of neighbours, (B, 1, *S) each."""
    arms = [(axis, side) for axis in range(image.ndim - 2) for side in (-dilation, dilation)]
    shifted = {arm: _shift(image, *arm) for arm in arms}
    for one, two in combinations(arms, 2):
        if one[0] != two[0]:
            yield (shifted[one] - shifted[two]) ** 2


def _shift(image: Tensor, axis: int, offset: int) -> Tensor:
    """Return ``image[x + offset]`` along one spatial axis, the border value repeated."""
    size = image.shape[axis + 2]
    index = (torch.arange(size, device=image.device) + offset).clamp(0, size - 1)
    return image.index_select(axis + 2, index)


def edge_weight(fixed: Tensor, scale: float) -> Tensor:
    """Return ``exp(-scale * |grad I|**2)``: the smoothness is let go across edges of the fixed image (Eq. 13).

    Parameters
    ----------
    fixed : (B, 1, *S) tensor
        Fixed image, intensities in [0, 1].
    scale : float
        Strength, in squared voxels per squared intensity; 0 gives ones, 1 is the text's formula.

    Returns
    -------
    (B, 1, *S) tensor in (0, 1]
    """
    squared = torch.zeros_like(fixed)
    for axis in range(2, fixed.ndim):
        if fixed.shape[axis] > 1:
            squared = squared + torch.gradient(fixed, dim=axis)[0] ** 2
    return torch.exp(-scale * squared)


def smoothness(
    field: Tensor, weight: Tensor | None = None, power: float = 2, spacing: Sequence[float] | None = None
) -> Tensor:
    """Return the mean of ``weight * |forward difference|**power`` over axes, components and voxels.

    Parameters
    ----------
    field : (B, D, *S) tensor
        Displacement in voxels, or in mm together with `spacing`.
    weight : (B, 1, *S) tensor, optional
        Such as `edge_weight`; a difference between two voxels takes the smaller of their weights.
    power : float
        2 for diffusion, 1 for total variation.
    spacing : sequence of D floats, optional
        Voxel size along each axis in the unit of `field`, so that differences become slopes; 1 when left out.
    """
    ndim = field.ndim - 2
    total = field.new_zeros(())
    for axis in range(2, field.ndim):
        if field.shape[axis] < 2:
            continue
        difference = torch.diff(field, dim=axis)
        if spacing is not None:
            difference = difference / float(spacing[axis - 2])
        term = difference**2 if power == 2 else difference.abs() ** power
        if weight is not None:
            length = field.shape[axis] - 1
            term = term * torch.minimum(weight.narrow(axis, 0, length), weight.narrow(axis, 1, length))
        total = total + term.mean()
    return total / ndim


__all__ = [
    "box_mean",
    "edge_weight",
    "local_ncc",
    "local_ncc_map",
    "mind_ssc",
    "mind_typical",
    "mse",
    "smoothness",
]
