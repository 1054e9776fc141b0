from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from napari_ran.widgets._plot import Axes, MetricPlot, contrast, tick_names, ticks, whole_ticks
from napari_ran.widgets.training.curves import GOAL, CurvePlot


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.43), (-3, 1e4), (0.5, 0.5), (0, 0), (-1e-7, 2e-7)])
def test_ticks_are_round_and_enclose_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 8
    step = found[1] - found[0]
    mantissa = step / 10 ** np.floor(np.log10(step) + 1e-9)
    assert min(abs(mantissa - factor) for factor in (1, 2, 5)) < 1e-6


@pytest.mark.parametrize(
    ("low", "high"), [(0.2, 0.43), (-3, 1e4), (0.5, 0.5001), (0.71234, 0.71236), (-1e-4, 2e-4), (1e5, 1e5 + 20)]
)
def test_the_numbers_of_ticks_tell_neighbours_apart_and_are_no_longer(low: float, high: float) -> None:
    found = ticks(low, high)
    names = tick_names(found)
    values = [float(name.replace("\N{MINUS SIGN}", "-")) for name in names]
    assert len(set(names)) == len(names)
    assert values == pytest.approx(found, abs=1e-9 * (found[1] - found[0]))
    if "." in names[0]:
        assert {name[-1] for name in names} != {"0"}


def test_zero_has_no_sign() -> None:
    assert tick_names([-0.5, -0.0, 0.5]) == ["\N{MINUS SIGN}0.5", "0.0", "0.5"]


@pytest.mark.parametrize(("first", "last"), [(1, 2), (0, 2), (1, 7), (0, 1238), (0, 99_999)])
def test_steps_are_whole_and_inside(first: int, last: int) -> None:
    found = whole_ticks(first, last)
    assert found
    assert all(first <= step <= last for step in found)
    assert found == sorted(set(found))


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_curves_can_be_read_in_both_themes(viewer: Any, qtbot: Any, theme: str) -> None:
    viewer.theme = theme
    for plot, colours in (
        (metric := MetricPlot(viewer), metric._curves),
        (curves := CurvePlot(viewer, "loss", "nothing yet"), list(curves._colours.values())),
    ):
        qtbot.addWidget(plot)
        assert all(contrast(colour, plot._ground) >= 4.5 for colour in colours)


def test_a_training_s_curves_lie_inside_their_axes(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plot = CurvePlot(viewer, "Dice", "nothing yet")
    qtbot.addWidget(plot)
    plot.resize(300, 160)
    empty = plot.grab().toImage()
    drawn: list[Axes] = []
    original = CurvePlot.draw_axes
    monkeypatch.setattr(CurvePlot, "draw_axes", lambda *args: drawn.append(original(*args)) or drawn[-1])
    for step in range(0, 900, 100):
        plot.add("validation", step, 0.7 + step / 1e5)
    plot.set_line(0.6)
    plot.set_goal(0.75)
    assert plot.grab().toImage() != empty
    (axes,) = drawn
    line = plot.fontMetrics().height()
    assert axes.frame.top() > line  # the title's line is free
    assert axes.frame.bottom() < plot.height() - line
    for step, value in ((0, 0.6), (800, 0.75)):
        assert axes.frame.adjusted(-1e-6, -1e-6, 1e-6, 1e-6).contains(axes.point(step, value))
    assert [name for name, _ in plot._names()] == ["validation", "┄ identity", f"┄ {GOAL}"]


def test_the_curve_is_painted_in_both_themes(viewer: Any, qtbot: Any) -> None:
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


def test_drawing_is_throttled(viewer: Any, qtbot: Any) -> None:
    plot = MetricPlot(viewer)
    qtbot.addWidget(plot)
    painted: list[float] = []
    plot._update_now = lambda: painted.append(1)  # type: ignore[method-assign]
    plot._redraw.timeout.disconnect()
    plot._redraw.timeout.connect(plot._update_now)
    plot._last = time.monotonic()  # as if it had just been drawn
    for value in range(100):
        plot.add("instance", value)
    assert not painted
    qtbot.waitUntil(lambda: not plot._redraw.isActive(), timeout=5_000)
    assert len(painted) == 1
