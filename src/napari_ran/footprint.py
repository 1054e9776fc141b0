"""How much memory a computation takes, counted tensor by tensor while it runs on a small grid.

The count of a small grid says that of any other: almost all tensors grow with the voxels. What a process then takes is
more than the sum of the tensors, as an allocator leaves holes; `resident` replays the record through one like glibc's.
"""

from __future__ import annotations

import bisect
import weakref
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(slots=True)
class _Hole:
    """Free memory of a heap from one address up to another; so many bytes of it are held, the others given back."""

    start: int
    end: int
    held: int

    @property
    def length(self) -> int:
        return self.end - self.start


class _Heap:
    """Memory that only grows, with holes; addresses and lengths in bytes.

    What is taken from a hole comes from its held part and from the other in proportion.
    """

    def __init__(self) -> None:
        self.top = self.held = 0
        self._holes: list[_Hole] = []  # by address

    def take(self, size: int) -> int:
        fitting = [hole for hole in self._holes if hole.length >= size + _TO_ALIGN]
        if fitting:
            hole = min(fitting, key=lambda one: one.length)
            start, held = hole.start, hole.held * size // hole.length
            hole.start += size
            hole.held -= held
        else:
            start, held = self.top, 0
            if self._holes and self._holes[-1].end == self.top:  # a hole at the end grows
                hole = self._holes.pop()
                start, held = hole.start, hole.held
            self.top = max(self.top, start + size)
        self.held += size - held
        return start

    def free(self, start: int, size: int) -> None:
        index, hole = bisect.bisect(self._holes, start, key=lambda one: one.start), _Hole(start, start + size, size)
        if index < len(self._holes) and self._holes[index].start == hole.end:
            after = self._holes.pop(index)
            hole.end, hole.held = after.end, hole.held + after.held
        if index and self._holes[index - 1].end == start:
            before = self._holes[index - 1]
            before.end, before.held = hole.end, before.held + hole.held
        else:
            self._holes.insert(index, hole)

    def give_back_holes(self) -> None:
        for hole in self._holes:
            self.held -= hole.held
            hole.held = 0
