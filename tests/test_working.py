"""The workings of a run: the grid that the network gets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ran import functional as F
from napari_ran.data import Grid
from napari_ran.preprocess import network_grid
from napari_ran.working import INVERSE_ITERATIONS, LARGE, _inverted

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


def test_the_inverse_of_a_large_field_is_as_good_as_that_of_a_small_one() -> None:
    generator = torch.Generator().manual_seed(0)
    field = 4 * F.resize(torch.randn((1, 3, 4, 4, 4), generator=generator), (84, 80, 77))
    assert field[0, 0].numel() > LARGE
    quick = _inverted(field, None)
    slow, _ = F.invert(field, None, INVERSE_ITERATIONS)
    residuals = [(one + F.warp(field, one, padding="border")).square().sum(dim=1).sqrt() for one in (quick, slow)]
    assert float(residuals[0].mean()) < 0.01
    assert float(residuals[0].quantile(0.99)) < 0.05
    assert float(residuals[0].mean()) < 2 * float(residuals[1].mean()) + 1e-3
