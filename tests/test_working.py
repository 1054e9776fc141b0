"""The workings of a run: the grid that the network gets."""

from __future__ import annotations

import torch

from napari_ran import functional as F
from napari_ran.working import INVERSE_ITERATIONS, LARGE, _inverted

MILLION = 1_000_000


def test_the_inverse_of_a_large_field_is_as_good_as_that_of_a_small_one() -> None:
    generator = torch.Generator().manual_seed(0)
    field = 4 * F.resize(torch.randn((1, 3, 4, 4, 4), generator=generator), (84, 80, 77))
    assert field[0, 0].numel() > LARGE
    quick = _inverted(field, None)
    slow, _ = F.invert(field, None, INVERSE_ITERATIONS)
    residuals = [(one + F.warp(field, one, padding="border")).square().sum(dim=1).sqrt() for one in (quick, slow)]
    assert float(residuals[0].mean()) < 0.01
    assert float(residuals[0].quantile(0.99)) < 0.05
    assert float(residuals[0].mean()) < 2 * float(residuals[1].mean()) + 1e-3
