"""The motion-separability PDF (Fig. 7): how far apart two voxels are, against how differently they move.

Both distances are Chebyshev distances in voxels of the image. Only pairs of correctly registered points count, as only
for these the predicted motion is known to be right.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_ran.errors import InputError
from napari_ran.introspect.pairs import draw_pairs
from napari_ran.theory import Layout, separability_curve

Normalisation = Literal["joint", "conditional"]

MAX_DISTANCE = 64
"""Distance up to which pairs are drawn by default: there Delta_inf of all presets has passed most of its steps."""

MAX_DIFFERENCE = 128
"""No more bins than this for the difference, however large the displacements are."""


@dataclass(frozen=True, eq=False)
class Separability:
    """How often two correct points at a distance p move by displacements that differ by q.

    Attributes
    ----------
    distances : (P,) array
        Chebyshev distance p of two points, in voxels of the image: 1, 2, ...
    differences : (Q,) array
        Chebyshev distance q of their displacements, in voxels of the image: bins of one voxel around 0, 1, ...
    counts : (P, Q) array
        Drawn pairs.
    weights : (P,) array
        How many pairs of the image a drawn one stands for: short distances are drawn more often than they occur.
    beyond : float
        Share of the pairs (of the image) whose displacements differ by more than the last bin; not in the histogram.
    sigma : float
        Standard deviation of the Gaussian that smooths the probability, in bins.
    bound : (P,) array or None
        Delta_inf(p) of the network (Eq. 9).
    shape : tuple of int
        Spatial shape of the image.
    points : (N, 2) array
        The drawn pairs as flat voxel indices.
    cells : (N,) array
        Flat index of each drawn pair in the histogram.
    """

    distances: NDArray[np.int64]
    differences: NDArray[np.int64]
    counts: NDArray[np.int64]
    weights: NDArray[np.float64]
    beyond: float
    sigma: float
    bound: NDArray[np.float64] | None
    shape: tuple[int, ...]
    points: NDArray[np.int64]
    cells: NDArray[np.int64]

    @property
    def pairs(self) -> int:
        """Number of drawn pairs in the histogram."""
        return int(self.counts.sum())

    @property
    def histogram(self) -> NDArray[np.float64]:
        """Joint probability (P, Q) before smoothing: that any pair of correct points in range falls into a cell."""
        weighted = self.counts * self.weights[:, None]
        return np.asarray(weighted / weighted.sum())

    @property
    def probability(self) -> NDArray[np.float64]:
        """Joint probability (P, Q), smoothed; it sums to one over the plane, as the paper's density does."""
        return _smoothed(self.histogram, self.sigma)

    @property
    def conditional(self) -> NDArray[np.float64]:
        """Probability (P, Q) of a difference given the distance, smoothed; each row sums to one.

        The joint one is dark at small p because few pairs are near each other; this one shows all distances alike.
        """
        smooth = _smoothed(self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1), self.sigma)
        return np.asarray(smooth / np.maximum(smooth.sum(1, keepdims=True), 1e-300))

    @property
    def mean_difference(self) -> NDArray[np.float64]:
        """Mean difference at each distance (P,), in voxels; NaN where no pair was drawn."""
        total = self.counts.sum(1)
        mean = (self.counts * self.differences).sum(1) / np.maximum(total, 1)
        return np.where(total > 0, mean, np.nan)

    @property
    def above_bound(self) -> float | None:
        """Share of the pairs whose displacements differ by more than Delta_inf(p); None without a bound."""
        if self.bound is None:
            return None
        return float(self.histogram[self.differences[None] > self.bound[:, None]].sum())

    def normalised(self, by: Normalisation = "joint") -> NDArray[np.float64]:
        """Return `probability` or `conditional`.

        Parameters
        ----------
        by : {"joint", "conditional"}
            Over all cells, or for each distance by itself.
        """
        return self.probability if by == "joint" else self.conditional

    def difference(self, other: Separability, by: Normalisation = "joint") -> SeparabilityDifference:
        """Return this minus `other` (Fig. 7b), over the distances that both have.

        Parameters
        ----------
        other : Separability
            What is taken away; with the same cells.
        by : str
            As for `normalised`.
        """
        distances = self.distances if len(self.distances) < len(other.distances) else other.distances
        differences = self.differences if len(self.differences) > len(other.differences) else other.differences
        change = np.zeros((len(distances), len(differences)))
        for sign, part in ((1, self), (-1, other)):
            change[:, : len(part.differences)] += sign * part.normalised(by)[: len(distances)]
        bounds = self.bound, other.bound
        kept = tuple(None if bound is None else bound[: len(distances)] for bound in bounds)
        return SeparabilityDifference(distances, differences, change, by, (kept[0], kept[1]))

    def pairs_in(
        self, cell: tuple[int | tuple[int, int], int | tuple[int, int]], limit: int = 500
    ) -> NDArray[np.int64]:
        """Return drawn pairs of a cell, for brushing.

        Parameters
        ----------
        cell : (distance, difference)
            Each a value, or the first and last value of a range.
        limit : int
            At most this many, in the order in which they were drawn.

        Returns
        -------
        (n, 2, D) array
            Voxels.
        """
        (low, high), (least, most) = ((value, value) if isinstance(value, int) else value for value in cell)
        row, column = self.distances[0] + self.cells // len(self.differences), self.cells % len(self.differences)
        chosen = np.flatnonzero((row >= low) & (row <= high) & (column >= least) & (column <= most))[:limit]
        return np.stack(np.unravel_index(self.points[chosen], self.shape), axis=-1)

    def to_csv(self, path: str | Path) -> None:
        """Write one line per cell.

        Parameters
        ----------
        path : path
            File to write.
        """
        joint, conditional = self.probability, self.conditional
        bound = [""] * len(self.distances) if self.bound is None else [f"{value:g}" for value in self.bound]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["distance", "difference", "pairs", "probability", "conditional", "delta_inf"])
            for i, p in enumerate(self.distances):
                for j, q in enumerate(self.differences):
                    row = [p, q, self.counts[i, j], f"{joint[i, j]:.6g}", f"{conditional[i, j]:.6g}", bound[i]]
                    writer.writerow(row)


