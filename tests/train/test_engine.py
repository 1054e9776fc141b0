from __future__ import annotations

import csv
import errno
import math
import os
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_ran import InputError
from napari_ran.config import TrainConfig
from napari_ran.config.training import BudgetSettings, ModelSettings
from napari_ran.io.checkpoints import load_network, load_weights
from napari_ran.models import RAN, Ablation, VoxelMorph, create_model, create_system
from napari_ran.synthetic.generator import generate_batch
from napari_ran.train import (
    TrainFinished,
    TrainNote,
    TrainStarted,
    TrainStep,
    Validated,
    evaluate_model,
    fit,
)
from napari_ran.train.checkpoint import read_checkpoint
from napari_ran.train.engine import _clock_for
from napari_ran.train.keeping import card_of, kept_pair, snapshots
from napari_ran.train.launch import network_for
from napari_ran.train.optimisation import learning_rate
from napari_ran.train.sources import find_sources
from napari_ran.train.validation import validate

Settings = Callable[..., TrainConfig]


def of(kind: type, events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def tiny(settings: Settings, seed: int = 0) -> RAN:
    structure = settings().model.structure
    assert structure is not None
    return create_model(structure, seed=seed)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_events_logs_and_files(tmp_path: Path, settings: Settings) -> None:
    events = list(fit(settings(validation={"snapshots": 4}), tmp_path))
    started, *rest = events
    assert isinstance(started, TrainStarted)
    assert started.steps_done == 0
    assert started.identity.pairs == 2
    assert started.identity.epe is not None
    assert started.identity.epe > 0
    steps, checks = of(TrainStep, rest), of(Validated, rest)
    assert [event.step for event in steps] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in checks] == [3, 6]
    assert all(math.isfinite(event.loss) and event.gradient > 0 for event in steps)
    assert all(set(event.terms) == {"similarity", "smooth", "field"} for event in steps)
    assert steps[0].rate < steps[1].rate
    end = rest[-1]
    assert isinstance(end, TrainFinished)
    assert (end.step, end.reason) == (6, "budget")

    assert [int(row["step"]) for row in rows_of(tmp_path / "log.csv")] == [1, 2, 3, 4, 5, 6]
    measured = rows_of(tmp_path / "validation.csv")
    assert [row["kind"] for row in measured[:2]] == ["identity", "best"]
    assert float(measured[2]["epe"]) == pytest.approx(checks[1].validation.epe)
    assert TrainConfig.from_yaml(tmp_path / "config.yaml") == started.config
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"log.csv", "validation.csv", "last.ckpt", "previous.ckpt", "best.safetensors", "config.yaml"}
    assert "run.lock" not in names
    assert list(snapshots(tmp_path)) == [0, 3, 6]
    assert [load_weights(path).card.steps for path in snapshots(tmp_path).values()] == [0, 3, 6]
    pair, grid = kept_pair(tmp_path)
    assert pair.fixed.shape == pair.moving.shape == (1, 1, *grid.shape)
    output = load_weights(snapshots(tmp_path)[6])(pair.moving, pair.fixed)
    assert float(output.field.detach().abs().max()) > 0


def test_the_best_weights_are_the_averaged_ones_with_their_card(tmp_path: Path, settings: Settings) -> None:
    model = tiny(settings)
    events = list(fit(settings(name="mine"), tmp_path, model=model))
    kept = load_weights(tmp_path / "best.safetensors")
    assert kept.card.name == "mine"
    assert kept.card.steps == [event.step for event in of(Validated, events) if event.best][-1]
    assert TrainConfig(**kept.card.recipe) == settings(name="mine")
    average = read_checkpoint(tmp_path / "last.ckpt")["average"]
    assert all(torch.equal(value, average[name]) for name, value in model.state_dict().items())


