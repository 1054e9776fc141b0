"""How long a stage took and how much memory it held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import psutil
import torch

from napari_ran.config.base import FrozenConfig

SAMPLING_SECONDS = 0.02
"""How often the memory is read where the system keeps no peak of its own."""


class StageRecord(FrozenConfig):
    """What one stage of a registration cost.

    Attributes
    ----------
    name : str
        The stage, such as ``affine``.
    seconds : float
        Wall-clock time, including what a consumer of the events did between them.
    peak_bytes : int
        Highest memory in use during the stage; see `memory` for what was counted.
    memory : {"process", "cuda", "mps"}
        ``process``: resident memory of the whole process, read every 20 ms. ``cuda``: the largest sum of tensors that
        PyTorch held on the GPU. ``mps``: memory that the Metal driver gave to this process, read every 20 ms.
    """

    name: str
    seconds: float
    peak_bytes: int
    memory: Literal["process", "cuda", "mps"] = "process"


@contextmanager
def measured_stage(name: str, device: torch.device, records: list[StageRecord]) -> Iterator[None]:
    """Measure the body and append one `StageRecord` to `records`, also when the body is interrupted.

    Parameters
    ----------
    name : str
        Name of the stage.
    device : torch.device
        Where the body computes; decides which memory is counted.
    records : list of StageRecord
        Receives the record when the body ends, for whatever reason.
    """
    peak = _CudaPeak(device) if device.type == "cuda" else _SampledPeak(_memory_reader(device))
    started = time.perf_counter()
    try:
        yield
    finally:
        peak_bytes = peak.stop()
        memory: Literal["process", "cuda", "mps"] = (
            "cuda" if device.type == "cuda" else "mps" if device.type == "mps" else "process"
        )
        records.append(
            StageRecord(name=name, seconds=time.perf_counter() - started, peak_bytes=peak_bytes, memory=memory)
        )


def _memory_reader(device: torch.device) -> Callable[[], int]:
    if device.type == "mps":
        return lambda: int(torch.mps.driver_allocated_memory())
    process = psutil.Process()
    return lambda: int(process.memory_info().rss)


class _CudaPeak:
    """The peak that PyTorch's allocator keeps; one stage at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        torch.cuda.reset_peak_memory_stats(device)

    def stop(self) -> int:
        torch.cuda.synchronize(self._device)  # the stage ends when its kernels have
        return int(torch.cuda.max_memory_allocated(self._device))


class _SampledPeak:
    """The largest of many readings, taken on a thread of its own."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read
        self._peak = read()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory sampler", daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._done.wait(SAMPLING_SECONDS):
            self._peak = max(self._peak, self._read())

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return max(self._peak, self._read())
