from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
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


@pytest.mark.parametrize(
    ("name", "q"),
    [
        ("RAN0", 0),
        ("RAN3", 2),
        ("RAN4", 3),
        ("RAN4+", 3),
        ("RAN0-appendix", 0),
        ("RAN3-appendix", 3),
        ("RAN4-appendix", 4),
        ("RAN4+-appendix", 4),
        ("released", 3),
    ],
)
def test_a_preset_is_the_layout_of_its_name(name: str, q: int) -> None:
    config = RANConfig.preset(name)
    assert (config.pools, config.dilations) == ROWS[q]
    assert theory.level_table(config) == theory.level_table(ROWS[q])


def test_the_table_holds_every_figure_of_a_level() -> None:
    rows = theory.level_table(ROWS[3])
    assert [row.reach for row in rows] == [16, 8, 4, 2, 2]
    assert rows[2] == theory.LevelTheory(2, 2, 2, 4, 18, 8.5, 30, 15)


@pytest.mark.parametrize("q", range(5))
def test_reaches_of_the_project_page(q: int) -> None:
    expected = [(2, 2, 2, 2, 2), (4, 2, 2, 2, 2), (8, 4, 2, 2, 2), (16, 8, 4, 2, 2), (32, 16, 8, 4, 2)]
    assert theory.reaches(ROWS[q]) == expected[q]


def test_no_preset_covers_the_papers_volume_by_its_dilated_convolutions_alone() -> None:
    assert not any(theory.covers(row, (96, 80, 128)) for row in ROWS)
    assert theory.covers(ROWS[0], (39, 20, 39))
    assert not theory.covers(ROWS[0], (40, 20, 39))  # 2 * 40 + 1 > 80


def test_the_curve_is_the_function_at_every_distance() -> None:
    curve = theory.separability_curve(ROWS[4], range(128))
    assert curve.sum() == theory.separability_area(ROWS[4], 128) == 10788
    assert (np.diff(curve) >= 0).all()


# Theorem 1, on small layouts whose whole range (T_0 of 24 to 32 voxels) fits into an array
SMALL = [Layout((4, 2, 1), (1, 1, 1)), Layout((2, 2, 1), (2, 1, 1)), Layout((1, 1, 1), (3, 2, 1))]
SIZE = 240


