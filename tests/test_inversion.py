"""Inverses of fields, with an affine part, on grids of their own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_ran import InputError
from napari_ran.data import DisplacementField, Grid
from napari_ran.inversion import invert_field, invert_points
from napari_ran.transform import compose_inverse, compose_to

Grids = dict[int, tuple[Grid, Grid]]
MakeField = Callable[..., DisplacementField]


def affine_of(ndim: int) -> np.ndarray:
    """A turn, a stretch and a shift."""
    matrix = np.eye(ndim + 1)
    matrix[:2, :2] = [[1.15, 0.35], [-0.3, 0.9]]
    centre = np.array([-10.0, 7.0, 120.0][:ndim])
    matrix[:-1, -1] = centre - matrix[:-1, :-1] @ centre + 1.5
    return matrix


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("guessed", [False, True])
def test_there_and_back_is_nowhere(ndim: int, guessed: bool, oblique_grids: Grids, smooth_field: MakeField) -> None:
    fixed, moving = oblique_grids[ndim]
    working, matrix = smooth_field(fixed, size=0.6), affine_of(ndim)
    whole = compose_to(working, matrix, fixed)
    assert whole.folding_percent == 0
    opposite = DisplacementField(-working.tensor, fixed, "moving", "fixed")
    start = compose_inverse(opposite, matrix, moving) if guessed else None
    found = invert_field(whole, moving, start)
    assert found.field.grid == moving
    assert (found.field.source, found.field.target) == ("moving", "fixed")
    assert found.tolerance == pytest.approx(0.01 * moving.spacing.min())
    assert found.missed_percent == 0
    points = moving.to_world(np.stack(np.indices(moving.shape), -1).reshape(-1, ndim))
    there = whole.map_points(found.field.map_points(points))
    away = np.linalg.norm(there - points, axis=1)
    assert away.max() < 1.1 * found.tolerance
    np.testing.assert_allclose(found.residual.array.ravel(), away, atol=2e-3)
    if start is not None:
        before = np.linalg.norm(whole.map_points(start.map_points(points)) - points, axis=1)
        assert before.max() > 10 * away.max()


def test_a_turn_by_ninety_degrees_is_inverted(oblique_grids: Grids) -> None:
    """An affine that plain fixed-point iteration would not survive."""
    fixed, moving = oblique_grids[3]
    turn = np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]]
    found = invert_field(DisplacementField.from_world_map(fixed, turn), moving)
    exact = DisplacementField.from_world_map(moving, np.linalg.inv(turn))
    points = moving.to_world(np.stack(np.indices(moving.shape), -1).reshape(-1, 3))
    voxels = fixed.to_voxel(exact.map_points(points))
    inside = ((voxels > 0) & (voxels < np.array(fixed.shape) - 1)).all(1).reshape(moving.shape)
    assert inside.mean() > 0.05  # elsewhere the border of the field goes on
    assert (found.residual.array[inside] < found.tolerance).all()
    torch.testing.assert_close(
        found.field.tensor[:, torch.from_numpy(inside)], exact.tensor[:, torch.from_numpy(inside)], atol=0.05, rtol=0
    )


def test_where_it_folds_the_residual_says_so() -> None:
    grid = Grid.from_spacing((40, 12), (2.0, 1.0))
    x = torch.arange(40.0)
    shift = 6 * torch.sin(2 * torch.pi * x / 40)
    tears = torch.where(x >= 20, 8.0, 0.0)  # nothing leads to the eight voxels behind the tear
    fold = DisplacementField(torch.stack([shift, 0 * x])[:, :, None].expand(2, 40, 12).clone(), grid)
    assert fold.folding_percent == 0
    assert invert_field(fold, grid).missed_percent < 1
    torn = DisplacementField(torch.stack([tears, 0 * x])[:, :, None].expand(2, 40, 12).clone(), grid)
    found = invert_field(torn, grid, tolerance=0.1)
    folded = DisplacementField(-torn.tensor, grid)
    assert folded.folding_percent > 0
    clear = found.residual.array[:, 5] < found.tolerance
    assert clear[:19].all()
    assert clear[30:].all()
    assert 0 <= found.missed_percent < 30


def test_a_field_that_flattens_space_is_refused() -> None:
    grid = Grid.from_spacing((10, 12), (1.0, 1.0))
    tensor = torch.zeros(2, 10, 12)
    tensor[0] = -torch.arange(10.0)[:, None]
    with pytest.raises(InputError, match="flattens space"):
        invert_field(DisplacementField(tensor, grid), grid)


def test_a_field_of_one_slice_has_a_way_back() -> None:
    """It says nothing of the direction across the slice, where nothing then moves."""
    grid = Grid.from_spacing((12, 10, 1), (1.0, 1.5, 4.0))
    shift = np.eye(4)
    shift[:3, 3] = 2.0, -1.5, 0.0
    field = DisplacementField.from_world_map(grid, shift)
    points = grid.to_world([[5.0, 4.0, 0.0], [6.0, 5.0, 0.0]])
    back, away = invert_points(field, points)
    np.testing.assert_allclose(back, points - shift[:3, 3], atol=1e-2)
    assert away.max() < 1e-2
    assert invert_field(field, grid).missed_percent == 0
