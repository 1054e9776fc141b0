"""What a network costs before anyone trains it: parameters and multiply-accumulates, counted from its modules.

Every convolution keeps its shape, so it costs its weights times the voxels of the grid it runs on. Normalisation,
activations, interpolation and pooling are left out, as is usual: they take a few percent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from torch import nn

from napari_ran.config import RANConfig
from napari_ran.errors import InputError
from napari_ran.models.blocks import Decoder
from napari_ran.models.ran import RAN


def parameters(config: RANConfig) -> int:
    """Return the number of trainable values of a network."""
    return _counts(config)[0]


def multiply_accumulates(config: RANConfig, shape: Sequence[int], both: bool = True) -> int:
    """Return the multiply-accumulates that one pair takes in the convolutions.

    Parameters
    ----------
    config : RANConfig
        Structure of the network.
    shape : sequence of int
        Spatial shape of the images in voxels; padded to what the network pads it to.
    both : bool
        Both directions, or the fixed image's alone at the last level.

    Raises
    ------
    InputError
        `shape` has another number of axes than the network, or an empty axis.
    """
    if len(shape) != config.ndim or min(shape) < 1:
        axes = ", ".join("XYZ"[: config.ndim])
        raise InputError("shape", f"must be ({axes}) in voxels, got {tuple(shape)}", f"Give {config.ndim} axes")
    voxels = math.prod(-(-int(n) // config.multiple) * config.multiple for n in shape)
    _, stacked, last = _counts(config)
    total = sum(weights * (voxels // int(pool**config.ndim)) for pool, weights in stacked.items())
    return 2 * total + (2 if both else 1) * last * voxels


@lru_cache(maxsize=64)
def _counts(config: RANConfig) -> tuple[int, dict[int, int], int]:
    """Return the parameters, the weights applied to each voxel by voxel size, and those of the last level's aligner.

    The latter, and the last convolution with it, are the only ones that run for one direction alone on request.
    """
    model = RAN(config)
    at: dict[int, int] = {}

    def add(pool: int, weights: int) -> None:
        at[pool] = at.get(pool, 0) + weights

    for stage, block in enumerate(model.encoder.stages):
        add(2**stage, _weights(block))
    for name, skip in model.skips.items():
        add(2 ** int(name), _weights(skip))
    last = _weights(model.displacement)
    for level, pool in enumerate(config.pools):
        decoder = model.decoders[level]
        if not isinstance(decoder, Decoder):
            raise TypeError(f"level {level} is decoded by a {type(decoder).__name__}")
        add(pool, _weights(decoder.block))
        if decoder.up is not None:
            add(2 * pool, _weights(decoder.up))  # each input voxel meets all taps, each output voxel one
        aligner = _aligner(model, level)
        if level == config.levels - 1:
            last += aligner
        else:
            add(pool, aligner)
    return sum(p.numel() for p in model.parameters()), at, last


def _aligner(model: RAN, level: int) -> int:
    """Return the weights that one voxel of a level meets in its aligner, the shared ones included."""
    aligner, shared = model.aligners[level], model.shared[level % len(model.shared)]
    total = _weights(aligner) + _weights(shared)
    # the accumulator runs on every component of the displacement, the confidence on the new and on the carried scores
    total += (model.config.ndim - 1) * (_weights(aligner.field_join) + _weights(shared.field))
    return total + (_weights(aligner.confidence) if aligner.confidence is not None and level else 0)


def _weights(module: object) -> int:
    """Return the number of values in the kernels of a module's convolutions, without biases."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"expected a module, got {type(module).__name__}")
    kinds = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, kinds))
