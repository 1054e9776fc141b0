from __future__ import annotations

import numpy as np
import pytest

from napari_ran.widgets._round import round_above, round_below


@pytest.mark.parametrize(
    ("value", "below", "above"),
    [(1, 1, 1), (1.1, 1, 2), (3, 2, 5), (6, 5, 10), (10, 10, 10), (0.03, 0.02, 0.05), (0.3, 0.2, 0.5), (7e5, 5e5, 1e6)],
)
def test_round_numbers_on_both_sides(value: float, below: float, above: float) -> None:
    assert round_below(value) == pytest.approx(below)
    assert round_above(value) == pytest.approx(above)


@pytest.mark.parametrize("power", range(-9, 7))
def test_a_round_number_is_its_own(power: int) -> None:
    for factor in (1, 2, 5):
        value = factor * 10.0**power
        assert round_below(value) == pytest.approx(value)
        assert round_above(value) == pytest.approx(value)


def test_nothing_is_rounded_to_something() -> None:
    assert round_below(0) == round_above(0) > 0
    assert np.isfinite(round_above(0))