def test_equal_settings_give_equal_runs(tmp_path: Path, settings: Settings) -> None:
    crop = {"crop": [16, 16], "intensity": 0.2, "noise": 0.05, "flips": [0, 1]}
    config = settings(augment=crop, budget={"steps": 3})
    first, second = (list(fit(config, tmp_path / name)) for name in "ab")
    assert [event.loss for event in of(TrainStep, first)] == [event.loss for event in of(TrainStep, second)]
    other = of(TrainStep, list(fit(config.replace(seed=1), tmp_path / "c")))
    assert other[0].loss != of(TrainStep, first)[0].loss


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, settings: Settings) -> None:
    whole = of(TrainStep, list(fit(settings(), tmp_path / "whole")))
    first = fit(settings(), tmp_path / "parts")
    taken = list(islice(first, 6))  # started, three steps, a validation, one step beyond the checkpoint
    assert taken[-1].step == 4
    first.close()  # which writes a checkpoint
    resumed = list(fit(settings(), tmp_path / "parts", resume=True))
    assert resumed[0].steps_done == 4
    assert [event.step for event in of(TrainStep, resumed)] == [5, 6]
    assert [event.loss for event in of(TrainStep, resumed)] == [event.loss for event in whole[4:]]
    one, two = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "parts"))
    for part in ("model", "average"):
        for name, value in one[part].items():
            assert torch.equal(value, two[part][name]), name
    assert [int(row["step"]) for row in rows_of(tmp_path / "parts" / "log.csv")] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows_of(tmp_path / "parts" / "validation.csv")] == ["0", "3", "6"]


def test_a_run_is_not_overwritten_or_run_twice(tmp_path: Path, settings: Settings) -> None:
    run = fit(settings(), tmp_path)
    next(run)
    with pytest.raises(InputError, match=rf"folder: process {os.getpid()} is training in"):
        next(fit(settings(), tmp_path, resume=True))
    list(run)
    with pytest.raises(InputError, match=r"folder.*holds a training already.*Resume"):
        next(fit(settings(), tmp_path))


