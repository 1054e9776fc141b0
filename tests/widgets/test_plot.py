from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from napari_ran.widgets._plot import MetricPlot, ticks


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.43), (-3, 1e4), (0.5, 0.5), (0, 0), (-1e-7, 2e-7)])
def test_ticks_are_round_and_enclose_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 8
    step = found[1] - found[0]
    mantissa = step / 10 ** np.floor(np.log10(step) + 1e-9)
    assert min(abs(mantissa - factor) for factor in (1, 2, 5)) < 1e-6


def test_the_curve_is_painted_in_both_themes(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer()
    plot = MetricPlot(viewer)
    qtbot.addWidget(plot)
    plot.resize(300, 180)
    empty = plot.grab().toImage()
    for value in (0.1, 0.3, 0.35):
        plot.add("instance", value)
    plot.add("affine", 0.2)
    dark = plot.grab().toImage()
    assert plot.steps == 4
    assert dark != empty
    viewer.theme = "light"
    plot.apply_theme()
    assert plot.grab().toImage() != dark
    plot.clear()
    assert plot.steps == 0


def test_drawing_is_throttled(make_napari_viewer: Any, qtbot: Any) -> None:
    plot = MetricPlot(make_napari_viewer())
    qtbot.addWidget(plot)
    painted: list[float] = []
    plot._update_now = lambda: painted.append(1)  # type: ignore[method-assign]
    plot._redraw.timeout.disconnect()
    plot._redraw.timeout.connect(plot._update_now)
    plot._last = time.monotonic()  # as if it had just been drawn
    for value in range(100):
        plot.add("instance", value)
    assert plot._redraw.isActive()
    assert not painted
