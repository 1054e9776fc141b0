"""What runs were measured to take, how the processor's allocator is told to keep memory, and running out of it."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from napari_ran.device import describe_device
from napari_ran.errors import NotEnoughMemoryError

LEFT_OVER = 0.45
"""Share of what a stage needs that the process still holds in later ones: see `keeping_freed_memory`."""

FIELD_BYTES = {2: 165, 3: 115}
"""Images, both fields and their composition while a field is optimised, in bytes per working voxel, by dimension."""

POINT_BYTES = {2: 1_300, 3: 4_300}
"""What each point that is compared in one step of the optimisation of the field adds to that."""

TILED_BYTES = {2: 110, 3: 150}
"""Fields of both directions and their composition while the network looks at tiles, per working voxel, by dimension."""

WHOLE_BYTES = {"preprocess": (0, 11, 4), "transform": (175, 27, 12), "evaluate": (256, 45, 12)}
"""What a stage needs for the whole images: bytes per voxel of a slab, of the fixed image and of the moving one."""

SLAB = 2**21
"""Most voxels of a slab in which whole images are walked."""


def whole_bytes(stage: str, fixed: int, moving: int) -> int:
    """Return the predicted bytes of a stage that walks whole images of so many voxels."""
    per_slab, per_fixed, per_moving = WHOLE_BYTES[stage]
    return per_slab * min(max(fixed, moving), SLAB) + per_fixed * fixed + per_moving * moving


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


def has_glibc() -> bool:
    """Whether the processor's memory is glibc's to give."""
    return _glibc() is not None


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
