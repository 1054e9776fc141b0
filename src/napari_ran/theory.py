"""How far a network can move neighbouring voxels apart: the capture ranges of Sec. 2.1 and 2.2 (Eq. 4 to 9).

Levels are counted from 0 (coarsest). All lengths are in voxels of the input image, all distances are Chebyshev. The
equations are taken as printed; the curves of the published Fig. 3 follow slightly different ones.

What Theorem 1 says, in other words. The field of level k is piecewise constant on cells of p_k voxels, the residual of
level k is at most a_k, and levels are composed: a voxel first takes the step of the finest level and looks the coarser
field up where it then is. Two voxels at a distance of at least ``t_k = p_k + T_(k+1)`` look level k up in different
cells *whatever* the finer levels did, even if these used their whole range to bring the two together; so levels k and
finer can always give them displacements that differ by ``T_k``. Nearer than ``t_(k-1)`` there are voxels and finer
residuals that bring both into one cell of level k - 1: from there on they share their way, and at most ``T_k`` is left.
Delta_inf is therefore what is *guaranteed* for approaching voxels. It is no upper limit of a measured difference:
finer levels that hold back, or drive the two apart, leave the coarser ones free to differ. The tests check all of this
on random piecewise-constant fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Layout(Protocol):
    """Anything that says the pool sizes and dilations of its levels, such as a `RANConfig`."""

    @property
    def pools(self) -> tuple[int, ...]:
        """Pool size p_k of each level."""

    @property
    def dilations(self) -> tuple[int, ...]:
        """Dilation of the two dilated convolutions of each level; their reach is ``|r_k| = 2 dilation_k``."""


@dataclass(frozen=True)
class LevelTheory:
    """What the equations say about one level, in voxels of the image.

    Attributes
    ----------
    level : int
        Position, 0 is the coarsest.
    pool_size : int
        p_k.
    dilation : int
        Dilation of its two dilated convolutions.
    reach : int
        ``|r_k| = 2 dilation_k``.
    field_size : int
        s_k.
    capture_range : float
        a_k.
    total_difference : float
        T_k.
    threshold : float
        t_k.
    """

    level: int
    pool_size: int
    dilation: int
    reach: int
    field_size: int
    capture_range: float
    total_difference: float
    threshold: float


def level_table(layout: Layout) -> tuple[LevelTheory, ...]:
    """Return all figures of all levels, coarse to fine.

    Parameters
    ----------
    layout : Layout
        A `RANConfig`, or anything with pools and dilations.
    """
    columns = zip(
        layout.pools,
        layout.dilations,
        reaches(layout),
        field_sizes(layout),
        capture_ranges(layout),
        total_differences(layout),
        thresholds(layout),
        strict=True,
    )
    return tuple(LevelTheory(level, *row) for level, row in enumerate(columns))


def reaches(layout: Layout) -> tuple[int, ...]:
    """Return the sum of the dilations of each level's dilated convolutions, ``|r_k|``."""
    return tuple(2 * d for d in layout.dilations)


def field_sizes(layout: Layout) -> tuple[int, ...]:
    """Return the extent ``s_k = p_k (1 + 2 |r_k|)`` that each level sees (Eq. 5)."""
    return tuple(p * (1 + 2 * r) for p, r in zip(layout.pools, reaches(layout), strict=True))


def covers(layout: Layout, shape: Sequence[int]) -> bool:
    """Return whether level 0 reaches across the whole image, ``s_0 >= 2 max(shape) + 1`` (Eq. 6).

    No preset does for a volume of more than 40 voxels if only the dilated convolutions are counted, as Eq. 5 does; the
    encoder and the residual blocks in front of them see farther.
    """
    return field_sizes(layout)[0] >= 2 * max(shape) + 1


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
    """Return the largest displacement difference of two voxels that lie `distance` apart, ``Delta_inf(p)`` (Eq. 9).

    Parameters
    ----------
    layout : Layout
        A `RANConfig`, or anything with pools and dilations.
    distance : float
        Largest distance over the axes, in voxels of the image.
    """
    reachable = [t for t, start in zip(total_differences(layout), thresholds(layout), strict=True) if distance >= start]
    return max(reachable, default=0.0)


def separability_curve(layout: Layout, distances: Iterable[float]) -> NDArray[np.float64]:
    """Return ``Delta_inf(p)`` at every distance p, (P,)."""
    return np.array([largest_difference(layout, p) for p in distances], dtype=float)


def separability_area(layout: Layout, distance: int) -> float:
    """Return the sum of ``Delta_inf(p)`` over the integers p below `distance`: one number to compare layouts by."""
    return sum(largest_difference(layout, p) for p in range(distance))
