from __future__ import annotations

import torch

from napari_ran import functional as F
from napari_ran.models.cascade import RecursiveCascade


def test_every_recursion_sees_what_the_ones_before_have_warped() -> None:
    cascade = RecursiveCascade(2, recursions=3, seed=1)
    torch.nn.init.normal_(cascade.network.field.weight, std=0.02, generator=torch.Generator().manual_seed(0))
    volumes = torch.rand(2, 1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    moving, fixed = (F.gaussian_smooth(volume, 2) for volume in volumes)
    with torch.no_grad():
        first = cascade.network(moving, fixed, both=False).field
        second = cascade.network(F.warp(moving, first, padding="border"), fixed, both=False).field
        both = F.compose(first, second)
        third = cascade.network(F.warp(moving, both, padding="border"), fixed, both=False).field
        found = cascade(moving, fixed, both=False).field
    assert float(first.abs().max()) > 0.1
    torch.testing.assert_close(found, F.compose(both, third))
