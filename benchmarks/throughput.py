"""How much more two processes do than one: ``python benchmarks/throughput.py IMAGES [--pairs 8] [--steps 20]``.

IMAGES is a folder of NIfTI images, of which neighbours are registered as a cohort on Dask workers; then a network is
trained on generated pairs, by processes that average their gradients over gloo. Every process computes with one thread.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ALONE = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
_WARM = 3
"""Steps of a training that are not counted."""


def cohort(images: Path, pairs: int, workers: int) -> float:
    """Return how many pairs are registered and written a minute, without the start of the workers."""
    from distributed import LocalCluster

    from napari_ran.cases.listing import Case
    from napari_ran.cohort import ClusterConfig, register_cohort

    files = sorted(images.glob("*.nii.gz"))[: workers + pairs + 1]
    cases = [Case(f"{number:03}", *files[number : number + 2]) for number in range(len(files) - 1)]
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            workers, threads_per_worker=1, memory_limit=0, dashboard_address=None, silence_logs="ERROR"
        ) as cluster,
    ):
        chosen = ClusterConfig(scheduler=cluster.scheduler_address)
        list(register_cohort(cases[:workers], f"{folder}/warm", cluster=chosen))
        began = time.perf_counter()
        steps = list(register_cohort(cases[workers:], f"{folder}/timed", cluster=chosen))
        return 60 * steps[-1].done / (time.perf_counter() - began)


def training(steps: int, processes: int) -> float:
    """Return how many steps a second a group of processes takes together; each has a batch of one pair."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"]
    done = subprocess.run([*command, __file__, "--steps", str(steps)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def train(steps: int) -> None:
    from napari_ran.config import TrainConfig
    from napari_ran.train import TrainStep, fit

    config = TrainConfig(
        model={"preset": "RAN3", "ndim": 3, "hold": ["displacement"]},
        data={"source": "generated", "generated": {"shapes": [(32, 48, 32)]}},
        objective={"similarity": 1, "compare": "ncc", "window": 9, "smooth": 3, "both": True},
        validation={"pairs": 1},
        compute={"device": "cpu"},
        budget={"steps": steps + _WARM},
    )
    with tempfile.TemporaryDirectory() as folder:
        at = [event.seconds for event in fit(config, folder) if isinstance(event, TrainStep)]
    if os.environ["RANK"] == "0":
        print(steps / (at[-1] - at[_WARM - 1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    if "RANK" in os.environ:  # one of the processes that train
        train(chosen.steps)
        return
    if chosen.images is None:
        parser.error("which folder of images?")
    os.environ.update(ALONE)
    one, two = (cohort(chosen.images, chosen.pairs, number) for number in (1, 2))
    print(f"registrations a minute: {one:.1f} by one process, {two:.1f} by two: {two / one:.2f} times as many")
    one, two = (training(chosen.steps, number) for number in (1, 2))
    print(f"training steps a second: {one:.2f} by one process, {two:.2f} by two, each of two pairs: ", end="")
    print(f"{2 * two / one:.2f} times as many pairs")


if __name__ == "__main__":
    main()
