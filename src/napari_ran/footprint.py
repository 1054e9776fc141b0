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
    """A tensor's memory is taken, or given back: number of the tensor, its bytes, which."""

    number: int
    size: int
    taken: bool


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, a record of the memory of all tensors that are made.

    Work space inside a kernel is not seen.

    Attributes
    ----------
    blocks : list of Block
        What was taken and given back, in order.
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
        weakref.finalize(storage, self._give_back, id(storage), block.size)

    def _give_back(self, name: int, size: int) -> None:
        self.blocks.append(Block(self._known.pop(name), size, False))
        self.live -= size


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_iter(values) if isinstance(value, Tensor)]


def recorded(compute: Callable[[], object]) -> Ledger:
    """Return the record of what `compute` takes beside the tensors that were there before."""
    ledger = Ledger()
    with ledger:
        compute()
    return ledger


def resident(blocks: list[Block], scale: float = 1.0, largest: int = LARGEST_IN_HEAP) -> int:
    """Return the most bytes that a process holds when all blocks of a record are `scale` times as large.

    Blocks of up to `largest` bytes lie in a heap that only grows: the smallest hole with room to align the block is
    taken, and neighbouring holes become one.
    """
    heap, place = _Heap(), dict[int, int]()
    mapped = most = 0
    for number, size, taken in blocks:
        size = int(size * scale)
        if size > largest:
            mapped += size if taken else -size
        elif taken:
            place[number] = heap.take(size + _HEADER)
        else:
            heap.give_back(place.pop(number), size + _HEADER)
        most = max(most, mapped + heap.top)
    return most


class _Heap:
    """Memory that only grows, with holes; addresses and lengths in bytes."""

    def __init__(self) -> None:
        self.top = 0
        self._starts: list[int] = []
        self._ends: list[int] = []

    def take(self, size: int) -> int:
        fitting = [
            (end - start, index)
            for index, (start, end) in enumerate(zip(self._starts, self._ends, strict=True))
            if end - start >= size + _TO_ALIGN
        ]
        if not fitting:
            start = self.top
            if self._ends and self._ends[-1] == self.top:  # a hole at the end grows
                start = self._starts.pop()
                self._ends.pop()
            self.top = max(self.top, start + size)
            return start
        _, index = min(fitting)
        start = self._starts[index]
        self._starts[index] += size
        return start

    def give_back(self, start: int, size: int) -> None:
        index, end = bisect.bisect(self._starts, start), start + size
        if index < len(self._starts) and self._starts[index] == end:
            end = self._ends[index]
            del self._starts[index], self._ends[index]
        if index and self._ends[index - 1] == start:
            self._ends[index - 1] = end
        else:
            self._starts.insert(index, start)
            self._ends.insert(index, end)
