"""The memory that a pass of a network takes at its highest, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import psutil
import torch

from napari_ran.measure import StageRecord, measured_stage

SMALL = (16, 16, 16)
"""Shape of the images of the pass before the one that is measured: it loads what every pass needs."""


def peak_bytes(
    make: Callable[..., Callable[..., Any]], given: tuple[Any, ...], shape: tuple[int, ...], threads: int
) -> float:
    """Return by how much a pass raises the memory of a fresh process at its highest.

    Parameters
    ----------
    make
        Makes the pass, a function of two images (1, 1, *S), in that process: a function at the top of its module.
    given
        Its arguments.
    shape
        Voxels of the images.
    threads
        Threads that compute.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_raised, (make, given, shape, threads))


def _raised(
    make: Callable[..., Callable[..., Any]], given: tuple[Any, ...], shape: tuple[int, ...], threads: int
) -> float:
    torch.set_num_threads(threads)
    run, images = make(*given), torch.rand(2, 1, 1, *shape)
    records: list[StageRecord] = []
    with torch.no_grad():
        run(*torch.rand(2, 1, 1, *SMALL))
        before = psutil.Process().memory_info().rss
        with measured_stage("pass", torch.device("cpu"), records):
            run(*images)
    return float(records[0].peak_bytes - before)
