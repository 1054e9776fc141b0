"""Features of many channels, interpolated at scattered points together with their slopes.

The channels of a voxel lie side by side as one row of a table, and a point is a weighted sum of the rows around it:
`torch.nn.functional.embedding_bag` reads them several times as fast as `grid_sample`, forwards and backwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 1 << 15
"""Points that are compared at a time: what is computed for them stays in the processor's cache."""


def rows_of(features: Tensor) -> Tensor:
    """Return features (1, C, *S) as a table (N, C) with the voxels in the order of memory."""
    return features[0].flatten(1).T.contiguous()


def mean_square(
    table: Tensor, shape: Sequence[int], points: Tensor, values: Tensor, weight: Tensor, wanted: bool
) -> tuple[Tensor, Tensor | None]:
    """Compare features at points with values.

    Parameters
    ----------
    table : (N, C) tensor
        The features that are read, see `rows_of`.
    shape : sequence of D ints
        Of their grid; N is its product. Beyond its border the border's values continue.
    points : (D, P) tensor
        Where they are read, in voxels.
    values : (P, C) tensor
        What they should be.
    weight : (P,) tensor
        Weight of each point.
    wanted : bool
        Whether the gradient is wanted.

    Returns
    -------
    value : scalar tensor
        Mean of the squared differences over channels, and by weight over points.
    gradient : (D, P) tensor or None
        Its gradient by the points.
    """
    scale = weight / (weight.sum() * table.shape[1])
    value = points.new_zeros(())
    gradient = torch.empty_like(points) if wanted else None
    for start in range(0, points.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        places = _Places(shape, points[:, part])
        difference = places.read(table, places.weights()).sub_(values[part])
        value += torch.dot(difference.square().sum(1), scale[part])
        if gradient is not None:
            difference *= (2 * scale[part])[:, None]
            for axis in range(len(shape)):
                slope = places.read(table, places.weights(axis)).mul_(difference).sum(1)
                torch.mul(slope, places.inside[axis], out=gradient[axis, part])
    return value, gradient


class _Places:
    """The rows around points (D, P), and how much each one counts."""

    def __init__(self, shape: Sequence[int], points: Tensor) -> None:
        last = points.new_tensor([n - 1 for n in shape])[:, None]
        points = points.nan_to_num(nan=0.0)
        clamped = torch.minimum(points.clamp_min(0), last)
        self.inside = clamped == points  # a point beyond the border can move without changing what is read
        low = torch.minimum(clamped.floor(), (last - 1).clamp_min(0))
        self._above = clamped - low
        index, offsets = torch.zeros_like(low[0], dtype=torch.long), torch.zeros(1, dtype=torch.long)
        for axis, n in enumerate(shape):
            index = index.mul_(n).add_(low[axis].long())
            offsets = (offsets[:, None] * n + torch.tensor([0, min(1, n - 1)])).flatten()
        self._rows = index[:, None] + offsets

    def weights(self, slope: int | None = None) -> Tensor:
        """Return the weights (P, 2**D) of the rows in linear interpolation, or in its slope along an axis."""
        sides = torch.stack([1 - self._above, self._above], 1)
        if slope is not None:
            sides[slope, 0], sides[slope, 1] = -1, 1
        total = sides[0]  # computed row by row, and turned round at the end: a tenth of the time
        for side in sides[1:]:
            total = (total[:, None] * side).flatten(0, 1)
        return total.T.contiguous()

    def read(self, table: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted sums of the rows, (P, C)."""
        return F.embedding_bag(self._rows, table, mode="sum", per_sample_weights=weights)
