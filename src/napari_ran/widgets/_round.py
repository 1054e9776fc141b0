"""Round numbers, as axes, scales and contour lines have them: 1, 2 or 5 times a power of ten."""

from __future__ import annotations

import numpy as np

_ROUNDING = 1e-9
_LEAST = 1e-9


def round_above(value: float) -> float:
    """Return the smallest round number that is not below a value."""
    return float(next(number for number in _around(value) if number >= value * (1 - _ROUNDING)))


def round_below(value: float) -> float:
    """Return the largest round number that is not above a value."""
    return float(max(number for number in _around(value) if number <= max(value, _LEAST) * (1 + _ROUNDING)))


def _around(value: float) -> list[float]:
    power = 10.0 ** np.floor(np.log10(max(value, _LEAST)))
    return [factor * power for factor in (1, 2, 5, 10)]
