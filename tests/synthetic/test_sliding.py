from __future__ import annotations

import pytest
import torch

from napari_ran import functional as F
from napari_ran.synthetic.deformations import centred_grid, length
from napari_ran.synthetic.sliding import border_distance, slip, slip_velocity

by_dimension = pytest.mark.parametrize("ndim", [2, 3])


def ball(ndim: int, radius: float = 9.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Mask and exact distance of a ball."""
    distance = length(centred_grid((30, 28, 32)[:ndim])) - radius
    return distance < 0, distance


@by_dimension
def test_distances_equal_a_direct_search(ndim: int) -> None:
    mask = torch.rand(1, 1, *(9, 8, 7)[:ndim], generator=torch.Generator().manual_seed(0)) < 0.2
    places = F.voxel_grid(mask.shape[2:], torch.zeros(1))[0].flatten(1).T
    between = torch.cdist(places, places)
    flat = mask.flatten()
    expected = torch.where(flat, 0.5 - between[:, ~flat].amin(1), between[:, flat].amin(1) - 0.5)
    assert torch.allclose(border_distance(mask, 6), expected.clamp(-5.5, 5.5).view_as(mask), atol=1e-5)


@by_dimension
def test_distances_from_a_ball(ndim: int) -> None:
    mask, distance = ball(ndim)
    found = border_distance(mask)
    near = distance.abs() < 8
    assert float((found - distance)[near].abs().max()) < 1.0
    assert float((found - distance)[near].abs().mean()) < 0.35


@by_dimension
def test_the_motion_at_the_border_is_tangential_and_whole_inside(ndim: int) -> None:
    _, distance = ball(ndim)
    motion = (3.0, 1.0, -2.0)[:ndim]
    velocity = slip_velocity(distance, motion, 6.0)
    where = centred_grid(distance.shape[2:])
    normal = where / length(where).clamp_min(1e-3)
    across = (velocity * normal).sum(1, keepdim=True).abs()
    assert float(across[distance.abs() < 0.3].max()) < 0.1
    own = torch.tensor(motion).view(1, ndim, *[1] * ndim).expand_as(velocity)
    deep = (distance < -6.5).expand_as(velocity)
    assert torch.allclose(velocity[deep], own[deep])
    side = (distance.abs() < 0.5) & ((own * normal).sum(1, keepdim=True).abs() < 0.3)
    assert float(length(velocity)[side].min()) > 0.95 * float(length(own).max())


@by_dimension
def test_points_slip_within_the_region_and_none_leaves_it(ndim: int) -> None:
    mask, distance = ball(ndim)
    points = F.voxel_grid(mask.shape[2:], torch.zeros(1))
    moved = slip(points, mask, (4.0, 2.0, 0.0)[:ndim])
    outside, inside = distance > 1.0, distance < -1.0
    assert torch.equal(moved[outside.expand_as(moved)], points[outside.expand_as(points)])
    assert float(length(moved - points)[distance < -8].min()) > 3
    reached = F.sample(distance, moved, padding="border")
    assert float(reached[inside].max()) < 0.5
    # nothing is torn apart or folded within the region
    determinant = F.jacobian_determinant(moved - points)[:, None]
    assert float(determinant[distance < -2.0].min()) > 0.05
    jump = length(torch.diff(moved - points, dim=2))
    assert float(jump.max()) > 2.5


def test_an_empty_region_and_one_that_fills_everything() -> None:
    points = F.voxel_grid((10, 12), torch.zeros(1))
    nothing = torch.zeros(1, 1, 10, 12, dtype=torch.bool)
    assert torch.equal(slip(points, nothing, (1.0, 0.0)), points)
    moved = slip(points, ~nothing, (1.0, 0.0))  # no border to slip along: a plain translation
    assert torch.allclose(moved[:, 0], points[:, 0] + 1, atol=1e-5)
