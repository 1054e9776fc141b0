"""Layers for napari and back: exact and upright."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks
from napari_ran.errors import InputError
from napari_ran.io import (
    deformed_grid_layer,
    image_from_layer,
    jacobian_layer,
    labels_from_layer,
    landmarks_from_layer,
    magnitude_layer,
    to_layer_data,
    vectors_layer,
)
from napari_ran.io.layers import FOLD_COLOUR

NDIMS = pytest.mark.parametrize("ndim", [2, 3])
Grids = dict[int, tuple[Grid, Grid]]
MakeField = Callable[..., DisplacementField]
MakeImage = Callable[..., Image]


@NDIMS
def test_images_come_back_exactly(ndim: int, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    image = smooth_image(oblique_grids[ndim][0])
    image.metadata["modality"] = "MR"
    data, kwargs, kind = to_layer_data(image)
    assert kind == "image"
    assert data.shape == image.grid.shape[::-1]
    again = image_from_layer(data, kwargs["affine"], kwargs["name"], kwargs["metadata"])
    assert torch.equal(again.tensor, image.tensor)
    np.testing.assert_allclose(again.grid.affine, image.grid.affine, atol=1e-12)
    assert (again.name, again.metadata) == (image.name, image.metadata)


@NDIMS
def test_labels_come_back_exactly(ndim: int, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    grid = oblique_grids[ndim][0]
    labels = Labels((smooth_image(grid).tensor[0] > 0).int() * 2035, grid, "organs", {2035: "insula"})
    data, kwargs, kind = to_layer_data(labels)
    assert kind == "labels"
    assert data.dtype == np.int32
    again = labels_from_layer(data, kwargs["affine"], kwargs["name"], kwargs["metadata"])
    assert torch.equal(again.tensor, labels.tensor)
    assert (again.name, again.names) == ("organs", {2035: "insula"})
    np.testing.assert_allclose(again.grid.affine, grid.affine, atol=1e-12)


@NDIMS
def test_landmarks_come_back_exactly(ndim: int) -> None:
    landmarks = Landmarks(np.random.default_rng(0).standard_normal((9, ndim)) * 100, "tips")
    data, kwargs, kind = to_layer_data(landmarks)
    assert kind == "points"
    again = landmarks_from_layer(data, kwargs["affine"], kwargs["name"])
    np.testing.assert_array_equal(again.points, landmarks.points)
    assert again.name == "tips"


@NDIMS
def test_points_lie_on_their_voxels(ndim: int, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    """A landmark on a voxel and that voxel of the image's layer are at one place of napari's world."""
    grid = oblique_grids[ndim][0]
    voxel = np.array([3, 5, 8][:ndim])
    _, image, _ = to_layer_data(smooth_image(grid))
    points, _, _ = to_layer_data(Landmarks.from_voxels(voxel[None], grid))
    np.testing.assert_allclose((image["affine"] @ np.append(voxel[::-1], 1))[:-1], points[0])


def test_anterior_is_up_and_left_is_right() -> None:
    """napari's y points down: going anterior (RAS +y) must decrease it; so must going right (RAS +x) decrease its x."""
    data, _, _ = to_layer_data(Landmarks(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])))
    np.testing.assert_array_equal(data[1:] - data[0], [[0, 0, -1], [0, -1, 0], [1, 0, 0]])
    flat, _, _ = to_layer_data(Landmarks(np.array([[0.0, 0], [1, 0], [0, 1]])))
    np.testing.assert_array_equal(flat[1:] - flat[0], [[0, -1], [-1, 0]])


@NDIMS
def test_layers_of_other_plugins(ndim: int) -> None:
    """Scale and translate only: the spacing is the scale, in reversed order."""
    data = np.random.default_rng(0).random((4, 5, 6)[-ndim:])
    affine = np.eye(ndim + 1)
    affine[:-1, :-1] = np.diag([2.5, 0.7, 0.5][-ndim:])
    affine[:-1, -1] = [10, -20, 30][-ndim:]
    image = image_from_layer(data, affine, "cells", {"path": "a.tif"})
    np.testing.assert_allclose(image.grid.spacing, [0.5, 0.7, 2.5][:ndim])
    np.testing.assert_allclose(image.array, data.T.astype(np.float32))
    np.testing.assert_allclose(image.grid.origin, [-30, 20, 10][:ndim])
    np.testing.assert_allclose(to_layer_data(image)[1]["affine"], affine)


def test_a_stack_of_one_slice_becomes_2d() -> None:
    image = image_from_layer(np.arange(30.0).reshape(1, 5, 6), np.diag([4, 0.7, 0.5, 1]))
    assert image.grid.shape == (6, 5)
    np.testing.assert_allclose(image.grid.spacing, (0.5, 0.7))


def test_multiscale_layers_give_their_finest_level() -> None:
    levels = [np.ones((8, 6)), np.zeros((4, 3))]
    assert image_from_layer(levels, np.eye(3)).grid.shape == (6, 8)


@pytest.mark.parametrize(
    ("shape", "affine"),
    [((5, 6, 3), np.eye(3)), ((2, 4, 5, 6), np.eye(5)), ((4, 5, 6, 3), np.eye(4)), ((7,), np.eye(2))],
)
def test_rgb_and_4d_layers_are_refused(shape: tuple[int, ...], affine: np.ndarray) -> None:
    for convert in (image_from_layer, labels_from_layer):
        with pytest.raises(InputError, match=r"photo: expected a 2-D or 3-D layer of one channel.*RGB"):
            convert(np.zeros(shape, np.uint8), affine, "photo")


