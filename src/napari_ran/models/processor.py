"""Two operations of the networks for which PyTorch takes much longer on a processor than their arithmetic does.

Each gives what PyTorch's own operation gives, up to rounding, for tensors whose channels are innermost in memory; where
they are used, `suits` says.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
"""The layout in memory with the channels innermost, by the number of axes."""

_CONVOLUTIONS = {2: F.conv2d, 3: F.conv3d}

BLOCK = 16
"""Output channels that a convolution computes together: one more costs as much as so many."""

_WORTHWHILE = 2**13
"""Voxels below which PyTorch's own operations are used: there is nothing to gain."""

_ROW = 512
"""Values that are summed in single precision; sums of rows are added up in double precision."""

_LEAST_VARIANCE = 1e-10


def suits(x: Tensor) -> bool:
    """Whether a tensor (B, C, *S) is on a processor, its channels innermost, large enough, and nothing is compiled."""
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.shape[2:].numel() >= _WORTHWHILE
        and x.is_contiguous(memory_format=CHANNELS_LAST[x.ndim - 2])
    )


def leftover(channels: int, kernel: int) -> int:
    """Return how many of a convolution's last output channels to leave to `thin_convolution`.

    That makes three times as many outputs by a third of the taps, and saves where these fit into one block.
    """
    outputs = channels % BLOCK
    return outputs if kernel == 3 and 3 * outputs <= BLOCK else 0


def thin_convolution(x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """Return the convolution of (B, C, *S) to a few channels (B, C', *S) by kernels of 3, padded with zeros.

    The taps along the first axis become channels of a convolution without that axis, and are added up afterwards.
    """
    ndim, outputs = x.ndim - 2, weight.shape[0]
    taps = weight.movedim(2, 0).flatten(0, 1)[:, :, None].contiguous(memory_format=CHANNELS_LAST[ndim])
    offsets = torch.cat([torch.zeros_like(bias), bias, torch.zeros_like(bias)])
    padding, dilations = [0, *[dilation] * (ndim - 1)], [1, *[dilation] * (ndim - 1)]
    parts = _CONVOLUTIONS[ndim](x, taps, offsets, padding=padding, dilation=dilations).movedim(1, -1).contiguous()
    # the taps before and after lie at one distance in memory from the middle one, whichever voxel and channel it is
    apart, flat = dilation * parts[0, 0].numel() + outputs, parts.flatten(1)
    total = flat.clone()
    total[:, apart:] += flat[:, :-apart]
    total[:, :-apart] += flat[:, apart:]
    return total.view(parts.shape)[..., outputs : 2 * outputs].movedim(-1, 1)


def normalised(x: Tensor, gain: Tensor, offset: Tensor, eps: float, in_place: bool = False) -> Tensor:
    """Return (B, C, *S) with zero mean and unit variance of each sample over all axes, times `gain` plus `offset`.

    No gradient passes through. The moments are closer to the true ones than those of `torch.nn.functional.group_norm`,
    which adds millions of values in single precision here.

    Parameters
    ----------
    gain, offset : (1,) tensor
        One number for all channels.
    eps : float
        Added to the variance.
    in_place : bool
        Use the memory of `x`, which nobody else may be using.
    """
    found = x if in_place else torch.empty_like(x)
    for sample, out in zip(x, found, strict=True):
        mean, variance = _moments(sample)
        torch.sub(sample, mean, out=out)  # first of all: in half precision a large mean would take the digits
        torch.add(offset[0], out, alpha=float(gain) / math.sqrt(variance + eps), out=out)
    return found


def _moments(sample: Tensor) -> tuple[float, float]:
    """Return mean and variance of a sample (C, *S) whose channels are innermost in memory."""
    values = sample.movedim(0, -1).reshape(-1)
    whole = len(values) - len(values) % _ROW
    total = square = 0.0
    for rows in (values[:whole].view(-1, _ROW), values[whole:][None]):
        if rows.numel():
            means, variances = _moments_of_rows(rows)
            total += float(means.sum()) * rows.shape[1]
            square += float((variances + means.square()).sum()) * rows.shape[1]
    mean = total / len(values)
    return mean, max(square / len(values) - mean * mean, 0.0)


def _moments_of_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each row of (R, N) in double precision, from sums in single or in the rows' own."""
    size = rows.shape[1]
    if rows.dtype in (torch.bfloat16, torch.float16):  # where sums would round, or copy: of a normalisation the moments
        kept = torch.ones(size), torch.zeros(size)
        _, means, inverse = torch.native_layer_norm(rows, [size], *kept, _LEAST_VARIANCE)
        return means.double().flatten(), inverse.double().flatten() ** -2 - _LEAST_VARIANCE
    means, lengths = rows.sum(1).double() / size, torch.linalg.vector_norm(rows, dim=1).double()
    return means, lengths.square() / size - means.square()
