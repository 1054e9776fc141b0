"""Transforms that are known before a registration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import napari_ran as ran
from napari_ran.data import DisplacementField, Grid
from napari_ran.preprocess import Initial
from napari_ran.transform import compose_to

QUICK = {"weights": "none", "instance": "none"}


def _matrix(ndim: int, seed: int = 0, size: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] += size * rng.standard_normal((ndim, ndim))
    matrix[:-1, -1] = rng.uniform(-4, 4, ndim)
    return matrix


def _field_of(matrix: np.ndarray, grid: Grid) -> DisplacementField:
    return compose_to(DisplacementField(np.zeros((grid.ndim, *grid.shape), np.float32), grid), matrix, grid)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_field_is_divided_into_its_affine_part_and_the_rest(
    ndim: int, oblique_grids: dict, smooth_field: Callable[..., DisplacementField]
) -> None:
    fixed, working = oblique_grids[ndim]
    matrix = _matrix(ndim)
    alone = Initial.of(_field_of(matrix, fixed))
    assert alone.field is None
    np.testing.assert_allclose(alone.affine, matrix, atol=1e-3)
    both = Initial.of(compose_to(smooth_field(fixed), matrix, fixed))
    assert both.field is not None
    np.testing.assert_allclose(both.affine[:-1, :-1], matrix[:-1, :-1], atol=0.2)
    rest = both.rest(fixed)
    assert rest is not None
    points = fixed.to_world(np.random.default_rng(0).uniform(2, np.array(fixed.shape) - 3, (50, ndim)))
    again = rest.map_points(points) @ both.affine[:-1, :-1].T + both.affine[:-1, -1]
    np.testing.assert_allclose(again, both.field.map_points(points), atol=0.02)
    assert both.rest(working).grid == working  # type: ignore[union-attr]


def _turned_phantom() -> tuple[ran.Image, ran.Image, np.ndarray]:
    """The phantom, its moving image turned further than an alignment finds by itself: and by which matrix."""
    made = ran.phantom_2d(seed=3)
    c, s = np.cos(2.2), np.sin(2.2)
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = [[c, -s], [s, c]], (14, -9)
    turned = ran.Image(made.moving.tensor, Grid(made.moving.grid.shape, matrix @ made.moving.grid.affine), "turned")
    return made.fixed, turned, matrix


def test_an_affine_transform_is_kept_or_improved_on() -> None:
    fixed, moving, matrix = _turned_phantom()
    kept = ran.register(fixed, moving, initial=matrix, affine="none", **QUICK)
    np.testing.assert_allclose(kept.affine, matrix, atol=1e-9)
    rough = matrix.copy()
    rough[:2, 2] += (6, -5)
    with_it = ran.register(fixed, moving, initial=rough, affine="rigid", **QUICK)
    without = ran.register(fixed, moving, affine="rigid", **QUICK)
    assert np.abs(with_it.affine[:2, :2] - matrix[:2, :2]).max() < 0.1  # type: ignore[index]
    assert np.linalg.norm(with_it.affine[:2, 2] - matrix[:2, 2]) < 4  # type: ignore[index]
    assert with_it.report.similarity_after > without.report.similarity_after
    assert any("after the initial transform" in message for message in with_it.report.messages)


def test_a_registration_goes_on_from_a_result(tmp_path: Path) -> None:
    fixed, moving, matrix = _turned_phantom()
    first = ran.register(fixed, moving, initial=matrix, affine="none", weights="none", instance={"similarity": "mse"})
    folder = first.save(tmp_path / "first")
    again = ran.register(fixed, moving, initial=folder, **QUICK)
    points = fixed.grid.to_world(np.random.default_rng(0).uniform(10, 60, (80, 2)))
    np.testing.assert_allclose(again.field.map_points(points), first.field.map_points(points), atol=0.05)
    back = again.inverse_field.map_points(again.field.map_points(points))
    assert np.median(np.linalg.norm(back - points, axis=1)) < 0.2
    assert any("takes its place" in message for message in again.report.messages)
    further = ran.register(fixed, moving, initial=first.field, weights="none", instance={"similarity": "mse"})
    assert further.report.similarity_after > first.report.similarity_after - 0.02  # smooth beside another affine part
    assert further.report.similarity_after > again.report.similarity_after - 0.02


def test_a_transform_of_another_tool_is_read(tmp_path: Path) -> None:
    fixed, moving, matrix = _turned_phantom()
    transform = sitk.AffineTransform(2)
    transform.SetMatrix(matrix[:2, :2].ravel().tolist())  # both signs turn in 2-D
    transform.SetTranslation((-matrix[:2, 2]).tolist())
    sitk.WriteTransform(transform, str(tmp_path / "start.tfm"))
    found = ran.register(fixed, moving, initial=tmp_path / "start.tfm", affine="none", **QUICK)
    np.testing.assert_allclose(found.affine, matrix, atol=1e-3)


def test_initial_transforms_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    made = ran.phantom_2d()
    start = made.fixed, made.moving
    with pytest.raises(ran.InputError, match=r"initial: expected a matrix of shape \(3, 3\), got \(4, 4\)"):
        ran.start(*start, initial=np.eye(4))
    with pytest.raises(ran.InputError, match="initial: the matrix is singular"):
        ran.start(*start, initial=np.diag([1.0, 0.0, 1.0]))
    with pytest.raises(ran.InputError, match=r"initial: .*missing\.h5: there is no such file"):
        ran.start(*start, initial=tmp_path / "missing.h5")
    with pytest.raises(ran.InputError, match="initial: expected a DisplacementField"):
        ran.start(*start, initial=object())
    with pytest.raises(ran.InputError, match="both say where to start"):
        ran.start(*start, initial=np.eye(3), affine="centre")
    field = made.truth
    with pytest.raises(ran.InputError, match="cannot be fitted from a displacement field"):
        ran.start(*start, initial=field, instance="network")
    deep = ran.DisplacementField(np.zeros((3, 4, 4, 4), np.float32), Grid.from_spacing((4, 4, 4)))
    with pytest.raises(ran.InputError, match="the transform is 3-D, the images are 2-D"):
        ran.start(*start, initial=deep)
