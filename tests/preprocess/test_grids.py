"""The working grid and the overlap of boxes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ran.data import Grid
from napari_ran.errors import InputError
from napari_ran.preprocess import VOXEL_BUDGET, overlap, working_grid

Grids = dict[int, tuple[Grid, Grid]]


@pytest.mark.parametrize("shape", [(160, 128, 160), (216, 256, 10), (35, 51, 35), (256, 256)])
def test_a_small_image_is_worked_on_as_it_is(shape: tuple[int, ...]) -> None:
    grid, why = working_grid(Grid.from_spacing(shape, 1.5))
    assert grid.shape == shape
    assert "the fixed image's own" in why


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        ((512, 512, 300), (0.7, 0.7, 1.0)),
        ((512, 512, 60), (0.7, 0.7, 5.0)),
        ((6000, 5000), (0.1, 0.1)),
        ((30, 900, 900), (4, 0.5, 0.7)),
    ],
)
def test_a_large_image_is_coarsened_towards_equal_spacing(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    """Within the budget, close to it, never finer than the image; axes that are thick already stay untouched."""
    fixed = Grid.from_spacing(shape, spacing)
    grid, why = working_grid(fixed)
    assert 0.85 * VOXEL_BUDGET < np.prod(grid.shape) <= VOXEL_BUDGET
    assert (grid.spacing >= fixed.spacing - 1e-9).all()
    coarsened = grid.spacing > 1.01 * fixed.spacing
    assert np.ptp(grid.spacing[coarsened]) < 0.05 * grid.spacing[coarsened].mean()
    assert (grid.spacing[~coarsened] >= 0.99 * grid.spacing[coarsened].max()).all()
    assert "4 million" in why


def test_the_box_stays_where_it_is(oblique_grids: Grids) -> None:
    fixed = oblique_grids[3][0]
    grid, _ = working_grid(fixed, budget=500)
    for corner in ((0, 0, 0), (1, 1, 1)):
        faces = [g.to_world(np.array(corner) * g.shape - 0.5) for g in (fixed, grid)]
        np.testing.assert_allclose(*faces, atol=1e-9)


def test_a_wanted_spacing_is_never_finer_than_the_image() -> None:
    fixed = Grid.from_spacing((100, 100, 20), (1, 1, 5))
    grid, why = working_grid(fixed, spacing=2.0)
    np.testing.assert_allclose(grid.spacing, (2, 2, 5))
    assert "never finer" in why
    assert working_grid(fixed, spacing=0.5)[0] is fixed
    assert "never finer" not in working_grid(Grid.from_spacing((100, 100, 50), 1.0), spacing=2.0)[1]


def test_a_spacing_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"spacing: 50 mm leaves 2 x 2 x 2 voxels\. Use at most 25 mm"):
        working_grid(Grid.from_spacing((100, 100, 100)), spacing=50)


def test_overlap_of_boxes() -> None:
    a = Grid.from_spacing((20, 20, 20), 1.0)
    half = Grid.from_spacing((20, 20, 20), 1.0, (10, 0, 0))
    inside = Grid.from_spacing((5, 5, 5), 1.0, (5, 5, 5))
    eye = np.eye(4)
    assert overlap(a, a, eye) == 1
    assert overlap(a, half, eye) == pytest.approx(0.5, abs=0.05)
    assert overlap(a, inside, eye) == pytest.approx(1, abs=0.1)
    assert overlap(inside, a, eye) == 1
    assert overlap(a, Grid.from_spacing((20, 20, 20), 1.0, (50, 0, 0)), eye) == 0
    back = np.eye(4)
    back[0, 3] = 10
    assert overlap(a, half, back) == 1
