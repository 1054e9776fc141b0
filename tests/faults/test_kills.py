"""``kill -9`` and company: what a killed, doubled or hindered run leaves is whole, and the next run finishes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from faulty import disks, kills, samples
from faulty.forks import Forks

from napari_ran.cohort import read_outcomes

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="runs are forked, which this system cannot"),
]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as found:
        yield found


@pytest.fixture(scope="module")
def place(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> kills.Workplace:
    return kills.Workplace(tmp_path_factory.mktemp("workplace"), forks)


def test_a_registration_that_is_killed(place: kills.Workplace, tmp_path: Path) -> None:
    whole = place.forks.run(*place.command("other", tmp_path / "out"), within=str(tmp_path))
    last = whole.operations
    moments = [(last // 3, None), (last - 1, None), (last, None), (None, 0.6 * whole.seconds)]
    found = kills.register_killed(place, tmp_path / "killed", moments)
    assert found.faults == []
    assert found.tried == 4


def test_a_pair_that_is_killed_has_the_record_of_its_files(place: kills.Workplace, tmp_path: Path) -> None:
    found = kills.pair_killed(place, tmp_path, [20, 45, 60])
    assert found.faults == []
    assert found.tried == 3


def test_a_training_that_is_killed(forks: Forks, tmp_path: Path) -> None:
    found = kills.train_killed(forks, tmp_path, [(7, None), (30, None), (55, None), (None, 0.3)])
    assert found.faults == []
    assert found.tried == 4


def test_two_at_once(place: kills.Workplace, tmp_path: Path) -> None:
    assert kills.register_twice(place, tmp_path / "registered", 2, Random(0)).faults == []
    assert kills.train_twice(place.forks, tmp_path / "trained", 2, Random(0)).faults == []


def test_disks_without_space_or_permission(place: kills.Workplace, tmp_path: Path) -> None:
    try:
        with disks.small_disk(tmp_path / "disk") as disk:
            assert disks.disk_full(place, disk, ["register", "apply", "export"], 2, Random(0)).faults == []
            assert disks.training_on_a_full_disk(place.forks, tmp_path, disk, 2, Random(1)).faults == []
            assert disks.disk_read_only(place, disk, ["register", "apply", "export"]).faults == []
    except disks.CannotMount as reason:
        pytest.skip(f"no small disk can be mounted here: {reason}")


def test_a_batch_that_is_killed_and_a_second_one(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    kills.QUICK.to_yaml(tmp_path / "quick.yaml")
    out, listed = tmp_path / "out", samples.cases_file(tmp_path, "cases.csv", 8)
    command = [sys.executable, "-m", "napari_ran.cli", "batch", str(listed), "-o", str(out)]
    command += ["--config", str(tmp_path / "quick.yaml"), "--workers", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    batch = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while time.monotonic() < end and not (out / "pairs.csv").exists():
        time.sleep(0.01)
    second = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=120)
    assert second.returncode == 2
    assert f"process {batch.pid} is registering a cohort in" in second.stderr
    time.sleep(0.5)
    os.kill(batch.pid, signal.SIGKILL)
    batch.wait()
    kept = {path: path.stat().st_mtime_ns for path in (out / "pairs").glob("*/pair.json")}
    assert kept
    again = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False, timeout=300)
    assert again.returncode == 0, again.stderr
    assert [row["status"] for row in read_outcomes(out)] == ["done"] * 8
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # what was finished is not made again
    assert kills.left_behind(out) == ""
