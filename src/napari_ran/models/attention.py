"""Cross attention in place of the Residual Aligner (the paper's CA/P): where to look is a weighted mean of offsets.

Attention between all voxels of two volumes fits into no memory at the fine levels, so each voxel attends to the voxels
around the place that the field of the level before points to; the pyramid makes the reach.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_ran.models.blocks import convolution, full_precision, widened
from napari_ran.models.pyramid import WIDTH, PyramidNetwork

_SLOPE = 0.2


class CrossAttention(nn.Module):
    """Attend from every voxel of the own features to the neighbourhood of the aligned other ones.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    channels : int
        Channels of the features.
    radius : int
        Half the side of the neighbourhood in voxels of the level.
    """

    def __init__(self, ndim: int, channels: int, radius: int = 1) -> None:
        super().__init__()
        width = min(channels, WIDTH)
        self.radius = radius
        self.query, self.key, self.value = (convolution(ndim, channels, channels, kernel=1) for _ in range(3))
        self.enter = convolution(ndim, 2 * channels + ndim, width)
        self.leave = convolution(ndim, width, ndim)

    def forward(self, own: Tensor, aligned: Tensor) -> Tensor:
        """Return the residual field (B, D, *S) in voxels of the level from two times (B, C, *S)."""
        ndim = own.ndim - 2
        query, key, value = self.query(own), self.key(aligned), self.value(aligned)
        offsets = list(itertools.product(range(-self.radius, self.radius + 1), repeat=ndim))
        scores = torch.cat([(query * self._moved(key, offset)).sum(1, keepdim=True) for offset in offsets], dim=1)
        weights = torch.softmax(widened(scores) / math.sqrt(own.shape[1]), dim=1)
        where = torch.einsum("bk...,kd->bd...", weights, weights.new_tensor(offsets))
        seen = torch.zeros_like(own)
        for index, offset in enumerate(offsets):
            seen = seen + weights[:, index : index + 1].to(own.dtype) * self._moved(value, offset)
        x = F.leaky_relu(self.enter(torch.cat([own, seen, where.to(own.dtype)], dim=1)), _SLOPE)
        with full_precision(x.device):
            residual: Tensor = self.leave(widened(x))
        return residual

    def _moved(self, features: Tensor, offset: tuple[int, ...]) -> Tensor:
        """Return (B, C, *S) with the value at ``x + offset`` at every voxel x, the border's beyond it."""
        r, shape = self.radius, features.shape[2:]
        padded = F.pad(features, [r] * (2 * len(shape)), mode="replicate")
        for axis, (step, size) in enumerate(zip(offset, shape, strict=True), start=2):
            padded = padded.narrow(axis, r + step, size)
        return padded


def cross_attention_pyramid(ndim: int = 3, seed: int = 0) -> PyramidNetwork:
    """Return the paper's CA/P: the pyramid of `PyramidNetwork` with cross attention at every level."""
    return PyramidNetwork(ndim, CrossAttention, seed)
