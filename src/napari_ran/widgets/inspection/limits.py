"""What holds for whole volumes: contrast limits, so that levels can be compared, and the heads' mean shares."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor

from napari_ran.data import Grid
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.lookup import Lookup

PERCENTILE = 99.5
SAMPLES = 60_000
"""About how many values of each level the common contrast limits are taken from."""

FOLD_FREE = float(np.finfo(np.float32).tiny)
FIXED = {"masks": (0.0, 1.0), "warped": (0.0, 1.0), "jacobian": (FOLD_FREE, 2.0)}
SYMMETRIC = ("difference", "logits")
"""Quantities whose zero is in the middle of the colours."""


class Limits:
    """Contrast limits that hold for all stages; each is found once, from voxels that are spread over all of them."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._found: dict[tuple[str, str, str | tuple[int, int]], tuple[float, float]] = {}
        self._lock = threading.Lock()

    def of(self, quantity: str, direction: str) -> tuple[float, float]:
        """Return the limits of a quantity's values."""
        return FIXED.get(quantity) or self._known(quantity, direction, "value")

    def lengths(self, quantity: str, direction: str) -> tuple[float, float]:
        """Return the limits of the lengths in mm."""
        return self._known(quantity, direction, "length")

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
            if not self._inspection.why_not(quantity, stage, direction):
                values = sampled(Lookup(self._inspection, quantity, stage, direction), what)
                low, high = np.percentile(values.flatten().numpy(), [100 - PERCENTILE, PERCENTILE])
                lows.append(float(low))
                highs.append(float(high))
        low, high = min(lows), max(highs)
        if quantity in SYMMETRIC:
            high = max(-low, high)
            low = -high
        return low, high


class Shares:
    """How much each head counts at a stage, on average over the volume; found once per stage and direction."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._found: dict[tuple[int, str], tuple[float, ...]] = {}

    def of(self, stage: int, direction: str) -> tuple[float, ...]:
        """Return the mean of each head's mask."""
        key = (stage, direction)
        if key not in self._found:
            masks = self._inspection.get("masks", stage, direction).data
            self._found[key] = tuple(float(mask.mean()) for mask in masks)
        return self._found[key]


def sampled(lookup: Lookup, what: str | tuple[int, int]) -> Tensor:
    """Return values of voxels spread evenly over a quantity; or their lengths in mm, whole or in a plane.

    Parameters
    ----------
    lookup : Lookup
        The quantity of a stage.
    what : {"value", "length"} or (int, int)
        The values, the lengths of displacements, or their lengths as seen on the viewer's displayed axes.
    """
    grid = lookup.grid
    each = lookup.channels if what == "value" else lookup.channels / grid.ndim
    step = max(1, int(np.ceil((np.prod(grid.shape) * each / SAMPLES) ** (1 / grid.ndim))))
    thin = lookup.at(tuple(range(step // 2 if n > step else 0, n, step) for n in grid.shape))
    if what == "value":
        return thin
    plane = what if isinstance(what, tuple) else None
    return lengths_mm(thin.reshape(-1, grid.ndim, *thin.shape[1:]), grid, plane)


def lengths_mm(vectors: Tensor, grid: Grid, plane: tuple[int, int] | None = None) -> Tensor:
    """Return the lengths in mm (N, *S) of displacements (N, D, *S) in voxels; with a plane, as seen on the screen."""
    matrix = torch.as_tensor(np.array(grid.affine[:-1, :-1]), dtype=vectors.dtype)
    if plane is not None:
        matrix = matrix[[grid.ndim - 1 - axis % grid.ndim for axis in plane]]
    return torch.einsum("ij,nj...->ni...", matrix, vectors).square().sum(1).sqrt()
