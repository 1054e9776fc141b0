from __future__ import annotations

import csv
import math
from itertools import islice
from pathlib import Path

import pytest
import torch

from napari_ran import InputError
from napari_ran.config import RANConfig
from napari_ran.models import RAN, create_model
from napari_ran.synthetic import PairConfig, generate_batch
from napari_ran.train import TrainConfig, evaluate_model, fit
from napari_ran.train.engine import learning_rate, load_average, objective


def tiny(seed: int = 0) -> RAN:
    config = RANConfig.preset("RAN3", 2).replace(
        encoder_channels=(4, 4, 4, 4), decoder_channels=(4, 4, 4, 4, 4), skip_channels=4, heads=2
    )
    return create_model(config, seed=seed)


def settings(**changes: object) -> TrainConfig:
    values = {"steps": 6, "batch": 1, "warmup": 2, "validate_every": 3, "validation_pairs": 2, "ncc_window": 5}
    return TrainConfig(data=PairConfig(shapes=((16, 32),)), **(values | changes))


def test_events_log_and_checkpoints(tmp_path: Path) -> None:
    model = tiny()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    events = list(fit(model, settings(), tmp_path))
    assert [event.step for event in events] == [1, 2, 3, 4, 5, 6]
    assert [event.held_out is not None for event in events] == [False, False, True, False, False, True]
    assert all(math.isfinite(event.loss) and event.gradient > 0 for event in events)
    assert events[0].rate < events[1].rate
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0]["held_out_epe"] == ""
    assert events[2].held_out is not None
    assert float(rows[2]["held_out_epe"]) == pytest.approx(events[2].held_out.epe)
    assert {path.name for path in tmp_path.iterdir()} == {"log.csv", "last.pt", "best.pt"}
    average = load_average(tmp_path / "last.pt")["average"]
    assert all(torch.equal(value, average[name]) for name, value in model.state_dict().items())
    assert any(not torch.equal(value, before[name]) for name, value in average.items())


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = tiny()
    losses = [event.loss for event in fit(whole, settings(), tmp_path / "whole")]

    first = fit(tiny(), settings(), tmp_path / "parts")
    assert len(list(islice(first, 5))) == 5  # two steps beyond the checkpoint, then the process is gone
    del first
    second = tiny(seed=9)
    resumed = list(fit(second, settings(), tmp_path / "parts", resume=True))
    assert [event.step for event in resumed] == [4, 5, 6]
    assert [event.loss for event in resumed] == losses[3:]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    with (tmp_path / "parts" / "log.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5, 6]


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    list(fit(tiny(), settings(steps=1), tmp_path))
    with pytest.raises(InputError, match=r"folder.*exists already.*Resume"):
        next(fit(tiny(), settings(steps=1), tmp_path))


def test_steps_that_are_not_finite_are_skipped_and_counted(tmp_path: Path) -> None:
    model = tiny()
    run = fit(model, settings(steps=3, validate_every=99), tmp_path)
    next(run)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    handle = model.displacement.weight.register_hook(lambda gradient: gradient * math.inf)
    event = next(run)
    handle.remove()
    assert event.skipped == 1
    assert math.isnan(event.loss)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert math.isfinite(next(run).loss)


def test_a_checkpoint_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fit(tiny(), settings(), tmp_path)
    list(islice(run, 3))
    good = (tmp_path / "last.pt").read_bytes()

    def fails(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="no space"):
        list(run)
    assert (tmp_path / "last.pt").read_bytes() == good


def test_the_rate_warms_up_and_falls() -> None:
    config = settings(rate=1e-3, warmup=10, decay_from=0.5)
    assert learning_rate(config, 0, 0.0) == pytest.approx(1e-4)
    assert learning_rate(config, 50, 0.4) == pytest.approx(1e-3)
    assert learning_rate(config, 90, 0.75) == pytest.approx(1e-3 * 0.55)
    assert learning_rate(config, 100, 1.0) == pytest.approx(1e-4)


@pytest.mark.parametrize("shape", [(16, 32), (13, 21)])
def test_the_objective_is_smallest_at_the_truth_and_reaches_all_weights(shape: tuple[int, int]) -> None:
    config = settings()
    pair = generate_batch(PairConfig(shapes=(shape,), still=0.0), 0, 0)
    model = tiny()
    output = model(pair.moving, pair.fixed, keep_levels=True, both=False)
    loss, epe, _ = objective(output, pair, config)
    identity = torch.linalg.vector_norm(pair.truth, dim=1).mean()
    assert float(epe) == pytest.approx(float(identity), abs=0.1)  # a new network moves next to nothing
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())

    only = config.replace(supervised=1.0, similarity=0.0, smooth=0.0, levels=0.0)
    perfect = type(output)(pair.truth, None, output.levels)
    best, error, _ = objective(perfect, pair, only)
    assert float(error.detach()) == 0
    assert float(best.detach()) == pytest.approx(0.1, abs=1e-3)
    assert float(objective(output, pair, only)[0].detach()) > float(best.detach())


def test_held_out_figures_of_a_network_that_does_nothing_are_the_identity_s() -> None:
    model = tiny().train()
    for parameter in model.displacement.parameters():
        torch.nn.init.zeros_(parameter)
    found = evaluate_model(model, PairConfig(shapes=((16, 24),)), 3, 3)
    assert model.training
    assert found.epe == pytest.approx(found.epe_identity)
    assert found.dice == pytest.approx(found.dice_identity)
    assert found.epe_identity > 0
    assert found.folding_percent == 0
    assert found.better == 0
    assert found == evaluate_model(model, PairConfig(shapes=((16, 24),)), 3, 3)