def test_other_bad_layers_are_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        image_from_layer(np.full((4, 5), np.nan), np.eye(3))
    with pytest.raises(InputError, match="complex"):
        image_from_layer(np.zeros((4, 5), complex), np.eye(3))
    with pytest.raises(InputError, match="whole numbers"):
        labels_from_layer(np.full((4, 5), 0.5), np.eye(3))
    with pytest.raises(InputError, match="expected 2-D or 3-D points"):
        landmarks_from_layer(np.zeros((3, 4)), np.eye(5))
    with pytest.raises(InputError, match="cannot show a str"):
        to_layer_data("image")


@NDIMS
def test_arrows_start_on_voxels_and_end_where_points_go(
    ndim: int, oblique_grids: Grids, smooth_field: MakeField
) -> None:
    field = smooth_field(oblique_grids[ndim][0])
    data, kwargs, kind = vectors_layer(field, max_arrows=100)
    assert kind == "vectors"
    assert 20 < len(data) <= 100
    assert data.shape[1:] == (2, ndim)
    affine = kwargs["affine"]
    starts, ends = (landmarks_from_layer(p, affine).points for p in (data[:, 0], data[:, 0] + data[:, 1]))
    np.testing.assert_allclose(field.map_points(starts), ends, atol=1e-3)
    np.testing.assert_allclose(kwargs["features"]["mm"], np.linalg.norm(ends - starts, axis=1), atol=1e-3)


def test_arrows_are_few_and_show_in_every_slice() -> None:
    """napari slices along the first axis of the data; within a slice the arrows are even in mm."""
    field = DisplacementField.identity(Grid.from_spacing((120, 100, 30), (1, 2, 4)))
    data, _, _ = vectors_layer(field)
    assert 10_000 < len(data) <= 20_000
    z, y, x = (np.unique(data[:, 0, axis]) for axis in range(3))
    np.testing.assert_array_equal(z, np.arange(30))
    assert 2 * np.diff(y).max() == pytest.approx(np.diff(x).max(), abs=1)


def test_arrows_of_a_large_volume_leave_slices_out() -> None:
    field = DisplacementField.identity(Grid.from_spacing((64, 64, 400)))
    data, _, _ = vectors_layer(field, max_arrows=4000)
    slices = np.unique(data[:, 0, 0])
    assert len(data) <= 4000
    assert len(slices) < 400
    assert len(data) / len(slices) > 40


@NDIMS
def test_magnitude_and_jacobian_are_those_of_the_field(
    ndim: int, oblique_grids: Grids, smooth_field: MakeField
) -> None:
    field = smooth_field(oblique_grids[ndim][0], size=3)
    for layer, values in ((magnitude_layer, field.magnitude), (jacobian_layer, field.jacobian_determinant)):
        data, kwargs, kind = layer(field)
        assert kind == "image"
        np.testing.assert_array_equal(data, values.numpy().T)
        assert image_from_layer(data, kwargs["affine"]).grid == field.grid


def test_grid_lines_bend_with_the_field() -> None:
    """A shift by half a period moves bright lines to where it was dark between them."""
    grid = Grid.from_spacing((40, 32), (1.0, 1.0))
    still = deformed_grid_layer(DisplacementField.identity(grid), step=8, axes=(0,))[0].T
    bright = np.flatnonzero(still[:, 5] == 1)
    assert list(bright) == [0, 8, 16, 24, 32]
    shift = DisplacementField(torch.stack([torch.full(grid.shape, 4.0), torch.zeros(grid.shape)]), grid)
    moved = deformed_grid_layer(shift, step=8, axes=(0,))[0].T
    assert list(np.flatnonzero(moved[:, 5] == 1)) == [4, 12, 20, 28, 36]


@NDIMS
def test_napari_takes_every_layer(
    ndim: int, oblique_grids: Grids, smooth_field: MakeField, smooth_image: MakeImage
) -> None:
    layers = pytest.importorskip("napari.layers")
    field = smooth_field(oblique_grids[ndim][0], size=4)
    grid = field.grid
    labels = Labels(torch.ones(grid.shape), grid)
    shown = [to_layer_data(value) for value in (smooth_image(grid), labels, Landmarks(np.zeros((2, ndim))), field)]
    shown += [magnitude_layer(field), jacobian_layer(field), deformed_grid_layer(field)]
    for data, kwargs, kind in shown:
        layer = layers.Layer.create(data, kwargs, kind)
        assert layer.metadata["napari_ran"]["kind"]
        assert [str(unit) for unit in layer.units] == ["millimeter"] * ndim
        np.testing.assert_allclose(layer.affine.affine_matrix, kwargs["affine"])


def test_folds_have_a_colour_of_their_own() -> None:
    layers = pytest.importorskip("napari.layers")
    grid = Grid.from_spacing((12, 10))
    field = torch.zeros(2, 12, 10)
    field[0, 6:] = -4  # rows 6 and on read what lies before row 3: folded in between
    data, kwargs, _ = jacobian_layer(DisplacementField(field, grid))
    layer = layers.Image(data, **kwargs)
    low, high = layer.contrast_limits
    colours = layer.colormap.map(np.clip((data.ravel() - low) / (high - low), -1, 2))
    folded = (colours == FOLD_COLOUR).all(1)
    np.testing.assert_array_equal(folded, data.ravel() < 0)
    assert folded.any()


def test_channels_become_layers() -> None:
    image = Image(np.random.default_rng(0).random((2, 4, 5, 6)), Grid.from_spacing((4, 5, 6)))
    data, kwargs, _ = to_layer_data(image)
    assert kwargs["channel_axis"] == 0
    np.testing.assert_array_equal(data[1], image.tensor[1].numpy().T)
