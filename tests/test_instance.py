from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran import instance
from napari_ran.config import InstanceConfig, RANConfig
from napari_ran.config.generated import PairConfig
from napari_ran.instance import pyramid
from napari_ran.instance.field import PATIENCE
from napari_ran.instance.folds import folding_share, unfold
from napari_ran.models import RAN
from napari_ran.steps import last
from napari_ran.synthetic.generator import generate_batch


def texture(*shape: int, seed: int = 0) -> Tensor:
    """Blobs of a few voxels, in [0, 1]."""
    noise = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    image = F.gaussian_smooth(noise, 1.5)
    return (image - image.min()) / (image.max() - image.min())


def wave(*shape: int, size: float) -> Tensor:
    grid = F.voxel_grid(shape, torch.zeros(1))
    phase = [torch.pi * (grid[:, axis] + 0.5) / n for axis, n in enumerate(shape)]
    bump = torch.stack([torch.sin(p) for p in phase]).prod(0)
    return torch.stack([size * bump * (-1) ** axis for axis in range(len(shape))], 1)


def error(found: Tensor, truth: Tensor, margin: int = 5) -> float:
    inner = (slice(None), *[slice(margin, -margin)] * (truth.ndim - 2))
    return float((found - truth)[(slice(None), *inner)].norm(dim=1).mean())


@pytest.mark.parametrize("similarity", ["ncc", "mse", "mind"])
def test_known_translation_2d(similarity: str) -> None:
    canvas = texture(60, 52, seed=1)
    fixed, moving = canvas[..., 8:48, 8:44], canvas[..., 5:45, 10:46]  # moving[x + (3, -2)] = fixed[x]
    truth = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 40, 36)
    config = InstanceConfig(similarity=similarity, steps=30)
    result = last(instance.optimise_field(fixed, moving, None, config, (1.0, 1.0)))
    assert error(result.field, truth) < 0.4
    assert result.similarity_after > result.similarity_before
    assert folding_share(result.field) == 0


@pytest.mark.parametrize("shape", [(40, 44), (26, 24, 28)])
def test_known_smooth_field(shape: tuple[int, ...]) -> None:
    moving, truth = texture(*shape, seed=2), wave(*shape, size=2.5)
    fixed = F.warp(moving, truth, padding="border")
    result = last(instance.optimise_field(fixed, moving, None, InstanceConfig(steps=30), (1.0,) * len(shape)))
    assert error(torch.zeros_like(truth), truth) > 1.5
    assert error(result.field, truth) < 0.5
    assert "NCC" in result.messages[0]


def test_anisotropic_spacing_and_inverted_contrast() -> None:
    shape = (30, 28, 10)
    moving = texture(*shape, seed=3)
    truth = wave(*shape, size=1.5)
    fixed = 1 - F.warp(moving, truth, padding="border")
    result = last(instance.optimise_field(fixed, moving, None, InstanceConfig(steps=30), (1.0, 1.0, 4.0)))
    assert "MIND" in result.messages[0]
    assert error(result.field, truth, 3) < 0.6 * error(torch.zeros_like(truth), truth, 3)


def test_a_good_guess_is_used_and_a_bad_one_is_not() -> None:
    moving, truth = texture(32, 30, seed=4), wave(32, 30, size=2.0)
    fixed = F.warp(moving, truth, padding="border")
    config = InstanceConfig(search=0, levels=1, steps=1)
    good = last(instance.optimise_field(fixed, moving, truth, config, (1.0, 1.0)))
    assert error(good.field, truth) < 0.3
    bad = last(instance.optimise_field(fixed, moving, -4 * truth, config, (1.0, 1.0)))
    assert error(bad.field, truth) < error(-4 * truth, truth) / 2


def test_the_same_input_gives_the_same_field_and_the_global_state_is_left_alone() -> None:
    fixed, moving = texture(24, 26, seed=5), texture(24, 26, seed=6)
    state = torch.random.get_rng_state()
    config = InstanceConfig(steps=10, points=100, similarity="mind")
    first, second = (last(instance.optimise_field(fixed, moving, None, config, (1.0, 1.0))) for _ in range(2))
    assert torch.equal(first.field, second.field)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_best_field_never_gets_worse_and_survives_closing() -> None:
    moving = texture(36, 32, seed=7)
    fixed = F.warp(moving, wave(36, 32, size=2.0), padding="border")
    steps = instance.optimise_field(fixed, moving, None, InstanceConfig(similarity="mse", steps=20), (1.0, 1.0))
    errors, progress = [], []
    for event in steps:
        warped = F.warp(moving, event.best_field(), padding="border")
        errors.append(float(((warped - fixed) ** 2).mean()))
        progress.append(event.step)
        assert event.step <= event.total
        if event.level == 1 and len(errors) > 40:
            steps.close()
    assert progress == sorted(progress)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]
    assert event.best_field().shape == (1, 2, 36, 32)


