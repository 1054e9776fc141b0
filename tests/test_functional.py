"""The pure operations on fields, against what can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import Tensor

from napari_ran import functional as F
from napari_ran.types import Padding

SHAPES = {2: (9, 14), 3: (7, 9, 6)}
NDIMS = pytest.mark.parametrize("ndim", [2, 3])


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def ramp(ndim: int) -> Tensor:
    """An image whose value is known between voxels too: a sum of the coordinates with different weights."""
    weights = torch.tensor([1.0, 10.0, 100.0][:ndim], dtype=torch.float64).view(1, -1, *[1] * ndim)
    return (F.voxel_grid(SHAPES[ndim], weights) * weights).sum(1, keepdim=True)


def linear_field(matrix: np.ndarray, offset: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """The field of x -> matrix x + offset in voxels, (1, D, *S)."""
    x = F.voxel_grid(shape, torch.zeros(1, dtype=torch.float64))
    moved = torch.einsum("ij,bj...->bi...", torch.from_numpy(matrix), x)
    return moved + torch.from_numpy(offset).view(1, -1, *[1] * len(shape)) - x


def smooth(ndim: int, shape: tuple[int, ...], size: float, seed: int = 0) -> Tensor:
    return size * F.resize(random(1, ndim, *[3] * ndim, seed=seed), shape)


def middle(tensor: Tensor, margin: int = 2) -> Tensor:
    return tensor[(..., *[slice(margin, -margin)] * (tensor.ndim - 2))]


@NDIMS
def test_voxel_grid_counts_along_its_axes(ndim: int) -> None:
    grid = F.voxel_grid(SHAPES[ndim], torch.zeros(1))
    assert grid.shape == (1, ndim, *SHAPES[ndim])
    np.testing.assert_array_equal(grid[0].numpy(), np.indices(SHAPES[ndim]))


@NDIMS
def test_slabs_cover_a_grid_once(ndim: int) -> None:
    shape, zero = SHAPES[ndim], torch.zeros(1)
    slabs = list(F.slabs(shape, 4 * math.prod(shape[1:])))
    assert [slab.stop - slab.start for slab in slabs[:-1]] == [4] * (len(slabs) - 1)
    whole = torch.cat([F.voxel_grid(shape, zero, slab) for slab in slabs], 2)
    assert torch.equal(whole, F.voxel_grid(shape, zero))
    assert len(list(F.slabs(shape, 1))) == shape[0]


@NDIMS
def test_large_grids_are_computed_in_slabs_that_do_not_show(ndim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (23, *SHAPES[ndim][1:])
    image, field = random(1, 2, *shape), smooth(ndim, shape, 3.0)

    def computed() -> list[Tensor]:
        lengths = F.in_slabs(F.lengths, [field[0]], ndim, 0, F.slab_count(shape))
        smoothed = F.gaussian_smooth(image, [0.8, *[1.2] * (ndim - 1)])
        return [F.warp(image, field, padding="border"), F.jacobian_determinant(field), smoothed, lengths]

    whole = computed()
    assert F.slab_count(shape) == 0
    assert float((whole[1] <= 0).double().mean()) > 0.01
    monkeypatch.setattr(F, "SLAB", math.prod(shape) // 3)
    assert F.slab_count(shape) == 3
    parts = list[int]()
    monkeypatch.setattr(F, "grid_sample", lambda *given, read=F.grid_sample: parts.append(1) or read(*given))
    for one, other in zip(whole, computed(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    assert len(parts) > 2


@NDIMS
def test_slabs_are_cut_where_a_value_reaches_and_never_with_a_gradient(ndim: int) -> None:
    values, sizes = random(2, 29, *SHAPES[ndim][1:]), list[int]()

    def neighbours(given: Tensor, missing: None) -> Tensor:
        assert missing is None
        sizes.append(given.shape[1])
        padded = torch.cat([given[:, :2], given, given[:, -2:]], 1)  # the ends count as ends
        return padded[:, :-4] + padded[:, 4:]

    assert torch.equal(F.in_slabs(neighbours, [values, None], ndim, 2, 3), neighbours(values, None))
    assert sizes == [9 + 2, 10 + 4, 10 + 2, 29]
    F.in_slabs(neighbours, [values, None], ndim, 2, 20)  # no thinner than four times the reach
    assert len(sizes) == 4 + 3
    F.in_slabs(neighbours, [values.requires_grad_(), None], ndim, 2, 3).sum().backward()
    assert sizes[-1] == 29
    assert values.grad is not None


@NDIMS
def test_within_counts_the_outer_voxels_up_to_their_faces(ndim: int) -> None:
    shape = SHAPES[ndim]
    inside = F.within(F.voxel_grid(shape, torch.zeros(1))[0] + 0.5, shape)
    assert bool(inside.all())
    outside = F.within(F.voxel_grid(shape, torch.zeros(1))[0] - 0.51, shape)
    assert torch.equal(outside, F.voxel_grid(shape, torch.zeros(1))[0].amin(0) > 0)


@NDIMS
def test_warp_by_nothing_changes_nothing(ndim: int) -> None:
    image = random(2, 3, *SHAPES[ndim])
    field = torch.zeros(2, ndim, *SHAPES[ndim], dtype=torch.float64)
    torch.testing.assert_close(F.warp(image, field), image, atol=1e-12, rtol=0)
    assert torch.equal(F.warp(image, field, "nearest"), image)


@NDIMS
def test_warp_by_whole_voxels_shifts(ndim: int) -> None:
    """warped[x] = image[x + u]: a positive displacement along an axis brings later voxels forward."""
    image = random(1, 1, *SHAPES[ndim])
    for axis in range(ndim):
        field = torch.zeros(1, ndim, *SHAPES[ndim], dtype=torch.float64)
        field[:, axis] = 2
        expected = torch.roll(image, -2, axis + 2)
        expected.narrow(axis + 2, SHAPES[ndim][axis] - 2, 2).zero_()
        torch.testing.assert_close(F.warp(image, field), expected, atol=1e-12, rtol=0)


@NDIMS
def test_warp_by_a_fraction_is_exact_on_a_ramp(ndim: int) -> None:
    offset = np.array([0.3, -0.6, 0.25][:ndim])
    field = linear_field(np.eye(ndim), offset, SHAPES[ndim])
    expected = ramp(ndim) + float(np.dot([1, 10, 100][:ndim], offset))
    torch.testing.assert_close(middle(F.warp(ramp(ndim), field)), middle(expected), atol=1e-9, rtol=0)


@NDIMS
def test_sample_agrees_with_scipy(ndim: int) -> None:
    image = random(1, 1, *SHAPES[ndim])
    rng = np.random.default_rng(0)
    points = rng.uniform(0, np.array(SHAPES[ndim])[:, None] - 1, (ndim, 50))
    coordinates = torch.from_numpy(points).view(1, ndim, 50, *[1] * (ndim - 1))
    for interpolation, order in (("linear", 1), ("nearest", 0)):
        ours = F.sample(image, coordinates, interpolation).flatten().numpy()  # type: ignore[arg-type]
        np.testing.assert_allclose(ours, map_coordinates(image[0, 0].numpy(), points, order=order), atol=1e-10)


@NDIMS
def test_sample_outside(ndim: int) -> None:
    image = torch.ones(1, 1, *SHAPES[ndim])
    far = torch.full((1, ndim, *[1] * ndim), -3.0)
    assert F.sample(image, far).item() == 0
    assert F.sample(image, far, padding="border").item() == 1


@pytest.mark.parametrize("shape", [(1, 8), (5, 1, 6)])
def test_an_axis_of_one_voxel_keeps_its_values(shape: tuple[int, ...]) -> None:
    image = random(1, 1, *shape)
    field = torch.zeros(1, len(shape), *shape, dtype=torch.float64)
    torch.testing.assert_close(F.warp(image, field), image, atol=1e-12, rtol=0)
    assert torch.equal(F.jacobian_determinant(field), torch.ones(1, *shape, dtype=torch.float64))


@NDIMS
def test_compose_translations_adds(ndim: int) -> None:
    shape, eye = SHAPES[ndim], np.eye(ndim)
    a, b = np.array([1.0, -0.5, 0.25][:ndim]), np.array([0.5, 0.75, -1.0][:ndim])
    composed = F.compose(linear_field(eye, a, shape), linear_field(eye, b, shape))
    torch.testing.assert_close(composed, linear_field(eye, a + b, shape), atol=1e-9, rtol=0)


@NDIMS
def test_compose_is_outer_after_inner(ndim: int) -> None:
    """Two linear maps that do not commute: the result is outer(inner(x)), not the other way round."""
    shape, rng = SHAPES[ndim], np.random.default_rng(1)
    outer, inner = (np.eye(ndim) + 0.1 * rng.standard_normal((ndim, ndim)) for _ in range(2))
    centre = (np.array(shape) - 1) / 2
    fields = [linear_field(m, centre - m @ centre, shape) for m in (outer, inner)]
    composed = F.compose(*fields)
    expected = linear_field(outer @ inner, centre - outer @ inner @ centre, shape)
    wrong = linear_field(inner @ outer, centre - inner @ outer @ centre, shape)
    torch.testing.assert_close(middle(composed), middle(expected), atol=1e-9, rtol=0)
    assert (middle(composed) - middle(wrong)).abs().max() > 0.01


@NDIMS
def test_warping_twice_is_warping_by_the_composition(ndim: int) -> None:
    shape = tuple(3 * n for n in SHAPES[ndim])
    image = F.resize(random(1, 1, *[4] * ndim), shape)
    outer, inner = smooth(ndim, shape, 1.5), smooth(ndim, shape, 1.5, seed=1)
    twice = F.warp(F.warp(image, outer), inner)
    once, wrong = F.warp(image, F.compose(outer, inner)), F.warp(image, F.compose(inner, outer))
    right, swapped = ((middle(twice, 4) - middle(other, 4)).abs().mean() for other in (once, wrong))
    assert right < 0.02
    assert right < swapped / 5


@NDIMS
def test_inverse_of_a_linear_map(ndim: int) -> None:
    shape = SHAPES[ndim]
    angle = 0.1
    matrix = np.eye(ndim)
    matrix[:2, :2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    centre = (np.array(shape) - 1) / 2
    field = linear_field(matrix, centre - matrix @ centre, shape)
    inverse, _ = F.invert(field, tolerance=1e-8)
    back = np.linalg.inv(matrix)
    torch.testing.assert_close(
        middle(inverse), middle(linear_field(back, centre - back @ centre, shape)), atol=1e-6, rtol=0
    )


@NDIMS
def test_inverse_undoes_and_reports_its_own_residual(ndim: int) -> None:
    shape = tuple(3 * n for n in SHAPES[ndim])
    field = smooth(ndim, shape, 1.0)
    inverse, residual = F.invert(field, tolerance=1e-6)
    error = inverse + F.warp(field, inverse, padding="border")
    assert residual == pytest.approx(float(error.abs().max()), abs=1e-12)
    assert residual < 1e-6
    assert field.abs().max() > 1
    started, again = F.invert(field, initial=inverse, iterations=0)
    assert torch.equal(started, inverse)
    assert again == pytest.approx(residual)


def test_inverse_of_a_fold_says_so() -> None:
    """Where a field folds heavily the iteration cannot settle, and the residual tells."""
    field = smooth(2, (20, 20), 8.0)
    assert F.jacobian_determinant(field).min() < 0
    assert F.invert(field)[1] > 0.1


@NDIMS
def test_resize_keeps_the_box(ndim: int) -> None:
    """Halving or doubling leaves a ramp where it lies in space: voxel i of 2n sits at i / 2 - 1 / 4 of n."""
    shape = tuple(2 * n for n in SHAPES[ndim])
    large = F.resize(ramp(ndim), shape)
    x = F.voxel_grid(shape, torch.zeros(1, dtype=torch.float64))
    expected = sum(w * (x[:, i : i + 1] / 2 - 0.25) for i, w in enumerate([1, 10, 100][:ndim]))
    torch.testing.assert_close(middle(large), middle(expected), atol=1e-9, rtol=0)
    same = random(1, 1, *shape)
    assert F.resize(same, shape) is same


@NDIMS
def test_resized_field_means_the_same(ndim: int) -> None:
    """A field of 2 voxels on a grid is a field of 2 * new / old voxels on another one, axis by axis."""
    shape = SHAPES[ndim]
    new = tuple(n + 3 * (i + 1) for i, n in enumerate(shape))
    field = linear_field(np.eye(ndim), np.full(ndim, 2.0), shape)
    resized = F.resize_field(field, new)
    for axis in range(ndim):
        assert torch.allclose(resized[:, axis], torch.tensor(2.0 * new[axis] / shape[axis], dtype=torch.float64))


@NDIMS
def test_upsampled_field_repeats_and_scales(ndim: int) -> None:
    field = random(1, ndim, *SHAPES[ndim])
    up = F.upsample_field(field, 2)
    assert up.shape[2:] == tuple(2 * n for n in SHAPES[ndim])
    assert torch.equal(up[(..., *[slice(1, None, 2)] * ndim)], 2 * field)
    assert torch.equal(up[(..., *[slice(0, None, 2)] * ndim)], 2 * field)


@NDIMS
def test_cropping_cuts_the_end_of_the_spatial_axes(ndim: int) -> None:
    values = random(2, 3, *SHAPES[ndim])
    shape = tuple(n - 1 - axis for axis, n in enumerate(SHAPES[ndim]))
    inside = tuple(slice(n) for n in shape)
    assert torch.equal(F.cropped(values, shape), values[(..., *inside)])
    assert F.cropped(values[0], shape).data_ptr() == values.data_ptr()


@NDIMS
def test_jacobian_of_a_linear_map_is_its_matrix(ndim: int) -> None:
    matrix = np.eye(ndim) + 0.2 * np.random.default_rng(2).standard_normal((ndim, ndim))
    field = linear_field(matrix, np.zeros(ndim), SHAPES[ndim])
    jacobian = F.jacobian(field).movedim((1, 2), (-2, -1))
    assert torch.allclose(jacobian, torch.from_numpy(matrix), atol=1e-10)
    determinant = F.jacobian_determinant(field)
    assert determinant.shape == (1, *SHAPES[ndim])
    assert torch.allclose(determinant, torch.tensor(np.linalg.det(matrix)), atol=1e-10)


@NDIMS
def test_determinants_are_the_same_with_and_without_a_gradient(ndim: int) -> None:
    field = torch.randn(2, ndim, *SHAPES[ndim], generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    torch.testing.assert_close(F.jacobian_determinant(field), F.jacobian_determinant(field.clone().requires_grad_()))


@NDIMS
def test_a_mirrored_axis_is_a_fold(ndim: int) -> None:
    flip = np.diag([-1.0] + [1.0] * (ndim - 1))
    assert (F.jacobian_determinant(linear_field(flip, np.zeros(ndim), SHAPES[ndim])) < 0).all()


@NDIMS
def test_gaussian_agrees_with_scipy(ndim: int) -> None:
    image = random(2, 2, *SHAPES[ndim])
    sigma = [0.8, 0.0, 1.3][:ndim]
    ours = F.gaussian_smooth(image, sigma)
    theirs = gaussian_filter(image.numpy(), [0, 0, *sigma], mode="nearest", truncate=3)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-3)
    torch.testing.assert_close(F.gaussian_smooth(image, 0.0), image)
    torch.testing.assert_close(F.gaussian_smooth(torch.ones_like(image), 1.0), torch.ones_like(image))


@NDIMS
def test_gradients(ndim: int) -> None:
    """Analytic against numerical gradients, away from the kinks of linear interpolation at voxel centres."""
    shape = (4, 5) if ndim == 2 else (3, 4, 3)
    image = random(1, 1, *shape).requires_grad_()
    field = (0.4 + 0.2 * random(1, ndim, *shape, seed=1).tanh()).requires_grad_()
    for padding in ("zeros", "border"):
        assert torch.autograd.gradcheck(lambda i, f, p=padding: F.warp(i, f, padding=p), (image, field))
    assert torch.autograd.gradcheck(F.jacobian, (field,))
    assert torch.autograd.gradcheck(F.jacobian_determinant, (field,))
    assert torch.autograd.gradcheck(lambda f: F.compose(f, f), (field,))
    assert torch.autograd.gradcheck(lambda f: F.resize_field(f, [n + 2 for n in shape]), (field,))
    assert torch.autograd.gradcheck(lambda i: F.gaussian_smooth(i, 0.7), (image,))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_coordinates_that_are_not_numbers_do_no_harm(ndim: int, padding: Padding) -> None:
    image = torch.rand(1, 1, *[32] * ndim)
    field = torch.full((1, ndim, *[32] * ndim), torch.nan, requires_grad=True)
    F.warp(image, field, padding=padding).sum().backward()  # torch's own kernel would end the process
    assert field.grad is not None
