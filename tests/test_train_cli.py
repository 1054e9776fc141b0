"""``napari-ran train``: the settings file, what is shown, Ctrl-C and refusals."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from napari_ran import dashboard
from napari_ran.cli import main
from napari_ran.config import RANConfig, TrainConfig
from napari_ran.dashboard import Dashboard
from napari_ran.train import TrainFinished, TrainStep, Validated, fit
from napari_ran.train.process import TrainingProcess, history

TINY = RANConfig.preset("RAN3", 2).replace(
    encoder_channels=(4, 4, 4, 4), decoder_channels=(4, 4, 4, 4, 4), skip_channels=4, heads=2
)


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    settings = TrainConfig(
        name="small",
        model={"structure": TINY.to_dict()},
        data={"generated": {"shapes": [[16, 32]]}},
        validation={"every": 2, "pairs": 2},
        budget={"steps": 4},
    )
    settings.to_yaml(tmp_path / "train.yaml")
    return settings


@contextmanager
def in_a_terminal(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Train as ``long.yaml`` in a folder says, in a process that is gone at the end."""
    command = [sys.executable, "-m", "napari_ran.cli", "train", str(folder / "long.yaml"), "-o", str(folder / "run")]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def wait_for_checkpoint(run: Path) -> None:
    end = time.monotonic() + 90
    while not (run / "last.ckpt").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_training_from_a_file(
    tmp_path: Path, config: TrainConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "LINE_SECONDS", 0.0)
    command = ["train", str(tmp_path / "train.yaml"), "-o", str(tmp_path / "run")]
    assert main([*command, "--set", "optimiser.rate=0.001", "--set", "data.generated.still=0"]) == 0
    text = capsys.readouterr().err
    assert "Started at step 0. Objective" in text
    assert re.search(r"Step 3, 0:\d\d, 0:\d\d left: loss", text)
    assert re.search(r"Validation at step 2: Objective .* Dice 0\.\d+ \(identity 0\.\d+\)", text)
    assert "The budget is spent. The best weights are in" in text
    used = TrainConfig.from_yaml(tmp_path / "run" / "config.yaml")
    assert used.optimiser.rate == 0.001
    assert used.data.generated.still == 0
    assert used.data.generated.shapes == ((16, 32),)

    assert main(command) == 2
    assert "holds a training already. Give --resume" in capsys.readouterr().err
    assert main([*command, "--resume", "--set", "budget.steps=5", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 6
    told = history(tmp_path / "run")  # what the viewer shows of it: both parts as one
    assert [event.step for event in told if isinstance(event, TrainStep)] == [1, 2, 3, 4, 5]
    assert isinstance(told[-1], TrainFinished)


def test_a_training_of_two_parts_by_one_command(
    tmp_path: Path, config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, run = tmp_path / "train.yaml", tmp_path / "fine.yaml", tmp_path / "run"
    config.replace(name="fine", model={"start": "previous"}, budget={"steps": 2}).to_yaml(second)
    assert main(["train", str(second), str(first), "-o", str(run)]) == 2
    assert "fine.yaml starts from the weights of the part before it, and is the first" in capsys.readouterr().err
    assert main(["train", str(second), "-o", str(run)]) == 2
    assert not run.exists()

    command = ["train", str(first), str(second), "-o", str(run), "--quiet"]
    assert main(command) == 0
    coarse, fine = (TrainConfig.from_yaml(run / part / "config.yaml") for part in ("train", "fine"))
    assert coarse.model.start == "scratch"
    assert fine.model.start == str(run / "train" / "best.safetensors")
    start = next(event for event in history(run / "fine") if isinstance(event, Validated))
    kept = [event for event in history(run / "train") if isinstance(event, Validated) and event.best][-1]
    assert start.step == 0
    assert start.validation.loss == pytest.approx(kept.validation.loss, rel=1e-3)

    assert main(command) == 2
    assert "train holds a training already" in capsys.readouterr().err
    assert main([*command, "--resume", "--set", "budget.steps=5"]) == 0
    assert [history(run / part)[-1].step for part in ("train", "fine")] == [5, 5]
    (tmp_path / "other").mkdir()
    second.rename(tmp_path / "other" / "train.yaml")
    assert main(["train", str(first), str(tmp_path / "other" / "train.yaml"), "-o", str(tmp_path / "new")]) == 2
    assert "two files are called train" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_in_a_terminal_can_be_watched_and_stopped_from_the_viewer(
    tmp_path: Path, config: TrainConfig
) -> None:
    config.replace(budget={"steps": 100_000}).to_yaml(tmp_path / "long.yaml")
    with in_a_terminal(tmp_path) as child:
        wait_for_checkpoint(tmp_path / "run")
        run = TrainingProcess.attach(tmp_path / "run")
        assert run.pid == child.pid
        run.pause()
        time.sleep(1.0)
        before = len(history(tmp_path / "run"))
        time.sleep(1.0)
        assert len(history(tmp_path / "run")) == before
        run.stop()
        assert run.wait() == "stopped"
        assert "Go on with --resume" in child.communicate(timeout=60)[1]
    (tmp_path / "run" / "command").write_text("stop")  # an earlier part's, which does not count for the next
    more = ["--resume", "--set", f"budget.steps={history(tmp_path / 'run')[-1].step + 2}"]
    assert main(["train", str(tmp_path / "long.yaml"), "-o", str(tmp_path / "run"), "--quiet", *more]) == 0
    assert TrainingProcess.attach(tmp_path / "run").wait() == "finished"


def test_bad_files_are_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, words in {
        "version: 9\nnew: 1": "version: these settings are of version 9, and this napari-ran knows versions up to 1",
        "optimiser: {rat: 1}": "optimiser.rat: unknown key of OptimiserSettings. Did you mean 'rate'?",
        "data: {source: folder}": "data.path: the source 'folder' has no path",
        "objective: {similarity: 0}": "objective.similarity: nothing draws the images together",
    }.items():
        (tmp_path / "bad.yaml").write_text(text)
        assert main(["train", str(tmp_path / "bad.yaml"), "-o", str(tmp_path / "run")]) == 2
        error = capsys.readouterr().err
        assert words in error.replace("\n", " ")
        assert "Traceback" not in error


def test_the_dashboard_shows_everything_against_the_identity(tmp_path: Path, config: TrainConfig) -> None:
    console = Console(file=io.StringIO(), width=110, force_terminal=True, color_system=None)
    board = Dashboard(console, config)
    console.print(board)  # before anything has come
    for event in fit(config, tmp_path / "run"):
        board.take(event)
        console.print(board)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"small +step 4 .* 0:\d\d +0:00 left", text)
    assert re.search(r"loss [\d.]+  similarity [\d.]+  smooth", text)
    row = next(line for line in reversed(text.splitlines()) if "Dice" in line)
    assert len(re.findall(r"0\.\d{4}", row)) == 3
    assert board.share == 1


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_and_the_run_goes_on(tmp_path: Path, config: TrainConfig) -> None:
    config.replace(budget={"steps": 100_000}).to_yaml(tmp_path / "long.yaml")
    with in_a_terminal(tmp_path) as child:
        wait_for_checkpoint(tmp_path / "run")
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Stopped. The best weights are in" in error
    assert "Go on with --resume" in error
    assert "Traceback" not in error
    assert (tmp_path / "run" / "best.safetensors").exists()
    assert not (tmp_path / "run" / "run.lock").exists()
