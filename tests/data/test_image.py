from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from napari_ran.data import Grid, Image, Labels, Landmarks
from napari_ran.errors import InputError

GRID = Grid.from_spacing((3, 4, 5), 2.0)
VALUES = np.arange(60).reshape(3, 4, 5)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "<u4", ">f4", "f8", "i8", "f2"])
def test_any_number_type_gives_equal_values(dtype: str) -> None:
    image = Image(VALUES.astype(dtype), GRID)
    assert image.tensor.dtype == torch.float32
    np.testing.assert_array_equal(image.array, VALUES)
    np.testing.assert_array_equal(Labels(VALUES.astype(dtype), GRID).array, VALUES)


@pytest.mark.parametrize(
    "make", [lambda v: v[::-1, :, ::-1], np.asfortranarray, lambda v: np.broadcast_to(v[:1], v.shape)]
)
def test_any_memory_layout_is_read_without_a_warning(make: object) -> None:
    values = make(VALUES.astype(np.float32))
    values.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(Image(values, GRID).array, values)


def test_booleans_and_tensors() -> None:
    assert Labels(VALUES > 30, GRID).ids == [1]
    assert Image(torch.from_numpy(VALUES), GRID).tensor.shape == (1, 3, 4, 5)
    assert Image(np.stack([VALUES, VALUES]), GRID).array.shape == (2, 3, 4, 5)


def test_labels_know_their_ids() -> None:
    assert Labels(VALUES % 3 * 7, GRID).ids == [7, 14]


def test_labels_know_what_they_have_in_common() -> None:
    other = Labels(np.array([[[0, 60, 7, 3]]]), Grid.from_spacing((1, 1, 4)))
    assert Labels(VALUES, GRID).common_ids(other) == [3, 7]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_no_numbers_are_refused(bad: float) -> None:
    values = VALUES.astype(float)
    values[1, 2, 3] = bad
    with pytest.raises(InputError, match="lung: the image holds NaN or infinite"):
        Image(values, GRID, "lung")


@pytest.mark.parametrize("values", [VALUES + 1j, VALUES.astype(str), torch.from_numpy(VALUES + 1j)])
def test_other_types_are_refused(values: object) -> None:
    with pytest.raises(InputError, match="lung: expected real numbers"):
        Image(values, GRID, "lung")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VALUES + 0.5, "fractions"),
        (torch.from_numpy(VALUES) + 0.5, "fractions"),
        (np.where(VALUES == 3, np.nan, VALUES), "fractions or NaN"),
        (VALUES * 2**31, "32 bits"),
        (VALUES * 1e300, "32 bits"),
        (VALUES[:0], "the labels have shape"),
        (torch.from_numpy(VALUES[:0]), "the labels have shape"),
    ],
)
def test_labels_that_are_not_labels_are_refused(values: object, message: str) -> None:
    with pytest.raises(InputError, match=f"organs: .*{message}"):
        Labels(values, GRID, "organs")


def test_shapes_must_match_the_grid() -> None:
    with pytest.raises(InputError, match=r"\(1, 4, 3, 5\) but its grid has \(3, 4, 5\)"):
        Image(VALUES.transpose(1, 0, 2), GRID)
    with pytest.raises(InputError, match="Use labels drawn on this image"):
        Labels(VALUES[:2], GRID)


def test_landmarks() -> None:
    points = Landmarks.from_voxels([[0, 0, 0], [1, 2, 3]], GRID)
    np.testing.assert_allclose(points.points, [[0, 0, 0], [2, 4, 6]])
    assert len(points) == 2
    with pytest.raises(InputError, match="NaN"):
        Landmarks(np.array([[0, np.nan, 1]]), "tumour")
    with pytest.raises(InputError, match=r"\(N, 2\) or \(N, 3\)"):
        Landmarks(np.zeros((3, 4)))
