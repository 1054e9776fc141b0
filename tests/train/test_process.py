"""Training in a child process: real processes, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ran import InputError
from napari_ran.config import TrainConfig
from napari_ran.data import Grid, Image, Labels, Landmarks
from napari_ran.owners import running_process
from napari_ran.train import TrainFailed, TrainFinished, TrainNote, TrainPair, TrainStarted, TrainStep, Validated
from napari_ran.train.checkpoint import read_checkpoint
from napari_ran.train.events import Validation
from napari_ran.train.pairs import save_pairs
from napari_ran.train.process import TrainingProcess, history, spared_threads
from napari_ran.train.sources import find_sources
from napari_ran.train.wire import EVENTS, PARENT, command_in, decode, encode, straightened

Settings = Callable[..., TrainConfig]
MEASURED = Validation(1.0, 0.5, None, None, 2.0, 0.0, 3)


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")


def wait_for(run: TrainingProcess, kind: type, timeout: float = 90.0) -> list[object]:
    """Poll until an event of a kind has come, and return all events until then."""
    found: list[object] = []
    end = time.monotonic() + timeout
    while not any(isinstance(event, kind) for event in found):
        assert time.monotonic() < end, found
        assert not run.ended or found, run.state
        found += run.poll()
        time.sleep(0.01)
    return found


def test_events_survive_the_way(settings: Settings) -> None:
    events = [
        TrainStarted(settings(), 3, MEASURED),
        TrainStep(4, 1.5, float("inf"), {"similarity": 0.5}, 1.0, 1e-3, 0, 0.01),
        Validated(4, 1.6, MEASURED, True, Path("/a/best.safetensors")),
        TrainNote(4, "a note"),
        TrainFailed(4, "a fault"),
        TrainFinished(5, 2.0, "budget", Path("/a/b"), Path("/a/c")),
    ]
    assert [decode(encode(event)) for event in events] == events
    assert decode('{"event": "Unknown"}') is None
    assert decode('{"event": "TrainNo') is None


def test_a_line_that_is_no_text_is_passed_over(tmp_path: Path) -> None:
    first, second = TrainNote(1, "before"), TrainNote(2, "after")
    (tmp_path / EVENTS).write_bytes(b"\n".join([encode(first).encode(), b"\xff\xfe", encode(second).encode(), b""]))
    assert history(tmp_path) == [first, second]


def test_the_story_of_several_parts_is_one(settings: Settings) -> None:
    def step(number: int) -> TrainStep:
        return TrainStep(number, 1.0, 1.0, {}, 1.0, 1e-3, 0, 0.0)

    first = TrainStarted(settings(), 0, MEASURED)
    second = TrainStarted(settings(), 2, MEASURED)
    events = [first, step(1), step(2), step(3), TrainFailed(3, "gone"), second, step(3), step(4)]
    assert straightened(events) == [first, step(1), step(2), second, step(3), step(4)]
    third = TrainStarted(settings(), 1, MEASURED)  # the checkpoint of the second part was damaged
    assert straightened([*events, third]) == [first, step(1), third]


def test_pairs_from_memory_are_found_again_on_disk(tmp_path: Path, settings: Settings) -> None:
    grid = Grid.from_spacing((12, 14), (1.5, 2.0), (-20.0, 5.0))
    values = np.random.default_rng(0).random((12, 14)) * 300
    fixed, moving = Image(values, grid, "one"), Image(values[::-1].copy(), grid, "two")
    labels = Labels((values > 100).astype(int), grid)
    points = Landmarks.from_voxels([[3.0, 4.0], [5.0, 6.0]], grid)
    pairs = [TrainPair(fixed, moving, labels, labels, points, points), TrainPair(moving, fixed)]
    path = save_pairs(pairs, tmp_path / "pairs")
    assert len(list((tmp_path / "pairs").iterdir())) == 5  # each image, the labels, the points and the list, once
    data = {"source": "pairs", "path": str(path)}
    read = find_sources(settings(data=data), 2).validation
    held = find_sources(settings(data={"source": "pairs"}), 2, pairs=pairs).validation
    assert len(read) == len(held) == 2
    for one, two in zip(read, held, strict=True):
        assert np.allclose(one.fixed, two.fixed, atol=1e-5)
        assert np.allclose(one.moving, two.moving, atol=1e-5)
        assert one.spacing == pytest.approx(two.spacing)
    assert np.allclose(read[0].fixed_points[0], held[0].fixed_points[0], atol=1e-4)
    assert np.array_equal(read[0].fixed_labels, held[0].fixed_labels)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_training_is_started_paused_found_again_and_stopped(tmp_path: Path, settings: Settings) -> None:
    run = TrainingProcess.start(settings(budget={"steps": 100_000}), tmp_path)
    assert run.state == "starting"
    told = wait_for(run, Validated)
    assert isinstance(told[0], TrainStarted)
    assert run.state == "running"
    assert running_process(tmp_path) == run.pid
    with pytest.raises(InputError, match=rf"process {run.pid} is training"):
        TrainingProcess.start(settings(), tmp_path, resume=True)

    run.pause()
    time.sleep(1.0)
    run.poll()
    assert run.state == "paused"
    time.sleep(0.5)
    assert run.poll() == []

    found = TrainingProcess.attach(tmp_path)  # another viewer, later
    again = found.poll()
    assert isinstance(again[0], TrainStarted)
    assert found.state == "paused"
    assert found.pid == run.pid
    found.resume()
    wait_for(found, TrainStep)
    found.stop()
    assert found.wait() == "stopped"
    assert run.wait() == "stopped"
    end = history(tmp_path)[-1]
    assert isinstance(end, TrainFinished)
    assert end.reason == "closed"
    assert end.best.exists()
    assert read_checkpoint(end.last)["step"] == end.step
    assert run.pid is None


@pytest.mark.slow
def test_the_death_of_the_child_is_told_and_the_run_goes_on(tmp_path: Path, settings: Settings) -> None:
    config = settings(budget={"steps": 60})
    run = TrainingProcess.start(config, tmp_path)
    wait_for(run, Validated)
    found = TrainingProcess.attach(tmp_path)
    found.poll()
    run.kill()
    events = [*run.events()]
    assert isinstance(events[-1], TrainFailed)
    assert "ended unexpectedly by signal 9. It can be resumed." in events[-1].message
    assert found.wait() == "failed"
    with pytest.raises(InputError, match="holds a training already"):
        TrainingProcess.start(config, tmp_path)
    again = TrainingProcess.start(config, tmp_path, resume=True)
    rest = [*again.events()]
    assert isinstance(rest[0], TrainStarted)
    assert rest[0].steps_done >= 3
    assert again.state == "finished"
    steps = [event.step for event in history(tmp_path) if isinstance(event, TrainStep)]
    assert steps == list(range(1, 61))


@pytest.mark.slow
def test_a_fault_in_the_child_is_told_in_its_own_words(tmp_path: Path, settings: Settings) -> None:
    config = settings(data={"source": "folder", "path": str(tmp_path / "nowhere")})
    run = TrainingProcess.start(config, tmp_path / "run")
    (event,) = [*run.events()]
    assert isinstance(event, TrainFailed)
    assert "nowhere: there is no such file or folder" in event.message
    assert run.state == "failed"


def test_a_training_is_let_go_by_the_process_that_it_is_tied_to(tmp_path: Path) -> None:
    run = TrainingProcess(tmp_path)
    assert run.outlives
    run.let_go()
    assert command_in(tmp_path) == ""
    run.tie(False)
    assert not run.outlives
    (tmp_path / PARENT).write_text('{"pid": 1, "started": 0.0}')  # another viewer's, long gone
    run.let_go()
    assert command_in(tmp_path) == ""
    run.tie(True)
    assert run.outlives
    run.tie(False)
    run.let_go()
    assert command_in(tmp_path) == "stop"


def test_a_training_leaves_a_core_to_the_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    for cores, threads in ((1, 1), (2, 1), (6, 5), (16, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: range(cores), raising=False)
        assert spared_threads() == threads


@pytest.mark.slow
def test_a_training_ends_with_its_viewer_if_it_should(tmp_path: Path, settings: Settings) -> None:
    config = settings(budget={"steps": 100_000})
    config.to_yaml(tmp_path / "given.yaml")
    code = (
        "import sys, time\nfrom napari_ran.config import TrainConfig\n"
        "from napari_ran.train.process import TrainingProcess\n"
        "TrainingProcess.start(TrainConfig.from_yaml(sys.argv[1]), sys.argv[2], outlive=False)\ntime.sleep(600)\n"
    )
    viewer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "given.yaml"), str(tmp_path / "run")])
    end = time.monotonic() + 90
    while not (tmp_path / "run" / "last.ckpt").exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(viewer.pid, signal.SIGKILL)
    viewer.wait()
    found = TrainingProcess.attach(tmp_path / "run")
    assert found.wait() == "stopped"
    assert running_process(tmp_path / "run") is None
