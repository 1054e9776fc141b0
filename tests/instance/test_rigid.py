"""Regions that move rigidly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran import functional
from napari_ran.data import Labels
from napari_ran.errors import InputError
from napari_ran.instance import RigidGuide

LITTLE = {"weights": "none", "instance": {"similarity": "mse"}}


def _regions(shape: tuple[int, ...]) -> torch.Tensor:
    regions = torch.zeros((1, 1, *shape), dtype=torch.int32)
    regions[(0, 0, *[slice(3, 9)] * len(shape))] = 1
    regions[(0, 0, *[slice(12, 16)] * len(shape))] = 5
    return regions


def _rotation(ndim: int, angle: float) -> torch.Tensor:
    matrix = torch.eye(ndim, dtype=torch.float64)
    c, s = math.cos(angle), math.sin(angle)
    matrix[:2, :2] = torch.tensor([[c, -s], [s, c]])
    return matrix


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_rigid_motion_costs_nothing_behind_an_affine_on_an_oblique_grid(ndim: int, oblique_grids: dict) -> None:
    """The whole transform counts: what is rigid in it is no rotation of the field alone."""
    grid = oblique_grids[ndim][0]
    affine = torch.eye(ndim + 1, dtype=torch.float64)
    affine[:-1, :-1] += 0.1 * torch.randn((ndim, ndim), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    affine[:-1, -1] = 3.0
    to_world, regions = torch.from_numpy(grid.affine.copy()), _regions(grid.shape)
    guide = RigidGuide(regions, to_world, affine, grid.spacing.tolist())
    voxels = functional.voxel_grid(grid.shape, torch.zeros((), dtype=torch.float64))[0].flatten(1)
    world = to_world[:-1, :-1] @ voxels + to_world[:-1, -1:]
    end = _rotation(ndim, 0.2) @ world + 2.0
    back = torch.linalg.inv(affine @ to_world)
    field = (back[:-1, :-1] @ end + back[:-1, -1:] - voxels).view(1, ndim, *grid.shape).float()
    spacing = torch.tensor(grid.spacing.copy()).view(1, ndim, *[1] * ndim).float()
    assert guide.measure(field * spacing) < 1e-3
    assert float(guide(field * spacing)) < 1e-4
    motion = guide.motions(field)[0]
    assert motion.region == 1
    torch.testing.assert_close(motion.rotation, _rotation(ndim, 0.2), atol=1e-4, rtol=0)
    torch.testing.assert_close(motion.shift, torch.full((ndim,), 2.0, dtype=torch.float64), atol=1e-2, rtol=0)
    stretched = field * spacing + 0.1 * spacing * voxels.view(1, ndim, *grid.shape).float()
    assert guide.measure(stretched) > 0.05
    assert guide.measure(guide.settled(stretched / spacing) * spacing) < 1e-3


def test_the_pull_is_towards_rigid_motion_and_ends_at_the_region() -> None:
    shape = (24, 24)
    guide = RigidGuide(_regions(shape), torch.eye(3), torch.eye(3), (1.0, 1.0))
    control = torch.zeros(1, 2, *shape)
    control[0, 0, 5, 5] = 1.0
    control.requires_grad_()
    guide(control).backward()
    assert control.grad is not None
    assert float(control.grad[0, 0, 5, 5]) > 0  # back to where its neighbours are
    outside = _regions(shape)[0, 0] == 0
    assert float(control.grad[0][:, outside].abs().max()) == 0


def test_a_settled_field_changes_only_around_its_regions() -> None:
    shape = (40, 40)
    regions = torch.zeros((1, 1, *shape), dtype=torch.int32)
    regions[..., 16:24, 16:24] = 2
    guide = RigidGuide(regions, torch.eye(3), torch.eye(3), (1.0, 1.0))
    field = 0.5 * torch.randn((1, 2, *shape), generator=torch.Generator().manual_seed(0))
    field = functional.resize(functional.resize(field, (6, 6)), shape)
    settled = guide.settled(field)
    torch.testing.assert_close(settled[..., :8, :], field[..., :8, :])
    assert guide.measure(settled) < 1e-4 < guide.measure(field)
    assert float((settled - field).abs().max()) < float(field.abs().max())


def test_an_organ_moves_rigidly_and_the_rest_deforms() -> None:
    made = ran.phantom_2d(seed=3)
    organ = made.fixed_labels.ids[0]
    region = Labels((made.fixed_labels.tensor == organ).int() * 7, made.fixed.grid)
    free = ran.register(made.fixed, made.moving, **LITTLE)
    bound = ran.register(made.fixed, made.moving, rigid_regions=region, **LITTLE)
    inside = np.argwhere(region.array > 0)[::7]
    points = made.fixed.grid.to_world(inside)
    lengths = []
    for result in (free, bound):
        moved = result.field.map_points(points)
        before, after = (np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (points, moved))
        lengths.append(float(np.abs(after - before).max()))
    assert lengths[0] > 0.5
    assert lengths[1] < 0.05  # mm
    assert bound.report.folding_percent == 0
    assert bound.report.similarity_after > 0.5 * (bound.report.similarity_before + free.report.similarity_after)
    said = [message for message in bound.report.messages if "Region 7 moved rigidly" in message]
    assert len(said) == 1


def test_rigid_regions_that_cannot_be_used_are_refused() -> None:
    made = ran.phantom_2d()
    nothing = Labels(torch.zeros(made.fixed.grid.shape, dtype=torch.int32), made.fixed.grid)
    with pytest.raises(InputError, match="rigid_regions: there is no region"):
        ran.start(made.fixed, made.moving, rigid_regions=nothing)
    with pytest.raises(InputError, match="rigid_regions"):
        ran.start(made.fixed, made.moving, rigid_regions=made.fixed_labels, instance="none")
