"""The network of VoxelMorph's own package, as it comes: trained and scored like every other system."""

from __future__ import annotations

import importlib.util
from importlib import import_module

import torch
from torch import Tensor

from napari_ran.errors import InputError
from napari_ran.models.blocks import full_precision, widened
from napari_ran.models.pairwise import DirectNetwork

PACKAGE = "voxelmorph"


class PackagedVoxelMorph(DirectNetwork):
    """``voxelmorph.nn.models.VxmPairwise`` with its defaults: 0.1 million parameters, an integrated velocity field.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    seed : int
        Seed of the weights.

    Raises
    ------
    InputError
        The package is not installed.
    """

    def __init__(self, ndim: int = 3, seed: int = 0) -> None:
        super().__init__()
        if importlib.util.find_spec(PACKAGE) is None:
            raise InputError(
                "system", f"the package {PACKAGE} is not installed", "pip install 'napari-ran[peers]', or leave it out"
            )
        self.ndim, self.multiple = ndim, 32
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = import_module(f"{PACKAGE}.nn.models").VxmPairwise(ndim, 1, 1)

    def displacement(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the field (B, D, *P) in voxels of padded images (B, 1, *P)."""
        with full_precision(moving.device):
            field: Tensor = self.network(widened(moving), widened(fixed))
        return field
