"""What the passes of a network need of memory: counted once on a small grid, for any other shape."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from napari_ran.config import InstanceConfig, RegistrationConfig
from napari_ran.footprint import Ledger, recorded, resident
from napari_ran.instance import optimise_network
from napari_ran.memory import has_glibc
from napari_ran.models import Network, create_model
from napari_ran.models.blocks import slab_count, slabs_of
from napari_ran.precision import autocast_to
from napari_ran.steps import last

KEPT_BY_ALLOCATOR = 1.15
"""What other allocators than glibc's take beyond the tensors; an allowance that has not been measured."""

_MOST_SLABS = 4
"""Slabs in which the grid of the count is divided at the most; its rows are too few for more."""

COUNTED_ON = {2: (128, 128), 3: (32, 32, 32)}
"""Grid on which a network's tensors are counted, by dimension."""


def pass_bytes(
    model: Network, shape: Sequence[int], device: torch.device, keep_levels: bool = False, precision: str = "fp32",
    both: bool = True,
) -> int:  # fmt: skip
    """Return the predicted peak in bytes of a pass of a network over a pair of images.

    Parameters
    ----------
    model : RAN or PairNetwork
        The network.
    shape : sequence of int
        Of the images.
    device : torch.device
        Where it will compute; it is counted on the processor.
    keep_levels, both : bool
        As in the network's call.
    precision : {"fp32", "bf16", "fp16"}
        What it computes in.
    """
    padded = _padded(shape, model.multiple)
    slabs = min(_MOST_SLABS, slab_count(padded))
    voxels, ledger = _record_of(_Structure(model), keep_levels, precision, both, slabs)
    return _scaled(ledger, padded / voxels, device)


def fit_bytes(model: Network | None, config: RegistrationConfig, shape: Sequence[int], device: torch.device) -> int:
    """Return the predicted peak in bytes of fitting a network to a pair of images of `shape`, with gradients."""
    if model is None:
        model = create_model(config.preset, 2 if len(shape) == 2 else 3)
    voxels, ledger = _fit_record_of(_Structure(model), config.keep_levels, config.instance.similarity)
    return _scaled(ledger, _padded(shape, model.multiple) / voxels, device)


def _scaled(ledger: Ledger, scale: float, device: torch.device) -> int:
    if device.type == "cpu" and has_glibc():
        return resident(ledger.blocks, scale)
    return int(ledger.peak * scale * KEPT_BY_ALLOCATOR)


class _Structure:
    """A network as the key of a count: two of the same structure count alike."""

    def __init__(self, model: Network) -> None:
        self.model, self._name = model, f"{model!r} {getattr(model, 'config', '')}"

    def __hash__(self) -> int:
        return hash(self._name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Structure) and other._name == self._name


@lru_cache(maxsize=32)
def _record_of(structure: _Structure, keep_levels: bool, precision: str, both: bool, slabs: int) -> tuple[int, Ledger]:
    model, images = _counting(structure.model)
    voxels = _padded(images[0].shape[2:], model.multiple)

    def compute() -> object:
        slab = voxels // slabs if slabs else voxels + 1
        with torch.no_grad(), autocast_to(precision, torch.device("cpu")), slabs_of(slab):
            return model(*images, keep_levels=keep_levels, both=both)

    return voxels, recorded(compute)


@lru_cache(maxsize=32)
def _fit_record_of(structure: _Structure, keep_levels: bool, similarity: Any) -> tuple[int, Ledger]:
    model, images = _counting(structure.model)
    config = InstanceConfig(mode="network", similarity=similarity, network_steps=2).resolved()
    spacing = [1.0] * model.ndim

    def compute() -> object:
        return last(optimise_network(model, *images, config, spacing, keep_levels))

    return _padded(images[0].shape[2:], model.multiple), recorded(compute)


def _counting(model: Network) -> tuple[Network, tuple[torch.Tensor, torch.Tensor]]:
    """Return a copy of a network on the processor, and a pair of images to count with."""
    images = torch.rand((2, 1, 1, *COUNTED_ON[model.ndim]), generator=torch.Generator().manual_seed(0))
    return copy.deepcopy(model).to("cpu").eval(), (images[0], images[1])


def _padded(shape: Sequence[int], multiple: int) -> int:
    return math.prod(-(-n // multiple) * multiple for n in shape)
