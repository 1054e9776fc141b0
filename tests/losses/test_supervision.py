from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ran import functional as F
from napari_ran import losses
from napari_ran.errors import InputError


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def two_squares() -> tuple[torch.Tensor, torch.Tensor]:
    """Fixed and moving labels 1 and 2; the moving ones lie two voxels further along axis 0."""
    fixed = torch.zeros(1, 1, 14, 12, dtype=torch.int64)
    fixed[..., 3:7, 2:5], fixed[..., 4:9, 7:10] = 1, 2
    return fixed, torch.roll(fixed, 2, dims=2)


def test_field_error_of_a_known_difference() -> None:
    truth = noise(2, 3, 4, 5, 6)
    error = torch.tensor([2.0, 3.0, 6.0]).view(1, 3, 1, 1, 1)
    assert float(losses.field_error(truth + error, truth)) == pytest.approx(7, abs=1e-3)
    assert float(losses.field_error(truth + error, truth, squared=True)) == pytest.approx(49 / 3)


def test_dice_loss_is_zero_with_the_true_motion_and_equals_counting_without() -> None:
    fixed, moving = two_squares()
    field = torch.zeros(1, 2, 14, 12)
    counted = [
        2 * int(((fixed == i) & (moving == i)).sum()) / int((fixed == i).sum() + (moving == i).sum()) for i in (1, 2)
    ]
    assert float(losses.dice_loss(fixed, moving, field)) == pytest.approx(1 - np.mean(counted))
    assert float(losses.dice_loss(fixed, moving, field, labels=[2])) == pytest.approx(1 - counted[1])
    field[:, 0] = 2
    assert float(losses.dice_loss(fixed, moving, field)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_dice_loss_equals_warping_each_region(ndim: int) -> None:
    shape = (9, 8, 7)[:ndim]
    fixed, moving = ((5 * noise(2, 1, *shape, seed=seed)).long() * 30 for seed in (1, 2))
    field = (6 * noise(2, ndim, *shape, seed=3) - 3).requires_grad_()  # some points leave the image
    expected = []
    for value in (30, 60, 90, 120):
        target = (fixed == value).double().flatten(1)
        warped = F.warp((moving == value).double(), field).flatten(1)
        expected.append(2 * (warped * target).sum(1) / (warped.sum(1) + target.sum(1)))
    direct = 1 - torch.stack(expected).mean()
    found = losses.dice_loss(fixed, moving, field)
    torch.testing.assert_close(found, direct)
    torch.testing.assert_close(*(torch.autograd.grad(one, field)[0] for one in (found, direct)))


def test_dice_loss_leads_to_the_true_motion() -> None:
    fixed, moving = two_squares()
    shift = torch.zeros(1, 2, 1, 1, requires_grad=True)
    optimiser = torch.optim.Adam([shift], lr=0.2)
    for _ in range(40):
        optimiser.zero_grad()
        losses.dice_loss(fixed, moving, shift.expand(1, 2, 14, 12)).backward()
        optimiser.step()
    assert shift[0, 0].item() == pytest.approx(2, abs=0.3)


def test_dice_loss_leaves_out_labels_that_one_image_lacks() -> None:
    fixed, moving = two_squares()
    only_one = torch.where(moving == 2, 0, moving)
    field = torch.zeros(1, 2, 14, 12, requires_grad=True)
    torch.testing.assert_close(losses.dice_loss(fixed, only_one, field), losses.dice_loss(fixed, moving, field, [1]))
    none = losses.dice_loss(fixed, torch.zeros_like(moving), field)
    none.backward()
    assert none.item() == 0
    assert field.grad is not None
    assert bool((field.grad == 0).all())


def test_landmark_loss_is_the_distance_in_mm() -> None:
    field = torch.zeros(2, 2, 10, 10, dtype=torch.float64)
    field[:, 0] = 0.5 * torch.arange(10.0).view(-1, 1)  # linear, so that it is known between voxels
    fixed = [torch.tensor([[2.0, 3.0], [4.5, 6.0]]), torch.zeros(0, 2)]
    moving = [torch.tensor([[3.0, 7.0], [6.75, 6.0]]), torch.zeros(0, 2)]
    expected = np.mean([4 * 3.0, 0.0])  # four voxels of 3 mm off, and none
    assert float(losses.landmark_loss(field, fixed, moving, (2.0, 3.0))) == pytest.approx(expected, abs=0.06)
    assert float(losses.landmark_loss(field[1:], fixed[1:], moving[1:], (2.0, 3.0))) == 0
    with pytest.raises(InputError, match="pair 0 has 2 points in the fixed and 1"):
        losses.landmark_loss(field, fixed, [moving[0][:1], moving[1]], (2.0, 3.0))


def test_stage_one_adds_the_published_terms() -> None:
    truth, fixed, moving = noise(1, 3, 5, 6, 4), noise(1, 1, 5, 6, 4, seed=1), noise(1, 1, 5, 6, 4, seed=2)
    still = torch.zeros_like(truth)
    expected = truth.square().mean() + 0.1 * (moving - fixed).square().mean()
    torch.testing.assert_close(losses.stage_one(still, truth, fixed, moving), expected)
    away = torch.full_like(truth, 7.0)  # seven voxels at the centre: beyond axes of 5, 6 and 4
    edge = losses.stage_one(away, away, fixed, fixed)
    assert float(edge) == pytest.approx(
        80 * (2 + 1 + 3) / 3 + 0.1 * float((fixed - fixed[:, :, -1:, -1:, -1:]).square().mean())
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_gradients(ndim: int) -> None:
    shape = (5, 4, 6)[:ndim]
    field = (2 * noise(1, ndim, *shape, seed=1) - 1).requires_grad_()
    truth, fixed = noise(1, ndim, *shape, seed=2), noise(1, 1, *shape, seed=3)
    labels = (3 * noise(1, 1, *shape, seed=4)).long()
    points = [noise(4, ndim, seed=5) * 3]
    assert torch.autograd.gradcheck(lambda u: losses.field_error(u, truth), (field,))
    assert torch.autograd.gradcheck(lambda u: losses.stage_one(u, truth, fixed, fixed.flip(2)), (field,))
    assert torch.autograd.gradcheck(lambda u: losses.dice_loss(labels, labels.flip(2), u), (field,))
    assert torch.autograd.gradcheck(lambda u: losses.landmark_loss(u, points, points, (1.0,) * ndim), (field,))
