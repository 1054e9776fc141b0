from __future__ import annotations

import pytest
import torch

from napari_ran import InputError
from napari_ran.models import VoxelMorph


def test_parameters_by_hand() -> None:
    def count(a: int, b: int) -> int:
        return 27 * a * b + b

    down = count(2, 16) + count(16, 32) + 3 * count(32, 32)
    up = count(32, 32) + 3 * count(64, 32) + count(48, 32)
    last = count(32, 16) + count(16, 16) + count(16, 3)
    assert sum(p.numel() for p in VoxelMorph().parameters()) == down + up + last


@pytest.mark.parametrize("shape", [(18, 33), (17, 16, 20)])
def test_it_starts_at_the_identity(shape: tuple[int, ...]) -> None:
    moving, fixed = torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(0))
    assert 0 < float(VoxelMorph(len(shape))(moving, fixed).field.detach().abs().max()) < 1e-2


def test_a_decoder_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="grids"):
        VoxelMorph(3, decoder=(16, 16))
