"""How sure one can be of a difference between systems that were measured on the same cases."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_ran.errors import InputError

DRAWS = 10_000
"""Bootstrap samples."""


@dataclass(frozen=True)
class Interval:
    """A mean over cases, with the bounds of its confidence interval.

    Attributes
    ----------
    mean, low, high : float
        The mean and the bounds, in the unit of the measure.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same cases.

    Attributes
    ----------
    one, two : str
        The systems.
    difference : Interval
        Of the first one's value minus the second one's.
    p_value : float
        Of the Wilcoxon signed-rank test, two-sided; 1 where all values are equal.
    p_corrected : float
        The same after Holm's correction over all comparisons that were made together.
    cases : int
        Cases in which both have a value.
    """

    one: str
    two: str
    difference: Interval
    p_value: float
    p_corrected: float
    cases: int


def bootstrap_mean(values: ArrayLike, level: float = 0.95, seed: int = 0) -> Interval:
    """Return the mean over cases with its percentile bootstrap interval (Efron, 1979); NaNs are left out.

    Parameters
    ----------
    values : (N,) array
        One value for each case.
    level : float
        Of the confidence interval.
    seed : int
        Of the bootstrap samples.

    Raises
    ------
    InputError
        There is no value.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        raise InputError("values", "there is no value to take the mean of", "Give at least one that is not NaN")
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [numbers[generator.integers(0, len(numbers), (1000, len(numbers)))].mean(axis=1) for _ in range(DRAWS // 1000)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(numbers.mean()), float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for having made all of these tests (Holm, 1979), in the given order.

    Parameters
    ----------
    p_values : sequence of float
        One for each test.
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(order) - rank) * p_values[index])
        corrected[index] = min(1.0, largest)
    return [float(value) for value in corrected]


def compare_paired(
    systems: Mapping[str, Sequence[float]], reference: str | None = None, level: float = 0.95, seed: int = 0
) -> list[Comparison]:
    """Compare systems that were measured on the same cases.

    Parameters
    ----------
    systems : mapping of str to sequence of float
        Each system's values, case by case in the same order; NaN where there is none.
    reference : str, optional
        Compare this one with each other; without it, every two.
    level : float
        Of the confidence intervals.
    seed : int
        Of the bootstrap samples.

    Raises
    ------
    InputError
        The systems have different numbers of cases, two share none, or the reference is not among them.
    """
    from scipy.stats import wilcoxon

    values = {name: np.asarray(given, dtype=np.float64) for name, given in systems.items()}
    lengths = {name: len(given) for name, given in values.items()}
    if len(set(lengths.values())) > 1:
        raise InputError("systems", f"they have different numbers of cases: {lengths}", "Give NaN for a missing value")
    if reference is not None and reference not in values:
        raise InputError("reference", f"there is no system {reference!r}", f"Systems are {', '.join(values)}")
    pairs = list(itertools.combinations(values, 2))
    if reference is not None:
        pairs = [(reference, name) for name in values if name != reference]
    differences = [_both(values[one] - values[two], one, two) for one, two in pairs]
    tests = [float(wilcoxon(found).pvalue) if np.any(found) else 1.0 for found in differences]
    return [
        Comparison(one, two, bootstrap_mean(found, level, seed), p_value, corrected, len(found))
        for (one, two), found, p_value, corrected in zip(pairs, differences, tests, holm(tests), strict=True)
    ]


def _both(differences: NDArray[np.float64], one: str, two: str) -> NDArray[np.float64]:
    found = np.asarray(differences[~np.isnan(differences)])
    if not len(found):
        raise InputError("systems", f"{one} and {two} have no case in common", "Measure both on the same cases")
    return found
