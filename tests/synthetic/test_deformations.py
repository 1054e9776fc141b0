from __future__ import annotations

import math

import pytest
import torch

from napari_ran import functional as F
from napari_ran.synthetic.deformations import rotation_matrix, smooth_field, spline_noise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(30, 41), (20, 25, 18)])
def test_noise_is_smooth_and_has_unit_size(shape: tuple[int, ...]) -> None:
    volume = spline_noise(shape, 3.0, 6, generator())
    assert volume.shape == (1, 6, *shape)
    assert abs(float(volume.mean())) < 0.2
    assert 0.8 < float(volume.std()) < 1.2
    # a cubic spline: neighbours at a third of the control spacing differ little
    assert float(torch.diff(volume, dim=2).abs().mean()) < 0.5


def test_noise_does_not_depend_on_the_global_random_state() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = spline_noise((12, 14), 4.0, 2, generator(7))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(spline_noise((12, 14), 4.0, 2, generator(7)), first)


@pytest.mark.parametrize("shape", [(40, 32), (24, 30, 20)])
@pytest.mark.parametrize("peak", [0.0, 0.5, 4.0])
def test_a_field_has_the_stated_peak(shape: tuple[int, ...], peak: float) -> None:
    angles = (0.1,) if len(shape) == 2 else (0.1, 0.0, -0.05)
    field = smooth_field(shape, peak, 12.0, generator(), angles, (1.0,) * len(shape))
    assert field.shape == (1, len(shape), *shape)
    assert float(field.norm(dim=1).max()) == pytest.approx(peak, rel=1e-5, abs=1e-7)


def test_a_field_within_the_stated_limit_does_not_fold() -> None:
    for seed in range(5):
        field = smooth_field((32, 36, 28), 4.0, 10.0, generator(seed))
        assert float(F.jacobian_determinant(field).min()) > 0


def test_rotations_are_rotations() -> None:
    for angles in [(0.3,), (0.2, -0.4, 1.0)]:
        matrix = rotation_matrix(angles)
        assert torch.allclose(matrix @ matrix.T, torch.eye(len(matrix)), atol=1e-6)
        assert float(torch.det(matrix)) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(
        rotation_matrix((0.3,)), torch.tensor([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    )
    # one angle in 3-D leaves its axis alone and turns the other two
    assert torch.allclose(rotation_matrix((0.3, 0, 0))[1:, 1:], rotation_matrix((0.3,)))
