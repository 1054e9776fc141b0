"""The building blocks: convolutions, normalisation, residual blocks, in 2-D and 3-D by one argument.

Layers are made without values; `initialise` draws all of them from one generator, so that building a network leaves the
global random state alone and a seed says everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from napari_ran import functional
from napari_ran.config import RANConfig
from napari_ran.memory import give_back_holes
from napari_ran.models import processor
from napari_ran.models.processor import CHANNELS_LAST

_POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}
SLAB = 2**18
"""Voxels that a part of the network computes at a time where it need not compute all at once."""

_slab = ContextVar("slab", default=SLAB)

_TRUNCATED_STD = 0.87962566  # standard deviation of a unit normal cut off at two


def channels_last(x: Tensor) -> Tensor:
    """Return (B, C, *S) with the channels innermost in memory on a CPU, where convolutions then take half the time."""
    return x.contiguous(memory_format=CHANNELS_LAST[x.ndim - 2]) if x.device.type == "cpu" else x


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return tensors (B, C_i, *S) of one precision one after another along the channels, laid out for a convolution."""
    first = parts[0]
    if torch.is_grad_enabled() or first.device.type != "cpu":
        return channels_last(torch.cat(list(parts), dim=1))
    whole = _room_for(first, sum(part.shape[1] for part in parts))
    return torch.cat(list(parts), dim=1, out=whole)  # in one go, where `cat` alone would leave the layout to be changed


def _room_for(part: Tensor, channels: int) -> Tensor:
    """Return memory for so many channels (B, channels, *S), of which a tensor (B, C, *S) holds some."""
    shape = (part.shape[0], channels, *part.shape[2:])
    return torch.empty(shape, dtype=part.dtype, memory_format=CHANNELS_LAST[part.ndim - 2])


def rectified(x: Tensor, slope: float) -> Tensor:
    """Return the leaky rectifier of (B, C, *S) in the memory of `x`, which nobody else may be using."""
    return F.leaky_relu_(x, slope)


@contextmanager
def slabs_of(voxels: int) -> Iterator[None]:
    """Let parts of the network compute another number of voxels than `SLAB` at a time."""
    token = _slab.set(voxels)
    try:
        yield
    finally:
        _slab.reset(token)


def slab_count(voxels: int) -> int:
    """Return in how many slabs a grid of so many voxels is computed, 0 where it is too small for parts."""
    return round(voxels / _slab.get()) if voxels >= _slab.get() else 0


def is_large(x: Tensor, slabs: int = 1) -> bool:
    """Whether a grid (B, C, *S) has enough voxels for its parts to be computed one after another, which needs less."""
    return not torch.is_grad_enabled() and slab_count(x[0, 0].numel()) >= slabs


def make_room(x: Tensor) -> None:
    """Give the heap's holes back before what takes most memory on a grid (B, C, *S), if it is one of several slabs.

    The levels leave holes between blocks of many sizes: up to a quarter of the peak.
    """
    if is_large(x, slabs=2):
        give_back_holes()


def in_slabs(function: Callable[..., Tensor], tensors: Sequence[Tensor | None], ndim: int, reach: int) -> Tensor:
    """Apply a function slab by slab as `functional.in_slabs` does, or with gradients, which need all of it, at once."""
    if torch.is_grad_enabled():
        return function(*tensors)
    shape = next(tensor.shape[-ndim:] for tensor in tensors if tensor is not None)
    return functional.in_slabs(function, tensors, ndim, reach, slab_count(shape.numel()))


class Conv2d(nn.Conv2d):
    """A convolution that keeps the channels innermost in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C', *S) of (B, C, *S)."""
        return _convolved(self, x)


class Conv3d(nn.Conv3d):
    """A convolution that keeps the channels innermost in memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C', *S) of (B, C, *S)."""
        return _convolved(self, x)


