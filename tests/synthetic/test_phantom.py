from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from napari_ran import functional as F
from napari_ran.data import DisplacementField
from napari_ran.synthetic import PhantomPair, phantom_2d, sliding_phantom


@functools.cache
def phantom(ndim: int, seed: int = 0) -> PhantomPair:
    return sliding_phantom(seed, (44, 38, 32)) if ndim == 3 else phantom_2d(seed)


def smoothed(pair: PhantomPair, sigma: float) -> DisplacementField:
    return DisplacementField(F.gaussian_smooth(pair.truth.tensor[None], sigma)[0], pair.truth.grid)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_same_seed_gives_the_same_pair_and_other_seeds_others(ndim: int) -> None:
    pair = phantom(ndim)
    state = torch.get_rng_state()
    again = sliding_phantom(0, pair.fixed.grid.shape, tuple(pair.fixed.grid.spacing))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(pair.fixed.tensor, again.fixed.tensor)
    assert torch.equal(pair.truth.tensor, again.truth.tensor)
    assert not torch.equal(pair.truth.tensor, phantom(ndim, 1).truth.tensor)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_truth_maps_moving_to_fixed(ndim: int) -> None:
    pair = phantom(ndim)
    warped = F.warp(pair.moving.tensor[None], pair.truth.tensor[None], padding="border")[0]
    after = (warped - pair.fixed.tensor).abs()
    before = (pair.moving.tensor - pair.fixed.tensor).abs()
    assert float(after.median()) < 0.015  # the noise of both images
    assert float(after.mean()) < 0.5 * float(before.mean())


@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_and_landmarks_follow_the_truth(ndim: int) -> None:
    pair = phantom(ndim)
    assert pair.fixed_labels.ids == [1, 2, 3, 4]
    assert pair.fixed_labels.names[1] == "liver"
    warped = F.warp(pair.moving_labels.tensor[None, None].float(), pair.truth.tensor[None], "nearest")[0, 0]
    assert float((warped == pair.fixed_labels.tensor).float().mean()) > 0.97
    assert len(pair.fixed_landmarks) == len(pair.moving_landmarks) > 10
    # the field is sampled between voxels here, exact at them
    error = np.linalg.norm(pair.truth.map_points(pair.fixed_landmarks.points) - pair.moving_landmarks.points, axis=1)
    assert error.max() < 0.05


@pytest.mark.parametrize("ndim", [2, 3])
def test_parts_slide_without_folding_and_rest_at_the_border(ndim: int) -> None:
    truth = phantom(ndim).truth
    assert float(truth.tensor[-1].abs().max()) > 0.09 * truth.grid.shape[-1]
    for axis in range(1, ndim + 1):
        for end in (0, -1):
            assert float(truth.tensor.select(axis, end).abs().max()) < 0.05
    determinant = truth.jacobian_determinant
    near = torch.stack([torch.diff(truth.tensor, dim=a).abs().amax() for a in range(1, ndim + 1)])
    assert float(near.max()) > 0.05 * truth.grid.shape[-1]  # discontinuous
    # only finite differences across the boundary see anything but a mild change of volume
    assert float((determinant < 0.4).float().mean()) < 0.02


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_normal_displacement_is_continuous_across_the_boundaries(ndim: int) -> None:
    pair = phantom(ndim)
    where = pair.interface
    step = where.offset * where.normals
    jump = pair.truth.map_points(where.points + step) - pair.truth.map_points(where.points - step) - 2 * step
    normal = np.abs((jump * where.normals).sum(axis=1))
    slip = np.linalg.norm(where.jump, axis=1)
    assert np.allclose(np.linalg.norm(where.normals, axis=1), 1)
    assert np.median(normal) < 0.1 * np.median(slip)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_slip_of_the_truth_is_whole_and_a_smooth_field_loses_it(ndim: int) -> None:
    pair = phantom(ndim)
    exact = pair.slip(pair.truth)
    assert exact.recovered_percent == pytest.approx(100, abs=1.5)
    assert exact.epe_voxels == 0
    assert exact.points > 50
    assert len(exact.by_interface) == 3
    shares = [pair.slip(smoothed(pair, sigma)).recovered_percent for sigma in (1, 2, 4)]
    assert exact.recovered_percent > shares[0] > shares[1] > shares[2]
    assert shares[1] < 70

    identity = pair.slip(DisplacementField.identity(pair.truth.grid))
    assert identity.recovered_percent == pytest.approx(0, abs=1e-6)
    assert identity.epe_voxels == pytest.approx(identity.identity_epe_voxels)
    assert identity.epe_mm > identity.epe_voxels  # voxels are larger than a millimetre

    half = pair.slip(DisplacementField(0.5 * pair.truth.tensor, pair.truth.grid))
    assert half.recovered_percent == pytest.approx(50, abs=1)
    assert half.epe_voxels == pytest.approx(0.5 * identity.epe_voxels, rel=1e-3)


def test_the_tangential_motion_can_be_seen_on_both_sides() -> None:
    """Texture: shifting either side along the boundary by a few voxels changes the image there."""
    pair = phantom(3)
    moved = torch.roll(pair.moving.tensor, 3, dims=-1)
    change = (moved - pair.moving.tensor).abs()[0]
    inside = pair.moving_labels.tensor > 0
    wall = ~inside & (pair.moving.tensor[0] > 0.2)
    assert float(change[inside].mean()) > 0.04
    assert float(change[wall].mean()) > 0.04
