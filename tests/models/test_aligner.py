from __future__ import annotations

import pytest
import torch

from napari_ran.config import RANConfig
from napari_ran.functional import warp
from napari_ran.models.aligner import Carried, Proposal, ResidualAligner, SharedConvolutions
from napari_ran.models.blocks import initialise

SHAPES = {2: (10, 12), 3: (10, 12, 8)}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def aligner_of(config: RANConfig, level: int, residual: bool = True) -> tuple[ResidualAligner, SharedConvolutions]:
    aligner, shared = ResidualAligner(config, level), SharedConvolutions(config)
    for module in (aligner, shared):
        initialise(module, torch.Generator().manual_seed(level))
        if residual:
            module.start_at_identity()
    return aligner, shared


@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes(ndim: int) -> None:
    config, shape = RANConfig(ndim=ndim, heads=4), SHAPES[ndim]
    aligner, shared = aligner_of(config, 3)
    own, other = random(2, 16, *shape), random(2, 16, *shape, seed=1)
    found = aligner(own, other, Carried(random(2, ndim, *shape), random(2, 4, *shape)), shared)
    assert found.field.shape == (2, ndim, *shape)
    assert found.residual_heads.shape == (2, 4, ndim, *shape)
    assert found.logits.shape == found.masks.shape == found.attributes.shape == (2, 4, *shape)
    assert found.confidence.shape == found.previous_confidence.shape == (2, 1, *shape)
    assert found.features is own
    assert found.refined.shape == own.shape
    torch.testing.assert_close(found.masks, torch.softmax(found.logits, dim=1))


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_field_starts_as_the_carried_one_plus_the_mean_head(ndim: int) -> None:
    config, shape = RANConfig(ndim=ndim), SHAPES[ndim]
    aligner, shared = aligner_of(config, 3)
    carried = Carried(0.2 * random(1, ndim, *shape, seed=2), random(1, 6, *shape, seed=3))
    with torch.no_grad():
        shared.heads_out.weight *= 50
        shared.field.weight[:, 2:] = 0  # without the small weights it is exact
        found = aligner(random(1, 16, *shape), random(1, 16, *shape, seed=1), carried, shared)
    mean = found.residual_heads.mean(dim=1)
    assert float(mean.abs().max()) > 0.05
    torch.testing.assert_close(found.field, carried.field + mean, atol=1e-5, rtol=0)


def test_components_go_through_the_same_filters() -> None:
    """Exchanging the axes of everything that the accumulator reads exchanges the axes of its field."""
    aligner, shared = aligner_of(RANConfig(ndim=2), 3, residual=False)
    heads, carried, logits = random(1, 6, 2, 9, 9), random(1, 2, 9, 9, seed=1), random(1, 6, 9, 9, seed=2)
    confidences = random(1, 1, 9, 9, seed=3).abs(), random(1, 1, 9, 9, seed=4).abs()
    proposal = Proposal(heads, logits, torch.softmax(logits, dim=1), *confidences, None)
    with torch.no_grad():
        field = aligner._accumulate(proposal, carried, shared)
        exchanged = aligner._accumulate(proposal._replace(heads=heads.flip(2)), carried.flip(1), shared)
    assert float(field.abs().max()) > 0.1
    torch.testing.assert_close(exchanged, field.flip(1))


def test_a_confidence_of_zero_silences_the_weighted_heads() -> None:
    heads, masks = random(1, 6, 2, 5, 5), torch.softmax(random(1, 6, 5, 5), dim=1)
    weighted, mean = ResidualAligner._weighted(heads, masks, torch.zeros(1, 1, 5, 5))
    assert float(weighted.abs().max()) == 0
    torch.testing.assert_close(mean[:, 0], heads.mean(dim=1))
    full, _ = ResidualAligner._weighted(heads, masks, None)
    torch.testing.assert_close(full[0, 2, 1], masks[0, 2] * heads[0, 2, 1])


def test_confidence_starts_near_one() -> None:
    aligner, shared = aligner_of(RANConfig(ndim=2), 3)
    found = aligner(
        random(1, 16, 16, 16),
        random(1, 16, 16, 16, seed=1),
        Carried(torch.zeros(1, 2, 16, 16), torch.zeros(1, 6, 16, 16)),
        shared,
    )
    assert 0.7 < found.confidence.mean().item() < 1.3
    torch.testing.assert_close(found.previous_confidence, torch.ones(1, 1, 16, 16))


def test_the_feedback_reads_the_original_features_through_the_new_field() -> None:
    aligner, shared = aligner_of(RANConfig(ndim=2), 3)
    own, other = random(1, 16, 9, 9), random(1, 16, 9, 9, seed=1)
    shift = torch.zeros(1, 2, 9, 9)
    shift[:, 0] = 2
    with torch.no_grad():
        aligner.feedback.weight.zero_()
        aligner.feedback.weight[3, 5] = 1  # channel 3 of the answer is channel 5 of the aligned features
        found = aligner(own, other, Carried(shift, torch.zeros(1, 6, 9, 9)), shared)
    brought = torch.nn.functional.leaky_relu(warp(other, found.field)[:, 5], 0.01)
    assert float((found.field - shift).abs().max()) < 0.2
    torch.testing.assert_close(found.refined[:, 3], own[:, 3] + brought)
    torch.testing.assert_close(found.refined[:, 4], own[:, 4])


def test_displacements_stay_within_twice_the_grid() -> None:
    aligner, shared = aligner_of(RANConfig(ndim=2), 3)
    far = torch.full((1, 2, 6, 9), 1e4)
    far[:, 1] *= -1
    found = aligner(random(1, 16, 6, 9), random(1, 16, 6, 9, seed=1), Carried(far, torch.zeros(1, 6, 6, 9)), shared)
    assert found.field[:, 0].max().item() == 11
    assert found.field[:, 1].min().item() == -17


def test_without_confidence_and_feedback_nothing_of_them_is_left() -> None:
    aligner, shared = aligner_of(RANConfig(ndim=2, confidence=False, feedback=False), 3)
    own = random(1, 16, 9, 9)
    found = aligner(own, own, Carried(torch.zeros(1, 2, 9, 9), torch.zeros(1, 6, 9, 9)), shared)
    assert found.confidence is found.previous_confidence is found.attributes is None
    assert found.refined is own
    names = {name for module in (aligner, shared) for name, _ in module.named_parameters()}
    assert not {name for name in names if "confidence" in name or "attributes" in name or "feedback" in name}


def test_level_0_carries_nothing() -> None:
    aligner, shared = aligner_of(RANConfig(ndim=2), 0)
    found = aligner(random(1, 32, 4, 4), random(1, 32, 4, 4, seed=1), None, shared)
    assert found.previous_confidence is None
    assert found.field.shape == (1, 2, 4, 4)
