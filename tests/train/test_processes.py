"""What only real processes show: several of them training one network, and one that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_ran.config import TrainConfig
from napari_ran.train import TrainNote, TrainStep, fit
from napari_ran.train.checkpoint import read_checkpoint
from napari_ran.train.launch import network_for

pytestmark = pytest.mark.slow

Settings = Callable[..., TrainConfig]

SCRIPT = """
import os, sys, torch
from napari_ran.config import TrainConfig
from napari_ran.train import TrainStep, fit
from napari_ran.train.launch import network_for
config, folder = TrainConfig.from_yaml(sys.argv[1]), sys.argv[2]
model = network_for(config.model, config.seed)
for event in fit(config, folder, model=model):
    if isinstance(event, TrainStep) and event.step == 1 and os.environ.get("RANK", "0") == "0":
        torch.save({name: value.grad for name, value in model.named_parameters()}, folder + "/gradients.pt")
"""


def environment() -> dict[str, str]:
    """Sums come out alike to the last bit only with the same number of threads in every process."""
    return os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "OMP_WAIT_POLICY": "passive"}


def script_in(folder: Path, config: TrainConfig) -> list[str]:
    config.to_yaml(folder / "given.yaml")
    (folder / "train.py").write_text(SCRIPT)
    return [str(folder / "train.py"), str(folder / "given.yaml")]


def test_two_processes_are_one_with_the_doubled_batch(tmp_path: Path, settings: Settings) -> None:
    every = {"similarity": 1.0, "dice": 0.5, "folding": 0.1, "inverse": 0.1, "foreground": 0.3, "both": True}
    config = settings(objective=every, optimiser={"accumulate": 2}, budget={"steps": 3})
    (tmp_path / "two").mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29517"]
    done = subprocess.run(
        [*command, *script_in(tmp_path, config), str(tmp_path / "two")],
        env=environment(), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]

    doubled = config.replace(optimiser={"batch": 2})
    model = network_for(doubled.model, doubled.seed)
    gradients: dict[str, torch.Tensor] = {}
    steps = []
    for event in fit(doubled, tmp_path / "one", model=model):
        if isinstance(event, TrainStep):
            steps.append(event)
            if event.step == 1:
                gradients = {name: value.grad.clone() for name, value in model.named_parameters()}  # type: ignore[union-attr]
    found = torch.load(tmp_path / "two" / "gradients.pt", weights_only=True)
    assert set(found) == set(gradients)
    largest = max(float(value.abs().max()) for value in gradients.values())
    for name, value in gradients.items():
        assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-5 * largest), name
    rows = [line.split(",") for line in (tmp_path / "two" / "log.csv").read_text().splitlines()]
    assert len(rows) == 4  # written once, not by each process
    for row, step in zip(rows[1:], steps, strict=True):
        assert float(row[2]) == pytest.approx(step.loss, rel=1e-3)
    one, two = ((tmp_path / name / "validation.csv").read_text().splitlines()[1] for name in ("one", "two"))
    figures = [[float(value) for value in line.split(",")[3:] if value] for line in (one, two)]
    assert figures[0] == pytest.approx(figures[1])


@pytest.mark.parametrize("patience", [0.0, 0.35])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path: Path, settings: Settings, patience: float) -> None:
    config = settings(
        augment={"crop": [16, 16], "flips": [0], "intensity": 0.1},
        validation={"every": 4, "save_every": 2},
        budget={"steps": 24},
    )
    folder = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, *script_in(tmp_path, config), str(folder)], env=environment())
    log = folder / "log.csv"
    end = time.monotonic() + 120
    while time.monotonic() < end and (not log.exists() or len(log.read_text().splitlines()) < 6):
        time.sleep(0.005)
    time.sleep(patience)  # in the middle of anything: a step, a validation, a checkpoint
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert (folder / "run.lock").exists()  # it had no time to take it away

    events = list(fit(config, folder, resume=True))
    assert not [event for event in events if isinstance(event, TrainNote)]
    whole = [event for event in fit(config, tmp_path / "whole") if isinstance(event, TrainStep)]
    resumed = [event for event in events if isinstance(event, TrainStep)]
    assert 2 <= resumed[0].step - 1 < 24
    assert [event.loss for event in resumed] == [event.loss for event in whole[resumed[0].step - 1 :]]
    one, two = (read_checkpoint(path / "last.ckpt") for path in (folder, tmp_path / "whole"))
    for part in ("model", "average"):
        for name, value in one[part].items():
            assert torch.equal(value, two[part][name]), name
    assert [int(line.split(",")[0]) for line in log.read_text().splitlines()[1:]] == list(range(1, 25))
