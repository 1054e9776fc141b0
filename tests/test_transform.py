"""Transforms on differing oblique, anisotropic grids, against analytic truth and SimpleITK."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid, Image, Labels
from napari_ran.errors import InputError
from napari_ran.transform import compose_inverse, compose_to, resample, warp_image, warp_labels

NDIMS = pytest.mark.parametrize("ndim", [2, 3])
Grids = dict[int, tuple[Grid, Grid]]
MakeField = Callable[..., DisplacementField]
MakeImage = Callable[..., Image]
WEIGHTS = np.array([1.0, -0.7, 0.4])


def ramp(grid: Grid) -> Image:
    """An image that is linear in world coordinates: known everywhere, and exact under linear interpolation."""
    return Image(world_of(grid) @ WEIGHTS[: grid.ndim], grid, "ramp")


def world_of(grid: Grid) -> np.ndarray:
    return grid.to_world(np.stack(np.indices(grid.shape), -1))


def inside(points: np.ndarray, grid: Grid) -> np.ndarray:
    voxels = grid.to_voxel(points)
    return ((voxels >= 0) & (voxels <= np.array(grid.shape) - 1)).all(-1)


def world_map(ndim: int, seed: int = 4) -> np.ndarray:
    matrix = np.eye(ndim + 1)
    matrix[:-1] += 0.1 * np.random.default_rng(seed).standard_normal((ndim, ndim + 1))
    return matrix


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:-1, :-1].T + matrix[:-1, -1]


def about(matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Let a matrix act about a point, so that it keeps to the neighbourhood."""
    result = matrix.copy()
    result[:-1, -1] += centre - matrix[:-1, :-1] @ centre
    return result


@NDIMS
def test_resample_reads_the_world(ndim: int, oblique_grids: Grids) -> None:
    target, source = oblique_grids[ndim]
    result = resample(ramp(source), target)
    known = inside(world_of(target), source)
    assert result.grid is target
    assert known.mean() > 0.5
    np.testing.assert_allclose(result.array[known], ramp(target).array[known], atol=1e-3)


@NDIMS
def test_resample_through_a_world_map(ndim: int, oblique_grids: Grids) -> None:
    target, source = oblique_grids[ndim]
    matrix = about(world_map(ndim), target.centre)
    reached = apply(matrix, world_of(target))
    known = inside(reached, source)
    assert known.mean() > 0.3
    result = resample(ramp(source), target, matrix).array
    np.testing.assert_allclose(result[known], (reached @ WEIGHTS[:ndim])[known], atol=1e-3)


@NDIMS
def test_warp_reads_where_the_field_leads(ndim: int, oblique_grids: Grids, smooth_field: MakeField) -> None:
    target, source = oblique_grids[ndim]
    field = smooth_field(target)
    reached = field.map_points(world_of(target).reshape(-1, ndim)).reshape(*target.shape, ndim)
    known = inside(reached, source)
    warped = warp_image(ramp(source), field)
    np.testing.assert_allclose(warped.array[known], (reached @ WEIGHTS[:ndim])[known], atol=1e-3)
    assert warped.name == "ramp warped"


