"""Recursive cascade (Zhao et al., ICCV 2019): one network again and again, each time on what it has warped."""

from __future__ import annotations

from torch import Tensor

from napari_ran.functional import compose, warp
from napari_ran.models.blocks import full_precision
from napari_ran.models.pairwise import DirectNetwork
from napari_ran.models.voxelmorph import VoxelMorph


class RecursiveCascade(DirectNetwork):
    """VoxelMorph applied several times with the same weights; the fields are composed.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    width : int
        Factor on the channels of VoxelMorph: 1 for the paper's RCn1, 2 for RCn2.
    recursions : int
        How many times the network is applied; the paper: 5.
    seed : int
        Seed of the weights.
    """

    def __init__(self, ndim: int = 3, width: int = 1, recursions: int = 5, seed: int = 0) -> None:
        super().__init__()
        self.network = VoxelMorph(ndim, width, seed=seed)
        self.ndim, self.multiple, self.recursions = ndim, self.network.multiple, recursions

    def displacement(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the field (B, D, *P) in voxels of padded images (B, 1, *P)."""
        field = self.network.displacement(moving, fixed)
        for _ in range(self.recursions - 1):
            with full_precision(field.device):
                warped = warp(moving.float(), field, padding="border")
            further = self.network.displacement(warped, fixed)
            with full_precision(field.device):
                field = compose(field, further)
        return field
