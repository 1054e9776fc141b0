from __future__ import annotations

from typing import NamedTuple

import pytest

from napari_ran import theory
from napari_ran.config import RANConfig
from napari_ran.config.model import layout


class Layout(NamedTuple):
    pools: tuple[int, ...]
    dilations: tuple[int, ...]


ROWS = [Layout(*layout(q)) for q in range(5)]


def test_layouts_are_those_of_the_appendix() -> None:
    assert [row.pools for row in ROWS] == [
        (16, 8, 4, 2, 1),
        (8, 8, 4, 2, 1),
        (4, 4, 4, 2, 1),
        (2, 2, 2, 2, 1),
        (1, 1, 1, 1, 1),
    ]
    assert [row.dilations for row in ROWS] == [
        (1, 1, 1, 1, 1),
        (2, 1, 1, 1, 1),
        (4, 2, 1, 1, 1),
        (8, 4, 2, 1, 1),
        (16, 8, 4, 2, 1),
    ]


@pytest.mark.parametrize(
    ("q", "sizes", "ranges", "totals", "starts"),
    [
        (0, (80, 40, 20, 10, 5), (39.5, 19.5, 9.5, 4.5, 2), (150, 71, 32, 13, 4), (87, 40, 17, 6, 1)),
        (1, (72, 40, 20, 10, 5), (35.5, 19.5, 9.5, 4.5, 2), (142, 71, 32, 13, 4), (79, 40, 17, 6, 1)),
        (2, (68, 36, 20, 10, 5), (33.5, 17.5, 9.5, 4.5, 2), (134, 67, 32, 13, 4), (71, 36, 17, 6, 1)),
        (3, (66, 34, 18, 10, 5), (32.5, 16.5, 8.5, 4.5, 2), (128, 63, 30, 13, 4), (65, 32, 15, 6, 1)),
        (4, (65, 33, 17, 9, 5), (32, 16, 8, 4, 2), (124, 60, 28, 12, 4), (61, 29, 13, 5, 1)),
    ],
)
def test_ranges_and_thresholds(
    q: int, sizes: tuple[int, ...], ranges: tuple[float, ...], totals: tuple[int, ...], starts: tuple[int, ...]
) -> None:
    assert theory.field_sizes(ROWS[q]) == sizes
    assert theory.capture_ranges(ROWS[q]) == ranges
    assert theory.total_differences(ROWS[q]) == totals
    assert theory.thresholds(ROWS[q]) == starts


@pytest.mark.parametrize(
    ("distance", "differences"),
    [
        (0, (0, 0, 0, 0, 0)),
        (1, (4, 4, 4, 4, 4)),
        (4, (4, 4, 4, 4, 4)),
        (5, (4, 4, 4, 4, 12)),
        (6, (13, 13, 13, 13, 12)),
        (12, (13, 13, 13, 13, 12)),
        (13, (13, 13, 13, 13, 28)),
        (15, (13, 13, 13, 30, 28)),
        (16, (13, 13, 13, 30, 28)),
        (17, (32, 32, 32, 30, 28)),
        (28, (32, 32, 32, 30, 28)),
        (29, (32, 32, 32, 30, 60)),
        (32, (32, 32, 32, 63, 60)),
        (36, (32, 32, 67, 63, 60)),
        (40, (71, 71, 67, 63, 60)),
        (61, (71, 71, 67, 63, 124)),
        (65, (71, 71, 67, 128, 124)),
        (87, (150, 142, 134, 128, 124)),
        (500, (150, 142, 134, 128, 124)),
    ],
)
def test_largest_difference(distance: int, differences: tuple[int, ...]) -> None:
    assert tuple(theory.largest_difference(row, distance) for row in ROWS) == differences


@pytest.mark.parametrize(
    ("distance", "areas"),
    [
        (8, (46, 46, 46, 46, 52)),
        (16, (150, 150, 150, 167, 196)),
        (32, (643, 643, 643, 647, 740)),
        (64, (2603, 2603, 2647, 2663, 2852)),
        (96, (5586, 6082, 6466, 6694, 6820)),
        (128, (10386, 10626, 10754, 10790, 10788)),
    ],
)
def test_area(distance: int, areas: tuple[int, ...]) -> None:
    assert tuple(theory.separability_area(row, distance) for row in ROWS) == areas


@pytest.mark.parametrize("distance", [16, 32, 64, 96])
def test_presets_separate_more_with_more_levels_on_one_grid(distance: int) -> None:
    text = [theory.separability_area(RANConfig.preset(name), distance) for name in ("RAN0", "RAN3", "RAN4")]
    appendix = [
        theory.separability_area(RANConfig.preset(name), distance)
        for name in ("RAN0-appendix", "RAN3-appendix", "RAN4-appendix")
    ]
    assert text == sorted(text)
    assert appendix[0] < appendix[1] < appendix[2]


def test_a_config_is_a_layout() -> None:
    assert theory.thresholds(RANConfig.preset("RAN3")) == theory.thresholds(ROWS[2])
