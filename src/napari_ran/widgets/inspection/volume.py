"""What an image layer shows, made slice by slice when the viewer asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from napari_ran.introspect.lookup import Where, everywhere


class Volume:
    """An array in the viewer's order of axes whose values are made where they are read.

    The viewer reads one slice at a time (or everything, when it shows the volume). What is asked for by whole numbers
    and plain slices is made alone; anything else, such as arithmetic, makes the whole array, which then is kept.

    Parameters
    ----------
    shape : tuple of int
        Shape of the grid, in this package's order.
    make : callable
        Returns the values (*T), or colours (channels, *T), at some voxels, in this package's order.
    dtype : type
        Of the values.
    channels : int
        3 or 4 for colours, which are the last axis here; 0 for plain values.
    """

    def __init__(
        self, shape: tuple[int, ...], make: Callable[[Where], Tensor], dtype: DTypeLike = np.float32, channels: int = 0
    ) -> None:
        self._grid_shape, self._make = shape, make
        self._whole: NDArray[Any] | None = None
        self._lock = threading.Lock()
        self.dtype = np.dtype(dtype)
        self.shape = (*reversed(shape), channels) if channels else tuple(reversed(shape))
        self.ndim = len(self.shape)
        self.size = int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return self.size * self.dtype.itemsize

    @property
    def kept(self) -> int:
        """Bytes of what was made and is kept: none unless it was everything."""
        return 0 if self._whole is None else int(self._whole.nbytes)

    def whole(self) -> NDArray[Any]:
        """Return all values, made once."""
        with self._lock:
            if self._whole is None:
                self._whole = self._laid_out(everywhere(self._grid_shape))
            return self._whole

    def _laid_out(self, where: Where) -> NDArray[Any]:
        """Return values in the viewer's order of axes, laid out in memory as the viewer reads them."""
        return np.ascontiguousarray(self._make(where).numpy().T, dtype=self.dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        spatial = len(self._grid_shape)
        plain = all(isinstance(part, slice | int | np.integer) for part in keys) and len(keys) <= self.ndim
        if self._whole is not None or not plain:
            return np.asarray(self.whole()[key])
        where: list[range] = []
        inner: list[slice | int] = []
        for part, n in zip(
            (*keys[:spatial], *[slice(None)] * (spatial - len(keys))), self.shape[:spatial], strict=True
        ):
            if isinstance(part, slice):
                chosen = range(*part.indices(n))
                where.append(range(min(chosen), max(chosen) + 1) if chosen else range(0))
                inner.append(slice(None, None, chosen.step))  # backwards from the last of what was made
            else:
                index = int(part) + n * (part < 0)
                if not 0 <= index < n:
                    raise IndexError(f"index {part} is out of bounds for an axis of {n}")
                where.append(range(index, index + 1))
                inner.append(0)
        if not all(where):
            return np.broadcast_to(np.zeros((), self.dtype), self.shape)[keys]
        return np.asarray(self._laid_out(tuple(reversed(where)))[(*inner, *keys[spatial:])])

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self.whole()
        return whole.copy() if copy else whole.astype(dtype or self.dtype, copy=False)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        arrays = [part.whole() if isinstance(part, Volume) else part for part in inputs]
        return getattr(ufunc, method)(*arrays, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Be an array for everything else that arrays can do, at the price of the whole."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a volume has no {name}")
        return getattr(self.whole(), name)