def random_residuals(layout: Layout, ndim: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Fields within the ranges; half of the cells use their whole range."""
    fields = []
    for pool, reach in zip(layout.pools, theory.capture_ranges(layout), strict=True):
        field = generator.uniform(-2 * reach, 2 * reach, (ndim, *[SIZE // pool] * ndim))
        fields.append(field.clip(-reach, reach))
    return fields


def driven(layout: Layout, level: int, start: int, distance: int, sign: int, others: list[np.ndarray]):
    """Fields whose levels from `level` on use their whole range on two voxels: towards each other (1) or apart (-1)."""
    fields = [field.copy() for field in others]
    at = np.array([float(start), float(start + distance)])
    for k in reversed(range(len(layout.pools))):
        cells = np.floor(at / layout.pools[k]).astype(int)
        if k >= level:
            assert cells[0] != cells[1]
            fields[k][0, cells] = sign * theory.capture_ranges(layout)[k] * np.array([1, -1])
        else:
            fields[k][0, cells] = 0
        at += fields[k][0, cells]
    return fields


def composed(
    residuals: Sequence[np.ndarray], pools: Sequence[int], points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Follow points (N, D) through residuals (D, *C) that are constant on cells, coarse to fine (Eq. 3).

    Returns the displacement (N, D) and the cell (K, N, D) that each point meets at each level; cells at the border go
    on beyond it.
    """
    at = np.array(points, dtype=float)
    cells = np.empty((len(pools), *at.shape), dtype=np.int64)
    for level in reversed(range(len(pools))):  # the finest step first, each coarser one where the point then is
        last = np.array(residuals[level].shape[1:]) - 1
        cells[level] = np.clip(np.floor(at / pools[level]), 0, last)
        at = at + residuals[level][(slice(None), *cells[level].T)].T
    return at - points, cells


def differences(layout: Layout, fields, points):
    displacement, cells = composed(fields, layout.pools, points)
    return np.abs(displacement[0::2] - displacement[1::2]).max(axis=1), (cells[:, 0::2] != cells[:, 1::2]).any(axis=2)


@pytest.mark.parametrize("layout", SMALL)
@pytest.mark.parametrize("ndim", [1, 2])
def test_from_the_threshold_on_no_finer_level_can_bring_two_voxels_into_one_cell(layout: Layout, ndim: int) -> None:
    generator = np.random.default_rng(0)
    for level, threshold in enumerate(theory.thresholds(layout)):
        for _ in range(10):
            first = generator.integers(80, SIZE - 80, (500, ndim))
            step = generator.integers(-threshold, threshold + 1, (500, ndim))
            step[np.arange(500), generator.integers(ndim, size=500)] = generator.choice([-1, 1], 500) * threshold
            points = np.stack([first, first + step], axis=1).reshape(-1, ndim).astype(float)
            _, apart = differences(layout, random_residuals(layout, ndim, generator), points)
            assert apart[level:].all()


@pytest.mark.parametrize("layout", SMALL)
@pytest.mark.parametrize("sign", [1, -1], ids=["towards each other", "apart"])
def test_from_the_threshold_on_the_whole_difference_is_reached_by_every_pair(layout: Layout, sign: int) -> None:
    zero = [np.zeros((1, SIZE // pool)) for pool in layout.pools]
    for level, (total, threshold) in enumerate(
        zip(theory.total_differences(layout), theory.thresholds(layout), strict=True)
    ):
        for start in range(100, 100 + 2 * layout.pools[0]):  # every position against the cells
            for distance in range(int(threshold), int(threshold) + 4):
                fields = driven(layout, level, start, distance, sign, zero)
                found, _ = differences(layout, fields, np.array([[start], [start + distance]], float))
                assert found[0] == total


@pytest.mark.parametrize("layout", SMALL)
def test_below_the_threshold_a_pair_can_share_the_coarser_cell_and_is_left_with_the_finer_levels(
    layout: Layout,
) -> None:
    totals, thresholds = theory.total_differences(layout), theory.thresholds(layout)
    for level in range(1, len(layout.pools)):
        for distance in range(int(thresholds[level]), int(thresholds[level - 1])):
            reached = []
            for start in range(100, 100 + 2 * layout.pools[0]):
                # the finer levels bring the two as close as their range allows, but not past each other
                share = min(1.0, distance / totals[level])
                fields = [np.zeros((1, SIZE // pool)) for pool in layout.pools]
                at = np.array([float(start), float(start + distance)])
                for k in reversed(range(level, len(layout.pools))):
                    cells = np.floor(at / layout.pools[k]).astype(int)
                    fields[k][0, cells] = share * theory.capture_ranges(layout)[k] * np.array([1, -1])
                    at += fields[k][0, cells]
                found, apart = differences(layout, fields, np.array([[start], [start + distance]], float))
                if not apart[:level].any():
                    reached.append(found[0])
            assert reached, f"no pair at distance {distance} shares a cell of level {level - 1}"
            assert max(reached) <= totals[level]
            if distance >= totals[level]:
                assert max(reached) == pytest.approx(totals[level])


@pytest.mark.parametrize("layout", SMALL)
def test_random_fields_keep_to_the_limit_of_the_levels_whose_cells_differ(layout: Layout) -> None:
    generator = np.random.default_rng(1)
    totals = np.array([*theory.total_differences(layout), 0.0])
    for _ in range(20):
        points = generator.integers(80, SIZE - 80, (2000, 1)).astype(float)
        points[1::2] = points[0::2] + generator.integers(0, 30, (1000, 1))
        found, apart = differences(layout, random_residuals(layout, 1, generator), points)
        first = np.where(apart.any(axis=0), apart.argmax(axis=0), len(layout.pools))  # the coarsest level that differs
        assert (found <= totals[first] + 1e-9).all()
    # and no smaller limit holds at a small distance: levels that drive two neighbours apart free the coarser ones
    last = layout.pools[-1]
    zero = [np.zeros((1, SIZE // pool)) for pool in layout.pools]
    found, _ = differences(layout, driven(layout, 0, 103, last, -1, zero), np.array([[103.0], [103.0 + last]]))
    assert found[0] == totals[0] > theory.largest_difference(layout, last)
