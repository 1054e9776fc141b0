"""In which precision the network computes: as asked for, or as a short measurement on this device says.

Half precision is faster where the hardware has units for it and slower elsewhere, which names of devices do not tell.
So it is tried once, and what was found is kept for later runs.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from platformdirs import user_cache_dir
from torch import Tensor

from napari_ran.config import RANConfig, RegistrationConfig
from napari_ran.device import describe_device
from napari_ran.errors import InputError
from napari_ran.models.blocks import ResidualBlock, channels_last, initialise
from napari_ran.writing import replacing

WORTHWHILE = 1.2
"""Half precision is chosen where it is so many times as fast."""

SMALL = 200_000
"""Voxels up to which the network is so fast that nothing is measured."""

_HALF: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
_PROBE = (18, 48, 48, 48)  # the widest features of a RAN, on a grid that takes a tenth of a second on a processor
_ROUNDS = 3


def chosen_precision(config: RegistrationConfig, voxels: int, device: torch.device) -> tuple[str, str]:
    """Return the precision of the network's pass over so many voxels, and a sentence where it is not plain fp32.

    ``auto`` takes half precision on images that are worth it, where it was measured to be faster; but not where levels
    are kept, which are looked at in single precision, nor on a processor where the field is refined afterwards, as the
    network is a small part of the time there.
    """
    asked = config.precision
    if asked != "auto":
        return asked, "" if asked == "fp32" else f"The network computes in {asked}, as asked for"
    small_part = device.type == "cpu" and config.instance.mode == "field"
    if config.keep_levels or small_part or voxels <= SMALL or device.type == "mps":
        return "fp32", ""
    gain = measured_gain(device)
    if gain < WORTHWHILE:
        return "fp32", ""
    return "bf16", f"The network computes in bf16: {gain:.1f} times as fast as fp32 on {describe_device(device)}"


def check_precision(config: RegistrationConfig, device: torch.device) -> None:
    """Refuse a precision that goes neither with the device nor with kept levels.

    Raises
    ------
    InputError
        Naming the precisions that do.
    """
    asked = config.precision
    if asked == "fp16" and device.type == "cpu":
        raise InputError("precision", "fp16 is slow and too coarse on a CPU", "Use bf16, fp32 or auto")
    if asked in _HALF and config.keep_levels:
        raise InputError("precision", f"levels are kept in single precision, not in {asked}", "Use fp32 or auto")


@contextmanager
def autocast_to(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in a precision, and leave everything as it was.

    fp32 is exact on GPUs, too: without it, PyTorch lets convolutions round their inputs to 10 bits (TF32). tf32 allows
    that, for matrix products also.
    """
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(_tf32(precision == "tf32"))
        if precision in _HALF:
            stack.enter_context(torch.autocast(device.type, _HALF[precision]))
        yield


@contextmanager
def network_pass(precision: str, device: torch.device) -> Iterator[None]:
    """Compute without gradients in a precision, as the network's pass of a registration does."""
    with torch.no_grad(), autocast_to(precision, device):
        yield


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = allowed
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def measured_gain(device: torch.device, folder: str | Path | None = None) -> float:
    """Return how many times as fast bf16 is as fp32 on a device, measured once and kept in the user's cache.

    Parameters
    ----------
    device : torch.device
        What to measure, with the number of threads that PyTorch has now.
    folder : path, optional
        Where to keep what was found.
    """
    path = Path(folder or user_cache_dir("napari-ran")) / "precision.json"
    key = f"{describe_device(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    return _kept_gain(path, key, device)


@functools.cache
def _kept_gain(path: Path, key: str, device: torch.device) -> float:
    known = _read(path)
    if key not in known:
        known[key] = round(_gain(device), 2)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, "the measured precisions") as part:
                part.write_text(json.dumps(known, indent=1), encoding="utf-8")
        except (OSError, InputError):
            pass  # measured again next time
    return known[key]


def _read(path: Path) -> dict[str, float]:
    """Return what was measured before; nothing where the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): float(value) for key, value in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _gain(device: torch.device) -> float:
    """Return the seconds of a block of the network in fp32 over those in bf16."""
    channels, *shape = _PROBE
    block = ResidualBlock(RANConfig(), channels, channels)
    initialise(block, torch.Generator().manual_seed(0))
    block, x = block.to(device), channels_last(torch.rand(2, channels, *shape)).to(device)
    best = {"fp32": float("inf"), "bf16": float("inf")}
    for number in range(_ROUNDS + 1):  # the first one warms up
        for precision in best:
            seconds = _timed(block, x, precision)
            best[precision] = min(best[precision], seconds) if number else best[precision]
    return best["fp32"] / best["bf16"]


def _timed(block: ResidualBlock, x: Tensor, precision: str) -> float:
    start = time.perf_counter()
    with torch.no_grad(), autocast_to(precision, x.device):
        block(x)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter() - start
