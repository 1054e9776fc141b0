"""Pairs of points at given Chebyshev distances, drawn by the million."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

_CHUNK = 1 << 18
_TRIES = 40
_AT_ONCE = 2


def draw_pairs(
    vectors: NDArray[np.float32],
    correct: NDArray[np.bool_],
    candidates: NDArray[np.int64],
    pairs: int,
    reach: int,
    seed: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Draw pairs of correct points with all distances alike.

    Parameters
    ----------
    vectors : (V, D) array
        Displacement of every voxel.
    correct : (*S) bool array
        The points that count; `candidates` (C,) are their flat indices.
    pairs : int
        At least this many, unless too few places are correct.
    reach : int
        Largest distance.
    seed : int
        Equal seeds give equal pairs.

    Returns
    -------
    points : (N, 2) array
        Flat indices.
    row, column : (N,) array
        Distance minus one, and difference rounded to voxels.
    """
    shape, flat = correct.shape, correct.ravel()
    strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    places = np.stack(np.unravel_index(candidates, shape)).astype(np.int32)

    def draw(index: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        generator = np.random.default_rng([seed, index])
        chosen = generator.integers(len(candidates), size=_CHUNK)
        p = generator.integers(1, reach + 1, size=_CHUNK, dtype=np.int32)
        second = np.zeros(_CHUNK, dtype=np.int64)
        inside = np.ones(_CHUNK, dtype=bool)
        for axis, offset in enumerate(_shell(p, len(shape), generator)):
            at = places[axis][chosen] + offset
            inside &= (at >= 0) & (at < shape[axis])
            second += strides[axis] * at
        inside[inside] = flat[second[inside]]
        first, second, p = candidates[chosen[inside]], second[inside], p[inside]
        differing = np.abs(vectors[first] - vectors[second]).max(axis=1)
        return np.stack([first, second], axis=1), p.astype(np.int64) - 1, (differing + 0.5).astype(np.int64)

    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
    most = max(_AT_ONCE, _TRIES * -(-pairs // _CHUNK))
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # numpy works outside the interpreter's lock
        while len(found) < most and sum(len(part[1]) for part in found) < pairs:
            found += pool.map(draw, range(len(found), len(found) + _AT_ONCE))
    points, rows, columns = zip(*found, strict=True)
    return np.concatenate(points), np.concatenate(rows), np.concatenate(columns)


def _shell(p: NDArray[np.int32], ndim: int, generator: np.random.Generator) -> Iterator[NDArray[np.int32]]:
    """Draw a place at Chebyshev distance `p` (N,) from the origin, all places alike; yield it axis by axis, (N,).

    The places are told apart by the first axis that reaches p: before it coordinates stay inside, after it all go.
    """
    size = len(p)
    inside = (2 * p - 1) / (2 * p + 1)
    sign = 1 - 2 * generator.integers(0, 2, size=size, dtype=np.int32)
    # shares of the places whose first such axis is 0, 1, ... are as 1 : inside : inside**2
    share = generator.random(size, dtype=np.float32) * sum(inside**axis for axis in range(ndim))
    reached = np.zeros(size, dtype=bool)
    for axis in range(ndim):
        now = ~reached & ((share < inside**axis) | (axis == ndim - 1))
        share -= inside**axis
        half = p - (~reached & ~now)
        anywhere = (generator.random(size, dtype=np.float32) * (2 * half + 1)).astype(np.int32) - half
        yield np.where(now, sign * p, anywhere)
        reached |= now
