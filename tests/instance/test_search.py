"""The discrete search finds displacements beyond what the gradients of the images reach."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.instance import search
from napari_ran.instance.search import consistent, coupled_convex
from napari_ran.steps import last


def pair() -> tuple[Tensor, Tensor]:
    """Two sections of one texture, three and minus two voxels apart."""
    canvas = F.gaussian_smooth(torch.rand(1, 1, 40, 40, 30, generator=torch.Generator().manual_seed(12)), 1.5)
    canvas = F.gaussian_smooth((canvas - canvas.min()) / (canvas.max() - canvas.min()), 0.5)
    return canvas[..., 8:32, 8:32, 4:26], canvas[..., 5:29, 10:34, 4:26]


def test_a_large_shift_is_found() -> None:
    shares: list[float] = []
    field = last(coupled_convex(*pair(), 4), shares.append)
    assert shares == sorted(shares)
    truth = torch.tensor([3.0, -2.0, 0.0]).view(1, 3, 1, 1, 1)
    assert float((field - truth).abs()[..., 4:-4, 4:-4, 4:-4].mean()) < 0.3
    assert float((consistent(field, -field) - field).abs()[..., 6:-6, 6:-6, 6:-6].mean()) < 0.1


def test_the_field_is_the_same_in_parts_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, moving = pair()
    weight = (fixed > 0.4).float()
    whole = last(coupled_convex(fixed, moving, 2, weight))
    monkeypatch.setattr(search, "OFFSETS", 7)
    monkeypatch.setattr(search, "ROWS", 500)
    torch.testing.assert_close(last(coupled_convex(fixed, moving, 2, weight)), whole)


def test_what_does_not_count_moves_with_its_surroundings() -> None:
    fixed, moving = pair()
    weight = torch.ones_like(fixed)
    weight[..., 10:14, 10:14, 9:13] = 0
    spoilt = torch.where(weight > 0, fixed, torch.rand(fixed.shape, generator=torch.Generator().manual_seed(0)))
    field = last(coupled_convex(spoilt, moving, 4, weight))
    inside = field[..., 10:14, 10:14, 9:13].mean((2, 3, 4))
    torch.testing.assert_close(inside, torch.tensor([[3.0, -2.0, 0.0]]), atol=0.5, rtol=0)
