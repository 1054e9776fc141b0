"""A pair on its working grid, with the record that undoes it; and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_ran.config import RegistrationConfig
from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.errors import InputError
from napari_ran.preprocess import PreparedPair, PrepareStep, prepare_pair
from napari_ran.steps import last
from napari_ran.transform import compose_inverse, compose_to, resample

NDIMS = pytest.mark.parametrize("ndim", [2, 3])
Grids = dict[int, tuple[Grid, Grid]]
MakeImage = Callable[..., Image]


def prepare(fixed: Image, moving: Image, **settings: object) -> tuple[PreparedPair, list[PrepareStep]]:
    steps: list[PrepareStep] = []
    return last(prepare_pair(fixed, moving, RegistrationConfig(**settings)), steps.append), steps


@NDIMS
def test_steps_come_in_order_and_say_what_was_done(ndim: int, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    fixed, moving = (smooth_image(grid) for grid in oblique_grids[ndim])
    pair, steps = prepare(fixed, moving, affine="affine")
    stages = [step.stage for step in steps]
    assert stages == sorted(stages, key=["preprocess", "affine"].index)
    for stage in ("preprocess", "affine"):
        own = [step for step in steps if step.stage == stage]
        assert [step.step for step in own] == list(range(1, own[-1].total + 1))
        assert all(step.message for step in own)
    assert all(np.isfinite(step.metric) for step in steps if step.stage == "affine")
    assert [text.split(":")[0] for text in pair.messages] == ["Intensities", "Working grid", "Affine"]


@NDIMS
def test_tensors_are_ready_for_the_network(ndim: int, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    fixed, moving = (smooth_image(grid) for grid in oblique_grids[ndim])
    pair, _ = prepare(fixed, moving, affine="none", spacing=2.5, intensity="minmax")
    for tensor in (pair.fixed, pair.moving):
        assert tensor.shape == (1, 1, *pair.grid.shape)
        assert tensor.dtype == torch.float32
        assert tensor.min() >= 0
        assert tensor.max() <= 1
    window = pair.intensity.moving
    expected = resample(Image(window.apply(moving.tensor), moving.grid), pair.grid, pair.affine, antialias=True)
    torch.testing.assert_close(pair.moving[0], expected.tensor)


@NDIMS
def test_a_field_of_the_working_grid_recomposes(ndim: int, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    """A linear field on the working grid, after an affine: the whole can be written down in world coordinates."""
    fixed, moving = (smooth_image(grid) for grid in oblique_grids[ndim])
    pair, _ = prepare(fixed, moving, affine="rigid", spacing=2.0)
    turn = np.eye(ndim + 1)
    turn[:-1, :-1] += 0.05 * np.random.default_rng(0).standard_normal((ndim, ndim))
    middle = fixed.grid.centre
    turn[:-1, -1] = middle - turn[:-1, :-1] @ middle
    points = middle + np.random.default_rng(1).uniform(-3, 3, (20, ndim))
    forward = compose_to(DisplacementField.from_world_map(pair.grid, turn), pair.affine, fixed.grid)
    expected = points @ turn[:-1, :-1].T + turn[:-1, -1]
    expected = expected @ pair.affine[:-1, :-1].T + pair.affine[:-1, -1]
    np.testing.assert_allclose(forward.map_points(points), expected, atol=1e-3)
    assert forward.grid is fixed.grid
    back = DisplacementField.from_world_map(pair.grid, np.linalg.inv(turn), "moving", "fixed")
    backward = compose_inverse(back, pair.affine, moving.grid)
    np.testing.assert_allclose(backward.map_points(expected), points, atol=1e-3)
    assert backward.grid is moving.grid


def test_closing_stops_between_steps(oblique_grids: Grids, smooth_image: MakeImage) -> None:
    run = prepare_pair(*(smooth_image(grid) for grid in oblique_grids[3]), RegistrationConfig(affine="affine"))
    assert next(run).stage == "preprocess"
    run.close()
    with pytest.raises(StopIteration):
        next(run)


def test_what_was_assumed_about_a_file_is_passed_on(oblique_grids: Grids, smooth_image: MakeImage) -> None:
    fixed = smooth_image(oblique_grids[3][0])
    fixed.metadata["warnings"] = ("The header has no orientation.",)
    pair, _ = prepare(fixed, smooth_image(oblique_grids[3][0]))
    assert pair.messages[0] == "moving: The header has no orientation"


def refused(shape: tuple[int, ...], channels: int = 1) -> Image:
    values = np.random.default_rng(0).random((channels, *shape))
    return Image(values, Grid.from_spacing(shape))


@pytest.mark.parametrize(
    ("fixed", "moving", "message"),
    [
        (refused((9, 9, 9)), refused((9, 9)), "moving: the fixed image has 3 dimensions, the moving one 2"),
        (refused((9, 9, 9), 2), refused((9, 9, 9)), "fixed: expected one channel, got 2"),
        (refused((9, 9, 9)), refused((9, 1, 9)), "moving: an axis has a single voxel"),
        (refused((9, 9, 9)), Image(np.ones((9, 9, 9)), Grid.from_spacing((9, 9, 9))), "moving: the image is constant"),
    ],
)
def test_pairs_that_cannot_be_registered(fixed: Image, moving: Image, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(fixed, moving)


def test_a_few_thick_slices_are_no_obstacle() -> None:
    """Recursive smoothing needs four voxels per axis; a stack of three slices has to work all the same."""
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.random((6, 6, 3)), np.ones((6, 6, 1)))
    fixed = Image(blocks, Grid.from_spacing(blocks.shape, (1, 1, 8)))
    moving = Image(blocks, Grid.from_spacing(blocks.shape, (1, 1, 8), (4, -3, 0)))
    pair, _ = prepare(fixed, moving, affine="auto")
    np.testing.assert_allclose(
        pair.affine[:-1, -1] + pair.affine[:-1, :-1] @ (15, 15, 8) - (15, 15, 8), (4, -3, 0), atol=1.5
    )


@NDIMS
def test_the_middles_are_brought_together(ndim: int, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    fixed, moving = (smooth_image(grid) for grid in oblique_grids[ndim])
    pair, _ = prepare(fixed, moving, affine="centre")
    there = pair.affine @ np.append(fixed.grid.centre, 1)
    np.testing.assert_allclose(there[:-1], moving.grid.centre)
    np.testing.assert_array_equal(pair.affine[:-1, :-1], np.eye(ndim))
    assert "middles" in pair.messages[-1]
