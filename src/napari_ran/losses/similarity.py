"""How alike two images are: smaller is better."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor

from napari_ran.losses.boxes import box_mean

VARIANCE_FLOOR = 1e-5
"""Added to local variances of intensities in [0, 1]: a window with a standard deviation below 0.003 is flat."""


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
    return 1 - weighted_mean(local_ncc_map(a, b, window), mask)


def local_ncc_map(a: Tensor, b: Tensor, window: int = 9) -> Tensor:
    """Return the squared local normalised cross correlation around each voxel, (B, 1, *S) in [0, 1]."""
    # the statistics do not depend on the mean, and centred values cancel less in single precision
    centre = a.detach().mean()
    a, b = a - centre, b - centre
    mean_a, mean_b, aa, bb, ab = (box_mean(values, window)[:, 0] for values in (a, b, a * a, b * b, a * b))
    covariance = ab - mean_a * mean_b
    variance_a = (aa - mean_a * mean_a).clamp_min(0) + VARIANCE_FLOOR
    variance_b = (bb - mean_b * mean_b).clamp_min(0) + VARIANCE_FLOOR
    return (covariance * covariance / (variance_a * variance_b))[:, None]


def locally_normalised(image: Tensor, window: int = 9) -> Tensor:
    """Return an image (B, 1, *S) less its mean in the box around each voxel, and over its standard deviation there.

    Where two images match, the mean squared difference of what this makes of them is one minus `local_ncc_map`, to the
    first order, but each voxel can be compared by itself.
    """
    image = image - image.mean()
    mean = box_mean(image, window)
    variance = (box_mean(image * image, window) - mean * mean).clamp_min(0) + VARIANCE_FLOOR
    return (image - mean) / variance.sqrt()


def mse(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of two images (B, C, *S), weighted by `mask` (B, 1, *S) when one is given."""
    return weighted_mean((a - b) ** 2, mask)


def weighted_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of `values` (B, C, *S), weighted by `mask` (B, 1, *S) when one is given."""
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
    # pair by pair, each of which the processor's cache can hold
    distance = torch.cat([box_mean(pair, 2 * radius + 1) for pair in _mind_differences(image, dilation)], 1)
    scale = distance.detach().mean() if typical is None else distance.new_tensor(typical)
    lowest, in_place = distance.amin(1, keepdim=True), not distance.requires_grad
    distance = distance.sub_(lowest) if in_place else distance.sub(lowest)
    noise = distance.mean(1, keepdim=True)
    floor = torch.finfo(image.dtype).tiny * 1e6  # a constant image has no typical value
    noise = torch.minimum(torch.maximum(noise, scale * 1e-3 + floor), scale * 1e3 + floor)
    return (distance.div_(-noise) if in_place else distance.div(-noise)).exp_()


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
            yield (shifted[one] - shifted[two]).square_()


def _shift(image: Tensor, axis: int, offset: int) -> Tensor:
    """Return ``image[x + offset]`` along one spatial axis, the border value repeated."""
    size = image.shape[axis + 2]
    index = (torch.arange(size, device=image.device) + offset).clamp(0, size - 1)
    return image.index_select(axis + 2, index)


def mind_loss(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of the self-similarity contexts of two images, see `mind_ssc`."""
    return mse(mind_ssc(a), mind_ssc(b), mask)


def foreground(image: Tensor, threshold: float) -> Tensor:
    """Return where an image (B, 1, *S) is above `threshold`, as a mask of zeros and ones of the same shape and type.

    The released code compares images where the fixed one is above 0.1 (abdomen) or 0.01 (lung).
    """
    return (image > threshold).to(image.dtype)