def test_values_are_told_once_it_is_decided_what_is_compared() -> None:
    moving = texture(36, 32, seed=7)
    fixed = F.warp(moving, wave(36, 32, size=2.0), padding="border")
    events = list(instance.optimise_field(fixed, moving, None, InstanceConfig(steps=20), (1.0, 1.0)))
    told = [math.isfinite(event.similarity) for event in events]
    first = told.index(True)
    assert all(told[first:])
    assert events[first - 1].message.startswith("Similarity: local NCC")
    assert [math.isfinite(event.loss) for event in events] == told


def test_equal_images_stop_early_near_the_identity() -> None:
    image = texture(28, 30, seed=8)
    config = InstanceConfig(steps=200, levels=1)
    result = last(instance.optimise_field(image, image.clone(), None, config, (1.0, 1.0)))
    assert result.stopped_early
    assert result.steps < 200
    assert result.steps >= 10 * PATIENCE
    assert float(result.field.abs().max()) < 0.2


@pytest.mark.parametrize("shape", [(20, 20), (20, 18, 22), (24, 20, 3), (9, 2)])
@pytest.mark.parametrize("similarity", ["ncc", "mind"])
def test_tiny_and_thin_and_partly_flat_images(shape: tuple[int, ...], similarity: str) -> None:
    fixed, moving = texture(*shape, seed=9), texture(*shape, seed=10)
    fixed[:, :, : shape[0] // 2] = 0
    moving[:, :, shape[0] // 2 :] = 1
    config = InstanceConfig(steps=5, similarity=similarity)
    result = last(instance.optimise_field(fixed, moving, None, config, (1.0, 1.5, 5.0)[: len(shape)]))
    assert result.field.shape == (1, len(shape), *shape)
    assert bool(torch.isfinite(result.field).all())


def test_blocks_and_the_whole_grid_agree_on_ncc() -> None:
    moving, truth = texture(40, 44, seed=11), wave(40, 44, size=2.0)
    fixed = F.warp(moving, truth, padding="border")
    configs = (InstanceConfig(similarity="ncc", points=points, steps=30) for points in (600, 10_000))
    blocks, whole = (last(instance.optimise_field(fixed, moving, None, c, (1.0, 1.0))).field for c in configs)
    assert error(blocks, truth) < 0.5
    assert error(blocks, whole) < 0.3


def test_last_level_of_large_images_compares_normalised_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    moving, truth = texture(96, 100, seed=11), wave(96, 100, size=2.0)
    fixed = F.warp(moving, truth, padding="border")
    config = InstanceConfig(similarity="ncc", points=600, steps=30)
    given = (fixed, moving, None, config, (1.0, 1.0))
    blocks = last(instance.optimise_field(*given)).field
    monkeypatch.setattr(pyramid, "SPARSE", 10)
    voxels = last(instance.optimise_field(*given)).field
    assert error(voxels, truth) < error(blocks, truth)
    assert error(voxels, truth) < 0.5


def test_unfold_removes_folds_and_leaves_the_rest() -> None:
    field = wave(40, 36, size=1.0)
    field[0, 0, 18:20, 16:20] += torch.tensor([4.0, -4.0]).view(2, 1)
    assert folding_share(field) > 0
    repaired = unfold(field)
    assert folding_share(repaired) == 0
    torch.testing.assert_close(repaired[..., :6], field[..., :6])


def small_network() -> RAN:
    config = RANConfig(
        ndim=2,
        pools=(2, 1),
        dilations=(1, 1),
        encoder_channels=(4, 8),
        decoder_channels=(8, 4),
        skips=((2,), (1,)),
        skip_channels=None,
        heads=2,
    )
    return RAN(config)


def test_network_is_fitted_in_a_copy() -> None:
    moving = texture(32, 28, seed=13)
    fixed = F.warp(moving, wave(32, 28, size=1.5), padding="border")
    model = small_network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = InstanceConfig(network_steps=25, similarity="mse")
    result = last(instance.optimise_network(model, fixed, moving, config, (1.0, 1.0), keep_levels=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert result.similarity_after > result.similarity_before
    assert result.output is not None
    assert len(result.output.levels) == 2
    assert result.output.inverse_field is not None
    assert not result.field.requires_grad
    torch.testing.assert_close(result.output.field, result.field, atol=1e-4, rtol=1e-4)


def test_choose_similarity_says_why() -> None:
    image = texture(40, 40, seed=14)
    assert instance.choose_similarity(image, image**2)[0] == "ncc"
    name, reason = instance.choose_similarity(image, 1 - image)
    assert name == "mind"
    assert "contrasts differ" in reason


@pytest.mark.parametrize("other_contrast", [0.0, 1.0])
def test_bodies_of_unrelated_contrasts_are_told_from_those_of_one(other_contrast: float) -> None:
    """Their intensities correlate over the whole image in both cases, as both images have a dark background."""
    config = PairConfig(shapes=((64, 80),), peak=(0.02, 0.03), sliding=0.0, body=1.0, other_contrast=other_contrast)
    for number in range(1, 8):
        pair = generate_batch(config, seed=5, index=number)
        warped = F.warp(pair.moving, pair.truth, padding="border")
        both = torch.cat([pair.fixed.flatten(1), warped.flatten(1)])
        assert torch.corrcoef(both)[0, 1] > 0.2
        assert instance.choose_similarity(pair.fixed, warped)[0] == ("mind" if other_contrast else "ncc")
