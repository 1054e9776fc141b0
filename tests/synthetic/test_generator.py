from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_ran import InputError
from napari_ran import functional as F
from napari_ran.synthetic import PairConfig, draw_pair, generate_batch, render_pair
from napari_ran.synthetic.generator import GeneratedPair, without_motion

CLEAN = {"bias": (0.0, 0.0), "noise": (0.0, 0.0)}
SHAPES = {2: (40, 33), 3: (20, 26, 22)}


def config(ndim: int, **changes: object) -> PairConfig:
    return PairConfig(shapes=(SHAPES[ndim],), **changes)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def equal(a: GeneratedPair, b: GeneratedPair) -> bool:
    return all(torch.equal(value, vars(b)[name]) for name, value in vars(a).items())


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_record_reproduces_its_pair(ndim: int) -> None:
    record = draw_pair(config(ndim), generator(3))
    state = torch.get_rng_state()
    first = render_pair(record)
    torch.manual_seed(99)
    assert equal(first, render_pair(record))
    torch.set_rng_state(state)
    render_pair(record)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first.fixed, render_pair(replace(record, seed=record.seed + 1)).fixed)


@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes_ranges_and_labels(ndim: int) -> None:
    pair = render_pair(draw_pair(config(ndim), generator(4)))
    shape = SHAPES[ndim]
    for image in (pair.fixed, pair.moving):
        assert image.shape == (1, 1, *shape)
        assert image.dtype == torch.float32
        assert 0 <= float(image.min()) < float(image.max()) <= 1
    for labels in (pair.fixed_labels, pair.moving_labels):
        assert labels.shape == (1, 1, *shape)
        assert len(labels.unique()) > 3
    assert pair.truth.shape == (1, ndim, *shape)
    assert pair.visible.shape == (1, 1, *shape)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_truth_maps_moving_to_fixed(ndim: int, seed: int) -> None:
    pair = render_pair(draw_pair(config(ndim, still=0.0, sliding=1.0, blur=(1.0, 1.0), **CLEAN), generator(seed)))
    warped = F.warp(pair.moving, pair.truth, padding="border")
    error, before = (warped - pair.fixed).abs()[pair.visible], (pair.moving - pair.fixed).abs()[pair.visible]
    # away from the objects' edges, where the blur mixes neighbours that move apart, it is the very same interpolation
    assert float(error.median()) < 3e-3
    assert float(error.mean()) < 0.35 * float(before.mean())
    labels = F.warp(pair.moving_labels.float(), pair.truth, "nearest", "border").long()
    assert float((labels == pair.fixed_labels)[pair.visible].float().mean()) > 0.999


def test_the_truth_is_exact_where_nothing_slides() -> None:
    pair = render_pair(draw_pair(config(3, still=0.0, sliding=0.0, **CLEAN), generator(5)))
    inner = pair.visible[..., 3:-3, 3:-3, 3:-3]
    warped = F.warp(pair.moving, pair.truth)
    error = (warped - pair.fixed).abs()[..., 3:-3, 3:-3, 3:-3]
    assert float(error[inner].max()) < 1e-4


def test_amplitudes_mean_what_they_say() -> None:
    side = (20 * 26 * 22) ** (1 / 3)
    for seed in range(4):
        record = draw_pair(config(3, still=0.0, sliding=0.0, peak=(0.1, 0.1)), generator(seed))
        assert record.peak == pytest.approx(0.1 * side)
        assert float(render_pair(record).truth.norm(dim=1).max()) == pytest.approx(0.1 * side, rel=1e-4)


def test_still_pairs_and_without_motion_have_no_motion() -> None:
    pair = render_pair(draw_pair(config(2, still=1.0, **CLEAN), generator(1)))
    assert not pair.truth.any()
    assert torch.allclose(pair.fixed, pair.moving, atol=1e-5)
    moved = draw_pair(config(2, still=0.0, sliding=1.0, **CLEAN), generator(1))
    assert render_pair(moved).truth.any()
    assert not render_pair(without_motion(moved)).truth.any()


def test_objects_slide_on_their_own() -> None:
    record = draw_pair(config(2, still=0.0, sliding=1.0, slip=(0.1, 0.1), peak=(0.01, 0.01)), generator(2))
    truth = render_pair(record).truth
    jump = torch.linalg.vector_norm(torch.diff(truth, dim=2), dim=1).max()
    assert float(jump) > 0.08 * (40 * 33) ** 0.5


def test_contrasts_differ_on_request() -> None:
    same = draw_pair(config(2), generator(1))
    other = draw_pair(config(2, other_contrast=1.0), generator(1))
    assert same.fixed_levels == same.moving_levels
    assert other.fixed_levels != other.moving_levels


def test_batches_follow_from_seed_and_index_alone() -> None:
    settings = PairConfig(shapes=((24, 20), (20, 28)))
    batch = generate_batch(settings, 5, 17, size=3)
    assert batch.fixed.shape[0] == batch.truth.shape[0] == 3
    assert equal(batch, generate_batch(settings, 5, 17, size=3))
    assert not torch.equal(batch.fixed[0], batch.fixed[1])
    assert {tuple(generate_batch(settings, 5, i).fixed.shape[2:]) for i in range(8)} == {(24, 20), (20, 28)}


def test_unknown_settings_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="amplitude"):
        PairConfig(amplitude=3)
