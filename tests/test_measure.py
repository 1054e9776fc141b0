from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from napari_ran.measure import SAMPLING_SECONDS, StageRecord, measured_stage

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


def test_memory_that_came_and_went_counts() -> None:
    records: list[StageRecord] = []
    with measured_stage("before", torch.device("cpu"), records):
        pass
    with measured_stage("burst", torch.device("cpu"), records):
        held = np.ones(256 * MIB, dtype=np.uint8)
        time.sleep(25 * SAMPLING_SECONDS)  # the memory is read from time to time, on a thread of its own
        del held
    assert records[1].peak_bytes - records[0].peak_bytes > 100 * MIB


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_cuda_counts_what_pytorch_allocated() -> None:
    records: list[StageRecord] = []
    device = torch.device("cuda")
    with measured_stage("work", device, records):
        held = torch.ones(32 * MIB, device=device)
    assert records[0].memory == "cuda"
    assert records[0].peak_bytes >= held.nbytes
