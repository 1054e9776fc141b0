from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

import napari_ran as ran
from napari_ran import peers
from napari_ran.peers import PEERS, PeerError, run_peer
from napari_ran.transform import compose_to

SHIFT = np.array([[1.0, 0, 5], [0, 1, -3], [0, 0, 1]])
TURN = np.array([[0.996, -0.087, 4], [0.087, 0.996, 2], [0, 0, 1]])


@pytest.mark.parametrize("start", [SHIFT, TURN], ids=["shift", "turn"])
def test_demons_register_from_where_they_are_started(start: np.ndarray) -> None:
    made = ran.phantom_2d()
    grid = made.moving.grid
    elsewhere = ran.Image(made.moving.tensor, ran.Grid(grid.shape, start @ grid.affine), "moving")
    found = run_peer("demons", made.fixed, elsewhere, start, options={"iterations": 40})
    assert found.field.grid == made.fixed.grid
    whole = compose_to(found.field, np.linalg.inv(start), made.fixed.grid)
    before = made.slip(ran.DisplacementField.identity(made.truth.grid)).epe_mm
    assert made.slip(whole).epe_mm < 0.5 * before
    assert found.seconds > 0
    assert found.peak_bytes > 10 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PEERS if name != "demons"])
def test_every_installed_tool_finds_most_of_the_motion(name: str) -> None:
    if importlib.util.find_spec(PEERS[name].module) is None:
        pytest.skip(f"{name} is not installed")
    made = ran.sliding_phantom(shape=(64, 56, 48), seed=3)
    start = np.eye(4)
    start[:3, 3] = 6, -4, 3
    grid = made.moving.grid
    elsewhere = ran.Image(made.moving.tensor, ran.Grid(grid.shape, start @ grid.affine), "moving")
    found = run_peer(name, made.fixed, elsewhere, start)
    whole = compose_to(found.field, np.linalg.inv(start), made.fixed.grid)
    before = made.slip(ran.DisplacementField.identity(made.truth.grid)).epe_mm
    assert made.slip(whole).epe_mm < 0.8 * before


def test_tools_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ran.InputError, match=r"no tool 'demon'.*demons"):
        peers.check_peer("demon")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(ran.InputError, match="2 axes"):
        peers.check_peer("convexadam", 2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ran.InputError, match=r"not installed.*napari-ran\[peers\]"):
        peers.check_peer("ants-syn")


def test_a_crash_and_a_halt_are_told_in_the_tools_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ran.phantom_2d()
    with pytest.raises(PeerError, match=r"demons failed \(1\): .*unexpected keyword argument 'sigmas'"):
        run_peer("demons", made.fixed, made.moving, np.eye(3), options={"sigmas": 1})
    with pytest.raises(PeerError, match=r"demons was stopped after 0.2 s"):
        run_peer("demons", made.fixed, made.moving, np.eye(3), timeout=0.2)
    killed = tmp_path / "child.py"
    killed.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr(peers, "__file__", str(tmp_path / "__init__.py"))
    if sys.platform != "win32":
        with pytest.raises(PeerError, match=r"demons failed \(-9\): it said nothing"):
            run_peer("demons", made.fixed, made.moving, np.eye(3))


def test_closing_ends_the_tool() -> None:
    made = ran.phantom_2d()
    before = set(psutil.Process().children())
    steps = peers.peer_steps("demons", made.fixed, made.moving, np.eye(3), options={"iterations": 100_000})
    for seconds in steps:
        if seconds > 1:
            break
    (tool,) = set(psutil.Process().children()) - before
    steps.close()
    assert not tool.is_running()
