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
        Most bytes that are kept; a value larger than this is handed out without being kept.
    """

    def __init__(self, budget: int) -> None:
        self.budget, self.bytes = budget, 0
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
                self._keep(key, value, size(value))
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def _keep(self, key: Hashable, value: Any, size: int) -> None:
        if size > self.budget:
            return
        with self._lock:
            if key in self._kept:
                self.bytes -= self._kept.pop(key)[1]
            self._kept[key] = (value, size)
            self.bytes += size
            while self.bytes > self.budget:
                _, (_, freed) = self._kept.popitem(last=False)
                self.bytes -= freed
