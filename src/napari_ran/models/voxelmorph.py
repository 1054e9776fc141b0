"""VoxelMorph (Balakrishnan et al., TMI 2019), the U-net of one shot that the paper compares with, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_ran.errors import InputError
from napari_ran.models.blocks import convolution, full_precision, initialise, repeat, widened
from napari_ran.models.outputs import ModelOutput

ENCODER = (16, 32, 32, 32)
DECODER = (32, 32, 32, 32, 32, 16, 16)
_SLOPE = 0.2
_FIELD_START = 1e-5  # standard deviation of the last filters, so that training starts at the identity


class VoxelMorph(nn.Module):
    """Two images in, one displacement field out, by an encoder, a decoder and skips between them.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    width : int
        Factor on all channels: 1 for the paper's VM1, 2 for VM2.
    encoder, decoder : sequence of int
        Channels of the convolutions before their factor; each of the encoder's halves the resolution, the decoder's
        first ones double it again, the rest stay at full resolution.
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
            raise InputError("decoder", f"has {len(decoder)} convolutions for {len(encoder)} halvings", "Give more")
        down, up = [width * n for n in encoder], [width * n for n in decoder]
        self.ndim, self.depth = ndim, len(down)
        self.encoder = nn.ModuleList(convolution(ndim, a, b, stride=2) for a, b in pairwise([2, *down]))
        skips = [2, *down[:-1]][::-1]  # what joins after each doubling
        self.decoder, channels = nn.ModuleList(), down[-1]
        for index, out in enumerate(up):
            self.decoder.append(convolution(ndim, channels, out))
            channels = out + (skips[index] if index < self.depth else 0)
        self.field = convolution(ndim, channels, ndim)
        generator = torch.Generator().manual_seed(seed)
        initialise(self, generator)
        nn.init.normal_(self.field.weight, std=_FIELD_START, generator=generator)

    @property
    def multiple(self) -> int:
        """Images are padded inside the network to a multiple of this along every axis."""
        return int(2**self.depth)

    def forward(self, moving: Tensor, fixed: Tensor, keep_levels: bool = False, both: bool = True) -> ModelOutput:
        """Register `moving` to `fixed`.

        Parameters
        ----------
        moving, fixed : (B, 1, *S) tensor
            Images on one grid with intensities in [0, 1].
        keep_levels : bool
            Without effect: this network has no levels.
        both : bool
            Also return the field of the other direction, found by exchanging the images.
        """
        if moving.shape != fixed.shape or moving.ndim != self.ndim + 2 or moving.shape[1] != 1:
            problem = f"expected two tensors (B, 1, *S) of {self.ndim} axes, got {moving.shape} and {fixed.shape}"
            raise InputError("moving", problem, "Resample it to the fixed grid")
        pair = torch.cat([moving, fixed], dim=1)
        field = self._field(torch.cat([pair, pair.flip(1)]) if both else pair)
        pairs = moving.shape[0]
        return ModelOutput(field[:pairs], field[pairs:] if both else None, ())

    def _field(self, pair: Tensor) -> Tensor:
        shape = pair.shape[2:]
        x = F.pad(pair, [pad for n in reversed(shape) for pad in (0, -n % self.multiple)])
        kept = []
        for layer in self.encoder:
            kept.append(x)
            x = F.leaky_relu(layer(x), _SLOPE)
        for layer in self.decoder:
            x = F.leaky_relu(layer(x), _SLOPE)
            if kept:
                x = torch.cat([repeat(x, 2), kept.pop()], dim=1)
        with full_precision(x.device):
            field: Tensor = self.field(widened(x))
        for axis, size in enumerate(shape, start=2):
            field = field.narrow(axis, 0, size)
        return field.contiguous()
