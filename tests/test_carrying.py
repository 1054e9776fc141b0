"""Layers of every kind follow a known transform, as the data that napari hands over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from napari_ran.carrying import CarryStep, carry_layers, describe, layer_grid
from napari_ran.data import DisplacementField, Grid, Image, Labels
from napari_ran.exchange import Transform
from napari_ran.io.layers import LayerData, landmarks_from_layer, napari_affine, points_in_layer
from napari_ran.transform import warp_image, warp_labels

Grids = dict[int, tuple[Grid, Grid]]
MakeField = Callable[..., DisplacementField]
MakeImage = Callable[..., Image]
AFFINE = {
    2: np.array([[1.05, 0.1, 2.0], [-0.08, 0.97, -1.5], [0, 0, 1]]),
    3: np.array([[1.04, 0.06, 0, 1.0], [-0.05, 0.97, 0.04, -1.5], [0, -0.03, 1.02, 2.0], [0, 0, 0, 1]]),
}


@pytest.fixture(params=[2, 3])
def found(request: pytest.FixtureRequest, oblique_grids: Grids, smooth_field: MakeField) -> Transform:
    """An affine map and a gentle displacement, between two oblique grids."""
    fixed, moving = oblique_grids[request.param]
    middle, linear = fixed.centre, AFFINE[request.param].copy()
    linear[:-1, -1] += middle - linear[:-1, :-1] @ middle  # about the middle
    affine, gentle = DisplacementField.from_world_map(fixed, linear), smooth_field(fixed, size=0.5)
    return Transform(DisplacementField(affine.tensor + gentle.tensor, fixed), None, moving)


def in_the_middle(grid: Grid, number: int = 12) -> np.ndarray:
    """Random world points in the middle of a grid, in mm."""
    rng = np.random.default_rng(0)
    return grid.to_world((np.array(grid.shape) - 1) * rng.uniform(0.35, 0.65, (number, grid.ndim)))


def placed(grid: Grid, lead: int = 0, **kwargs: Any) -> dict[str, Any]:
    """The place of a layer on a grid behind `lead` other axes, the first of which counts in steps of 0.5 from 3."""
    affine = np.eye(grid.ndim + 1 + lead)
    affine[lead:, lead:] = napari_affine(grid)
    if lead:
        affine[0, 0], affine[0, -1] = 0.5, 3.0
    units = ("second",) * lead + ("mm",) * grid.ndim
    return {"name": "thing", "affine": affine, "units": units} | kwargs


def in_layer(world: np.ndarray, grid: Grid) -> np.ndarray:
    return points_in_layer(world, napari_affine(grid))


def carried(transform: Transform, *layers: LayerData, **options: Any) -> list[CarryStep]:
    """The last step of each layer."""
    steps = list(carry_layers(transform, layers, **options))
    return [step for step in steps if step.layer is not None or step.error is not None]


def one(transform: Transform, layer: LayerData, **options: Any) -> LayerData:
    (step,) = carried(transform, layer, **options)
    assert step.error is None, step.error
    assert step.layer is not None
    return step.layer


def world_of(points: np.ndarray, kwargs: dict[str, Any]) -> np.ndarray:
    """Our world coordinates of a result without other axes."""
    return landmarks_from_layer(points, kwargs["affine"]).points


def test_points_come_exactly_to_where_the_field_starts(found: Transform) -> None:
    assert found.moving is not None
    inside = in_the_middle(found.field.grid)
    there = in_layer(found.field.map_points(inside), found.moving)
    data, kwargs, kind = one(found, (there, placed(found.moving, size=[3.0]), "points"))
    assert (kind, kwargs["name"], kwargs["size"], kwargs["units"]) == (
        "points",
        "thing applied",
        [3.0],
        ("mm",) * len(inside[0]),
    )
    np.testing.assert_allclose(world_of(data, kwargs), inside, atol=0.005)

    back, _, _ = one(found, (data, kwargs, "points"), reverse=True)
    np.testing.assert_allclose(back, there, atol=0.01)


def test_units_and_scale_of_points_count(found: Transform) -> None:
    inside = in_the_middle(found.field.grid)
    ndim = inside.shape[1]
    there = points_in_layer(found.field.map_points(inside), np.diag([*[0.002] * ndim, 1]))
    place = {"name": "thing", "scale": [2.0] * ndim, "units": ("um",) * ndim, "translate": [0.0] * ndim}
    data, kwargs, _ = one(found, (there, place, "points"))
    assert kwargs["scale"] == [2.0] * ndim
    np.testing.assert_allclose(data, points_in_layer(inside, np.diag([*[0.002] * ndim, 1])), atol=3)


def test_time_and_tracks_stay_beside_what_moves(found: Transform) -> None:
    assert found.moving is not None
    inside = in_the_middle(found.field.grid)
    there = in_layer(found.field.map_points(inside), found.moving)
    expected = in_layer(inside, found.moving)
    time = np.arange(len(there))[:, None]
    data, _, _ = one(found, (np.hstack([time, there]), placed(found.moving, 1), "points"))
    np.testing.assert_array_equal(data[:, :1], time)
    np.testing.assert_allclose(data[:, 1:], expected, atol=0.01)
    tracks = np.hstack([time // 4, time, there])
    data, kwargs, kind = one(found, (tracks, placed(found.moving, 1, graph={1: [0]}), "tracks"))
    assert (kind, kwargs["graph"]) == ("tracks", {1: [0]})
    np.testing.assert_array_equal(data[:, :2], tracks[:, :2])
    np.testing.assert_allclose(data[:, 2:], expected, atol=0.01)


def test_arrows_and_surfaces_go_the_way_of_their_points(found: Transform) -> None:
    assert found.moving is not None
    inside = in_the_middle(found.field.grid)
    there, expected = (in_layer(p, found.moving) for p in (found.field.map_points(inside), inside))
    arrows, _, _ = one(found, (np.stack([there[:6], there[6:] - there[:6]], 1), placed(found.moving), "vectors"))
    np.testing.assert_allclose(arrows, np.stack([expected[:6], expected[6:] - expected[:6]], 1), atol=0.02)

    faces, values = np.array([[0, 1, 2], [3, 4, 5]]), np.arange(len(there))
    (vertices, kept, same), _, kind = one(found, ((there, faces, values), placed(found.moving), "surface"))
    assert kind == "surface"
    assert kept is faces
    assert same is values
    np.testing.assert_allclose(vertices, expected, atol=0.01)
    changing = (there, faces, np.stack([values, values + 1]))
    (vertices, _, _), kwargs, _ = one(found, (changing, placed(found.moving, 1), "surface"))
    np.testing.assert_allclose(vertices, expected, atol=0.01)
    np.testing.assert_allclose(kwargs["affine"], napari_affine(found.moving))
    assert kwargs["units"] == ("mm",) * found.moving.ndim


def test_shapes_keep_their_corners_and_round_ones_become_polygons(found: Transform) -> None:
    assert found.moving is not None
    ndim = found.moving.ndim
    middle = (np.array(found.moving.shape[::-1]) - 1) / 2
    square = np.repeat(middle[None], 4, axis=0)
    square[:, -2:] += np.array([[-3, -2], [-3, 2], [3, 2], [3, -2]])
    line = middle + np.random.default_rng(1).uniform(-2, 2, (2, ndim))
    shapes = [square, square, square, line]
    place = placed(found.moving, shape_type=["polygon", "rectangle", "ellipse", "line"])
    made, kwargs, _ = one(found, (shapes, place, "shapes"))
    assert kwargs["shape_type"] == ["polygon", "polygon", "polygon", "line"]

    def home(points: np.ndarray) -> np.ndarray:
        """Where the field leads to, as data of the moving layer."""
        return in_layer(found.field.map_points(landmarks_from_layer(points, kwargs["affine"]).points), found.moving)

    np.testing.assert_allclose(home(made[0]), square, atol=0.01)
    np.testing.assert_allclose(home(made[3]), line, atol=0.01)
    np.testing.assert_allclose(home(made[1])[::16], square, atol=0.01)
    side = home(made[1])[:16]
    np.testing.assert_allclose(side[:, -2], middle[-2] - 3, atol=0.01)
    around = (home(made[2]) - middle)[:, -2:] / (3, 2)
    np.testing.assert_allclose(np.linalg.norm(around, axis=1), 1, atol=0.01)
    assert one(found, ([], place | {"shape_type": []}, "shapes"))[0] == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float16, np.float32, np.float64, bool])
def test_an_image_keeps_its_type_and_comes_onto_the_fixed_grid(
    found: Transform, smooth_image: MakeImage, dtype: type
) -> None:
    moving = found.moving
    assert moving is not None
    values = smooth_image(moving).array + 100
    stored = (values > 100 if dtype is bool else values.astype(dtype)).T
    style = {"colormap": "magma", "contrast_limits": (20, 180), "scale": [1.0] * moving.ndim, "plane": {}}
    data, kwargs, kind = one(found, (stored, placed(moving, **style), "image"))
    exact = warp_image(Image(torch.from_numpy(stored.T.astype(np.float32)), moving), found.field).array.T
    assert (data.dtype, kind) == (dtype, "image")
    if dtype is bool:
        np.testing.assert_array_equal(data, exact > 0.5)
    else:
        np.testing.assert_allclose(data, exact, atol=0.51 if np.dtype(dtype).kind in "iu" else 0.1)
    np.testing.assert_allclose(kwargs["affine"], napari_affine(found.field.grid))
    assert (kwargs["colormap"], kwargs["contrast_limits"]) == ("magma", (20, 180))
    assert not {"scale", "plane"} & set(kwargs)


def test_colours_time_and_levels(found: Transform, smooth_image: MakeImage) -> None:
    moving, fixed = found.moving, found.field.grid
    assert moving is not None
    volumes = np.stack([smooth_image(moving, seed=seed).array.T + 120 for seed in range(6)])
    expected = [warp_image(Image(torch.from_numpy(v.T.copy()), moving), found.field).array.T for v in volumes]
    colours = np.moveaxis(volumes[:3], 0, -1).astype(np.uint8)
    data, kwargs, _ = one(found, (colours, placed(moving, rgb=True), "image"))
    assert data.shape == (*reversed(fixed.shape), 3)
    assert kwargs["affine"].shape == (fixed.ndim + 1,) * 2
    for channel in range(3):
        exact = warp_image(Image(torch.from_numpy(colours[..., channel].T.astype(np.float32)), moving), found.field)
        np.testing.assert_allclose(data[..., channel], exact.array.T, atol=0.51)

    movie = (volumes.reshape(2, 3, *volumes.shape[1:]), placed(moving, 2), "image")
    steps = list(carry_layers(found, [movie]))
    assert [(step.part, step.parts) for step in steps[1:-1]] == [(part, 6) for part in range(6)]
    data, kwargs, _ = steps[-1].layer or pytest.fail("nothing came")
    np.testing.assert_allclose(data.reshape(6, *data.shape[2:]), expected, atol=1e-3)
    np.testing.assert_allclose(kwargs["affine"][:2, :2], [[0.5, 0], [0, 1]])
    assert kwargs["affine"][0, -1] == 3.0
    np.testing.assert_allclose(kwargs["affine"][2:, 2:], napari_affine(fixed))
    assert kwargs["units"] == ("second", "second", *("mm",) * fixed.ndim)

    levels = [volumes[0], volumes[0][..., ::2, ::2]]
    data, kwargs, _ = one(found, (levels, placed(moving, multiscale=True), "image"))
    np.testing.assert_allclose(data, expected[0], atol=1e-3)
    assert not kwargs["multiscale"]


def test_labels_stay_labels(found: Transform, smooth_image: MakeImage) -> None:
    moving = found.moving
    assert moving is not None
    values = np.where(smooth_image(moving).array > 0, 300, 7).astype(np.uint16)
    mark = {"napari_ran": {"kind": "labels", "names": {7: "seven"}, "result": "labels"}, "mine": 1}
    layer = (values.T, placed(moving, metadata=mark), "labels")
    labels = Labels(values, moving)  # type: ignore[arg-type]
    for method in ("nearest", "gaussian"):
        data, kwargs, kind = one(found, layer, labels=method)
        assert (kind, data.dtype) == ("labels", np.uint16)
        np.testing.assert_array_equal(data.T, warp_labels(labels, found.field, method).array)  # type: ignore[arg-type]
        assert kwargs["metadata"] == {"napari_ran": {"kind": "labels", "names": {7: "seven"}}, "mine": 1}


def test_another_grid_and_the_other_way(found: Transform, smooth_image: MakeImage) -> None:
    assert found.moving is not None
    fixed = found.field.grid
    finer = fixed.with_spacing(fixed.spacing / 1.7)
    layer = (smooth_image(found.moving).array.T, placed(found.moving), "image")
    data, kwargs, _ = one(found, layer, grid=finer)
    assert layer_grid((data, kwargs, "image"), fixed.ndim) == finer
    np.testing.assert_allclose(data, found.on(finer).apply(smooth_image(found.moving)).array.T, atol=1e-3)
    back, kwargs, _ = one(found, (smooth_image(fixed).array.T, placed(fixed), "image"), reverse=True)
    assert layer_grid((back, kwargs, "image"), fixed.ndim) == found.moving
    np.testing.assert_allclose(back, found.opposite().apply(smooth_image(fixed)).array.T, atol=1e-3)
    assert "the other direction is made when needed" in describe(found)
    assert " × ".join(map(str, fixed.shape)) in describe(found)


def test_points_in_doubt_are_counted(found: Transform) -> None:
    assert found.moving is not None
    inside = in_layer(found.field.map_points(in_the_middle(found.field.grid, 5)), found.moving)
    points = np.vstack([inside, inside[:1] + 400])
    (step,) = carried(found, (points, placed(found.moving), "points"))
    assert "1 of 6 points lie outside" in step.warning


def test_one_that_fails_says_why_and_the_others_go_on(found: Transform, smooth_image: MakeImage) -> None:
    moving = found.moving
    assert moving is not None
    ndim = moving.ndim
    good = (smooth_image(moving).array.T, placed(moving), "image")
    flat = (np.zeros((3, ndim - 1)), {"name": "flat", "affine": np.eye(ndim)}, "points")
    holes = (np.full(moving.shape[::-1], np.nan), placed(moving, name="holes"), "image")
    waves = (np.zeros(moving.shape[::-1], complex), placed(moving, name="waves"), "image")
    turned = placed(moving, 1, name="turned")
    turned["affine"][0, 1] = 0.5
    mixed = (np.zeros((2, *moving.shape[::-1])), turned, "image")
    seconds = (np.zeros((2, ndim)), placed(moving, name="seconds", units=("second",) * ndim), "points")
    custom = (np.zeros(3), {"name": "custom"}, "graph")
    broken = ("no data", placed(moving, name="broken"), "points")
    steps = carried(found, flat, holes, waves, mixed, seconds, custom, broken, good)
    said = [str(step.error) for step in steps[:-1]]
    names = ["flat", "holes", "waves", "turned", "seconds", "custom", "broken"]
    words = ["axes", "NaN", "real numbers", "mixes the axes", "no length", "cannot be carried", "could not be carried"]
    for text, name, word in zip(said, names, words, strict=True):
        assert text.startswith(f"{name}: ")
        assert word in text
    assert steps[-1].layer is not None


def test_the_grid_of_a_layer() -> None:
    grid = Grid.from_spacing((6, 5), (2.0, 1.5))
    assert layer_grid((np.zeros((5, 6)), placed(grid), "image")) == grid
    slices = np.zeros((1, 5, 6))
    assert layer_grid((slices, placed(grid, 1, units=("mm",) * 3), "image")).ndim == 2
    assert layer_grid((np.zeros((9, 5, 6, 3)), placed(grid, 1, rgb=True), "image"), 2) == grid
