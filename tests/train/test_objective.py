from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from napari_ran import InputError, losses
from napari_ran.config import RANConfig
from napari_ran.config.generated import PairConfig
from napari_ran.config.training import ObjectiveSettings
from napari_ran.functional import warp
from napari_ran.models import ModelOutput, create_model
from napari_ran.train.batch import PairBatch, stack
from napari_ran.train.objective import TERMS, check_objective, objective
from napari_ran.train.sources import GeneratedSource

EVERY_TERM = ObjectiveSettings(
    **dict.fromkeys(TERMS, 0.5), levels=0.5, window=5, foreground=0.3, smoothness="edges", both=True
)


def pair_of(shape: tuple[int, ...], index: int = 0) -> PairBatch:
    pair = GeneratedSource(PairConfig(shapes=(shape,), still=0.0), 0).pair(index)
    points = 3 + 5 * torch.rand(4 + index, len(shape), generator=torch.Generator().manual_seed(index))
    return PairBatch(**{**vars(pair), "fixed_points": (points,), "moving_points": (points + 1,)})


def found_for(batch: PairBatch, **options: Any) -> ModelOutput:
    ndim = len(batch.shape)
    config = RANConfig.preset("RAN3", ndim).replace(
        encoder_channels=(4, 4, 4, 4), decoder_channels=(4,) * 5, skip_channels=4, heads=2
    )
    network = create_model(config, seed=1)
    with torch.no_grad():  # move enough for every term to say something
        network.displacement.weight += 0.2 * torch.randn(
            network.displacement.weight.shape, generator=torch.Generator().manual_seed(3)
        )
    return network(batch.moving, batch.fixed, keep_levels=True, both=True)


CHANGES: tuple[dict[str, Any], ...] = ({}, {"compare": "mse"}, {"compare": "mind"}, {"smoothness": "released"})


@pytest.mark.parametrize(("shape", "change"), [((16, 16, 16), {}), *itertools.product([(16, 32), (13, 21)], CHANGES)])
def test_every_term_is_there_and_has_a_gradient(shape: tuple[int, ...], change: dict[str, Any]) -> None:
    batch = pair_of(shape)
    field = (0.5 * torch.randn(1, len(shape), *shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    inverse = (-field).detach().requires_grad_()
    settings = EVERY_TERM.replace(levels=0.0, **change)
    loss, terms = objective(ModelOutput(field, inverse), batch, settings)
    assert set(terms) == set(TERMS)
    assert float(loss.detach()) == pytest.approx(0.5 * sum(float(value) for value in terms.values()), rel=1e-5)
    loss.backward()
    for gradient in (field.grad, inverse.grad):
        assert gradient is not None
        assert bool(torch.isfinite(gradient).all())
        assert float(gradient.abs().sum()) > 0


def test_every_pair_of_a_batch_weighs_alike() -> None:
    pairs = [pair_of((16, 32), index) for index in (0, 1)]
    together = objective(found_for(stack(pairs)), stack(pairs), EVERY_TERM)[1]
    alone = [objective(found_for(pair), pair, EVERY_TERM)[1] for pair in pairs]
    for name in TERMS:
        mean = sum(float(found[name]) for found in alone) / 2
        assert float(together[name]) == pytest.approx(mean, rel=1e-4), name


def test_both_directions_are_the_mean_of_a_pair_and_its_mirror() -> None:
    batch = pair_of((16, 32))
    settings = EVERY_TERM.replace(field=0.0, inverse=0.0)
    output = found_for(batch)
    turned = found_for(batch.swapped())
    both = objective(output, batch, settings)[1]
    one = objective(output, batch, settings.replace(both=False))[1]
    other = objective(turned, batch.swapped(), settings.replace(both=False))[1]
    for name, value in both.items():
        assert float(value) == pytest.approx((float(one[name]) + float(other[name])) / 2, rel=1e-3), name


def test_the_true_field_is_best() -> None:
    batch = pair_of((16, 32))
    settings = ObjectiveSettings(similarity=0, smooth=0, field=1)
    best = float(objective(ModelOutput(batch.truth), batch, settings)[0])  # type: ignore[arg-type]
    assert best == pytest.approx(0.1, abs=1e-3)
    still = torch.zeros(1, 2, 16, 32)
    assert float(objective(ModelOutput(still), batch, settings)[0]) > best
    squared = objective(ModelOutput(still), batch, settings.replace(field_error="squared"))[0]
    assert batch.truth is not None
    assert float(squared) == pytest.approx(float(batch.truth.square().mean()))


def test_the_levels_share_the_similarity() -> None:
    batch = pair_of((16, 32))
    output = found_for(batch)
    settings = ObjectiveSettings(similarity=1, smooth=0, window=5, both=False)
    final, shared, coarse = (
        float(objective(output, batch, settings.replace(levels=share))[0].detach()) for share in (0.0, 0.25, 1.0)
    )
    assert shared == pytest.approx(0.75 * final + 0.25 * coarse, rel=1e-5)
    assert coarse != pytest.approx(final, rel=1e-3)
    plain = losses.local_ncc(warp(batch.moving, output.field, padding="border"), batch.fixed, 5)
    assert final == pytest.approx(float(plain.detach()), rel=1e-5)


def test_what_the_data_lack_is_refused_by_name() -> None:
    bare = PairBatch(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8), (1.0, 1.0))
    for name, what in {"dice": "label maps", "landmarks": "landmarks", "field": "true field"}.items():
        with pytest.raises(InputError, match=rf"objective.{name}: the data have no {what}"):
            check_objective(ObjectiveSettings(**{name: 1.0}), bare)
    check_objective(ObjectiveSettings(), bare)