@dataclass(frozen=True, eq=False)
class SeparabilityDifference:
    """The difference of two motion-separability PDFs.

    Attributes
    ----------
    distances, differences : (P,) and (Q,) array
        As in `Separability`.
    change : (P, Q) array
        First minus second.
    by : {"joint", "conditional"}
        Which normalisation the two had.
    bounds : pair of (P,) array or None
        Delta_inf(p) of the first and of the second.
    """

    distances: NDArray[np.int64]
    differences: NDArray[np.int64]
    change: NDArray[np.float64]
    by: Normalisation
    bounds: tuple[NDArray[np.float64] | None, NDArray[np.float64] | None] = (None, None)

    def to_csv(self, path: str | Path) -> None:
        """Write one line per cell."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["distance", "difference", f"{self.by}_change"])
            for i, p in enumerate(self.distances):
                writer.writerows([p, q, f"{self.change[i, j]:.6g}"] for j, q in enumerate(self.differences))


def separability(
    field: Tensor,
    correct: Tensor,
    pairs: int = 2_000_000,
    max_distance: int | None = None,
    max_difference: int | None = None,
    seed: int = 0,
    sigma: float = 1.0,
    layout: Layout | None = None,
) -> Separability:
    """Measure the motion-separability PDF of a field by drawing pairs of correct points.

    A point is drawn from all correct ones, a distance from all distances alike, and the second point from all places at
    that distance; the pair counts if that place is correct too. Every pair at a distance p is then drawn with the same
    chance, whose inverse, known exactly up to a common factor, weighs the joint probability.

    Parameters
    ----------
    field : (D, *S) tensor
        Displacement in voxels of the image's grid; for a level's field see `on_image_grid`.
    correct : (*S) bool tensor
        Correctly registered points; see `correct_points`.
    pairs : int
        Number of pairs to draw (at least, unless correct points are too scattered).
    max_distance, max_difference : int, optional
        Ends of the two axes in voxels; by default 64 (or the extent of the correct points) and what the field needs.
    seed : int
        Equal seeds give equal pairs, whatever the number of threads.
    sigma : float
        Of the Gaussian smoothing, in bins; 0 for none.
    layout : Layout, optional
        A network's config, for the bound Delta_inf(p).

    Raises
    ------
    InputError
        There is no pair of correct points in range, or the shapes differ.
    """
    shape = tuple(field.shape[1:])
    if tuple(correct.shape) != shape or len(shape) != field.shape[0]:
        raise InputError(
            "correct",
            f"must have shape {shape} as the field {tuple(field.shape)}, got {tuple(correct.shape)}",
            "Give both on the image's grid",
        )
    candidates = np.flatnonzero(correct.cpu().numpy())
    if len(candidates) < 2:
        raise _no_pair("there are fewer than two correctly registered points")
    span = max(int(np.ptp(axis)) for axis in np.unravel_index(candidates, shape))
    reach = max(1, min(MAX_DISTANCE if max_distance is None else max_distance, span))
    vectors = np.ascontiguousarray(field.detach().cpu().float().numpy().reshape(len(shape), -1).T)
    largest = int(np.ceil(max(np.ptp(component) for component in vectors[candidates].T)))
    bins = 1 + (min(max(largest, 4), MAX_DIFFERENCE) if max_difference is None else max_difference)

    points, row, column = draw_pairs(vectors, correct.cpu().numpy(), candidates, pairs, reach, seed)
    if not len(row):
        raise _no_pair(f"no two correctly registered points within {reach} voxels of each other were found")
    inside = column < bins
    cells = (row * bins + column)[inside]
    counts = np.bincount(cells, minlength=reach * bins).reshape(reach, bins)
    distances = np.arange(1, reach + 1)
    weights = ((2.0 * distances + 1) ** len(shape) - (2.0 * distances - 1) ** len(shape)).astype(float)
    if not inside.any():
        raise InputError("max_difference", f"all differences are larger than {bins - 1} voxels", "Give a larger one")
    total = float(weights[row].sum())
    return Separability(
        distances=distances,
        differences=np.arange(bins),
        counts=counts,
        weights=weights,
        beyond=float(weights[row[~inside]].sum()) / total,
        sigma=sigma,
        bound=None if layout is None else separability_curve(layout, distances),
        shape=shape,
        points=points[inside],
        cells=cells,
    )


def correct_points(
    fixed_labels: Tensor | None = None,
    warped_labels: Tensor | None = None,
    mask: Tensor | None = None,
    image: Tensor | None = None,
) -> Tensor:
    """Return the points (*S) that count as correctly registered.

    Parameters
    ----------
    fixed_labels, warped_labels : (*S) tensor, optional
        Points whose label (not background) equals the warped moving one, as in the paper.
    mask : (*S) tensor, optional
        Without labels: all points of a mask. With labels: only those of them inside it.
    image : (*S) tensor, optional
        With neither: the foreground, all above a tenth of the range of intensities.

    Raises
    ------
    InputError
        Nothing was given, the shapes differ, or fewer than two points remain.
    """
    given = {"fixed_labels": fixed_labels, "warped_labels": warped_labels, "mask": mask, "image": image}
    shapes = {name: tuple(value.shape) for name, value in given.items() if value is not None}
    if len(set(shapes.values())) > 1:
        raise InputError("labels", f"all must have one shape, got {shapes}", "Resample them to the fixed image's grid")
    if (fixed_labels is None) != (warped_labels is None):
        missing = "warped_labels" if warped_labels is None else "fixed_labels"
        raise InputError(missing, "labels of one image alone say nothing about correctness", "Give those of both")
    if fixed_labels is not None and warped_labels is not None:
        found = (fixed_labels == warped_labels) & (fixed_labels > 0)
        found = found if mask is None else found & mask.bool()
        what = "no two points have the label that the warped moving image has there"
    elif mask is not None:
        found, what = mask.bool(), "the mask has fewer than two points"
    elif image is not None:
        low, high = image.min(), image.max()
        found, what = image > low + 0.1 * (high - low), "the image has no foreground"
    else:
        raise InputError("labels", "there is nothing that says which points count", "Give labels, a mask or an image")
    if int(found.sum()) < 2:
        raise _no_pair(what)
    return found


def on_image_grid(values: Tensor, pool_size: int, shape: tuple[int, ...], displacement: bool = True) -> Tensor:
    """Return a level's (C, *S_k) as it acts on the image, (C, *shape): every voxel repeated, beyond the image cut off.

    Parameters
    ----------
    values : (C, *S_k) tensor
        A level's field or masks; its voxel j covers image voxels ``pool_size * j`` to ``pool_size * (j + 1) - 1``.
    pool_size : int
        Voxel size of the level in voxels of the image.
    shape : tuple of int
        Spatial shape of the image.
    displacement : bool
        Values are displacements in voxels of the level: scale them to voxels of the image.
    """
    for axis, size in enumerate(shape, start=1):
        values = values.repeat_interleave(pool_size, dim=axis)
        if values.shape[axis] < size:
            raise InputError(
                "pool_size", f"{pool_size} x the level's voxels do not reach {size} voxels", "Give the level's own size"
            )
        values = values.narrow(axis, 0, size)
    return values * pool_size if displacement else values


def _smoothed(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Smooth (P, Q) by a Gaussian; mirrored at the borders, so that nothing is lost there."""
    if sigma <= 0:
        return values
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(values, sigma, mode="reflect"))


def _no_pair(problem: str) -> InputError:
    return InputError(
        "correct", problem, "Check that labels and images belong together, or choose a mask or the foreground instead"
    )
