from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_ran as ran
from napari_ran.preprocess import PreparedPair, prepare_pair
from napari_ran.steps import last

SHAPE = (40, 36, 32)


def _blobs(world: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(4)
    value = np.zeros(world.shape[:-1])
    for _ in range(12):
        centre, size = rng.uniform(15, 60, 3), rng.uniform(4, 9)
        value += rng.uniform(0.3, 1) * np.exp(-0.5 * ((world - centre) ** 2).sum(-1) / size**2)
    return value


def _world(grid: ran.Grid) -> np.ndarray:
    return grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))


def _prepare(fixed: ran.Image, moving: ran.Image, masks: Any = (None, None), **settings: Any) -> PreparedPair:
    return last(prepare_pair(fixed, moving, ran.RegistrationConfig(**settings), masks=masks))


def _pair(matrix: np.ndarray) -> tuple[ran.Image, ran.Image]:
    """A pair of which `matrix` takes fixed world positions to moving ones, on two different grids."""
    fixed_grid = ran.Grid.from_spacing(SHAPE, (2.0, 2.2, 2.5))
    moving_grid = ran.Grid.from_spacing((44, 40, 36), (1.9, 2.1, 2.3))
    inverse = np.linalg.inv(matrix)
    at = _world(moving_grid) @ inverse[:3, :3].T + inverse[:3, 3]
    return ran.Image(_blobs(_world(fixed_grid)), fixed_grid), ran.Image(_blobs(at), moving_grid)


def _matrix(angle: float, scale: float, shift: tuple[float, float, float]) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(4)
    middle = np.array([40.0, 40.0, 40.0])
    matrix[:3, :3] = scale * np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    matrix[:3, 3] = middle - matrix[:3, :3] @ middle + shift
    return matrix


def _error(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance in mm between where two matrices take the middle of the image."""
    points = np.random.default_rng(0).uniform(20, 60, (200, 3))
    away = points @ (found - truth)[:3, :3].T + (found - truth)[:3, 3]
    return float(np.linalg.norm(away, axis=1).mean())


def test_a_known_affine_is_found() -> None:
    truth = _matrix(0.15, 1.08, (6.0, -5.0, 4.0))
    pair = _prepare(*_pair(truth), affine="affine")
    assert _error(np.eye(4), truth) > 8
    assert _error(pair.affine, truth) < 1.5


def test_a_rigid_alignment_keeps_lengths() -> None:
    truth = _matrix(0.15, 1.0, (6.0, -5.0, 4.0))
    pair = _prepare(*_pair(truth), affine="rigid")
    assert _error(pair.affine, truth) < 1.5
    assert np.allclose(pair.affine[:3, :3].T @ pair.affine[:3, :3], np.eye(3), atol=1e-6)


def test_auto_leaves_identical_grids_alone_and_says_so() -> None:
    fixed, _ = _pair(np.eye(4))
    moved = ran.Image(np.roll(fixed.array, 3, axis=0), fixed.grid)
    pair = _prepare(fixed, moved)
    assert np.array_equal(pair.affine, np.eye(4))
    assert any("grids are identical" in message for message in pair.messages)


def test_images_that_do_not_overlap_are_brought_together_or_refused() -> None:
    fixed, moving = _pair(np.eye(4))
    away = np.array(moving.grid.affine)
    away[0, 3] += 500
    far = ran.Image(moving.array, ran.Grid(moving.grid.shape, away))
    pair = _prepare(fixed, far)
    assert abs(pair.affine[0, 3] - 500) < 3
    with pytest.raises(ran.InputError, match="does not overlap"):
        _prepare(fixed, far, affine="none")


def test_the_same_pair_gives_the_same_matrix() -> None:
    pair = _pair(_matrix(0.1, 1.05, (3.0, 2.0, -4.0)))
    first, second = (_prepare(*pair, affine="affine").affine for _ in range(2))
    assert np.allclose(first, second, atol=1e-4)  # threads add up in another order each time


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (lambda n: n * 1300 - 1000, "ct-soft"),
        (lambda n: n * 1024 - 1000, "ct-lung"),
        (lambda n: n * 700, "mri"),
        (lambda n: n * 700, "minmax"),
    ],
)
def test_intensities_land_between_0_and_1(values: Callable[[Any], Any], kind: str) -> None:
    fixed, moving = _pair(np.eye(4))
    scaled = [ran.Image(values(image.array / image.array.max()), image.grid) for image in (fixed, moving)]
    pair = _prepare(*scaled, affine="none", intensity=kind)
    for tensor in (pair.fixed, pair.moving):
        assert float(tensor.min()) >= 0
        assert float(tensor.max()) <= 1 + 1e-6
        assert float(tensor.max()) > 0.5
    assert pair.intensity.preset == kind


def test_a_working_spacing_is_taken() -> None:
    fixed, moving = _pair(np.eye(4))
    pair = _prepare(fixed, moving, affine="none", spacing=4.0)
    assert np.allclose(pair.grid.spacing, 4.0, rtol=0.1)
    assert pair.fixed.shape == pair.moving.shape == (1, 1, *pair.grid.shape)


@pytest.mark.realdata
@pytest.mark.slow
def test_a_follow_up_scan_35_mm_away_is_brought_close(real_data: Path) -> None:
    folder = real_data / "lung_elastix"
    names = [next(folder.glob(f"*{kind}.mha")) for kind in ("baseline", "followup")]
    fixed, moving = (ran.load_image(name) for name in names)
    pair = _prepare(fixed, moving)

    def points(kind: str) -> np.ndarray:
        lines = next(folder.glob(f"*{kind}_point_set_corrected.txt")).read_text().splitlines()[2:]
        return np.array([[float(v) for v in line.split()] for line in lines if line.strip()]) * [-1, -1, 1]  # LPS

    start, target = points("fixed"), points("moving")
    reached = start @ pair.affine[:3, :3].T + pair.affine[:3, 3]
    assert np.linalg.norm(start - target, axis=1).mean() > 25
    assert np.linalg.norm(reached - target, axis=1).mean() < 12


def test_masks_keep_what_moves_otherwise_from_the_alignment() -> None:
    """A bright table that lies elsewhere in the second image leads the alignment astray unless it is masked out."""
    truth = _matrix(0.0, 1.0, (5.0, 0.0, -4.0))
    fixed, moving = _pair(truth)
    arrays = fixed.array.copy(), moving.array.copy()
    arrays[0][:, -6:], arrays[1][:, -14:-6] = 3.0, 3.0
    arrays[0][::5, -6:], arrays[1][::5, -14:-6] = 0.0, 0.0
    fixed, moving = ran.Image(arrays[0], fixed.grid), ran.Image(arrays[1], moving.grid)
    masks = [np.ones(image.grid.shape, np.int32) for image in (fixed, moving)]
    masks[0][:, -6:], masks[1][:, -14:] = 0, 0
    maps = ran.Labels(masks[0], fixed.grid), ran.Labels(masks[1], moving.grid)
    errors = []
    for given in ((None, None), maps):
        errors.append(_error(_prepare(fixed, moving, given, affine="rigid").affine, truth))
    assert errors[1] < 1.5 < errors[0]
