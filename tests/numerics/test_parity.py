"""A 3-D image of equal slices is treated as its slice is in 2-D: the operations, the losses and the optimisation."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran import losses
from napari_ran.data import DisplacementField, Grid, Image, Labels
from napari_ran.evaluate import dice
from napari_ran.inversion import invert_field
from napari_ran.transform import compose_to, resample, warp_image, warp_labels

SHAPE, DEPTH = (13, 11), 6
AXES = pytest.mark.parametrize("axis", [0, 1, 2])
CLOSE = {"atol": 1e-12, "rtol": 1e-12}


def noise(channels: int, seed: int, size: float = 1.0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    coarse = torch.randn((2, channels, 5, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return size * F.resize(coarse, shape)


def deep(image: Tensor, axis: int, depth: int = DEPTH) -> Tensor:
    """Repeat (B, C, *S) along a new axis of space."""
    return image.unsqueeze(axis + 2).repeat_interleave(depth, axis + 2)


def deep_field(field: Tensor, axis: int, depth: int = DEPTH) -> Tensor:
    """Do the same to a field (B, 2, *S), which stays within its slice."""
    parts = list(deep(field, axis, depth).unbind(1))
    parts.insert(axis, torch.zeros_like(parts[0]))
    return torch.stack(parts, 1)


IMAGE, OTHER, FIELD, SECOND = noise(1, 0), noise(1, 1), noise(2, 2), noise(2, 3)
UNIT, UNIT_OTHER = IMAGE.sigmoid(), OTHER.sigmoid()


@AXES
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("depth", [1, DEPTH])
def test_warps(axis: int, interpolation: Any, padding: Any, depth: int) -> None:
    found = F.warp(deep(IMAGE, axis, depth), deep_field(FIELD, axis, depth), interpolation, padding)
    torch.testing.assert_close(found, deep(F.warp(IMAGE, FIELD, interpolation, padding), axis, depth), **CLOSE)


@AXES
@pytest.mark.parametrize("depth", [1, DEPTH])
def test_composition_inversion_and_determinants(axis: int, depth: int) -> None:
    one, two = deep_field(FIELD, axis, depth), deep_field(SECOND, axis, depth)
    flat = F.compose(FIELD, SECOND)
    torch.testing.assert_close(F.compose(one, two), deep_field(flat, axis, depth), **CLOSE)
    wanted, left = F.invert(0.5 * FIELD)
    found, residual = F.invert(0.5 * one)
    torch.testing.assert_close(found, deep_field(wanted, axis, depth), **CLOSE)
    assert residual == pytest.approx(left)
    determinant = F.jacobian_determinant(FIELD)
    assert float(determinant.std()) > 0.1
    torch.testing.assert_close(F.jacobian_determinant(one), deep(determinant[:, None], axis, depth)[:, 0], **CLOSE)


@AXES
def test_resizing_and_smoothing(axis: int) -> None:
    shape, thick = (17, 8), [17, 8]
    thick.insert(axis, DEPTH)
    torch.testing.assert_close(F.resize(deep(IMAGE, axis), thick), deep(F.resize(IMAGE, shape), axis), **CLOSE)
    found = F.resize_field(deep_field(FIELD, axis), thick)
    torch.testing.assert_close(found, deep_field(F.resize_field(FIELD, shape), axis), **CLOSE)
    found = F.upsample_field(deep_field(FIELD, axis))
    torch.testing.assert_close(found, deep_field(F.upsample_field(FIELD), axis, 2 * DEPTH), **CLOSE)
    found = F.gaussian_smooth(deep(IMAGE, axis), 1.3)
    torch.testing.assert_close(found, deep(F.gaussian_smooth(IMAGE, 1.3), axis), **CLOSE)
    found = losses.box_mean(deep(IMAGE, axis), 4)
    torch.testing.assert_close(found, deep(losses.box_mean(IMAGE, 4), axis), **CLOSE)


LABELS = (4 * UNIT).round()
Loss = Callable[[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], int], Tensor]
SAME: dict[str, Loss] = {
    "local_ncc": lambda i, f, n: losses.local_ncc(i(UNIT), i(UNIT_OTHER), 5, i(UNIT)),
    "mse": lambda i, f, n: losses.mse(i(UNIT), i(UNIT_OTHER), i(UNIT)),
    "edge_weight": lambda i, f, n: losses.edge_weight(i(UNIT), 20.0).mean(),
    "folding_penalty": lambda i, f, n: losses.folding_penalty(f(3 * FIELD)),
    "inverse_consistency": lambda i, f, n: losses.inverse_consistency(f(FIELD), f(SECOND)),
    "field_error": lambda i, f, n: losses.field_error(f(FIELD), f(SECOND)),
    "dice_loss": lambda i, f, n: losses.dice_loss(i(LABELS), i(LABELS.flip(2)), f(FIELD)),
}
PER_COMPONENT: dict[str, Loss] = {
    "squared field_error": lambda i, f, n: losses.field_error(f(FIELD), f(SECOND), squared=True) * n,
    "smoothness": lambda i, f, n: losses.smoothness(f(FIELD), i(UNIT)) * n**2,
    "total variation": lambda i, f, n: losses.smoothness(f(FIELD), power=1) * n**2,
    "released_smoothness": lambda i, f, n: losses.released_smoothness(f(FIELD), i(UNIT), 9.0) * n**2,
}
"""Means over components, and over axes: their sums are the same, so that each mean is 2/3 of the one in 2-D."""


@AXES
@pytest.mark.parametrize("name", SAME | PER_COMPONENT)
def test_losses(axis: int, name: str) -> None:
    loss = (SAME | PER_COMPONENT)[name]
    flat = loss(lambda i: i, lambda f: f, 2)
    assert float(flat) > 1e-4
    thick = loss(lambda i: deep(i, axis), lambda f: deep_field(f, axis), 3)
    torch.testing.assert_close(thick, flat, atol=1e-12, rtol=1e-9)


@AXES
def test_the_self_similarity_of_equal_slices_is_equal(axis: int) -> None:
    """It has 12 channels in 3-D and 4 in 2-D, normalised together: not the same numbers, but in all slices equal."""
    found = losses.mind_ssc(deep(UNIT, axis))
    first = found.narrow(axis + 2, 0, 1)
    torch.testing.assert_close(found, first.expand_as(found), **CLOSE)


def images(seed: int, name: str, depth: int) -> Image:
    grid = Grid.from_spacing(SHAPE if not depth else (*SHAPE, depth), (1.5, 1.0) if not depth else (1.5, 1.0, 2.0))
    values = noise(1, seed)[0, 0]
    return Image(values if not depth else values[..., None].expand(*SHAPE, depth), grid, name)


def test_transforms_of_images_labels_and_whole_fields() -> None:
    flat, thick = images(0, "flat", 0), images(0, "thick", DEPTH)
    u = DisplacementField(FIELD[0].float(), flat.grid)
    v = DisplacementField(deep_field(FIELD, 2)[0].float(), thick.grid)

    def same(one: Any, two: Any, atol: float = 1e-5) -> None:
        np.testing.assert_allclose(two, np.broadcast_to(one[..., None], two.shape), atol=atol)

    same(warp_image(flat, u).array, warp_image(thick, v).array)
    organs = Labels((2 * flat.tensor[0]).round(), flat.grid), Labels((2 * thick.tensor[0]).round(), thick.grid)
    for method in ("nearest", "gaussian"):
        same(warp_labels(organs[0], u, method).array, warp_labels(organs[1], v, method).array)  # type: ignore[arg-type]
    moved = warp_labels(organs[0], u), warp_labels(organs[1], v)
    assert dice(organs[0], moved[0]) == pytest.approx(dice(organs[1], moved[1]))
    same(u.jacobian_determinant.numpy(), v.jacobian_determinant.numpy())
    same(u.magnitude.numpy(), v.magnitude.numpy())
    assert u.folding_percent == pytest.approx(v.folding_percent)
    finer = Grid.from_spacing((20, 16), (1.0, 0.7)), Grid.from_spacing((20, 16, DEPTH), (1.0, 0.7, 2.0))
    same(resample(flat, finer[0]).array, resample(thick, finer[1]).array)
    turn = np.array([[0.95, 0.1, 1.0], [-0.1, 1.05, -0.5], [0, 0, 1]])
    whole = np.insert(np.insert(turn, 2, 0, 0), 2, [0, 0, 1, 0], 1)
    composed = compose_to(u, turn, finer[0]).tensor, compose_to(v, whole, finer[1]).tensor
    same(composed[0].numpy(), composed[1][:2].numpy(), 1e-4)
    assert float(composed[1][2].abs().max()) < 1e-5
    half = DisplacementField(0.5 * u.tensor, u.grid), DisplacementField(0.5 * v.tensor, v.grid)
    inverse = (invert_field(one, one.grid).field.tensor for one in half)
    flat_inverse, thick_inverse = inverse
    same(flat_inverse.numpy(), thick_inverse[:2].numpy(), 0.03)  # the tolerance is a hundredth of a voxel
    assert float(thick_inverse[2].abs().max()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 12])
def test_the_optimisation_finds_the_same_motion(depth: int, numerics: ModuleType) -> None:
    """Two voxels along the first axis. Smoothness is a mean over axes and components, so the fields are not equal.

    Nothing can be known of the motion through equal slices: it must stay zero.
    """
    flat, found = numerics.refined(*numerics.flat_pair(0)), numerics.refined(*numerics.flat_pair(depth))
    assert float(found[:, 2].abs().max()) < 1e-3
    difference = (found[:, :2] - flat[..., None]).norm(dim=1)
    assert float(difference.mean()) < 0.05
    assert abs(float(found[:, 0].mean() - flat[:, 0].mean())) < 0.02


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_search_moves_nothing_that_shows_nothing(ndim: int) -> None:
    """Of displacements that match alike the shortest is taken."""
    from napari_ran.instance.search import coupled_convex
    from napari_ran.steps import last

    flat = torch.ones((1, 4, *(8, 9, 7)[:ndim]))
    assert float(last(coupled_convex(flat, flat, 3)).abs().max()) < 1e-6
