"""Means over boxes, against sums voxel by voxel."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from napari_ran.losses import box_mean


def direct(image: Tensor, window: int) -> Tensor:
    """Average over the box around each voxel, one by one."""
    found = torch.empty_like(image)
    below = (window - 1) // 2
    for place in product(*map(range, image.shape[2:])):
        box = tuple(slice(max(x - below, 0), x - below + window) for x in place)
        found[:, :, *place] = image[:, :, *box].flatten(2).mean(2)
    return found


@pytest.mark.parametrize("shape", [(6, 9), (5, 1, 7)])
@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_box_mean_is_the_mean_of_the_voxels_inside(shape: tuple[int, ...], window: int) -> None:
    generator = torch.Generator().manual_seed(window)
    image = torch.randn((2, 2, *shape), generator=generator, dtype=torch.float64)
    before = image.clone()
    torch.testing.assert_close(box_mean(image, window), direct(image, window), atol=1e-12, rtol=0)
    assert torch.equal(image, before)
    assert torch.autograd.gradcheck(lambda values: box_mean(values, window), image.requires_grad_())
