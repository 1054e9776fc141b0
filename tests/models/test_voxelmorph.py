from __future__ import annotations

import pytest
import torch

from napari_ran import InputError
from napari_ran import functional as F
from napari_ran.losses import mse
from napari_ran.models import VoxelMorph


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    volume = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    return F.gaussian_smooth(volume, 1.5) * 3 - 1


def test_parameters_by_hand() -> None:
    def count(a: int, b: int) -> int:
        return 27 * a * b + b

    down = count(2, 16) + count(16, 32) + 3 * count(32, 32)
    up = count(32, 32) + 3 * count(64, 32) + count(48, 32)
    last = count(32, 16) + count(16, 16) + count(16, 3)
    assert sum(p.numel() for p in VoxelMorph().parameters()) == down + up + last


@pytest.mark.parametrize("shape", [(18, 33), (17, 16, 20)])
def test_it_starts_at_the_identity_for_any_shape_and_both_directions(shape: tuple[int, ...]) -> None:
    model = VoxelMorph(len(shape))
    moving, fixed = images(*shape), images(*shape, seed=1)
    output = model(moving, fixed)
    assert output.field.shape == (1, len(shape), *shape)
    assert float(output.field.detach().abs().max()) < 1e-2
    assert output.inverse_field is not None
    torch.testing.assert_close(model(fixed, moving, both=False).field, output.inverse_field)
    assert model(fixed, moving, both=False).inverse_field is None
    assert output.levels == ()


def test_it_learns_a_pair() -> None:
    model = VoxelMorph(2)
    moving = images(32, 32)
    fixed = torch.roll(moving, 2, dims=2)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = float(mse(moving, fixed))
    for _ in range(60):
        optimiser.zero_grad()
        lost = mse(F.warp(moving, model(moving, fixed, both=False).field, padding="border"), fixed)
        lost.backward()
        optimiser.step()
    assert float(lost.detach()) < 0.3 * start


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="two tensors"):
        VoxelMorph(3)(images(16, 16, 16), images(16, 16, 18))
    with pytest.raises(InputError, match="grids"):
        VoxelMorph(3, decoder=(16, 16))
