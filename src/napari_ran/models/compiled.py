"""Blocks of convolutions compiled by PyTorch for the device, which takes up to a minute and may pay over many pairs."""

from __future__ import annotations

import functools

import torch
from torch import nn

from napari_ran.errors import InputError, brief
from napari_ran.models.aligner import Regressor
from napari_ran.models.blocks import ResidualBlock


def compile_blocks(model: nn.Module, device: torch.device) -> None:
    """Let the residual blocks and regressors of a network be compiled where they are first called.

    They hold nearly all of the convolutions. The first pass compiles, the second shape of images compiles once more,
    and after that any shape runs; so do other networks of the same structure in the same process.

    Parameters
    ----------
    model : RAN or PairNetwork
        Changed in place; copies of it are not compiled.
    device : torch.device
        Where it will compute.

    Raises
    ------
    InputError
        The network has no such blocks, or this machine cannot compile.
    """
    blocks = [part for part in model.modules() if isinstance(part, ResidualBlock | Regressor)]
    if not blocks:
        raise InputError("compile", "this network has no blocks to compile", "Switch it off, or choose a RAN's weights")
    _try(device)
    for block in blocks:
        block.compile()


def failed_to_compile(error: BaseException) -> bool:
    """Whether an exception of a pass came from compiling."""
    return isinstance(error, torch._dynamo.exc.TorchDynamoException)


@functools.cache
def _try(device: torch.device) -> None:
    """Compile something small: a compiler that is missing shows before any work."""
    try:
        torch.compile(_something)(torch.ones(8, device=device))
    except (RuntimeError, ImportError, OSError) as error:
        raise InputError(
            "compile",
            f"PyTorch cannot compile for {device} here ({brief(str(error))})",
            "Switch it off, or install a C++ compiler, and Triton for a GPU",
        ) from error


def _something(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1
