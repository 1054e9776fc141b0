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
from napari_ran.device import describe_device, free_memory
from napari_ran.errors import NotEnoughMemoryError

NETWORK_BYTES = 2_700
"""Measured peak of a forward pass of RAN4+ with both directions, in bytes per voxel it sees (fp32)."""

FIT_NETWORK_BYTES = 12_000
"""The same with gradients, for instance optimisation of the network."""

FIELD_BYTES = 450
"""Measured growth of the peak of the instance optimisation of the field, in bytes per working voxel."""

POINT_BYTES = 8_000
"""What each point that is compared in one of its steps adds to that."""

WORKING_BYTES = 150
"""Images, both fields and their composition, in bytes per working voxel: what a run without refinement holds."""

KEPT_BYTES = 830
"""Measured size of the levels that are kept for inspection (RAN3, both directions), in bytes per voxel it sees."""


def predicted_peak(shape: tuple[int, ...], config: RegistrationConfig, network: bool) -> int:
    """Return the predicted peak in bytes of a registration on a working grid of this shape."""
    voxels = math.prod(shape)
    kept = KEPT_BYTES if config.keep_levels else 0
    if config.instance.mode == "network":
        return voxels * (FIT_NETWORK_BYTES + 2 * kept)  # before the fit and after it
    seen = min(voxels, config.largest_network_grid) if network else 0
    forward = seen * NETWORK_BYTES
    if config.instance.mode == "field":
        refining = voxels * FIELD_BYTES + min(voxels, config.instance.points) * POINT_BYTES
    else:
        refining = voxels * WORKING_BYTES
    return max(forward, refining) + seen * kept


def check_memory(shape: tuple[int, ...], config: RegistrationConfig, network: bool, device: torch.device) -> None:
    """Refuse a run that will not fit.

    Raises
    ------
    NotEnoughMemoryError
        Naming the working spacing (as a factor) that would fit.
    """
    needed, free = predicted_peak(shape, config, network), free_memory(device)
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
