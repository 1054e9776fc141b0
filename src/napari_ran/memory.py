"""What runs were measured to take, how the processor's allocator is told to keep memory, and running out of it."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from napari_ran.device import describe_device
from napari_ran.errors import NotEnoughMemoryError

REFINE_BYTES = {2: (167, 119, 27, 26_900_000), 3: (292, 131, 89, 54_400_000)}
"""What the optimisation of a field needs, by dimension: bytes per working voxel, what each voxel of the grid on which
the field is optimised adds, what each point that is compared in one step adds, and what does not depend on the size."""

SEARCH_BYTES = {2: (164, 0, 75_700_000), 3: (272, 407, 75_500_000)}
"""The same of the search before it, beside its table of costs: per working voxel, per voxel searched, and the rest."""

GUESS_BYTES = {2: 85, 3: 57}
"""What a first guess adds to either, per working voxel: a network's fields, and its displacement in mm."""

TILED_BYTES = {2: 150, 3: 150}
"""Images, and fields of both directions and their composition while the network looks at tiles, per working voxel."""

WHOLE_BYTES = {"preprocess": (10, 9, 10), "transform": (55, 27, 27), "evaluate": (125, 39, 13)}
"""What a stage needs for the whole images: bytes per voxel of a slab, of the fixed image and of the moving one."""

SLAB = 2**21
"""Voxels up to which what a stage makes on the way grows: the similarity is measured on so many, slabs are smaller."""


def whole_bytes(stage: str, fixed: int, moving: int) -> int:
    """Return the predicted bytes of a stage that walks whole images of so many voxels."""
    per_slab, per_fixed, per_moving = WHOLE_BYTES[stage]
    return per_slab * min(max(fixed, moving), SLAB) + per_fixed * fixed + per_moving * moving


def field_bytes(
    ndim: int, voxels: int, apart: int, points: int, searched: Sequence[tuple[int, int]] = (), guessed: bool = False
) -> int:
    """Return the predicted bytes of the optimisation of a field.

    Parameters
    ----------
    ndim, voxels : int
        Of the working grid.
    apart : int
        Working voxels between two of the grid on which the field is optimised.
    points : int
        Compared in one step.
    searched : sequence of pairs of int
        For each discrete search, its voxels and the displacements that each of them tries: costs of single precision.
    guessed : bool
        Whether there is a first guess.
    """
    per_voxel, per_control, per_point, rest = REFINE_BYTES[ndim]
    control = voxels // int(apart**ndim)
    refining = per_voxel * voxels + per_control * control + per_point * min(voxels, points) + rest
    per_voxel, per_searched, rest = SEARCH_BYTES[ndim]
    searching = [per_voxel * voxels + (per_searched + 4 * tried) * cells + rest for cells, tried in searched]
    return max([refining, *searching]) + (GUESS_BYTES[ndim] * voxels if guessed else 0)


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


def give_back_freed_memory() -> None:
    """Return to the system what was freed and kept, so that the next stage of a run starts from what it needs."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def give_back_holes() -> None:
    """Return what was freed to the system before the largest step of a long computation.

    Not while memory is kept for the next computation of the same kind, which would fill the holes again. A count of
    the memory is told instead; see `told_of_holes`.
    """
    tell = _tell.get()
    if tell is not None:
        tell()
    elif _repeating == 0:
        give_back_freed_memory()


@contextmanager
def told_of_holes(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` where holes would be given back."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


_TRIM, _TOP_PAD, _MMAP = -1, -2, -3  # the parameters of glibc's mallopt
_LARGEST_MMAP = 32 * 2**20  # more is refused
_HELD = threading.Lock()
_holders = _repeating = 0
_tell = ContextVar[Callable[[], None] | None]("tell", default=None)


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
def keeping_freed_memory(holes: bool = False) -> Iterator[None]:
    """Let the process keep what is freed for what is allocated next, and give it back at the end.

    An optimisation frees and allocates the same megabytes in every step. glibc returns them to the system each time,
    which makes every page a fault: a tenth of the time of a registration. `give_back_freed_memory` returns them in
    between. Elsewhere this does nothing.

    Parameters
    ----------
    holes : bool
        Keep also what `give_back_holes` would return: for passes of a network that are done again and again.
    """
    global _holders, _repeating
    library = _glibc()
    if library is None:
        yield
        return
    with _HELD:
        _holders += 1
        _repeating += holes
        library.mallopt(_MMAP, _LARGEST_MMAP)
        library.mallopt(_TOP_PAD, 2**28)
        library.mallopt(_TRIM, 2**31 - 1)
    try:
        yield
    finally:
        with _HELD:
            _holders -= 1
            _repeating -= holes
            if _holders == 0:
                library.mallopt(_TOP_PAD, 2**17)
                library.mallopt(_TRIM, 2 * _LARGEST_MMAP)  # where glibc's own adjustment ends
                give_back_freed_memory()
