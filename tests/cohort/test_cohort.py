"""Cohorts on real Dask workers of this machine: finished, failed, killed and resumed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import napari_ran as ran
from napari_ran.cases import Case, read_cases
from napari_ran.cli import main
from napari_ran.cohort import ClusterConfig, CohortStep, finished_outcome, read_outcomes, register_case, register_cohort
from napari_ran.cohort.pair import RECORD
from napari_ran.steps import last

pytest.importorskip("distributed")

QUICK = ran.RegistrationConfig(weights="none", affine="none", device="cpu").replace(
    instance={"steps": 5, "search": 2, "levels": 1}
)


@pytest.fixture
def pairs(listed: Path) -> Callable[[int], Path]:
    """Write a list of so many equal pairs."""

    def make(count: int) -> Path:
        with listed.open(encoding="utf-8") as file:
            row = next(csv.DictReader(file))
        del row["field"]
        path = listed.parent / "pairs.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows({**row, "name": f"pair {number}"} for number in range(count))
        return path

    return make


def test_a_pair_has_results_figures_and_provenance(pairs: Callable[[int], Path], tmp_path: Path) -> None:
    (case,) = read_cases(pairs(1))
    outcome = register_case(case, tmp_path / "out", QUICK, threads=1)
    folder = Path(outcome.folder)
    assert outcome.status == "done"
    assert outcome.score is not None
    assert outcome.score.mean("dice") > outcome.score.mean("dice_before")  # type: ignore[operator]
    assert {"warped.nii.gz", "field.h5", "report.json", "settings.yaml", RECORD} <= {p.name for p in folder.iterdir()}
    record = json.loads((folder / RECORD).read_text())
    assert set(record["provenance"]["files"]) == {
        f"{side}{kind}" for side in ("fixed", "moving") for kind in ("", "_labels", "_landmarks")
    }
    assert len(record["provenance"]["files"]["fixed"]["sha256"]) == 64
    assert finished_outcome(case, tmp_path / "out", QUICK) == outcome
    assert finished_outcome(case, tmp_path / "out", QUICK.replace(intensity="minmax")) is None
    os.utime(case.fixed, (1, 1))
    assert finished_outcome(case, tmp_path / "out", QUICK) is None


def test_bad_input_is_an_outcome_and_is_not_tried_again(pairs: Callable[[int], Path], tmp_path: Path) -> None:
    (case,) = read_cases(pairs(1))
    case.moving.write_bytes(b"no image")
    outcome = register_case(case, tmp_path / "out", QUICK)
    assert (outcome.status, outcome.again) == ("failed", False)
    assert case.moving.name in outcome.reason
    assert finished_outcome(case, tmp_path / "out", QUICK) is None


def test_a_cohort_on_two_workers_one_of_which_is_killed(pairs: Callable[[int], Path], tmp_path: Path) -> None:
    from distributed import Client

    cases, out = read_cases(pairs(6)), tmp_path / "out"
    killed: list[int] = []
    steps: list[CohortStep] = []

    def watch(step: CohortStep) -> None:
        steps.append(step)
        if not killed and step.done >= 1:
            killed.append(Client.current().run(os.getpid).popitem()[1])
            os.kill(killed[0], signal.SIGKILL)

    outcomes = last(register_cohort(cases, out, QUICK, ClusterConfig(workers=2)), watch)
    assert killed
    assert [one.name for one in outcomes] == [case.name for case in cases]
    assert {one.status for one in outcomes} == {"done"}
    assert steps[-1].done == 6
    rows = read_outcomes(out)
    assert [row["status"] for row in rows] == ["done"] * 6
    assert all((Path(row["folder"]) / "warped.nii.gz").is_file() for row in rows)
    assert float(rows[0]["dice"]) > 0
    assert (out / "summary.md").is_file()
    assert len({one.score.mean("dice") for one in outcomes if one.score}) == 1  # the same pair everywhere


def test_what_is_finished_is_kept_and_failures_are_tried_again(pairs: Callable[[int], Path], tmp_path: Path) -> None:
    path, out = pairs(3), tmp_path / "out"
    cases = read_cases(path)
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    cases[1] = Case(cases[1].name, cases[1].fixed, broken)
    outcomes = last(register_cohort(cases, out, QUICK, ClusterConfig(workers=1)))
    assert [one.status for one in outcomes] == ["done", "failed", "done"]
    assert "broken.nii.gz" in read_outcomes(out)[1]["reason"]
    between = time.time_ns()
    shutil.copy(cases[0].moving, broken)
    steps: list[CohortStep] = []
    again = last(register_cohort(cases, out, QUICK, ClusterConfig(workers=1)), steps.append)
    assert steps[0].message == "2 of 3 were finished before"
    assert [step.outcome.name for step in steps if step.outcome] == ["pair 1"]
    assert {one.status for one in again} == {"done"}
    kept = [Path(one.folder, RECORD).stat().st_mtime_ns for one in again]
    assert kept[0] < between < kept[1]
    assert [step.done for step in register_cohort(cases, out, QUICK)] == [3]  # no workers are started


def test_closing_stops_the_workers_and_keeps_what_is_finished(pairs: Callable[[int], Path], tmp_path: Path) -> None:
    import psutil

    cases, out = read_cases(pairs(4)), tmp_path / "out"
    run = register_cohort(cases, out, QUICK, ClusterConfig(workers=1))
    for step in run:
        if step.done:
            break
    run.close()
    assert len(read_outcomes(out)) == step.done
    children = psutil.Process().children(recursive=True)
    names = [" ".join(one.cmdline()) for one in children if one.status() != psutil.STATUS_ZOMBIE]  # those have ended
    assert not [name for name in names if "multiprocessing.spawn" in name]


def test_what_cannot_be_is_refused(pairs: Callable[[int], Path], tmp_path: Path) -> None:
    cases = read_cases(pairs(2))
    same = [Case(name, cases[0].fixed, cases[0].moving) for name in ("a", "A")]
    with pytest.raises(ran.InputError, match="one folder"):
        last(register_cohort(same, tmp_path / "out", QUICK))
    with pytest.raises(ran.InputError, match="neither an address nor a file"):
        ClusterConfig.of("my-cluster", None)
    with pytest.raises(ran.InputError, match="its own workers"):
        ClusterConfig.of("tcp://127.0.0.1:1", 2)
    with pytest.raises(ran.InputError, match="not the table of a cohort"):
        read_outcomes(pairs(1))
    with pytest.raises(ran.InputError, match="cannot be read"):
        read_outcomes(tmp_path / "gone")


def test_a_scheduler_that_does_not_answer(
    pairs: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_ran.cohort.clusters.CONNECTING", 1)
    with pytest.raises(ran.InputError, match="no scheduler answers at tcp"):
        last(
            register_cohort(read_cases(pairs(1)), tmp_path / "out", QUICK, ClusterConfig(scheduler="tcp://127.0.0.1:9"))
        )


def test_a_scheduler_that_runs_already(pairs: Callable[[int], Path], tmp_path: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        config = ClusterConfig.of(cluster.scheduler_address, None)
        outcomes = last(register_cohort(read_cases(pairs(2)), tmp_path / "out", QUICK, config))
        assert {one.status for one in outcomes} == {"done"}
        assert cluster.scheduler_info["workers"]  # it is not ours to end


def test_a_queue_of_a_cluster(pairs: Callable[[int], Path], tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    settings = tmp_path / "queue.yaml"
    settings.write_text("queue: local\nworkers: 1\noptions: {cores: 1, memory: 2GB, log_directory: null}\n")
    outcomes = last(
        register_cohort(read_cases(pairs(1)), tmp_path / "out", QUICK, ClusterConfig.of(str(settings), None))
    )
    assert outcomes[0].status == "done"
    settings.write_text("queue: local\noptions: {colour: red}\n")
    with pytest.raises(ran.InputError, match="refuses"):
        last(register_cohort(read_cases(pairs(1)), tmp_path / "other", QUICK, ClusterConfig.of(str(settings), None)))


def test_the_command(pairs: Callable[[int], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "quick.yaml"
    QUICK.to_yaml(settings)
    call = ["batch", str(pairs(2)), "-o", str(tmp_path / "out"), "--config", str(settings), "--workers", "1"]
    assert main(call) == 0
    captured = capsys.readouterr()
    assert "2 of 2 pairs registered" in captured.out
    assert "can be watched at http://127.0.0.1:" in captured.err
    assert main([*call, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
