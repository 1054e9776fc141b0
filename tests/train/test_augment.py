from __future__ import annotations

import pytest
import torch

from napari_ran import InputError
from napari_ran import functional as F
from napari_ran.config.generated import PairConfig
from napari_ran.config.training import AugmentSettings
from napari_ran.synthetic.generator import generator_for
from napari_ran.train.augment import augmented, draw_augmentation
from napari_ran.train.batch import PairBatch, stack
from napari_ran.train.sources import GeneratedSource

EXACT = PairConfig(shapes=((20, 28),), still=0.0, noise=(0, 0), bias=(0, 0))


def pair_of(index: int = 0) -> PairBatch:
    pair = GeneratedSource(EXACT, 0).pair(index)
    points = torch.tensor([[4.0, 5.0], [10.0, 20.0], [18.0, 2.0]])
    assert pair.truth is not None
    moved = F.sample(pair.truth, points.T.reshape(1, 2, 3, 1)).reshape(2, 3).T
    return PairBatch(**{**vars(pair), "fixed_points": (points,), "moving_points": (points + moved,)})


def error_map(pair: PairBatch) -> torch.Tensor:
    """How far the fixed image is from the moving one warped by the true field."""
    assert pair.truth is not None
    return (F.warp(pair.moving, pair.truth, padding="border") - pair.fixed).abs()


def landmark_error(pair: PairBatch) -> float:
    assert pair.truth is not None
    points, moving = pair.fixed_points[0], pair.moving_points[0]
    shift = F.sample(pair.truth, points.T.reshape(1, 2, -1, 1)).reshape(2, -1).T
    return float((points + shift - moving).abs().max()) if len(points) else 0.0


@pytest.mark.parametrize("flips", [(), (0,), (1,), (0, 1)])
def test_images_field_and_landmarks_change_together(flips: tuple[int, ...]) -> None:
    before = pair_of()
    settings = AugmentSettings(crop=(18, 24), flips=flips)
    seen = set()
    for index in range(8):
        record = draw_augmentation(settings, before.shape, generator_for(3, index))
        after = augmented(record, before)
        seen.add((record.start, record.flips))
        assert after.shape == (18, 24)
        assert set(record.flips) <= set(flips)
        rows, columns = (slice(first, first + n) for first, n in zip(record.start, record.shape, strict=True))
        expected = error_map(before)[..., rows, columns].flip([axis + 2 for axis in record.flips])
        inner = (..., slice(5, -5), slice(5, -5))  # further out, the points read lie beyond the part
        assert torch.allclose(error_map(after)[inner], expected[inner], atol=1e-5)
        assert landmark_error(after) < 1e-4
    assert len(seen) > 2


def test_a_record_reproduces_its_pair() -> None:
    settings = AugmentSettings(crop=(12, 12), intensity=0.2, noise=0.1, flips=(0, 1), swap=True)
    record = draw_augmentation(settings, (20, 28), generator_for(1, 5))
    assert record == draw_augmentation(settings, (20, 28), generator_for(1, 5))
    one, two = augmented(record, pair_of()), augmented(record, pair_of())
    assert torch.equal(one.fixed, two.fixed)
    assert torch.equal(one.moving, two.moving)


def test_intensities_are_scaled_within_the_share() -> None:
    settings = AugmentSettings(intensity=0.2)
    gains = [draw_augmentation(settings, (8, 8), generator_for(0, index)).gains for index in range(50)]
    flat = [gain for pair in gains for gain in pair]
    assert min(flat) >= 0.8
    assert max(flat) <= 1.2
    assert max(flat) - min(flat) > 0.3
    assert all(one != two for one, two in gains)


def test_a_swap_keeps_a_pair_with_a_true_field() -> None:
    settings = AugmentSettings(swap=True)
    records = [draw_augmentation(settings, (20, 28), generator_for(0, index)) for index in range(6)]
    record = next(record for record in records if record.swap)
    pair = pair_of()
    assert torch.equal(augmented(record, pair).fixed, pair.fixed)
    bare = PairBatch(**{**vars(pair), "truth": None})
    swapped = augmented(record, bare)
    assert torch.equal(swapped.fixed, pair.moving)
    assert torch.equal(swapped.moving_points[0], pair.fixed_points[0])


def test_axes_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InputError, match=r"augment.flips: names axis 2 of 2"):
        draw_augmentation(AugmentSettings(flips=(2,)), (8, 8), generator_for(0, 0))
    with pytest.raises(InputError, match=r"augment.crop: has 3 axes and the images have 2"):
        draw_augmentation(AugmentSettings(crop=(4, 4, 4)), (8, 8), generator_for(0, 0))


def test_pairs_of_different_shapes_do_not_stack() -> None:
    one, two = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 10)
    with pytest.raises(InputError, match=r"data.shape: the pairs have different shapes \(8 x 8 and 8 x 10\)"):
        stack([PairBatch(one, one, (1.0, 1.0)), PairBatch(two, two, (1.0, 1.0))])
