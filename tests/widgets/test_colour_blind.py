"""Colours as people see them who lack one kind of cones (Machado, Oliveira and Fernandes 2009, at full severity)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qtpy.QtGui import QColor
from skimage.color import deltaE_ciede2000, rgb2lab

from napari_ran.io.layers import FOLD_COLOUR, LENGTH_COLORMAP
from napari_ran.widgets.inspection.colours import head_colours, ramp, wheel_channel
from napari_ran.widgets.inspection.views import _scalar_look
from napari_ran.widgets.training.curves import CurvePlot

SIGHT = {
    "everybody": np.eye(3),
    "no red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue cones": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""What linear red, green and blue become."""

JUST_SEEN, PLAIN = 2.3, 10.0
"""Differences (CIEDE2000): one that a careful look finds between large areas, and one that separate marks need."""

SEQUENTIAL = (LENGTH_COLORMAP, "viridis", "magma", "gray")
QUANTITIES = ("confidence", "difference", "logits", "jacobian", "warped", "features", "attributes")
by_sight = pytest.mark.parametrize("sight", SIGHT)


def seen(colours: Any, sight: str) -> NDArray[np.float64]:
    """Return sRGB colours (N, 3), 0 to 1, in CIELAB as they are seen."""
    colours = np.asarray(colours, float)[:, :3]
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ SIGHT[sight].T, 0, 1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(rgb2lab(shown[None])[0])


def nearest(colours: Any, sight: str) -> float:
    """Return the smallest difference between any two of some colours."""
    lab = seen(colours, sight)
    return min(float(deltaE_ciede2000(lab[i], lab[j])) for i, j in itertools.combinations(range(len(lab)), 2))


def steps(colormap: Any, count: int = 9) -> NDArray[np.float64]:
    return np.asarray(
        ramp(colormap)[np.linspace(1, 254, count).astype(int)] / 255
    )  # the ends may mark what lies outside


@by_sight
@pytest.mark.parametrize("colormap", SEQUENTIAL)
def test_a_map_of_amounts_gets_lighter_all_the_way(colormap: str, sight: str) -> None:
    lightness = seen(ramp(colormap) / 255, sight)[:, 0]
    assert (np.diff(lightness) > -0.5).all()  # tables are of whole bytes
    assert (np.diff(lightness[::16]) > 0).all()
    assert nearest(steps(colormap), sight) > JUST_SEEN


def test_the_measure_finds_a_rainbow_wanting() -> None:
    assert (np.diff(seen(ramp("turbo") / 255, "no green cones")[::16, 0]) < 0).any()
    assert nearest([(0.8, 0.25, 0.2), (0.35, 0.5, 0.15)], "no red cones") < nearest(
        [(0.8, 0.25, 0.2), (0.35, 0.5, 0.15)], "everybody"
    )


@by_sight
@pytest.mark.parametrize("quantity", ["difference", "logits", "jacobian"])
def test_more_and_less_are_told_apart(quantity: str, sight: str) -> None:
    colours = steps(_scalar_look(quantity)["colormap"])
    assert nearest(colours[[0, 4, 8]], sight) > 3 * PLAIN
    assert nearest(colours[[2, 4, 6]], sight) > PLAIN


@by_sight
def test_folds_stand_out_of_the_map_of_volume(sight: str) -> None:
    lab = seen([FOLD_COLOUR[:3], *steps(_scalar_look("jacobian")["colormap"])], sight)
    assert min(float(deltaE_ciede2000(lab[0], other)) for other in lab[1:]) > PLAIN


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_quantity_has_a_map_that_was_looked_at(quantity: str) -> None:
    colormap = _scalar_look(quantity)["colormap"]
    named = colormap if isinstance(colormap, str) else colormap["name"]
    assert named in (*SEQUENTIAL, "bwr", "napari-ran jacobian")


@by_sight
def test_heads_are_told_apart(sight: str) -> None:
    assert nearest(head_colours(8), sight) > PLAIN


@by_sight
def test_directions_are_told_apart(sight: str) -> None:
    angles = np.arange(8) * np.pi / 4
    wheel = np.stack([wheel_channel(np.cos(angles), np.sin(angles), channel) for channel in range(3)], -1)
    assert wheel.min() >= 0
    assert wheel.max() <= 1
    assert nearest(wheel, sight) > PLAIN


def test_curves_are_told_apart(viewer: Any, qtbot: Any) -> None:
    for theme in ("dark", "light"):
        viewer.theme = theme
        plot = CurvePlot(viewer, "loss", "nothing yet")
        qtbot.addWidget(plot)
        colours = [QColor(colour).getRgbF()[:3] for colour in plot._colours.values()]
        assert len(colours) > 1
        for sight in SIGHT:
            assert nearest(colours, sight) > PLAIN, (theme, sight)
