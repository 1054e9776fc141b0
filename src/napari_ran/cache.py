"""A bounded memory of computed values, for several threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

ValueT = TypeVar("ValueT")


class Cache:
    """Keeps the values used last, up to a number of bytes.

    Two threads that want the same value at once compute it once: the second waits for the first.

    Parameters
    ----------
    budget : int
        Most bytes that are kept, or what else sizes are told in.
    least : int
        Values that are kept even where they are larger than that; without any, such a value is only handed out.
    """

    def __init__(self, budget: int, least: int = 0) -> None:
        self.budget, self.least, self.bytes = budget, least, 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], ValueT], size: Callable[[ValueT], int]) -> ValueT:
        """Return the value of a key, made by `make` unless it is kept; `size` says its bytes."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            try:
                with self._lock:
                    if key in self._kept:
                        self._kept.move_to_end(key)
                        kept: ValueT = self._kept[key][0]
                        return kept
                value = make()
                self.put(key, value, size(value))
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def find(self, key: Hashable) -> Any:
        """Return the value of a key, or None where it is not kept."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of so many bytes."""
        with self._lock:
            if key in self._kept:
                self.bytes -= self._kept.pop(key)[1]
            if size > self.budget and not self.least:
                return
            self._kept[key] = (value, size)
            self.bytes += size
            while self.bytes > self.budget and len(self._kept) > self.least:
                _, (_, freed) = self._kept.popitem(last=False)
                self.bytes -= freed

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0
