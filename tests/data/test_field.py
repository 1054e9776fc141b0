from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid
from napari_ran.errors import InputError

NDIMS = pytest.mark.parametrize("ndim", [2, 3])
Grids = dict[int, tuple[Grid, Grid]]
MakeField = Callable[..., DisplacementField]


def world_map(ndim: int, size: float = 0.1) -> np.ndarray:
    matrix = np.eye(ndim + 1)
    matrix[:-1] += size * np.random.default_rng(4).standard_normal((ndim, ndim + 1))
    return matrix


@NDIMS
def test_a_world_map_becomes_its_field(ndim: int, oblique_grids: Grids) -> None:
    grid, matrix = oblique_grids[ndim][0], world_map(ndim)
    field = DisplacementField.from_world_map(grid, matrix)
    points = grid.to_world(np.random.default_rng(0).uniform(0, np.array(grid.shape) - 1, (30, ndim)))
    expected = points @ matrix[:-1, :-1].T + matrix[:-1, -1]
    np.testing.assert_allclose(field.map_points(points), expected, atol=1e-4)


@NDIMS
def test_a_translation_in_millimetres(ndim: int, oblique_grids: Grids) -> None:
    shift = np.array([3.0, -4.0, 12.0][:ndim])
    matrix = np.eye(ndim + 1)
    matrix[:-1, -1] = shift
    field = DisplacementField.from_world_map(oblique_grids[ndim][0], matrix)
    np.testing.assert_allclose(field.millimetres.flatten(1).mean(1), shift, atol=1e-4)
    np.testing.assert_allclose(field.magnitude, np.linalg.norm(shift), atol=1e-4)
    assert field.folding_percent == 0


@NDIMS
def test_the_jacobian_is_that_of_the_world(ndim: int, oblique_grids: Grids) -> None:
    matrix = world_map(ndim)
    field = DisplacementField.from_world_map(oblique_grids[ndim][0], matrix)
    np.testing.assert_allclose(field.jacobian_determinant, np.linalg.det(matrix[:-1, :-1]), atol=1e-4)


@NDIMS
def test_the_jacobian_in_slabs_is_the_whole_one(
    ndim: int, oblique_grids: Grids, smooth_field: MakeField, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = smooth_field(oblique_grids[ndim][0], size=4)
    whole = F.jacobian_determinant(field.tensor[None])[0]
    for voxels in (1, 3 * int(np.prod(field.grid.shape[1:])), 10**9):
        monkeypatch.setattr(F, "SLAB", voxels)
        torch.testing.assert_close(field.jacobian_determinant, whole)
    assert field.folding_percent == pytest.approx(100 * float((whole <= 0).float().mean()))
    assert field.folding_percent > 0


@NDIMS
def test_points_follow_the_voxels(ndim: int, oblique_grids: Grids, smooth_field: MakeField) -> None:
    field = smooth_field(oblique_grids[ndim][0])
    voxel = np.array([4, 7, 9][:ndim])
    displacement = field.tensor[(slice(None), *voxel)].numpy()
    reached = field.map_points(field.grid.to_world(voxel)[None])
    np.testing.assert_allclose(reached[0], field.grid.to_world(voxel + displacement), atol=1e-4)
    assert field.map_points(np.zeros((0, ndim))).shape == (0, ndim)


@NDIMS
def test_identity(ndim: int, oblique_grids: Grids) -> None:
    field = DisplacementField.identity(oblique_grids[ndim][0])
    points = np.random.default_rng(0).uniform(-50, 150, (10, ndim))
    np.testing.assert_allclose(field.map_points(points), points, atol=1e-9)


def test_bad_fields_are_refused(oblique_grids: Grids) -> None:
    grid = oblique_grids[3][0]
    with pytest.raises(InputError, match=r"expected a tensor of shape \(3, 18, 14, 22\)"):
        DisplacementField(torch.zeros(*grid.shape, 3), grid)
    broken = torch.zeros(3, *grid.shape)
    broken[0, 1, 2, 3] = float("nan")
    with pytest.raises(InputError, match="NaN or infinite"):
        DisplacementField(broken, grid)
