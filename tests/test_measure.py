from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from napari_ran.measure import StageRecord, measured_stage

MIB = 2**20


def test_a_stage_is_recorded_with_its_time_and_memory() -> None:
    records: list[StageRecord] = []
    with measured_stage("work", torch.device("cpu"), records):
        held = np.ones(64 * MIB, dtype=np.uint8)
    (record,) = records
    assert record.name == "work"
    assert record.memory == "process"
    assert record.seconds > 0
    assert record.peak_bytes > held.nbytes


def test_an_interrupted_stage_is_recorded_too() -> None:
    records: list[StageRecord] = []

    def work() -> None:
        with measured_stage("work", torch.device("cpu"), records):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert [record.name for record in records] == ["work"]


BURST = """
import time, numpy as np, torch
from napari_ran.measure import SAMPLING_SECONDS, measured_stage

records = []
with measured_stage("before", torch.device("cpu"), records):
    pass
with measured_stage("burst", torch.device("cpu"), records):
    held = np.ones(2**28, dtype=np.uint8)
    time.sleep(25 * SAMPLING_SECONDS)  # the memory is read from time to time, on a thread of its own
    del held
print(records[1].peak_bytes - records[0].peak_bytes)
"""


def test_memory_that_came_and_went_counts() -> None:
    """In a process of its own: memory that other tests freed, but did not give back, would be taken first."""
    result = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True)
    assert int(result.stdout) > 100 * MIB


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_cuda_counts_what_pytorch_allocated() -> None:
    records: list[StageRecord] = []
    device = torch.device("cuda")
    with measured_stage("work", device, records):
        held = torch.ones(32 * MIB, device=device)
    assert records[0].memory == "cuda"
    assert records[0].peak_bytes >= held.nbytes
