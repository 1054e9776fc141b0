"""The grids on which a pair is compared."""

from __future__ import annotations

import pytest

from napari_ran.instance.pyramid import grid_at, search_grids


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((448, 320), (1.0, 1.0), (224, 160)),
        ((300, 301, 40), (1.0, 1.0, 5.0), (150, 150, 40)),
        ((300, 300, 90), (1.0, 1.0, 1.5), (150, 150, 68)),
        ((100_000, 1), (1.0, 1.0), (50_000, 1)),
        ((100_000, 3), (1.0, 1.0), (50_000, 3)),  # few voxels are not made fewer
    ],
)
def test_coarse_axes_stay(shape: tuple[int, ...], spacing: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert grid_at(2, shape, spacing) == expected


def test_small_images_are_searched_less() -> None:
    assert search_grids((96, 96, 96), (1, 1, 1), 4) == [((24, 24, 24), 4), ((48, 48, 48), 2)]
    assert search_grids((48, 48, 48), (1, 1, 1), 4) == [((24, 24, 24), 4), ((48, 48, 48), 1)]
    assert search_grids((192, 192, 192), (1, 1, 1), 4) == [((32, 32, 32), 4), ((64, 64, 64), 2)]


def test_thick_slices_are_searched_as_they_are() -> None:
    assert search_grids((160, 160, 40), (1, 1, 4), 4)[1] == ((80, 80, 40), 2)