def _convolved(layer: Conv2d | Conv3d, x: Tensor) -> Tensor:
    """Apply a convolution whose padding keeps the shape."""
    parts = _parts(layer, channels_last(x))
    part = next(parts)
    number = part.shape[1]
    if number == layer.out_channels:
        return channels_last(part)
    if torch.is_grad_enabled():
        return joined([part, *parts])
    whole = _room_for(part, layer.out_channels)
    whole.narrow(1, 0, number).copy_(part)
    del part  # before the others are computed
    whole.narrow(1, number, layer.out_channels - number).copy_(next(parts))
    return whole


def _parts(layer: Conv2d | Conv3d, x: Tensor) -> Iterator[Tensor]:
    """Compute a convolution's outputs as a processor likes them: all, or those in whole blocks and then the rest."""
    weight, bias = layer.weight, layer.bias
    thin = processor.leftover(layer.out_channels, layer.kernel_size[0]) if layer.stride[0] == 1 else 0
    if not thin or bias is None or not processor.suits(x):
        yield layer._conv_forward(x, weight, bias)
        return
    blocks, dilation = layer.out_channels - thin, layer.dilation[0]
    if blocks:
        yield layer._conv_forward(x, weight[:blocks], bias[:blocks])
    yield processor.thin_convolution(x, weight[blocks:], bias[blocks:], dilation)


def added(start: Tensor, layer: Conv2d | Conv3d, x: Tensor) -> Tensor:
    """Return the sum of `start` and a convolution of `x`: in the memory of `start`, which nobody else may be using."""
    if torch.is_grad_enabled():
        return layer(x).add_(start)  # type: ignore[no-any-return]
    first = 0
    for part in _parts(layer, channels_last(x)):
        start.narrow(1, first, part.shape[1]).add_(part)
        first += part.shape[1]
        del part
    return start


def convolution(
    ndim: int, channels_in: int, channels_out: int, kernel: int = 3, dilation: int = 1, stride: int = 1
) -> Conv2d | Conv3d:
    """Return a convolution with bias that keeps the shape, or divides it by `stride`, padding with zeros."""
    layer: Conv2d | Conv3d = skip_init(  # type: ignore[no-untyped-call]
        {2: Conv2d, 3: Conv3d}[ndim],
        channels_in,
        channels_out,
        kernel,
        stride=stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        device=torch.get_default_device(),
    )
    return layer


