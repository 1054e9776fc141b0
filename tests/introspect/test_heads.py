from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_ran.errors import InputError
from napari_ran.introspect.heads import _moved, head_organ_information


def blobs(shape: tuple[int, ...], count: int, seed: int) -> torch.Tensor:
    """Smooth random maps (count, *S)."""
    coarse = torch.randn((1, count, *[5] * len(shape)), generator=torch.Generator().manual_seed(seed))
    mode = {2: "bilinear", 3: "trilinear"}[len(shape)]
    return F.interpolate(coarse, shape, mode=mode, align_corners=True)[0]


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return F.one_hot(labels.long()).movedim(-1, 0).float()


@pytest.mark.parametrize("shape", [(30, 26), (16, 15, 14)])
def test_masks_that_are_the_labels_give_everything_away(shape: tuple[int, ...]) -> None:
    labels = blobs(shape, 4, 0).argmax(0)
    found = head_organ_information(one_hot(labels), labels)
    assert found.information == pytest.approx(1)
    assert found.head_given_label == pytest.approx(np.eye(4))
    assert found.leading_head.tolist() == [0, 1, 2, 3]
    assert (found.per_head < 1).all()
    assert found.control.max() < 0.6
    assert found.p_value == pytest.approx(1 / 21)
    reversed_heads = head_organ_information(one_hot(labels).flip(0), labels)
    assert reversed_heads.information == pytest.approx(1)
    assert reversed_heads.leading_head.tolist() == [3, 2, 1, 0]


def test_smooth_masks_that_know_nothing_are_not_above_the_control() -> None:
    shape = (20, 18, 16)
    above = []
    for seed in range(20):
        labels = blobs(shape, 3, 2 * seed).argmax(0)
        masks = torch.softmax(3 * blobs(shape, 6, 2 * seed + 1), dim=0)
        found = head_organ_information(masks, labels, seed=seed)
        above.append(found.p_value <= 0.05)
        assert found.information > 0
    assert sum(above) <= 3  # one in twenty is expected by chance


def test_a_voxelwise_shuffle_would_have_been_too_easy() -> None:
    """The reason for the control: independent smooth maps share much more than a smooth one and noise."""
    shape = (20, 18, 16)
    labels = blobs(shape, 3, 0).argmax(0)
    found = head_organ_information(torch.softmax(3 * blobs(shape, 6, 1), dim=0), labels)
    noise = labels.flatten()[torch.randperm(labels.numel(), generator=torch.Generator().manual_seed(0))].view(shape)
    easy = head_organ_information(torch.softmax(3 * blobs(shape, 6, 1), dim=0), noise, shuffles=0)
    assert easy.information < 0.2 * found.control.mean()


def test_the_control_moves_labels_without_tearing_them() -> None:
    shares = torch.arange(12.0).view(1, 12, 1).expand(1, 12, 9).clone()
    for seed in range(10):
        moved = _moved(shares, np.random.default_rng(seed))
        assert (moved.diff(dim=1).abs() <= 1).all()  # neighbours stay neighbours, or meet their mirror image
        assert (moved.diff(dim=2) == 0).all()


def test_per_head_information_finds_the_head_that_follows_an_organ() -> None:
    shape = (18, 16, 14)
    labels = (blobs(shape, 1, 3)[0] > 0.5).long()
    other = torch.softmax(blobs(shape, 3, 4), dim=0)
    follows = 0.05 + 0.9 * labels
    masks = torch.cat([follows[None], (1 - follows) * other])
    found = head_organ_information(masks, labels)
    assert found.per_head.argmax() == 0
    assert found.p_value_per_head[0] == pytest.approx(1 / 21)
    assert found.lift[0, 1] > 1.5 > 1 > found.lift[0, 0]
    share = float((masks * (labels == 1)).sum((1, 2, 3))[0] / (labels == 1).sum())
    assert found.head_given_label[0, 1] == pytest.approx(share, rel=1e-4)


def test_a_level_counts_the_image_voxels_inside_each_of_its_own() -> None:
    labels = blobs((13, 10), 3, 5).argmax(0)
    masks = torch.softmax(blobs((4, 3), 2, 6), dim=0)
    found = head_organ_information(masks, labels, pool_size=4, shuffles=3)
    image = masks.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :13, :10]
    same = head_organ_information(image, labels, shuffles=3)
    assert found.joint == pytest.approx(same.joint, abs=1e-6)
    assert found.information == pytest.approx(same.information, abs=1e-5)


def test_without_the_background_only_labelled_voxels_count() -> None:
    labels = blobs((24, 24), 3, 7).argmax(0)
    masks = one_hot(torch.where(labels == 0, 1, labels))[1:]  # tells 1 from 2, nothing of the background
    assert head_organ_information(masks, labels, background=False).information == pytest.approx(1)
    whole = head_organ_information(masks, labels)
    assert whole.information < 0.9
    assert whole.labels.tolist() == [0, 1, 2]


def test_equal_seeds_give_equal_controls() -> None:
    labels, masks = blobs((16, 16), 3, 8).argmax(0), torch.softmax(blobs((16, 16), 4, 9), dim=0)
    one, same, other = (head_organ_information(masks, labels, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.control, same.control)
    assert not np.array_equal(one.control, other.control)


def test_says_what_is_wrong_with_the_labels() -> None:
    masks = torch.full((2, 4, 4), 0.5)
    with pytest.raises(InputError, match="do not make"):
        head_organ_information(masks, torch.zeros((20, 20), dtype=torch.int), pool_size=4)
    with pytest.raises(InputError, match="fewer than two labels"):
        head_organ_information(masks, torch.ones((4, 4), dtype=torch.int))
