from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from napari_ran import InputError
from napari_ran.evaluate import bootstrap_mean, compare_paired, holm


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_intervals_hold_the_true_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = []
    for trial in range(200):
        found = bootstrap_mean(rng.normal(0.7, 0.1, 24), seed=trial)
        held.append(found.low <= 0.7 <= found.high)
    assert 0.88 < np.mean(held) <= 0.99
    narrow, wide = (bootstrap_mean(rng.normal(0.7, 0.1, 24), level) for level in (0.5, 0.99))
    assert narrow.high - narrow.low < wide.high - wide.low


def test_the_same_seed_gives_the_same_interval_and_nan_is_left_out() -> None:
    values = [0.1, 0.4, 0.3, 0.8]
    assert bootstrap_mean(values, seed=1) == bootstrap_mean([*values, math.nan], seed=1)
    assert str(bootstrap_mean([0.5, 0.5])) == "0.500 [0.500, 0.500]"
    with pytest.raises(InputError, match="no value"):
        bootstrap_mean([math.nan])


def exact_wilcoxon(differences: np.ndarray) -> float:
    """Two-sided p value by all changes of sign."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    total = ranks[differences > 0].sum()
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s) for signs in itertools.product((0, 1), repeat=len(ranks))
    ]
    low = min(total, ranks.sum() - total)
    return min(1.0, 2 * np.mean([s <= low for s in sums]))


def test_comparisons_against_all_changes_of_sign() -> None:
    rng = np.random.default_rng(3)
    base = rng.uniform(0.5, 0.8, 9)
    systems = {"a": base + 0.03 + rng.normal(0, 0.01, 9), "b": base, "c": base + rng.normal(0, 0.02, 9)}
    found = compare_paired({name: list(values) for name, values in systems.items()})
    assert [(one.one, one.two) for one in found] == [("a", "b"), ("a", "c"), ("b", "c")]
    for one in found:
        differences = systems[one.one] - systems[one.two]
        assert one.p_value == pytest.approx(exact_wilcoxon(differences))
        assert one.difference.mean == pytest.approx(differences.mean())
        assert one.cases == 9
    assert [one.p_corrected for one in found] == pytest.approx(holm([one.p_value for one in found]))
    assert found[0].difference.low > 0
    against = compare_paired({name: list(values) for name, values in systems.items()}, reference="b")
    assert [(one.one, one.two) for one in against] == [("b", "a"), ("b", "c")]
    assert against[0].difference.mean == pytest.approx(-found[0].difference.mean)


def test_missing_values_and_equal_systems() -> None:
    found = compare_paired({"a": [0.5, math.nan, 0.7, 0.8], "b": [0.5, 0.6, 0.7, math.nan]})
    assert (found[0].cases, found[0].p_value, found[0].difference.mean) == (2, 1.0, 0.0)
    with pytest.raises(InputError, match="different numbers of cases"):
        compare_paired({"a": [1.0], "b": [1.0, 2.0]})
    with pytest.raises(InputError, match="no case in common"):
        compare_paired({"a": [1.0, math.nan], "b": [math.nan, 2.0]})
    with pytest.raises(InputError, match="no system 'c'"):
        compare_paired({"a": [1.0], "b": [2.0]}, reference="c")
