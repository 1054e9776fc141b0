"""Where a cohort is registered: processes of this machine, a scheduler that runs already, or a cluster's queue."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, PositiveInt, model_validator

from napari_ran.config import FrozenConfig
from napari_ran.errors import InputError

CONNECTING = 20
"""Seconds to wait for a scheduler."""

THREADS = 4
"""Threads of a worker of this machine, where it has that many; a registration gains little from more."""

QUEUES = {
    "htcondor": "HTCondorCluster",
    "local": "LocalCluster",
    "lsf": "LSFCluster",
    "moab": "MoabCluster",
    "oar": "OARCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "slurm": "SLURMCluster",
}
"""Queueing systems of dask-jobqueue, and its classes for them; local runs the jobs on this machine, to try it out."""


class ClusterConfig(FrozenConfig):
    """Who does the work.

    Attributes
    ----------
    workers : int, optional
        Processes of this machine, or jobs in the queue. When left out one for each GPU, or for every four processors.
    scheduler : str
        Address of a Dask scheduler that runs already, such as ``tcp://10.0.0.1:8786``. Its workers must have
        napari-ran and see the same files.
    queue : str, optional
        Queueing system: one of `QUEUES`.
    options : dict
        What dask-jobqueue should ask the queue for, such as ``{"cores": 4, "memory": "16GB", "walltime": "02:00:00"}``.
    """

    workers: PositiveInt | None = None
    scheduler: str = ""
    queue: Literal["htcondor", "local", "lsf", "moab", "oar", "pbs", "sge", "slurm"] | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_place(self) -> ClusterConfig:
        if self.scheduler and (self.queue or self.workers):
            raise ValueError("a scheduler that runs already has its own workers: leave out workers and queue")
        if self.options and not self.queue:
            raise ValueError("options are those of a queue: name it (queue: slurm)")
        return self

    @classmethod
    def of(cls, scheduler: str | None, workers: int | None) -> ClusterConfig:
        """Make sense of what the command line takes: an address, a YAML file with these settings, or nothing.

        Raises
        ------
        InputError
            The file is not there or holds something else.
        """
        if scheduler and "://" not in scheduler:
            if not Path(scheduler).expanduser().is_file():
                cure = "Give an address such as tcp://10.0.0.1:8786, or a YAML file that names a queue"
                raise InputError("--scheduler", f"'{scheduler}' is neither an address nor a file", cure)
            config = cls.from_yaml(scheduler)
            return config if workers is None else config.replace(workers=workers)
        return cls(workers=workers, scheduler=scheduler or "")


def threads_of(config: ClusterConfig) -> int | None:
    """Return how many processors a pair may use; None leaves it to the worker."""
    if config.scheduler:
        return None
    if config.queue:
        cores = config.options.get("cores")
        return max(1, int(cores) // int(config.options.get("processes", 1))) if cores else None
    return max(1, (os.cpu_count() or 1) // (config.workers or default_workers()))


def default_workers() -> int:
    """Return how many processes of this machine register side by side: one for each GPU, or for four processors."""
    return torch.cuda.device_count() or max(1, (os.cpu_count() or 1) // THREADS)


@contextmanager
def opened(config: ClusterConfig) -> Iterator[Any]:
    """Yield a Dask client whose workers do the work; workers that were started for it end with it.

    Raises
    ------
    InputError
        What is needed for it is not installed, or the scheduler does not answer.
    """
    distributed, cluster = _installed("distributed"), None
    try:
        if config.queue:
            cluster = _queue(config.queue, config.options)
            cluster.scale(jobs=config.workers or 1)
        elif not config.scheduler:
            cluster = _processes(config.workers or default_workers())
        try:
            client = distributed.Client(config.scheduler if cluster is None else cluster, timeout=CONNECTING)
        except (OSError, TimeoutError, ValueError) as error:
            problem = f"no scheduler answers at {config.scheduler} ({str(error).splitlines()[0] or 'no answer'})"
            raise InputError("--scheduler", problem, "Start one (dask scheduler), or leave it out") from None
        with client:
            yield client
    finally:
        if cluster is not None:
            cluster.close()


def _queue(name: str, options: dict[str, Any]) -> Any:
    """Return a cluster whose workers are jobs in a queue, none of them asked for yet."""
    _installed("dask_jobqueue")
    try:
        return getattr(import_module(f"dask_jobqueue.{name}"), QUEUES[name])(**options)
    except (TypeError, ValueError) as error:
        raise InputError("options", f"the queue refuses them ({error})", "See dask-jobqueue's pages") from None


def _processes(count: int) -> Any:
    """Return a cluster of processes of this machine."""
    return _installed("distributed").LocalCluster(
        n_workers=count,
        threads_per_worker=1,  # a registration has its own threads
        processes=True,
        host="127.0.0.1",
        memory_limit=0,  # a registration checks for itself whether it fits
        dashboard_address="127.0.0.1:0",
        silence_logs="ERROR",
    )


def _installed(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        package = name.replace("_", "-")
        raise InputError("batch", f"{package} is not installed", "pip install 'napari-ran[cluster]'") from None
