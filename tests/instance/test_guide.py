"""Landmarks that lead the fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran.data import Landmarks
from napari_ran.errors import InputError
from napari_ran.evaluate import target_registration_error
from napari_ran.events import Event
from napari_ran.instance import LandmarkGuide

SPACING = {2: (2.0, 1.0), 3: (2.0, 1.0, 1.5)}
SHAPE = {2: (20, 30), 3: (20, 30, 16)}


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_distance_is_in_mm_and_the_term_grows_with_it(ndim: int) -> None:
    points = torch.tensor([[5.0] * ndim, [9.0] * ndim])
    target = torch.zeros(2, ndim)
    target[0, 0] = 3.0
    guide = LandmarkGuide(points, target, SHAPE[ndim], SPACING[ndim], weight=2.0)
    control = torch.zeros(1, ndim, *SHAPE[ndim], requires_grad=True)
    torch.testing.assert_close(guide.away(control), torch.tensor([3.0, 0.0]))
    unit = np.mean(SPACING[ndim])
    value = guide(control)
    assert float(value.detach()) == pytest.approx(2 * (np.sqrt(1 + (3 / unit) ** 2) - 1) / 2, rel=1e-5)
    value.backward()
    assert control.grad is not None
    pull = control.grad[0, 0]
    assert float(pull[(5,) * ndim]) < 0  # the first point should go on along the first axis
    assert float(pull.abs().sum()) == pytest.approx(float(pull[(5,) * ndim].abs()), rel=1e-3)


@pytest.mark.parametrize("coarse", [1, 2])
def test_a_drawn_field_meets_the_points_and_leaves_the_rest(coarse: int) -> None:
    shape = (40, 60)
    points, target = torch.tensor([[10.0, 15.0], [30.0, 45.0]]), torch.tensor([[4.0, 0.0], [0.0, -3.0]])
    guide = LandmarkGuide(points, target, shape, (1.0, 1.0), 1.0)
    drawn = guide.drawn(torch.zeros(1, 2, *(n // coarse for n in shape)))
    assert float(guide.away(drawn).max()) < 0.3
    assert float(drawn.abs().max()) < 5
    wide = LandmarkGuide(points[:1], target[:1], (400, 600), (1.0, 1.0), 1.0).drawn(torch.zeros(1, 2, 400, 600))
    assert float(wide[0, :, 399, 599].abs().max()) < 0.2


def test_landmarks_lead_where_the_images_say_nothing() -> None:
    """Two flat discs that differ by a shift that only the points know."""
    grid = ran.Grid.from_spacing((48, 48), (2.0, 1.0))
    x = np.stack(np.indices(grid.shape), -1) - 23.5
    disc = torch.from_numpy((np.linalg.norm(x, axis=-1) < 18).astype(np.float32) * 100)[None]
    image = ran.Image(disc, grid, "disc")
    points = grid.to_world(np.array([[20.0, 20.0], [28.0, 20.0], [20.0, 28.0], [28.0, 28.0], [24.0, 24.0]]))
    goal = points + np.array([3.0, 0.0])
    given = {"fixed_landmarks": Landmarks(points), "moving_landmarks": Landmarks(goal)}
    settings = {"weights": "none", "affine": "none", "instance": {"similarity": "mse", "landmarks": 1.0}}
    run = ran.start(image, ran.Image(disc, grid, "same"), **given, **settings)
    events: list[Event] = list(run)
    result = run.result()
    np.testing.assert_allclose(result.field.map_points(points), goal, atol=0.5)
    between = grid.to_world(np.array([[24.0, 21.0]]))
    assert result.field.map_points(between)[0, 0] - between[0, 0] > 1.5
    assert result.report.folding_percent == 0
    seen = [event.metrics["landmarks (mm)"] for event in events if "landmarks (mm)" in event.metrics]
    assert seen[0] == pytest.approx(3.0, abs=1e-3)
    assert seen[-1] < 0.5
    assert any("no measure of its accuracy" in message for message in result.report.messages)


def test_some_landmarks_help_the_others_and_an_affine_in_front_is_undone() -> None:
    made = ran.phantom_2d(seed=3)
    lead = np.arange(len(made.fixed_landmarks)) % 2 == 0
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = [[0.98, -0.17], [0.17, 0.98]], (4, -6)
    turned = ran.Image(made.moving.tensor, ran.Grid(made.moving.grid.shape, matrix @ made.moving.grid.affine), "moving")
    moved = made.moving_landmarks.points @ matrix[:2, :2].T + matrix[:2, 2]
    given = {
        "fixed_landmarks": Landmarks(made.fixed_landmarks.points[lead]),
        "moving_landmarks": Landmarks(moved[lead]),
    }
    others = Landmarks(made.fixed_landmarks.points[~lead]), Landmarks(moved[~lead])
    # the images alone have too few steps to bring the organs together
    little = {"similarity": "mse", "search": 0, "steps": 12, "levels": 1}
    errors = []
    for weight in (0.0, 3.0):
        settings = {"weights": "none", "affine": "rigid", "instance": {**little, "landmarks": weight}}
        result = ran.register(made.fixed, turned, **given, **settings)
        errors.append(float(target_registration_error(*others, result.field).mean()))
    assert errors[1] < 0.8 * errors[0]


def test_landmarks_that_cannot_lead_are_refused() -> None:
    made = ran.phantom_2d()
    with pytest.raises(InputError, match=r"instance\.landmarks: there are no landmarks of both images"):
        ran.start(made.fixed, made.moving, fixed_landmarks=made.fixed_landmarks, instance={"landmarks": 1})
    given = {"fixed_landmarks": made.fixed_landmarks, "moving_landmarks": made.moving_landmarks}
    with pytest.raises(InputError, match="lead the mode 'field' only"):
        ran.start(made.fixed, made.moving, **given, instance={"landmarks": 1, "mode": "network"})
    given["moving_landmarks"] = Landmarks(made.moving_landmarks.points[:-1])
    with pytest.raises(InputError, match="landmarks"):
        ran.start(made.fixed, made.moving, **given, instance={"landmarks": 1})