def doubling(ndim: int, channels_in: int, channels_out: int) -> nn.Module:
    """Return a transposed convolution that doubles the resolution."""
    layer: nn.Module = skip_init(  # type: ignore[no-untyped-call]
        {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[ndim],
        channels_in,
        channels_out,
        2,
        stride=2,
        device=torch.get_default_device(),
    )
    return layer


def repeat(x: Tensor, factor: int) -> Tensor:
    """Repeat every voxel of (B, C, *S) `factor` times along every axis."""
    return x if factor == 1 else F.interpolate(x, scale_factor=float(factor), mode="nearest")


def widened(x: Tensor) -> Tensor:
    """Return a tensor of half precision in single precision, any other as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Switch autocast off, for maths that half precision would spoil."""
    if torch.amp.is_autocast_available(device.type):
        with torch.autocast(device.type, enabled=False):
            yield
    else:
        yield


class Norm(nn.Module):
    """Normalisation of a sample over all axes (one gain and bias) or over space (one gain and bias per channel)."""

    def __init__(self, config: RANConfig, channels: int) -> None:
        super().__init__()
        self.groups = 1 if config.normalisation == "all axes" else channels
        self.weight = nn.Parameter(torch.ones(self.groups))
        self.bias = nn.Parameter(torch.zeros(self.groups))

    def forward(self, x: Tensor, in_place: bool = False) -> Tensor:
        """Return (B, C, *S) with zero mean and unit variance before gain and bias; maybe in the memory of `x`."""
        channels = x.shape[1]
        if self.groups == 1 and not torch.is_grad_enabled() and processor.suits(x):
            return processor.normalised(x, self.weight, self.bias, 1e-6, in_place)
        return F.group_norm(x, self.groups, self.weight.expand(channels), self.bias.expand(channels), eps=1e-6)


class ResidualBlock(nn.Module):
    """Three convolutions, the last one dilated, around a short cut."""

    def __init__(self, config: RANConfig, channels_in: int, channels: int) -> None:
        super().__init__()
        ndim = config.ndim
        self.slope = config.encoder_slope
        self.enter = convolution(ndim, channels_in, channels)
        self.middle = convolution(ndim, channels, channels)
        self.leave = convolution(ndim, channels, channels, dilation=config.block_dilation)
        self.norms = nn.ModuleList(Norm(config, channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, *S) of (B, channels_in, *S)."""
        start = rectified(self.norms[0](self.enter(x), in_place=True), self.slope)
        change = self.leave(rectified(self.norms[1](self.middle(start), in_place=True), self.slope))
        change = self.norms[2](change, in_place=True)
        return rectified(change.add_(start), self.slope)


def precision(exact: bool, device: torch.device) -> AbstractContextManager[None]:
    """Return `full_precision` where it is needed: on small grids bfloat16 gives infinite gradients now and then."""
    return full_precision(device) if exact else nullcontext()


class Encoder(nn.Module):
    """A chain of residual blocks, each followed by an average pooling by 2."""

    def __init__(self, config: RANConfig) -> None:
        super().__init__()
        widths = (1, *config.encoder_channels)
        self.stages = nn.ModuleList(ResidualBlock(config, a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the output of each stage for images (B, 1, *S), stage i at ``S / 2**i``.

        From the third stage on in single precision: on small grids the gradient of a dilated convolution in bfloat16
        comes out infinite now and then, and these stages cost next to nothing.
        """
        outputs = []
        for index, stage in enumerate(self.stages):
            if index < 2:
                x = _POOL[x.ndim - 2](stage(x), 2)
            else:
                with full_precision(x.device):
                    x = _POOL[x.ndim - 2](stage(widened(x)), 2)
            outputs.append(x)
        return outputs


class Skip(nn.Module):
    """Projection of an encoder stage to the channels of the skips."""

    def __init__(self, config: RANConfig, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.slope = config.encoder_slope
        self.project = convolution(config.ndim, channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels_out, *S); in single precision, as the deepest one is prone to overflow its gradient."""
        with full_precision(x.device):
            return rectified(self.project(widened(x)), self.slope)


class Decoder(nn.Module):
    """The features of one level, from those of the level before and from skips."""

    def __init__(self, config: RANConfig, channels_in: int, channels: int, doubled: bool) -> None:
        super().__init__()
        self.up = doubling(config.ndim, channels_in, channels) if doubled else None
        self.block = ResidualBlock(config, channels if doubled else channels_in, channels)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the level's features (B, channels, *S) of inputs that share a grid."""
        x = joined(inputs)
        return self.block(x if self.up is None else self.up(x))  # type: ignore[no-any-return]


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all values of a module: He normal convolutions, Glorot transposed ones, zero biases, neutral norms."""
    for part in module.modules():
        if any(value.is_meta for value in part.parameters(recurse=False)):
            continue  # only its shapes are wanted
        if isinstance(part, nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.xavier_uniform_(part.weight, generator=generator)
        elif isinstance(part, nn.Conv2d | nn.Conv3d):
            std = math.sqrt(2 / part.weight[0].numel()) / _TRUNCATED_STD
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
        elif isinstance(part, Norm):
            nn.init.ones_(part.weight)
        else:
            continue
        if part.bias is not None:
            nn.init.zeros_(part.bias)


def set_centre_tap(layer: Conv2d | Conv3d, output: int, source: int, value: float) -> None:
    """Let one output of a convolution depend on one input at the same voxel alone, by the factor `value`."""
    centre = tuple(n // 2 for n in layer.kernel_size)
    with torch.no_grad():
        layer.weight[output, source] = 0
        layer.weight[(output, source, *centre)] = value
