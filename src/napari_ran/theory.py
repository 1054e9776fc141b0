"""How far a network can move neighbouring voxels apart: the capture ranges of Sec. 2.2 (Eq. 4 to 9).

Levels are counted from 0 (coarsest). All lengths are in voxels of the input image. The equations are taken as printed;
the curves of the published figure follow slightly different ones.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Protocol


class Layout(Protocol):
    """Anything that says the pool sizes and dilations of its levels, such as a `RANConfig`."""

    @property
    def pools(self) -> tuple[int, ...]:
        """Pool size p_k of each level."""

    @property
    def dilations(self) -> tuple[int, ...]:
        """Dilation of the two dilated convolutions of each level; their reach is ``|r_k| = 2 dilation_k``."""


def field_sizes(layout: Layout) -> tuple[int, ...]:
    """Return the extent ``s_k = p_k (1 + 2 |r_k|)`` that each level sees (Eq. 4)."""
    return tuple(p * (1 + 4 * d) for p, d in zip(layout.pools, layout.dilations, strict=True))


def capture_ranges(layout: Layout) -> tuple[float, ...]:
    """Return the largest displacement ``a_k = (s_k - 1) / 2`` that each level can find."""
    return tuple((size - 1) / 2 for size in field_sizes(layout))


def total_differences(layout: Layout) -> tuple[float, ...]:
    """Return ``T_k``, twice the sum of the capture ranges of level k and all finer ones.

    It bounds the difference of two displacements that these levels can make.
    """
    return tuple(accumulate(2 * a for a in reversed(capture_ranges(layout))))[::-1]


def thresholds(layout: Layout) -> tuple[float, ...]:
    """Return the distance ``t_k = p_k + T_(k+1)`` from which level k can tell two voxels apart.

    ``T`` is 0 after the last level.
    """
    later = (*total_differences(layout)[1:], 0.0)
    return tuple(p + t for p, t in zip(layout.pools, later, strict=True))


def largest_difference(layout: Layout, distance: float) -> float:
    """Return the largest displacement difference of two voxels that lie `distance` apart, ``Delta_inf(p)`` (Eq. 9)."""
    reachable = [t for t, start in zip(total_differences(layout), thresholds(layout), strict=True) if distance >= start]
    return max(reachable, default=0.0)


def separability_area(layout: Layout, distance: int) -> float:
    """Return the sum of ``Delta_inf(p)`` over the integers p below `distance`: one number to compare layouts by."""
    return sum(largest_difference(layout, p) for p in range(distance))
