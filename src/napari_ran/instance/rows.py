"""Features of many channels, interpolated at scattered points together with their slopes.

The channels of a voxel lie side by side as one row of a table, and a point is a weighted sum of the rows around it:
`torch.nn.functional.embedding_bag` reads them several times as fast as `grid_sample`, forwards and backwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 1 << 16
"""Points that are compared at a time, so that memory stays bounded."""


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
        lines = places.lines(table)
        difference = _across(lines, places.above[:-1, :, None]).sub_(values[part])
        value += torch.dot(difference.square().sum(1), scale[part])
        if gradient is not None:
            difference *= (2 * scale[part])[:, None]
            torch.mul(places.gradient(table, lines, difference), places.inside, out=gradient[:, part])
    return value, gradient


class _Places:
    """The rows around points (D, P), two and two as lines along the last axis, and where points lie between them."""

    def __init__(self, shape: Sequence[int], points: Tensor) -> None:
        last = points.new_tensor([n - 1 for n in shape])[:, None]
        points = points.nan_to_num(nan=0.0)
        clamped = torch.minimum(points.clamp_min(0), last)
        self.inside = clamped == points  # a point beyond the border can move without changing what is read
        low = torch.minimum(clamped.floor(), (last - 1).clamp_min(0))
        self.above = clamped - low
        kind = torch.int32 if math.prod(shape) < 2**31 else torch.int64  # fewer bytes are read faster
        index, offsets = torch.zeros_like(low[0], dtype=kind), torch.zeros(1, dtype=kind)
        for axis, n in enumerate(shape):
            index = index.mul_(n).add_(low[axis].to(kind))
            offsets = (offsets[:, None] * n + torch.tensor([0, min(1, n - 1)], dtype=kind)).flatten()
        self._rows = (index[:, None] + offsets.view(-1, 1, 2)).flatten(0, 1)

    def lines(self, table: Tensor) -> Tensor:
        """Return the rows interpolated along the last axis, (2, ..., 2, P, C) with one 2 for each of the other axes."""
        above = self.above[-1]
        return self._read(table, torch.stack([1 - above, above], 1))

    def gradient(self, table: Tensor, lines: Tensor, difference: Tensor) -> Tensor:
        """Return the gradient by the points of ``sum(difference * what is read)``, (D, P), given `lines`."""
        others = self.above[:-1]
        # whatever is linear in the rows can as well be done after the product with the differences
        lines = torch.einsum("...pc,pc->...p", lines, difference)
        slopes = []
        for axis in range(len(others)):
            slope = lines[1] - lines[0]
            slopes.append(_across(slope, others[axis + 1 :]))
            lines = torch.lerp(lines[0], lines[1], others[axis])
        ends = torch.tensor([-1.0, 1.0], dtype=table.dtype).expand(len(difference), 2)
        along = torch.einsum("...pc,pc->...p", self._read(table, ends), difference)
        return torch.stack([*slopes, _across(along, others)])

    def _read(self, table: Tensor, weights: Tensor) -> Tensor:
        """Return the sums of the two rows of every line, weighted by (P, 2)."""
        number = 2 ** (len(self.above) - 1)
        read = F.embedding_bag(self._rows, table, mode="sum", per_sample_weights=weights.repeat(number, 1))
        return read.view(*[2] * (len(self.above) - 1), len(weights), table.shape[1])


def _across(lines: Tensor, above: Tensor) -> Tensor:
    """Interpolate (2, ..., 2, P, ...) along its first axes, one for each of `above`."""
    for share in above:
        lines = torch.lerp(lines[0], lines[1], share)
    return lines
