"""How much memory a computation takes, counted tensor by tensor while it runs on a small grid.

The count of a small grid says that of any other: almost all tensors grow with the voxels. What a process then takes is
more than the sum of the tensors, as an allocator leaves holes; `resident` replays the record through one like glibc's.
"""

from __future__ import annotations

import bisect
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from napari_ran.memory import told_of_holes

LARGEST_IN_HEAP = 32 * 2**20
"""Blocks of more bytes are given by the system and go back to it at once; see `memory.keeping_freed_memory`."""

_HEADER = 16
"""Bytes in front of each block of the heap."""

_TO_ALIGN = 96
"""Bytes by which a hole has to be larger than the block that is put into it.

glibc (before 2.38) looks for room to align a block before it knows where that will lie: a block does not fit where one
of its size has just been.
"""


class Block(NamedTuple):
    """A tensor's memory is taken, or freed: number of the tensor, its bytes, which."""

    number: int
    size: int
    taken: bool


HOLES_GIVEN_BACK = Block(-1, 0, False)
"""Stands in a record where the holes of the heap are given back to the system."""


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, a record of the memory of all tensors that are made.

    Work space inside a kernel is not seen.

    Attributes
    ----------
    blocks : list of Block
        What was taken and freed, in order.
    live, peak : int
        Bytes held now, and at most.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.blocks: list[Block] = []
        self.live = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and note what it made."""
        given = {id(tensor.untyped_storage()) for tensor in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if id(storage) not in given and id(storage) not in self._known:
                self._take(storage)
        return result

    def _take(self, storage: torch.UntypedStorage) -> None:
        block = Block(len(self.blocks), storage.nbytes(), True)
        self._known[id(storage)] = block.number
        self.blocks.append(block)
        self.live += block.size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, id(storage), block.size)

    def _free(self, name: int, size: int) -> None:
        self.blocks.append(Block(self._known.pop(name), size, False))
        self.live -= size


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_iter(values) if isinstance(value, Tensor)]


def recorded(compute: Callable[[], object]) -> Ledger:
    """Return the record of what `compute` takes beside the tensors that were there before."""
    ledger = Ledger()
    with ledger, told_of_holes(lambda: ledger.blocks.append(HOLES_GIVEN_BACK)):
        compute()
    return ledger


def resident(blocks: list[Block], scale: float = 1.0, largest: int = LARGEST_IN_HEAP) -> int:
    """Return the most bytes that a process holds when all blocks of a record are `scale` times as large.

    Blocks of up to `largest` bytes lie in a heap that only grows: the smallest hole with room to align the block is
    taken, and neighbouring holes become one. Holes are held until they are given back.
    """
    heap, place = _Heap(), dict[int, int]()
    mapped = most = 0
    for block in blocks:
        number, size, taken = block.number, int(block.size * scale), block.taken
        if block == HOLES_GIVEN_BACK:
            heap.give_back_holes()
        elif size > largest:
            mapped += size if taken else -size
        elif taken:
            place[number] = heap.take(size + _HEADER)
        else:
            heap.free(place.pop(number), size + _HEADER)
        most = max(most, mapped + heap.held)
    return most


class _Heap:
    """Memory that only grows, with holes; addresses and lengths in bytes.

    A part of a hole may be held still, the other given back: what is taken from it then comes from both in proportion.
    """

    def __init__(self) -> None:
        self.top = 0
        self.held = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._kept: list[int] = []  # bytes of each hole that are held

    def take(self, size: int) -> int:
        fitting = [
            (end - start, index)
            for index, (start, end) in enumerate(zip(self._starts, self._ends, strict=True))
            if end - start >= size + _TO_ALIGN
        ]
        if not fitting:
            start, kept = self.top, 0
            if self._ends and self._ends[-1] == self.top:  # a hole at the end grows
                start, kept = self._starts.pop(), self._kept.pop()
                self._ends.pop()
            self.top = max(self.top, start + size)
            self.held += size - kept
            return start
        length, index = min(fitting)
        start, kept = self._starts[index], self._kept[index] * size // length
        self._starts[index] += size
        self._kept[index] -= kept
        self.held += size - kept
        return start

    def free(self, start: int, size: int) -> None:
        index, end, kept = bisect.bisect(self._starts, start), start + size, size
        if index < len(self._starts) and self._starts[index] == end:
            end, kept = self._ends[index], kept + self._kept[index]
            del self._starts[index], self._ends[index], self._kept[index]
        if index and self._ends[index - 1] == start:
            self._ends[index - 1] = end
            self._kept[index - 1] += kept
        else:
            self._starts.insert(index, start)
            self._ends.insert(index, end)
            self._kept.insert(index, kept)

    def give_back_holes(self) -> None:
        self.held -= sum(self._kept)
        self._kept = [0] * len(self._kept)