def test_a_damaged_checkpoint_falls_back_on_the_one_before(tmp_path: Path, settings: Settings) -> None:
    whole = of(TrainStep, list(fit(settings(), tmp_path)))
    last = tmp_path / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    events = list(fit(settings(), tmp_path, resume=True))
    assert events[0].steps_done == 3
    (note,) = of(TrainNote, events)
    assert "last.ckpt: the checkpoint is damaged" in note.message
    assert "Going on from previous.ckpt instead, which is of step 3" in note.message
    assert [event.loss for event in of(TrainStep, events)] == [event.loss for event in whole[3:]]
    for name in ("last.ckpt", "previous.ckpt"):
        (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no checkpoint in .* can be read \(last.ckpt and previous.ckpt"):
        next(fit(settings(), tmp_path, resume=True))


def test_a_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fit(settings(), tmp_path)
    list(islice(run, 5))
    next(run)
    good = (tmp_path / "last.ckpt").read_bytes()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("napari_ran.writing.os.fsync", full)
    rest = list(run)
    assert isinstance(rest[-1], TrainFinished)
    assert any("No space left" in note.message and "one before is kept" in note.message for note in of(TrainNote, rest))
    assert (tmp_path / "last.ckpt").read_bytes() == good
    assert not list(tmp_path.glob("*.part"))


def test_steps_that_are_not_finite_are_skipped_and_counted(tmp_path: Path, settings: Settings) -> None:
    model = tiny(settings)
    run = fit(settings(validation={"every": 99}), tmp_path, model=model)
    list(islice(run, 2))
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    handle = model.displacement.weight.register_hook(lambda gradient: gradient * math.inf)
    event = next(run)
    handle.remove()
    assert isinstance(event, TrainStep)
    assert event.skipped == 1
    assert math.isnan(event.loss)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    after = next(run)
    assert isinstance(after, TrainStep)
    assert math.isfinite(after.loss)


def test_a_diverging_run_ends_with_a_sentence(tmp_path: Path, settings: Settings) -> None:
    model = tiny(settings)
    model.displacement.weight.register_hook(lambda gradient: gradient * math.nan)
    run = fit(settings(optimiser={"not_finite": 2}), tmp_path, model=model)
    with pytest.raises(InputError, match=r"the training diverged: 2 steps in a row up to step 2.*Lower the rate"):
        list(run)


def test_early_stop(tmp_path: Path, settings: Settings) -> None:
    config = settings(optimiser={"rate": 1e-12}, validation={"every": 1, "patience": 2}, budget={"steps": 50})
    end = list(fit(config, tmp_path))[-1]
    assert isinstance(end, TrainFinished)
    assert end.reason == "early stop"
    assert end.step < 50


def test_another_network_s_checkpoint_and_changed_settings(tmp_path: Path, settings: Settings) -> None:
    list(fit(settings(budget={"steps": 3}), tmp_path))
    changed = settings(objective={"smooth": 2.0})
    notes = of(TrainNote, list(fit(changed, tmp_path, resume=True)))
    assert [note.message for note in notes] == [
        "Going on with settings that differ from those of the first part: objective."
    ]
    structure = settings().model.structure
    assert structure is not None
    other = settings(model={"structure": structure.replace(heads=3).to_dict()})
    with pytest.raises(InputError, match=r"folder: its checkpoint is of another network"):
        next(fit(other, tmp_path, resume=True))


def test_passes_add_up_to_a_batch(tmp_path: Path, settings: Settings) -> None:
    batch = of(TrainStep, list(fit(settings(optimiser={"batch": 2}, budget={"steps": 2}), tmp_path / "a")))
    passes = of(TrainStep, list(fit(settings(optimiser={"accumulate": 2}, budget={"steps": 2}), tmp_path / "b")))
    for one, two in zip(batch, passes, strict=True):
        assert one.loss == pytest.approx(two.loss, rel=1e-5)
        assert one.gradient == pytest.approx(two.gradient, rel=1e-4)


def test_half_precision_steps_are_close_to_full_ones(tmp_path: Path, settings: Settings) -> None:
    full, half = (
        of(TrainStep, list(fit(settings(compute={"precision": name}, budget={"steps": 1}), tmp_path / name)))[0]
        for name in ("fp32", "bf16")
    )
    assert half.loss == pytest.approx(full.loss, rel=0.02)
    assert half.loss != full.loss
    with pytest.raises(InputError, match=r"compute.precision: fp16 is slow"):
        next(fit(settings(compute={"precision": "fp16", "device": "cpu"}), tmp_path / "fp16"))


def test_the_rate_warms_up_and_falls(settings: Settings) -> None:
    config = settings(optimiser={"rate": 1e-3, "warmup": 10, "decay_from": 0.5})
    assert learning_rate(config, 0, 0.0) == pytest.approx(1e-4)
    assert learning_rate(config, 50, 0.4) == pytest.approx(1e-3)
    assert learning_rate(config, 90, 0.75) == pytest.approx(1e-3 * 0.55)
    assert learning_rate(config, 100, 1.0) == pytest.approx(1e-4)


def test_held_out_figures_of_a_network_that_does_nothing_are_the_identity_s(settings: Settings) -> None:
    model = tiny(settings).train()
    for parameter in model.displacement.parameters():
        torch.nn.init.zeros_(parameter)
    data = settings().data.generated.replace(shapes=((16, 24),))
    found = evaluate_model(model, data, 3, 3)
    assert model.training
    assert found.epe == pytest.approx(found.epe_identity)
    assert found.dice == pytest.approx(found.dice_identity)
    assert found.epe_identity > 0
    assert found.folding_percent == 0
    assert found.better == 0
    assert found == evaluate_model(model, data, 3, 3)


def test_trained_weights_are_measured_before_they_are_changed(tmp_path: Path, settings: Settings) -> None:
    list(fit(settings(), tmp_path / "first"))
    start = tmp_path / "first" / "best.safetensors"
    config = settings(model={"start": str(start), "hold": ()}, optimiser={"rate": 10.0, "warmup": 0})  # it gets worse
    events = list(fit(config, tmp_path / "second"))
    before = of(Validated, events)[0]
    assert (before.step, before.best) == (0, True)
    assert of(Validated, events)[-1].validation.epe > before.validation.epe
    kept, given = load_weights(tmp_path / "second" / "best.safetensors"), load_weights(start)
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in kept.state_dict().items())
    assert [row["step"] for row in rows_of(tmp_path / "second" / "validation.csv")] == ["0", "0", "3", "6"]


def test_what_was_trained_on_many_resolutions_looks_coarsely_and_what_starts_from_it(
    tmp_path: Path, settings: Settings
) -> None:
    generated = settings()
    found = of(Validated, list(fit(generated, tmp_path)))[0].validation
    real = generated.replace(data={"source": "folder", "path": "images"})
    from_generated = load_weights(tmp_path / "best.safetensors")
    assert from_generated.card.coarse_looks
    for network, config, expected in (
        (tiny(settings), generated, True),
        (tiny(settings), real, False),
        (from_generated, real, True),
        (load_network("hippocampus"), real, False),
    ):
        assert card_of(network, config, 1, 1.0, found).coarse_looks == expected


@pytest.mark.parametrize("ndim", [2, 3])
def test_auto_starts_from_the_general_model(ndim: Any) -> None:
    network = network_for(ModelSettings(start="auto", ndim=ndim), 0)
    assert network.card.name == f"general-{ndim}d"


def test_the_part_before_is_missed(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match="start from the weights of the part before them"):
        next(fit(settings(model={"start": "previous"}), tmp_path))


@pytest.mark.parametrize("name", ["VM1", "DPRn", "RAN3 with one head"])
def test_any_system_of_the_table_can_be_trained_by_its_name(tmp_path: Path, settings: Settings, name: str) -> None:
    config = settings(model={"preset": name, "ndim": 2, "structure": None}, budget={"steps": 2})
    events = list(fit(config, tmp_path))
    assert of(TrainFinished, events)[0].best == tmp_path / "best.safetensors"
    network = load_network(tmp_path / "best.safetensors")
    start = create_system(name, 2, config.seed).state_dict()
    changed = [key for key, value in network.state_dict().items() if not torch.equal(value, start[key])]
    assert len(changed) > 5
    assert network.card.preset == ("custom" if name.startswith("RAN") else name)
    more = config.replace(model=config.model.replace(start=str(tmp_path / "best.safetensors")))
    again = list(fit(more, tmp_path / "more"))
    assert of(Validated, again)[0].step == 0
    assert of(Validated, again)[0].validation.loss == pytest.approx(network.card.figures["loss"], abs=1e-4)


def test_the_first_levels_alone_can_be_trained(tmp_path: Path, settings: Settings) -> None:
    config = settings(model={"levels": 3, "structure": settings().model.structure, "hold": ()})
    model, start = tiny(settings), tiny(settings).state_dict()
    events = list(fit(config, tmp_path, model=model))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, start[name])}
    assert {"aligners.2.field_join.weight", "decoders.2.block.enter.weight"} <= changed
    later = ("decoders.3", "decoders.4", "aligners.3", "aligners.4", "displacement")
    assert not [name for name in changed if name.startswith(later)]

    pair = generate_batch(config.data.generated, 9, 0)
    field = model(pair.moving, pair.fixed, ablation=Ablation.after(3, 5)).field
    assert torch.equal(field[..., 0::4, 0::4], field[..., 3::4, 3::4])  # the grid of level 2
    epe = of(Validated, events)[-1].validation.epe  # of what is trained, not of all levels
    pairs = find_sources(config, 2).validation
    only = partial(model, ablation=Ablation.after(3, 5))
    assert epe == validate(only, pairs, config.objective, torch.device("cpu")).epe
    with pytest.raises(InputError, match=r"model.levels: the network has 5, got 6"):
        list(fit(config.replace(model=config.model.replace(levels=6)), tmp_path / "other"))
    with pytest.raises(InputError, match=r"model.levels: a VoxelMorph has no levels"):
        list(fit(config, tmp_path / "other", model=VoxelMorph(2)))


