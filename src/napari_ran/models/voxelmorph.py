"""VoxelMorph (Balakrishnan et al., TMI 2019), the U-net of one shot that the paper compares with, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_ran.errors import InputError
from napari_ran.models.blocks import convolution, full_precision, initialise, repeat, widened
from napari_ran.models.pairwise import DirectNetwork

ENCODER = (16, 32, 32, 32, 32)
DECODER = (32, 32, 32, 32, 32, 16, 16)
_SLOPE = 0.2
_EXACT = 3  # grids from an eighth of the resolution on are computed in single precision
_FIELD_START = 1e-5  # standard deviation of the last filters, so that training starts at the identity


class VoxelMorph(DirectNetwork):
    """Two images in, one displacement field out, by an encoder, a decoder and skips between them.

    The default widths are those of the figure of the TMI paper: with them VM1 has the 0.36 million parameters, and VM2
    the 1.42, that the paper of the Residual Aligner Network reports.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    width : int
        Factor on all channels: 1 for the paper's VM1, 2 for VM2.
    encoder, decoder : sequence of int
        Channels of the convolutions before their factor. The encoder's first one keeps the resolution, each of the
        others halves it. The decoder's first one works at the coarsest grid, each of the next joins one skip at
        twice the resolution of the one before, the rest stay at full resolution.
    seed : int
        Seed of the weights.
    """

    def __init__(
        self,
        ndim: int = 3,
        width: int = 1,
        encoder: Sequence[int] = ENCODER,
        decoder: Sequence[int] = DECODER,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(decoder) < len(encoder):
            raise InputError("decoder", f"has {len(decoder)} convolutions for {len(encoder)} grids", "Give more")
        down, up = [width * n for n in encoder], [width * n for n in decoder]
        self.ndim, self.multiple = ndim, 2 ** (len(down) - 1)
        strides = [1] + [2] * (len(down) - 1)
        self.encoder = nn.ModuleList(
            convolution(ndim, a, b, stride=stride) for (a, b), stride in zip(pairwise([2, *down]), strides, strict=True)
        )
        skips = down[-2::-1]  # what joins at each doubling
        self.decoder, channels = nn.ModuleList(), down[-1]
        for index, out in enumerate(up):
            self.decoder.append(convolution(ndim, channels, out))
            channels = out + (skips[index] if index < len(skips) else 0)
        self.field = convolution(ndim, channels, ndim)
        generator = torch.Generator().manual_seed(seed)
        initialise(self, generator)
        nn.init.normal_(self.field.weight, std=_FIELD_START, generator=generator)

    def displacement(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the field (B, D, *P) in voxels of padded images (B, 1, *P)."""
        x, kept = torch.cat([moving, fixed], dim=1), []
        for index, layer in enumerate(self.encoder):
            x = _apply(layer, x, exact=index >= _EXACT)
            kept.append(x)
        kept.pop()
        for layer in self.decoder:
            x = _apply(layer, x, exact=len(kept) >= _EXACT)
            if kept:
                x = torch.cat([repeat(x, 2), kept.pop()], dim=1)
        with full_precision(x.device):
            field: Tensor = self.field(widened(x))
        return field


def _apply(layer: nn.Module, x: Tensor, exact: bool) -> Tensor:
    """Return a convolution and its rectifier; `exact`: in single precision, whatever the rest is computed in.

    On small grids gradients in bfloat16 come out infinite now and then, and these layers cost next to nothing.
    """
    if not exact:
        return F.leaky_relu(layer(x), _SLOPE)
    with full_precision(x.device):
        return F.leaky_relu(layer(widened(x)), _SLOPE)
