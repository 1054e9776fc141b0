"""The memory that a run will need, predicted before it starts."""

from __future__ import annotations

import ctypes
import functools
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from napari_ran.config import RegistrationConfig
from napari_ran.device import describe_device, free_memory, resolve_device
from napari_ran.errors import NotEnoughMemoryError

NETWORK_BYTES = 1_150
"""Measured peak of a forward pass with both directions, in bytes per voxel it sees (fp32, the bundled networks)."""

LEFT_OVER = 0.6
"""Share of that which the process still holds while the field is optimised."""

FIT_NETWORK_BYTES = {2: 12_600, 3: 10_800}
"""The same as `NETWORK_BYTES` with gradients, for instance optimisation of the network, by dimension."""

FIELD_BYTES = {2: 165, 3: 115}
"""Images, both fields and their composition, in bytes per working voxel, by dimension."""

POINT_BYTES = {2: 1_300, 3: 4_300}
"""What each point that is compared in one step of the optimisation of the field adds to that."""

KEPT_BYTES = {2: 400, 3: 250}
"""Measured growth by the levels that are kept for inspection, in bytes per voxel that the network sees."""

USED = 0.9
"""Share of the free memory that a run may plan with."""

FINER = 1.1
"""Factor between the grids that are tried."""

LEAST_VOXELS = 32_768
"""A working grid of fewer voxels is not chosen on its own."""


def predicted_peak(voxels: int, ndim: int, config: RegistrationConfig, network: bool) -> int:
    """Return the predicted peak in bytes of a registration on a working grid of so many voxels."""
    kept = KEPT_BYTES[ndim] if config.keep_levels else 0
    if config.instance.mode == "network":
        return voxels * (FIT_NETWORK_BYTES[ndim] + 2 * kept)  # before the fit and after it
    seen = min(voxels, config.largest_network_grid) if network else 0
    forward = seen * NETWORK_BYTES
    refining = voxels * FIELD_BYTES[ndim]
    if config.instance.mode == "field":
        refining += min(voxels, config.instance.points) * POINT_BYTES[ndim] + int(LEFT_OVER * forward)
    return max(forward, refining) + seen * kept


def fitting_voxels(
    wanted: int, ndim: int, config: RegistrationConfig, network: bool, device: torch.device
) -> tuple[int, str]:
    """Return how many voxels the working grid may have for the run to fit, and a sentence where that is fewer.

    Parameters
    ----------
    wanted : int
        How many it would have if there were memory without end.
    ndim : int
        The dimension of the images.
    config : RegistrationConfig
        The settings; `spacing` is not looked at.
    network : bool
        Whether a network takes part.
    device : torch.device
        Where the run computes.

    Returns
    -------
    int, str
        `wanted` itself and nothing where it fits, or where even the least grid would not: `check_memory` refuses that.
    """
    free, voxels = int(USED * free_memory(device)), wanted
    while predicted_peak(voxels, ndim, config, network) > free:
        voxels = int(voxels / FINER)
        if voxels < LEAST_VOXELS:
            return wanted, ""
    if voxels == wanted:
        return wanted, ""
    needed = predicted_peak(wanted, ndim, config, network)
    return voxels, (
        f"The working grid is coarser than usual, to fit into memory: {wanted / 1e6:.2g} million voxels need about "
        f"{needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free on {describe_device(device)}"
    )


def roomy_device(wanted: int, ndim: int, config: RegistrationConfig, network: bool) -> tuple[torch.device, str]:
    """Return the device of the settings, or the processor where ``device="auto"`` has no room for a useful grid.

    Returns
    -------
    torch.device, str
        The device, and a sentence where it is not the first choice.
    """
    device, processor = resolve_device(config.device), torch.device("cpu")
    if config.device != "auto" or device == processor:
        return device, ""
    if not _cramped(wanted, ndim, config, network, device) or _cramped(wanted, ndim, config, network, processor):
        return device, ""
    return processor, f"Computed on the CPU: {describe_device(device)} has too little free memory for a useful grid"


def _cramped(wanted: int, ndim: int, config: RegistrationConfig, network: bool, device: torch.device) -> bool:
    """Whether the grid that fits is less than a quarter of the one that is wanted."""
    free = USED * free_memory(device)
    return predicted_peak(max(1, wanted // 4), ndim, config, network) > free


def ran_out(error: BaseException) -> bool:
    """Whether an exception says that PyTorch could not allocate memory: on a GPU, or on the processor."""
    on_processor = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or on_processor


def out_of_memory(device: torch.device) -> NotEnoughMemoryError:
    """Return the error of a run that has run out of memory in spite of the prediction."""
    return NotEnoughMemoryError(
        "spacing",
        f"{describe_device(device)} ran out of memory in the middle of the run",
        "Use a coarser working spacing (spacing=...), or end other programs that hold memory",
    )


def check_memory(shape: tuple[int, ...], config: RegistrationConfig, network: bool, device: torch.device) -> None:
    """Refuse a run that will not fit.

    Raises
    ------
    NotEnoughMemoryError
        Naming the working spacing (as a factor) that would fit.
    """
    needed, free = predicted_peak(math.prod(shape), len(shape), config, network), free_memory(device)
    if needed <= free:
        return
    factor = (needed / free) ** (1 / len(shape))
    raise NotEnoughMemoryError(
        "spacing",
        f"the working grid of {' x '.join(map(str, shape))} voxels needs about {needed / 2**30:.1f} GiB,"
        f" {free / 2**30:.1f} GiB are free on {describe_device(device)}",
        f"Use a working spacing at least {math.ceil(factor * 10) / 10:.1f} times as coarse (spacing=...)"
        + (", or instance='field'" if config.instance.mode == "network" else ""),
    )


_TRIM, _TOP_PAD, _MMAP = -1, -2, -3  # the parameters of glibc's mallopt
_LARGEST_MMAP = 32 * 2**20  # more is refused
_HELD = threading.Lock()
_holders = 0


@functools.cache
def _glibc() -> Any:
    """Return the C library if it is glibc, whose allocator can be told what to do; None on other systems."""
    try:
        library = ctypes.CDLL("libc.so.6")
        return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
    except OSError:
        return None


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Let the process keep what is freed for what is allocated next, and give it back at the end.

    An optimisation frees and allocates the same megabytes in every step. glibc returns them to the system each time,
    which makes every page a fault: a tenth of the time of a registration. Elsewhere this does nothing.
    """
    global _holders
    library = _glibc()
    if library is None:
        yield
        return
    with _HELD:
        _holders += 1
        library.mallopt(_MMAP, _LARGEST_MMAP)
        library.mallopt(_TOP_PAD, 2**28)
        library.mallopt(_TRIM, 2**31 - 1)
    try:
        yield
    finally:
        with _HELD:
            _holders -= 1
            if _holders == 0:
                library.mallopt(_TOP_PAD, 2**17)
                library.mallopt(_TRIM, 2 * _LARGEST_MMAP)  # where glibc's own adjustment ends
                library.malloc_trim(0)
