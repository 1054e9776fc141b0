"""The workings of a run: the grid that the network gets."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ran.data import Grid
from napari_ran.working import network_grid

MILLION = 1_000_000


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((96, 80, 64), (96, 80, 64)),  # as it is
        ((95, 80, 60), (95, 80, 60)),  # padded by a little
        ((34, 53, 36), (32, 48, 32)),
        ((41, 42, 23), (48, 48, 16)),
        ((5, 90, 90), (16, 96, 96)),
        ((37, 51), (32, 48)),
    ],
)
def test_much_padding_is_avoided_by_the_nearest_multiples(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert network_grid(Grid(shape, np.eye(len(shape) + 1)), MILLION, 16).shape == expected


@pytest.mark.parametrize("shape", [(160, 128, 160), (512, 512, 300), (300, 40, 20), (101, 99, 102), (4000, 3000)])
def test_many_voxels_are_coarsened_and_the_box_stays(shape: tuple[int, ...]) -> None:
    grid = Grid(shape, np.diag([1.5] * len(shape) + [1]))
    found = network_grid(grid, MILLION, 16)
    assert 0.4 * min(MILLION, np.prod(shape)) <= np.prod(found.shape) <= 1.1 * MILLION
    extents = np.asarray(found.shape) * found.spacing
    np.testing.assert_allclose(extents, np.asarray(grid.shape) * grid.spacing)


def test_no_axis_vanishes() -> None:
    assert network_grid(Grid((20, 20, 4), np.eye(4)), MILLION, 16).shape == (16, 16, 16)
