"""Where an affine alignment starts: a translation and a size, found without following slopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_ran.data import Image, Labels
from napari_ran.preprocess.grids import overlap
from napari_ran.preprocess.metric import NO_MASKS, Masks, Matrix, MutualInformation

LEAST_OVERLAP = 0.3
"""Share of the smaller image that must lie inside the other one for a position to be considered."""

LEAST_GAIN = 0.05
"""Gain in mutual information (nats) below which the headers' alignment is trusted more than another one."""

SIZES = (-0.4, -0.2, 0.0, 0.2, 0.4)
"""Logarithms of the sizes that are tried: from two thirds to one and a half."""

LARGEST = 0.45
"""Largest logarithm of a size."""

STEPS = (0.2, 0.1, 0.05, 0.025)
"""Step of the search, in parts of the image's extent and as logarithm of the size."""

OFFSETS = (-0.3, 0.0, 0.3)
"""Offsets of the grids' centres that are tried along each axis, in parts of the fixed image's extent."""

MOST_ROUGH, MOST_FINE = 6, 2
"""How many of the places tried are improved with coarse steps, and how many of those with fine ones."""

Place = NDArray[np.float64]
"""Displacement of the fixed grid's centre in mm, and the logarithm of the size: (D + 1,)."""


def best_start(fixed: Image, moving: Image, sizes: bool, masks: Masks = NO_MASKS) -> tuple[Matrix, str]:
    """Find a translation, and a size where asked for, from which a slope leads to the alignment.

    Starts from the headers' alignment, the grids' centres and the centres of mass, each in several sizes, and improves
    them step by step. The headers' alignment stays unless another place is clearly better.

    Parameters
    ----------
    fixed, moving : Image
        Intensities in [0, 1], small: some thousand voxels.
    sizes : bool
        Whether the size may change (not for a rigid alignment).
    masks : pair of Labels or None
        Where the images count.

    Returns
    -------
    matrix : (D + 1, D + 1) float64 array
        Fixed world positions to moving world positions.
    how : str
        Where the search started from, in words.
    """
    search = _Search(fixed, moving, masks)
    grid, middle = fixed.grid, fixed.grid.centre
    centres = {
        "the headers' alignment": (middle, middle),
        "the centres of both grids": (middle, moving.grid.centre),
        "the centres of mass": (_centre_of_mass(fixed, masks[0]), _centre_of_mass(moving, masks[1])),
    }
    offsets = [grid.direction @ (grid.extent * parts) for parts in product(OFFSETS, repeat=grid.ndim)]
    pairs = [(how, here, there) for how, (here, there) in centres.items()]
    pairs += [("the centres of both grids", middle, moving.grid.centre + offset) for offset in offsets]
    # one seed per translation, in its best size: the others would only crowd out other places
    seeds = [search.best_size(here, there, how, SIZES if sizes else (0.0,)) for how, here, there in pairs]
    seeds.sort(key=lambda found: -found.score)
    rough = [search.improve(seed, STEPS[:2], sizes) for seed in seeds[:MOST_ROUGH]]
    rough.sort(key=lambda found: -found.score)
    fine = [search.improve(found, STEPS[2:], sizes) for found in rough[:MOST_FINE]]
    header = _Found(search.score(np.zeros(grid.ndim + 1)), np.zeros(grid.ndim + 1), "the headers' alignment")
    if overlap(grid, moving.grid, np.eye(grid.ndim + 1)) < LEAST_OVERLAP:
        # nothing to say for the headers; if nothing scores at all, the centres are brought together
        best = max(fine, key=lambda found: found.score, default=seeds[len(seeds) // 2])
    else:
        best = max([header, *fine], key=lambda found: found.score)
        best = best if best.score >= header.score + LEAST_GAIN else header
    return search.matrix(best.place), best.how


@dataclass(frozen=True)
class _Found:
    score: float
    place: Place
    how: str


class _Search:
    """A pattern search: steps along the fixed axes and in size, halved where none helps; it follows no slope."""

    def __init__(self, fixed: Image, moving: Image, masks: Masks) -> None:
        self._metric = MutualInformation(fixed, moving, masks)
        self._fixed, self._moving = fixed.grid, moving.grid
        directions = np.zeros((fixed.grid.ndim + 1, fixed.grid.ndim + 1))
        directions[:-1, :-1] = (fixed.grid.direction * fixed.grid.extent).T
        directions[-1, -1] = 1
        self._directions = directions

    def matrix(self, place: Place) -> Matrix:
        """Return the world matrix of a place."""
        middle = self._fixed.centre
        matrix = np.diag([np.exp(place[-1])] * (len(place) - 1) + [1.0])
        matrix[:-1, -1] = middle + place[:-1] - matrix[:-1, :-1] @ middle
        return matrix

    def score(self, place: Place) -> float:
        """Return the metric at a place, and zero where the images hardly overlap."""
        matrix = self.matrix(place)
        if abs(place[-1]) > LARGEST or overlap(self._fixed, self._moving, matrix) < LEAST_OVERLAP:
            return 0.0
        return self._metric(matrix)

    def best_size(
        self, here: NDArray[np.float64], there: NDArray[np.float64], how: str, sizes: Sequence[float]
    ) -> _Found:
        """Take one world position to another in several sizes, and return the best."""
        middle = self._fixed.centre
        # a place says where the grid's middle goes
        places = [np.append(there - here + (np.exp(size) - 1) * (middle - here), size) for size in sizes]
        return max((_Found(self.score(place), place, how) for place in places), key=lambda found: found.score)

    def improve(self, found: _Found, steps: Sequence[float], sizes: bool) -> _Found:
        """Walk from a place uphill, with each step length until it no longer helps."""
        score, place = found.score, found.place
        directions = self._directions if sizes else self._directions[:-1]
        for step in steps:
            improved = True
            while improved:
                improved = False
                for direction, sign in product(directions, (step, -step)):
                    trial = self.score(place + sign * direction)
                    if trial > score:
                        score, place, improved = trial, place + sign * direction, True
        return _Found(score, place, found.how)


def _centre_of_mass(image: Image, mask: Labels | None) -> NDArray[np.float64]:
    """Return the world position of the intensities' centre of mass."""
    weights = image.array.astype(np.float64)
    if mask is not None and (weights * (mask.array > 0)).any():
        weights = weights * (mask.array > 0)
    axes = range(image.grid.ndim)
    sums = [weights.sum(axis=tuple(a for a in axes if a != axis)) for axis in axes]
    return image.grid.to_world([float((s * np.arange(len(s))).sum() / s.sum()) for s in sums])
