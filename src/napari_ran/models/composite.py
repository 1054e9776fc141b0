"""A global network before a local one (Hu et al., ISBI 2018): an affine map, then a U-net on what it has warped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from napari_ran.functional import compose, voxel_grid, warp
from napari_ran.models.blocks import convolution, full_precision, initialise, widened
from napari_ran.models.pairwise import DirectNetwork
from napari_ran.models.voxelmorph import VoxelMorph

GLOBAL = (16, 32, 64, 128, 128)
_SLOPE = 0.2
_MATRIX_START = 1e-4  # standard deviation of the last weights, so that training starts at the identity


class GlobalNetwork(nn.Module):
    """Halving convolutions, the mean over space, and one linear map to an affine displacement.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    channels : sequence of int
        Channels of the convolutions.
    seed : int
        Seed of the weights.
    """

    def __init__(self, ndim: int, channels: Sequence[int] = GLOBAL, seed: int = 0) -> None:
        super().__init__()
        self.ndim = ndim
        self.encoder = nn.ModuleList(convolution(ndim, a, b, stride=2) for a, b in pairwise([2, *channels]))
        self.matrix = skip_init(nn.Linear, channels[-1], ndim * (ndim + 1))  # type: ignore[no-untyped-call]
        generator = torch.Generator().manual_seed(seed)
        initialise(self, generator)
        nn.init.normal_(self.matrix.weight, std=_MATRIX_START, generator=generator)
        nn.init.zeros_(self.matrix.bias)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the affine displacement (B, D, *P) in voxels for images (B, 1, *P)."""
        x = torch.cat([moving, fixed], dim=1)
        for layer in self.encoder:
            x = F.leaky_relu(layer(x), _SLOPE)
        with full_precision(x.device):
            matrix = self.matrix(widened(x).flatten(2).mean(2)).view(-1, self.ndim, self.ndim + 1)
            size = matrix.new_tensor(fixed.shape[2:]).view(1, -1, *[1] * self.ndim)
            centred = voxel_grid(fixed.shape[2:], matrix) / (size / 2) - (1 - 1 / size)  # -1 to 1 from edge to edge
            moved = torch.einsum("bij,j...->bi...", matrix[:, :, :-1], centred[0])
            field: Tensor = (moved + matrix[:, :, -1].view(-1, self.ndim, *[1] * self.ndim)) * size / 2
            return field


class Composite(DirectNetwork):
    """The paper's Cn+Un: an affine network, and VoxelMorph of double width on the images that it has aligned.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    width : int
        Factor on the channels of VoxelMorph.
    seed : int
        Seed of the weights.
    """

    def __init__(self, ndim: int = 3, width: int = 2, seed: int = 0) -> None:
        super().__init__()
        self.affine = GlobalNetwork(ndim, seed=seed)
        self.local = VoxelMorph(ndim, width, seed=seed)
        self.ndim, self.multiple = ndim, self.local.multiple

    def displacement(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the field (B, D, *P) in voxels of padded images (B, 1, *P)."""
        field = self.affine(moving, fixed)
        with full_precision(field.device):
            warped = warp(moving.float(), field, padding="border")
        further = self.local.displacement(warped, fixed)
        with full_precision(field.device):
            return compose(field, further)
