from __future__ import annotations

import numpy as np
import pytest

from napari_ran import InputError
from napari_ran.data import Grid, Labels
from napari_ran.evaluate import surface_distances


def rotated(spacing: tuple[float, ...], angle: float) -> np.ndarray:
    """An affine map with voxels of `spacing`, turned about the last axis."""
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(len(spacing) + 1)
    affine[:2, :2] = [[c, -s], [s, c]]
    affine[: len(spacing), : len(spacing)] = affine[: len(spacing), : len(spacing)] @ np.diag(spacing)
    affine[0, -1] = 7.0
    return affine


GRIDS = {
    "isotropic": Grid.from_spacing((14, 12, 10), (1.0, 1.0, 1.0)),
    "anisotropic": Grid.from_spacing((14, 12, 10), (0.7, 1.3, 3.0)),
    "oblique": Grid((14, 12, 10), rotated((0.8, 1.5, 2.5), 0.4)),
    "plane": Grid((20, 17), rotated((0.6, 1.7), 0.3)),
}


def surface(mask: np.ndarray) -> np.ndarray:
    """Indices (N, D) of the voxels of a mask with a face neighbour outside of it."""
    padded = np.pad(mask, 1)
    inner = np.ones_like(mask)
    for axis in range(mask.ndim):
        for step in (-1, 1):
            cut = [slice(1, -1)] * mask.ndim
            cut[axis] = slice(1 + step, padded.shape[axis] - 1 + step)
            inner &= padded[tuple(cut)]
    return np.argwhere(mask & ~inner)


def brute_force(one: np.ndarray, two: np.ndarray, grid: Grid) -> tuple[float, float, float]:
    """Hausdorff distance, its 95 % version and the average surface distance, from all pairs of surface voxels in mm."""
    points = [grid.to_world(surface(mask)) for mask in (one, two)]
    distances = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    ways = distances.min(1), distances.min(0)
    return max(w.max() for w in ways), max(np.percentile(w, 95) for w in ways), float(np.concatenate(ways).mean())


def shapes(grid: Grid, seed: int) -> np.ndarray:
    """Three labels of random boxes, one of them in two pieces and one at the edge of the grid."""
    rng, values = np.random.default_rng(seed), np.zeros(grid.shape, np.int32)
    for label in (2, 5, 5, 9):
        start = [int(rng.integers(0, n // 2)) for n in grid.shape]
        values[tuple(slice(a, a + int(rng.integers(3, 6))) for a in start)] = label
    values[:3, :4] = 2
    return values


@pytest.mark.parametrize("name", GRIDS)
def test_distances_are_those_of_all_pairs_of_surface_voxels(name: str) -> None:
    grid = GRIDS[name]
    one, two = shapes(grid, 0), shapes(grid, 3)
    found = surface_distances(Labels(one, grid), Labels(two, grid))
    assert len(found) >= 2
    for label, distances in found.items():
        expected = brute_force(one == label, two == label, grid)
        assert distances is not None
        np.testing.assert_allclose((distances.hd, distances.hd95, distances.asd), expected, rtol=1e-5)
        assert 0 < distances.asd <= distances.hd95 <= distances.hd


def test_a_shift_is_measured_in_millimetres() -> None:
    grid = GRIDS["anisotropic"]
    one, two = np.zeros((2, *grid.shape), np.int32)
    one[3:8, 3:8, 2:4], two[3:8, 3:8, 4:6] = 1, 1
    found = surface_distances(Labels(one, grid), Labels(two, grid))[1]
    assert found is not None
    assert found.hd == pytest.approx(6.0)
    same = surface_distances(Labels(one, grid), Labels(one, grid))[1]
    assert same is not None
    assert (same.hd, same.hd95, same.asd) == (0, 0, 0)


def test_what_cannot_be_measured() -> None:
    grid = GRIDS["isotropic"]
    one, two = np.zeros((2, *grid.shape), np.int32)
    one[2:5, 2:5, 2:5], two[8, 8, 8] = 4, 6
    labels = Labels(one, grid), Labels(two, grid)
    assert surface_distances(*labels) == {}
    assert surface_distances(*labels, ids=[4, 6, 7]) == {4: None, 6: None, 7: None}
    with pytest.raises(InputError, match="another grid"):
        surface_distances(labels[0], Labels(two, GRIDS["anisotropic"]))
    sheared = np.eye(4)
    sheared[0, 1] = 0.2
    oblique = Grid(grid.shape, sheared)
    with pytest.raises(InputError, match="not at right angles"):
        surface_distances(Labels(one, oblique), Labels(one, oblique))