def test_held_parts_stay_as_they_are(tmp_path: Path, settings: Settings) -> None:
    config = settings(optimiser={"method": "muon", "rate": 2e-3}, budget={"steps": 2})
    config = config.replace(model=config.model.replace(hold=("displacement", "encoder.stages.0")))
    start, network = network_for(config.model, config.seed).state_dict(), network_for(config.model, config.seed)
    list(fit(config, tmp_path, model=network))
    for name, value in network.state_dict().items():
        held = name.startswith(("displacement", "encoder.stages.0"))
        assert torch.equal(value, start[name]) or not held, name
    moved = [name for name, value in network.state_dict().items() if not torch.equal(value, start[name])]
    assert len(moved) > 50
    with pytest.raises(InputError, match="no part 'decoder_x'"):
        list(fit(config.replace(model=config.model.replace(hold=("decoder_x",))), tmp_path / "other"))
    with pytest.raises(InputError, match="nothing is left"):
        list(fit(config.replace(model=config.model.replace(hold=("",))), tmp_path / "other"))


def test_a_budget_of_a_processors_minutes(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter(range(1000))
    monkeypatch.setattr("napari_ran.train.engine.time.process_time", lambda: float(next(used)))
    config = settings(budget={"steps": 50, "minutes": 0.1, "clock": "processor"}, validation={"every": 100})
    events = list(fit(config, tmp_path))
    *_, finished = events
    assert finished.reason == "budget"
    assert finished.step == 6  # a second passes between two looks at the clock


def test_a_processors_minutes_say_nothing_of_a_gpu() -> None:
    with pytest.raises(InputError, match=r"budget\.clock.*Set budget\.clock=wall"):
        _clock_for(BudgetSettings(clock="processor"), torch.device("cuda"))
