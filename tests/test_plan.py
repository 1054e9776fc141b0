"""What a run will need of memory, and what is chosen so that it fits."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_ran import plan as planning
from napari_ran.config import RegistrationConfig
from napari_ran.data import Grid
from napari_ran.errors import NotEnoughMemoryError
from napari_ran.models import create_model
from napari_ran.plan import CPU, MemoryPlan, plan_run

MODELS = {ndim: create_model("RAN3", ndim) for ndim in (2, 3)}  # type: ignore[arg-type]
GPU = torch.device("cuda")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What is free on each device, to change; with a GPU that is chosen first where there is more than nothing."""
    there = {"cpu": 2**36, "cuda": 0}
    monkeypatch.setattr(planning, "free_memory", lambda device: there[device.type])
    monkeypatch.setattr(planning, "describe_device", str)
    monkeypatch.setattr(planning, "resolve_device", lambda name: CPU if name == "cpu" or not there["cuda"] else GPU)
    return there


def planned(shape: tuple[int, ...], network: bool = True, **settings: Any) -> MemoryPlan:
    grid = Grid(shape, np.eye(len(shape) + 1))
    precisions = settings.pop("precisions", ("fp32",))
    config = RegistrationConfig().replace(**settings)
    return plan_run(grid, grid, config, MODELS[len(shape)] if network else None, precisions)


def test_a_run_that_fits_is_as_usual(free: dict[str, int]) -> None:
    plan = planned((160, 128, 160))
    assert plan.fits()
    assert plan.choices == ()
    assert plan.working.shape == (160, 128, 160)
    assert math.prod(plan.network) <= 1.1 * 512**2
    assert not plan.tile  # the field is refined afterwards
    assert [need.name for need in plan.needs] == ["preprocess", "network", "instance", "transform", "evaluate"]
    assert plan.line.startswith("Memory: about ")
    assert "network on" in plan.line
    plan.check(RegistrationConfig())


def test_tiles_are_for_a_network_that_nothing_refines(free: dict[str, int]) -> None:
    none = planned((160, 128, 160), instance="none")
    assert none.tile
    assert math.prod(none.tile) <= 512**2
    assert not planned((160, 128, 160), instance="none", tiles="off").tile
    assert not planned((64, 64, 64), instance="none").tile  # seen whole
    assert planned((160, 128, 160), tiles="on").tile
    assert not planned((64, 64, 64), tiles="on", instance="network").tile
    assert not planned((160, 128, 160), network=False, tiles="on").network


def test_tiles_take_less_than_the_whole_at_once(free: dict[str, int]) -> None:
    tiled = planned((200, 160, 160), instance="none")
    whole = planned((200, 160, 160), instance="none", network_voxels=10**7)
    assert not whole.tile
    needs = [next(need.bytes for need in plan.needs if need.name == "network") for plan in (tiled, whole)]
    assert needs[0] < 0.5 * needs[1]


def test_first_the_network_sees_less_then_the_working_grid_is_coarser(free: dict[str, int]) -> None:
    settings = {"instance": "none", "network_voxels": 10**6}
    usual = planned((160, 128, 160), **settings)
    assert usual.tightest.name == "network"
    free["cpu"] = int(0.9 * usual.tightest.bytes / planning.USED)
    less = planned((160, 128, 160), **settings)
    assert less.fits()
    assert less.network_voxels < usual.network_voxels
    assert less.working == usual.working
    assert "voxels at once instead of" in less.choices[0]
    free["cpu"] = 2**29
    coarser = planned((160, 128, 160))
    assert coarser.fits()
    assert math.prod(coarser.working.shape) < 160 * 128 * 160
    assert "coarser than usual, to fit into memory" in coarser.choices[-1]
    assert math.prod(coarser.working.shape) <= coarser.budget


def test_a_lower_precision_comes_first_where_it_is_allowed(free: dict[str, int]) -> None:
    shape, settings = (96, 96, 96), {"instance": "none", "device": "cuda"}
    free["cuda"] = 2**40
    full, half = (planned(shape, precisions=(name,), **settings).needs[1] for name in ("fp32", "bf16"))
    assert full.device == GPU
    assert half.bytes < full.bytes
    free["cuda"] = int((full.bytes + half.bytes) / 2 / planning.USED)
    grid = Grid(shape, np.eye(4))
    config = RegistrationConfig(device="cuda", instance="none")  # type: ignore[arg-type]
    plan = plan_run(grid, grid, config, MODELS[3], ("fp32", "bf16"))
    assert plan.precision == "bf16"
    assert "bf16" in plan.choices[0]
    assert plan.working.shape == shape


def test_a_gpu_without_room_is_left_for_the_processor(free: dict[str, int]) -> None:
    free["cuda"] = 2**28
    plan = planned((160, 128, 160))
    assert plan.device == CPU
    assert "too little free memory" in plan.choices[0]
    assert planned((160, 128, 160), device="cuda").device == GPU
    assert planned((36, 36, 36), network=False).device == GPU
    free["cpu"] = 2**20
    assert planned((160, 128, 160)).device == GPU


@pytest.mark.parametrize("mode", ["field", "network"])
def test_a_run_that_cannot_fit_is_refused_with_a_spacing_that_would(free: dict[str, int], mode: str) -> None:
    free["cpu"] = 2**33 if mode == "network" else 2**28
    plan = planned((200, 200, 200), instance=mode, spacing=1.0)
    config = RegistrationConfig(instance=mode)  # type: ignore[arg-type]
    with pytest.raises(NotEnoughMemoryError, match=r"spacing: .*GiB are free.*times as coarse") as caught:
        plan.check(config)
    factor = float(str(caught.value).split("at least ")[1].split(" times")[0])
    if mode == "network":  # whose need grows with the voxels alone, but for padding
        planned((200, 200, 200), instance=mode, spacing=1.35 * factor).check(config)


@pytest.mark.parametrize("mode", ["none", "network"])
def test_kept_levels_are_counted(free: dict[str, int], mode: str) -> None:
    plans = [planned((64, 64), instance=mode, keep_levels=keep) for keep in (False, True)]
    assert plans[1].tightest.bytes > plans[0].tightest.bytes or plans[1].needs[1].bytes > plans[0].needs[1].bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["VM2 128x96x96 none", "RAN4+ 96x96x112 none", "RAN3 160x128x128 field", "none 72x72x72 field"]
)
def test_the_prediction_is_near_what_a_run_takes(case: str) -> None:
    """Runs that nothing was fitted to, each in a process of its own.

    What the allocator keeps beside the tensors jumps by a quarter where they cross its threshold, and from run to run
    (one and the same run took 529 to 903 MiB): where the first is far off, the middle one of three counts. Too little
    is what must not be predicted.
    """
    script = Path(__file__).parents[1] / "benchmarks" / "memory.py"
    command = [sys.executable, script, "--one", *case.split()]

    def ratio() -> float:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        return float(run.stdout.split()[-1])

    first = ratio()
    assert 0.75 < (first if 0.75 < first < 1.5 else statistics.median((first, ratio(), ratio()))) < 1.5