@NDIMS
def test_resample_agrees_with_simpleitk(ndim: int, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    """The same world on both sides, so that ITK's axes may be called as ours."""
    target, source = oblique_grids[ndim]
    image = smooth_image(source)
    labels = Labels((image.tensor[0] > 0).int() + 2 * (image.tensor[0] > 30).int(), source)

    def convert(array: np.ndarray, grid: Grid) -> sitk.Image:
        converted = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
        converted.SetSpacing(grid.spacing.tolist())
        converted.SetOrigin(grid.origin.tolist())
        converted.SetDirection(grid.direction.ravel().tolist())
        return converted

    reference = convert(np.zeros(target.shape, np.float32), target)
    outside = float(image.tensor.min())
    linear = sitk.Resample(convert(image.array, source), reference, sitk.Transform(), sitk.sitkLinear, outside)
    np.testing.assert_allclose(resample(image, target).array, sitk.GetArrayFromImage(linear).T, atol=0.02)
    nearest = sitk.Resample(convert(labels.array, source), reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    np.testing.assert_array_equal(resample(labels, target).array, sitk.GetArrayFromImage(nearest).T)


@NDIMS
def test_nothing_changes_on_the_same_grid(ndim: int, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    grid = oblique_grids[ndim][0]
    image = smooth_image(grid)
    for same in (resample(image, grid), resample(image, grid, antialias=True)):
        torch.testing.assert_close(same.tensor, image.tensor, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        warp_image(image, DisplacementField.identity(grid)).tensor, image.tensor, atol=1e-3, rtol=0
    )


@NDIMS
def test_slabs_do_not_show(
    ndim: int, oblique_grids: Grids, smooth_field: MakeField, smooth_image: MakeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, source = oblique_grids[ndim]
    field, image, matrix = smooth_field(target), smooth_image(source), world_map(ndim)
    whole = warp_image(image, field).tensor, compose_to(field, matrix, source).tensor
    monkeypatch.setattr(F, "SLAB", 4 * int(np.prod(target.shape[1:])))
    slabs = warp_image(image, field).tensor, compose_to(field, matrix, source).tensor
    for a, b in zip(whole, slabs, strict=True):
        assert torch.equal(a, b)


def test_outside_is_background() -> None:
    grid = Grid.from_spacing((6, 6, 6))
    air = Image(
        np.full(grid.shape, 40.0) + 10 * (np.indices(grid.shape)[0] == 0) - 1064 * (np.indices(grid.shape)[0] == 5),
        grid,
    )
    field = DisplacementField.from_world_map(
        grid, np.array([[1, 0, 0, -3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    )
    warped = warp_image(air, field).array
    assert (warped[:3] == -1024).all()  # the smallest value, not zero: zero would be water
    assert (warped[3] == 50).all()
    assert (warp_image(air, field, background=7).array[:3] == 7).all()
    labels = warp_labels(Labels(np.full(grid.shape, 9), grid), field).array
    assert (labels[:3] == 0).all()
    assert (labels[3:] == 9).all()


@NDIMS
def test_labels_stay_labels(ndim: int, oblique_grids: Grids, smooth_field: MakeField) -> None:
    """Ids beyond what float32 can count survive, and nothing in between is invented."""
    target, source = oblique_grids[ndim]
    big = 2**24 + 1
    values = np.where(np.indices(source.shape)[0] % 4 < 2, big, 3)
    labels = Labels(values, source, names={big: "liver"})
    for result in (warp_labels(labels, smooth_field(target)), resample(labels, target)):
        assert set(result.ids) == {3, big}
        assert result.tensor.dtype == torch.int32
        assert result.names == {big: "liver"}


@NDIMS
def test_composition_with_the_affine_is_exact(ndim: int, oblique_grids: Grids) -> None:
    """A linear field on a working grid and an affine matrix make a linear whole that can be written down."""
    grid, moving = oblique_grids[ndim]
    working = grid.with_spacing(grid.spacing * 0.7)
    deform, affine = about(world_map(ndim, 5), grid.centre), about(world_map(ndim, 6), grid.centre)
    whole = compose_to(DisplacementField.from_world_map(working, deform), affine, grid)
    expected = DisplacementField.from_world_map(grid, affine @ deform)
    inner = (slice(None), *[slice(1, -1)] * ndim)
    torch.testing.assert_close(whole.tensor[inner], expected.tensor[inner], atol=1e-3, rtol=0)
    assert (whole.source, whole.target) == ("fixed", "moving")
    backward = DisplacementField.from_world_map(working, np.linalg.inv(deform), "moving", "fixed")
    inverse = compose_inverse(backward, affine, moving)
    expected = DisplacementField.from_world_map(moving, np.linalg.inv(affine @ deform))
    known = torch.from_numpy(inside(apply(np.linalg.inv(affine), world_of(moving)), working))
    assert known.float().mean() > 0.1
    torch.testing.assert_close(inverse.tensor[:, known], expected.tensor[:, known], atol=1e-3, rtol=0)
    assert (inverse.source, inverse.target) == ("moving", "fixed")


@NDIMS
def test_whole_and_inverse_undo_each_other(ndim: int, oblique_grids: Grids) -> None:
    grid, moving = oblique_grids[ndim]
    deform, affine = about(world_map(ndim, 5), grid.centre), about(world_map(ndim, 6), grid.centre)
    there = compose_to(DisplacementField.from_world_map(grid, deform), affine, grid)
    back = compose_inverse(DisplacementField.from_world_map(grid, np.linalg.inv(deform)), affine, moving)
    points = grid.centre + np.random.default_rng(0).uniform(-2, 2, (20, ndim))
    np.testing.assert_allclose(back.map_points(there.map_points(points)), points, atol=1e-3)


@NDIMS
def test_composed_warp_is_one_interpolation_of_both_steps(
    ndim: int, oblique_grids: Grids, smooth_field: MakeField
) -> None:
    """Warping the affinely resampled image by the working field, and the original by the composition, agree."""
    grid, moving = oblique_grids[ndim]
    affine = about(world_map(ndim, 6), grid.centre)
    field = smooth_field(grid, size=0.6)
    image = ramp(moving)
    twice = warp_image(resample(image, grid, affine), field).array
    once = warp_image(image, compose_to(field, affine, grid)).array
    reached = apply(affine, field.map_points(world_of(grid).reshape(-1, ndim)).reshape(*grid.shape, ndim))
    known = inside(reached, moving)
    for axis in range(ndim):  # keep two voxels from where the first step already read background
        known &= np.roll(known, 2, axis) & np.roll(known, -2, axis)
    inner = tuple(slice(3, -3) for _ in range(ndim))
    assert known[inner].mean() > 0.2
    np.testing.assert_allclose(once[inner][known[inner]], twice[inner][known[inner]], atol=0.02)


@NDIMS
def test_antialiasing_averages_what_it_skips(ndim: int) -> None:
    """Noise of unit variance: a grid k times coarser per axis must average about k voxels per axis, not pick one."""
    shape = (60, 48) if ndim == 2 else (36, 30, 24)
    grid = Grid.from_spacing(shape, 1.0)
    noise = Image(torch.randn(shape, generator=torch.Generator().manual_seed(0)), grid)
    coarse = grid.with_spacing(3.0)
    picked, averaged = resample(noise, coarse).tensor.std(), resample(noise, coarse, antialias=True).tensor.std()
    assert picked > 0.6
    assert averaged == pytest.approx(3 ** (-ndim / 2), rel=0.25)


@NDIMS
@pytest.mark.parametrize("factor", [1.4, 2.0, 2.7])
def test_antialiasing_does_not_shift(ndim: int, factor: float, oblique_grids: Grids) -> None:
    grid = oblique_grids[ndim][1]
    coarse = grid.with_spacing(grid.spacing * factor)
    result = resample(ramp(grid), coarse, antialias=True).array
    inner = tuple(slice(3, -3) for _ in range(ndim))
    np.testing.assert_allclose(result[inner], ramp(coarse).array[inner], atol=1e-2)


def test_dimensions_must_agree(oblique_grids: Grids, smooth_field: MakeField, smooth_image: MakeImage) -> None:
    flat, solid = oblique_grids[2][0], oblique_grids[3][0]
    with pytest.raises(InputError, match="moving: expected 2 dimensions, got 3"):
        warp_image(smooth_image(solid), smooth_field(flat))
    with pytest.raises(InputError, match="expected 3 dimensions, got 2"):
        resample(smooth_image(flat), solid)
    with pytest.raises(InputError, match="expected 3 dimensions, got 2"):
        compose_to(smooth_field(solid), np.eye(3), flat)
