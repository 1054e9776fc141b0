"""Contrast limits that hold for all levels of a quantity, so that levels can be compared."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from napari_ran.data import Grid
from napari_ran.introspect.inspection import Inspection

PERCENTILE = 99.5
SAMPLES = 60_000
"""Voxels of each level that the common contrast limits are taken from."""

FOLD_FREE = float(np.finfo(np.float32).tiny)


class Limits:
    """Contrast limits that hold for all stages, so that levels can be compared; found once, in the background."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._found: dict[tuple[str, str, str | tuple[int, int]], tuple[float, float]] = {}
        self._lock = threading.Lock()

    def of(self, quantity: str, direction: str, lengths: bool) -> tuple[float, float]:
        """Return the limits of a quantity's values, or of its lengths in mm."""
        fixed = {"masks": (0.0, 1.0), "warped": (0.0, 1.0), "jacobian": (FOLD_FREE, 2.0)}
        if quantity in fixed and not lengths:
            return fixed[quantity]
        return self._known(quantity, direction, "length" if lengths else "value")

    def in_plane(self, quantity: str, direction: str, plane: tuple[int, int]) -> tuple[float, float]:
        """Return the limits of the lengths in mm as seen on the screen."""
        return self._known(quantity, direction, plane)

    def _known(self, quantity: str, direction: str, what: str | tuple[int, int]) -> tuple[float, float]:
        key = (quantity, direction, what)
        with self._lock:
            if key not in self._found:
                self._found[key] = self._search(*key)
            return self._found[key]

    def _search(self, quantity: str, direction: str, what: str | tuple[int, int]) -> tuple[float, float]:
        lows, highs = [0.0], [1e-6]
        for stage in range(len(self._inspection.stages)):
            if quantity not in self._inspection.available(stage, direction):
                continue
            array = self._inspection.get(quantity, stage, direction)
            data = array.data
            step = max(1, int(np.ceil((data[0].numel() / SAMPLES) ** (1 / array.grid.ndim))))
            thin = data[(slice(None), *[slice(step // 2 if n > step else 0, None, step) for n in data.shape[1:]])]
            values = thin
            if what != "value":
                plane = what if isinstance(what, tuple) else None
                values = lengths_mm(thin.reshape(-1, array.grid.ndim, *thin.shape[1:]), array.grid, plane)
            flat = values.flatten().numpy()
            highs.append(float(np.percentile(flat, PERCENTILE)))
            lows.append(float(np.percentile(flat, 100 - PERCENTILE)))
        low, high = min(lows), max(highs)
        if quantity in ("difference", "logits"):
            high = max(-low, high)
            low = -high
        return low, high


def lengths_mm(vectors: Tensor, grid: Grid, plane: tuple[int, int] | None = None) -> Tensor:
    """Return the lengths in mm (N, *S) of displacements (N, D, *S) in voxels; with a plane, as seen on the screen."""
    matrix = torch.as_tensor(np.array(grid.affine[:-1, :-1]), dtype=vectors.dtype)
    if plane is not None:
        matrix = matrix[[grid.ndim - 1 - axis % grid.ndim for axis in plane]]
    return torch.einsum("ij,nj...->ni...", matrix, vectors).square().sum(1).sqrt()
