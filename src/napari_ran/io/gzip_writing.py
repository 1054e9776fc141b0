"""Writing gzip files on several threads: blocks are packed apart and joined to one ordinary member, as pigz does."""

from __future__ import annotations

import io
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import torch

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BLOCK = 1 << 20
"""Bytes that are packed at a time; where a block begins depends on the content alone, so that the file does, too."""

_SAMPLES, _SAMPLE = 8, 1 << 11
"""How many samples of how many bytes say whether a block has repeats."""

_WORTH = 1.02
"""How much larger the samples may become without a search for repeats, which takes two thirds of the time."""

_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"  # deflate, no name, no time, packed fast, by an unknown system
_LAST = b"\x03\0"  # an empty block that is marked as the last one


@contextmanager
def packing(path: Path) -> Iterator[io.BufferedIOBase]:
    """Yield a stream whose content becomes a gzip file, on as many threads as PyTorch computes with.

    The same content makes the same file, whatever the number of threads. At most two blocks for each thread wait.

    Raises
    ------
    OSError
        The file could not be written.
    """
    threads = torch.get_num_threads()
    with path.open("wb") as file, ThreadPoolExecutor(threads) as pool:
        stream = _Stream(file, pool, 2 * threads)
        yield stream
        stream.finish()


class _Stream(io.BufferedIOBase):
    """What is written to it, in order, goes to the pool block by block and from there to the file."""

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor, most: int):
        self._file, self._pool, self._most = file, pool, most
        self._waiting: deque[Future[bytes]] = deque()
        self._part = bytearray()
        self._size = self._checksum = 0
        file.write(_HEADER)

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), BLOCK):
            self._part += view[start : start + BLOCK]
            if len(self._part) >= BLOCK:
                self._pack(bytes(self._part[:BLOCK]))
                del self._part[:BLOCK]
        self._size += len(view)
        self._checksum = zlib.crc32(view, self._checksum)
        return len(view)

    def tell(self) -> int:
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if (offset, whence) != (self._size, io.SEEK_SET):
            raise io.UnsupportedOperation("a gzip file is written from start to end")
        return offset

    def finish(self) -> None:
        self._pack(bytes(self._part))
        self._put(0)
        self._file.write(_LAST + struct.pack("<LL", self._checksum, self._size % 2**32))

    def _pack(self, block: bytes) -> None:
        self._waiting.append(self._pool.submit(_packed, block))
        self._put(self._most)

    def _put(self, most: int) -> None:
        while len(self._waiting) > most:
            self._file.write(self._waiting.popleft().result())


def _packed(block: bytes) -> bytes:
    """Return deflated bytes; numbers without repeats, such as a field's, are coded one by one."""
    starts = range(0, len(block), len(block) // _SAMPLES or 1)
    samples = b"".join(block[start : start + _SAMPLE] for start in starts)
    one_by_one = len(_deflated(samples, zlib.Z_HUFFMAN_ONLY)) <= _WORTH * len(_deflated(samples))
    return _deflated(block, zlib.Z_HUFFMAN_ONLY if one_by_one else zlib.Z_DEFAULT_STRATEGY)


def _deflated(data: bytes, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """Return raw deflate that ends at a whole byte and can be followed by more."""
    packer = zlib.compressobj(zlib.Z_BEST_SPEED, zlib.DEFLATED, -zlib.MAX_WBITS, strategy=strategy)
    return packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
