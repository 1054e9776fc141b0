from __future__ import annotations

import numpy as np
import pytest

from napari_ran.data import Grid
from napari_ran.errors import InputError

NDIMS = pytest.mark.parametrize("ndim", [2, 3])
Grids = dict[int, tuple[Grid, Grid]]


@NDIMS
def test_world_and_voxel_undo_each_other(ndim: int, oblique_grids: Grids) -> None:
    grid = oblique_grids[ndim][0]
    voxels = np.random.default_rng(0).uniform(-5, 30, (20, ndim))
    np.testing.assert_allclose(grid.to_voxel(grid.to_world(voxels)), voxels, atol=1e-9)
    homogeneous = np.append(voxels[0], 1)
    np.testing.assert_allclose(grid.to_world(voxels[0]), (grid.affine @ homogeneous)[:-1])


@NDIMS
def test_parts_of_the_affine(ndim: int, oblique_grids: Grids) -> None:
    grid = oblique_grids[ndim][0]
    np.testing.assert_allclose(grid.direction.T @ grid.direction, np.eye(ndim), atol=1e-12)
    np.testing.assert_allclose(grid.direction * grid.spacing, grid.affine[:-1, :-1])
    np.testing.assert_allclose(grid.origin, grid.to_world(np.zeros(ndim)))
    np.testing.assert_allclose(grid.centre, grid.to_world((np.array(grid.shape) - 1) / 2))
    np.testing.assert_allclose(grid.extent, grid.spacing * grid.shape)


def test_spacing_of_an_oblique_anisotropic_grid(oblique_grids: Grids) -> None:
    np.testing.assert_allclose(oblique_grids[3][0].spacing, (1.1, 2.3, 0.8))
    np.testing.assert_allclose(oblique_grids[2][1].spacing, (1.2, 1.6))


@NDIMS
def test_voxel_map_goes_through_the_world(ndim: int, oblique_grids: Grids) -> None:
    a, b = oblique_grids[ndim]
    world = np.eye(ndim + 1)
    world[:-1] += 0.1 * np.random.default_rng(1).standard_normal((ndim, ndim + 1))
    x = np.append(np.random.default_rng(2).uniform(0, 10, ndim), 1)
    expected = b.to_voxel((world @ np.append(a.to_world(x[:-1]), 1))[:-1])
    np.testing.assert_allclose((a.voxel_map_to(b, world) @ x)[:-1], expected)
    np.testing.assert_allclose((a.voxel_map_to(b) @ x)[:-1], b.to_voxel(a.to_world(x[:-1])))


@NDIMS
def test_a_grid_contains_its_outer_voxels_up_to_their_faces(ndim: int, oblique_grids: Grids) -> None:
    grid = oblique_grids[ndim][0]
    last = np.array(grid.shape) - 1
    places = [0 * last, last, last + 0.5, 0 * last - 0.5, last + 0.51, -0.51 * np.eye(ndim)[0]]
    assert grid.contains(places).tolist() == [True] * 4 + [False] * 2


@NDIMS
def test_a_moved_grid_lies_where_the_transform_leads(ndim: int, oblique_grids: Grids) -> None:
    grid, other = oblique_grids[ndim]
    moved = grid.moved(other.affine)
    voxels = np.array([[0.0] * ndim, [3.0] * ndim])
    np.testing.assert_allclose(moved.to_world(voxels), other.to_world(grid.to_world(voxels)))


@NDIMS
def test_another_spacing_keeps_the_outer_faces(ndim: int, oblique_grids: Grids) -> None:
    grid = oblique_grids[ndim][0]
    coarse = grid.with_spacing(3.0)
    assert np.abs(coarse.spacing / 3 - 1).max() < 0.3
    for corner in (np.zeros(ndim), np.ones(ndim)):
        faces = [g.to_world(corner * g.shape - 0.5) for g in (grid, coarse)]
        np.testing.assert_allclose(*faces, atol=1e-9)


def test_equality_allows_for_rounded_headers_only(oblique_grids: Grids) -> None:
    grid = oblique_grids[3][0]
    assert grid == Grid(grid.shape, grid.affine.astype(np.float32))
    moved = grid.affine.copy()
    moved[0, 3] += 0.05
    assert grid != Grid(grid.shape, moved)
    turned = grid.affine.copy()
    turned[:3, :3] *= 1.002  # small per voxel, but a twentieth of a voxel at the far corner
    assert grid != Grid(grid.shape, turned)
    assert grid != Grid((*grid.shape[:2], grid.shape[2] + 1), grid.affine)
    assert grid != "grid"


def test_equality_of_a_fine_grid_far_from_the_origin() -> None:
    """Float32 headers cannot hold 0.02 mm voxels at 800 mm exactly: still the same grid."""
    grid = Grid.from_spacing((100, 90, 80), 0.02, (812.3456789, -400.000123, 33.3333333))
    assert grid == Grid(grid.shape, grid.affine.astype(np.float32))


def test_dict_round_trip(oblique_grids: Grids) -> None:
    for pair in oblique_grids.values():
        assert Grid(**pair[0].to_dict()) == pair[0]


def test_the_affine_is_read_only(oblique_grids: Grids) -> None:
    with pytest.raises(ValueError, match="read-only"):
        oblique_grids[2][0].affine[0, 0] = 1


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((4,), np.eye(2), "2 or 3 axes"),
        ((4, 4, 4, 2), np.eye(5), "2 or 3 axes"),
        ((4, 0), np.eye(3), "at least one voxel"),
        ((4, 4), np.eye(4), r"shape \(3, 3\), got \(4, 4\)"),
        ((4, 4), np.full((3, 3), np.nan), "NaN"),
        ((4, 4), np.diag([1, 0, 1]), "singular"),
        ((4, 4), np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]]), "singular"),
    ],
)
def test_bad_grids_are_refused(shape: tuple[int, ...], affine: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Grid(shape, affine)


def test_bad_spacing_is_refused() -> None:
    with pytest.raises(InputError, match="positive millimetres"):
        Grid.from_spacing((4, 4)).with_spacing(0)


def test_an_affine_beyond_all_measure_is_refused() -> None:
    Grid((4, 5, 6), np.diag([1e15, 1, 1, 1]))
    with pytest.raises(InputError, match="the matrix holds 1e\\+308, more millimetres than anything is away"):
        Grid((4, 5, 6), np.diag([1, 1e308, 1, 1]))
