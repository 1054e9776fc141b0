"""Trainings look at a pair as registrations do."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch

from napari_ran.config.generated import PairConfig
from napari_ran.config.training import ModelSettings, ObjectiveSettings, TrainConfig
from napari_ran.data import Grid
from napari_ran.functional import warp
from napari_ran.io.checkpoints import TrainedRAN, load_network, looks_coarsely
from napari_ran.looks import Start, look_at_whole, look_grids
from napari_ran.models import ModelOutput, create_model
from napari_ran.steps import last
from napari_ran.synthetic import generate_batch
from napari_ran.train import Validated, evaluate_model, fit
from napari_ran.train.batch import PairBatch, stack
from napari_ran.train.evaluation import end_point_error
from napari_ran.train.looking import look_shapes, looks
from napari_ran.train.objective import Opaque, Trained, objective
from napari_ran.train.sources import GeneratedSource
from napari_ran.train.validation import validate

SHAPE = (40, 48, 32)


@pytest.fixture(scope="module")
def network() -> TrainedRAN:
    network = load_network("general-3d").eval()
    assert isinstance(network, TrainedRAN)
    return network


def pair_of(shape: tuple[int, ...], index: int = 0) -> PairBatch:
    pair = GeneratedSource(
        PairConfig(shapes=(shape,), still=0.0, sliding=0.0, other_contrast=0.0, noise=(0.0, 0.0)), 5
    ).pair(index)
    points = 5 + 8 * torch.rand(6, len(shape), generator=torch.Generator().manual_seed(index))
    return PairBatch(**{**vars(pair), "fixed_points": (points,), "moving_points": (points + 1,)})


def test_it_sees_what_a_registration_sees(network: TrainedRAN) -> None:
    batch = pair_of(SHAPE)
    grids = look_grids(Grid.from_spacing(SHAPE), math.prod(SHAPE), network.multiple, coarse=True)
    assert look_shapes(batch, True, network.multiple) == tuple(grid.shape for grid in grids)
    with torch.no_grad():
        found = last(look_at_whole(network, batch.fixed, batch.moving, grids))
        taken = list(looks(partial(network, both=True), batch, True, network.multiple))
    assert [start is None for _, start, _ in taken] == [True, *[False] * (len(grids) - 1)]
    last_batch, start, output = taken[-1]
    assert last_batch is batch
    assert start is not None
    whole = start.with_rest(output)
    torch.testing.assert_close(whole.forward, found.forward)
    torch.testing.assert_close(whole.backward, found.backward)


def test_once_is_the_batch_as_it_is(network: TrainedRAN) -> None:
    batch = pair_of(SHAPE)
    with torch.no_grad():
        taken = list(looks(partial(network, both=True), batch, coarse=False))
        plain = network(batch.moving, batch.fixed)
    assert len(taken) == 1
    assert taken[0][1] is None
    assert torch.equal(taken[0][2].field, plain.field)


@pytest.mark.parametrize("shape", [(48, 64), (32, 40, 36)])
def test_a_batch_on_another_grid_tells_the_same(shape: tuple[int, ...]) -> None:
    batch = pair_of(shape)
    smaller = tuple(3 * n // 4 for n in shape)
    there = batch.resized(smaller)
    assert batch.resized(shape) is batch
    assert there.shape == smaller
    assert there.spacing == pytest.approx((4 / 3,) * len(shape))
    assert there.truth is not None
    assert batch.truth is not None
    here = [torch.linalg.vector_norm(one.truth * torch.tensor(one.spacing[0]), dim=1).mean() for one in (batch, there)]  # type: ignore[operator]
    assert float(here[1]) == pytest.approx(float(here[0]), rel=0.02)  # the same motion in mm
    gains = []
    for one in (batch, there):  # and it brings the images together as well as before
        warped = warp(one.moving, one.truth, padding="border")  # type: ignore[arg-type]
        gains.append(float((warped - one.fixed).abs().mean() / (one.moving - one.fixed).abs().mean()))
    assert gains[0] < 0.8
    assert gains[1] == pytest.approx(gains[0], abs=0.1)
    assert there.fixed_labels is not None
    assert batch.fixed_labels is not None
    assert there.fixed_labels.dtype == batch.fixed_labels.dtype
    for label in batch.fixed_labels.unique().tolist():
        share, before = (float((one.fixed_labels == label).float().mean()) for one in (there, batch))
        assert share == pytest.approx(before, abs=0.02)
    # a point lies at the same share of the box, which begins half a voxel before the first voxel's middle
    shares = [(one.fixed_points[0] + 0.5) / torch.tensor(one.shape) for one in (batch, there)]
    torch.testing.assert_close(shares[1], shares[0])


def test_what_a_start_and_the_network_find_is_judged_together() -> None:
    batch = pair_of((24, 32))
    assert batch.truth is not None
    settings = ObjectiveSettings(similarity=1.0, window=5, smooth=0.5, field=1.0, dice=0.5, folding=1.0, both=False)
    alone, _ = objective(ModelOutput(batch.truth), batch, settings)
    nothing_left = ModelOutput(torch.zeros_like(batch.truth))
    together, _ = objective(nothing_left, batch, settings, Start(batch.truth))
    assert float(together) == pytest.approx(float(alone), rel=1e-5)


def test_levels_are_judged_together_with_the_start() -> None:
    batch = pair_of((32, 32))
    network = create_model("RAN0", 2, seed=0)
    settings = ObjectiveSettings(similarity=0.0, smooth=0.0, field=1.0, levels=1.0, both=True)
    assert batch.truth is not None
    back = torch.zeros_like(batch.truth)
    with torch.no_grad():
        output = network(batch.moving, batch.fixed, keep_levels=True, both=True)
        far, near = (
            objective(output, batch, settings, start)[0] for start in (Start(back, back), Start(batch.truth, back))
        )
        plain = objective(output, batch, settings)[0]
    assert float(far) == pytest.approx(float(plain), rel=1e-4)
    assert float(near) < 0.5 * float(far)  # an untrained network finds next to nothing itself


@pytest.mark.parametrize("both", [True, False])
def test_every_look_is_trained_and_none_through_another(both: bool) -> None:
    """The gradient is the mean of those of the looks, each with what was found before it held."""
    batch = stack([pair_of((64, 64), index) for index in range(2)])
    network = create_model("RAN0", 2, seed=0)
    settings = ObjectiveSettings(window=5, both=both, levels=0.3, field=0.5)
    loss, terms = Trained(network, settings, coarse=True)(Opaque(batch))
    assert set(terms) == {"similarity", "smooth", "field"}
    loss.backward()
    found = {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}
    network.zero_grad()
    taken = list(looks(partial(network, keep_levels=True, both=both), batch, True, network.multiple))
    assert len(taken) == 2
    judged = [objective(output, here, settings, start) for here, start, output in taken]
    losses = [loss for loss, _ in judged]
    for name, value in terms.items():
        assert float(value) == pytest.approx(sum(float(one[name]) for _, one in judged) / 2, rel=1e-5)
    assert float(loss.detach()) == pytest.approx(sum(float(one.detach()) for one in losses) / 2, rel=1e-5)
    for one in losses:
        (one / 2).backward()
    for name, value in network.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(found[name], value.grad, rtol=1e-4, atol=1e-7)
    assert len(found) > 10


def test_validation_is_of_all_looks(network: TrainedRAN) -> None:
    pair = pair_of(SHAPE, 3)
    assert pair.truth is not None
    settings = ObjectiveSettings(both=False)
    once, coarse = (
        validate(network, [pair], settings, torch.device("cpu"), coarse=coarse, multiple=network.multiple)
        for coarse in (False, True)
    )
    with torch.no_grad():
        *_, (_, start, output) = looks(network, pair, True, network.multiple)
        plain = network(pair.moving, pair.fixed).field
    assert start is not None
    assert coarse.epe == pytest.approx(float(end_point_error(start.with_rest(output).forward, pair.truth)), rel=1e-4)
    assert once.epe == pytest.approx(float(end_point_error(plain, pair.truth)), rel=1e-4)
    assert coarse.epe != once.epe


def test_it_looks_as_the_weights_do_that_it_starts_from_unless_told(network: TrainedRAN) -> None:
    def decided(model: Any, **options: Any) -> bool:
        return looks_coarsely(model, ModelSettings(**options).coarse_looks)

    assert decided(network)
    assert not decided(load_network("hippocampus"))
    assert not decided(create_model("RAN0"))
    assert decided(create_model("RAN0"), coarse_looks="on")
    assert not decided(network, coarse_looks="off")
    assert ModelSettings(coarse_looks=True).coarse_looks == "on"  # type: ignore[arg-type]  # as YAML reads it


def test_a_training_looks_coarsely_from_its_first_validation_to_its_card(tmp_path: Any) -> None:
    def trained(name: str, looking: str) -> tuple[Any, list[Any]]:
        config = TrainConfig(
            model={"preset": "RAN0", "ndim": 2, "coarse_looks": looking},
            data={"generated": {"shapes": [[64, 64]]}},
            objective={"window": 5},
            validation={"every": 2, "pairs": 2},
            budget={"steps": 2},
        )
        events = list(fit(config, tmp_path / name))
        return load_network(tmp_path / name / "best.safetensors"), events

    for looking, expected in (("on", True), ("off", False), ("auto", True)):  # generated pairs are of many resolutions
        network, events = trained(looking, looking)
        assert network.card.coarse_looks == expected
        assert [type(event) for event in events].count(Validated) == 1
    on, off = (next(e for e in trained(f"again-{word}", word)[1] if isinstance(e, Validated)) for word in ("on", "off"))
    assert on.validation.loss != off.validation.loss


def test_held_out_figures_are_of_all_looks(network: TrainedRAN) -> None:
    config = PairConfig(shapes=(SHAPE,), peak=(0.2, 0.25), sliding=0.0, still=0.0)
    found = evaluate_model(network, config, 77, 1)
    made = generate_batch(config, 77, 0)
    pair = PairBatch(made.fixed, made.moving, (1.0,) * 3, truth=made.truth)
    wanted = validate(network, [pair], ObjectiveSettings(), torch.device("cpu"), coarse=True, multiple=16)
    assert found.epe == pytest.approx(wanted.epe or 0, rel=1e-4)
