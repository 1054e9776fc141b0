"""What a worker does: register one pair, and leave its folder whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from napari_ran._version import __version__
from napari_ran.cases import (
    Case,
    CaseScore,
    Registering,
    case_key,
    file_name,
    load_case,
    measure_case,
    solved_by,
)
from napari_ran.config import FrozenConfig, RegistrationConfig
from napari_ran.errors import InputError, RanError
from napari_ran.introspect.storage import left_over
from napari_ran.io.folders import filling, settled
from napari_ran.parsing import parse_json
from napari_ran.registration import Run
from napari_ran.results import Registration

RECORD = "pair.json"
"""Comes into a pair's folder with its results: who has it is finished."""


class Outcome(FrozenConfig):
    """How a pair ended.

    Attributes
    ----------
    name : str
        The pair.
    status : {"done", "failed"}
        Whether it was registered.
    reason : str
        Why not, in one sentence.
    again : bool
        Whether another try may end otherwise: not where its input is refused.
    folder : str
        Where its results are.
    seconds : float
        What it took.
    attempt : int
        Which try this was, counted from 1.
    score : CaseScore, optional
        What was measured.
    """

    name: str
    status: Literal["done", "failed"]
    reason: str = ""
    again: bool = False
    folder: str = ""
    seconds: float = 0.0
    attempt: int = 1
    score: CaseScore | None = None


def finished_outcome(case: Case, root: Path, config: RegistrationConfig) -> Outcome | None:
    """Return how a pair ended that was registered before from the same files with the same settings, or None."""
    try:
        content = parse_json((settled(_folder(case, root)) / RECORD).read_text(encoding="utf-8"))
        same = content["key"] == case_key(case, Registering(config))
        return Outcome(**content["outcome"]) if same else None
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def register_case(
    case: Case, root: Path, config: RegistrationConfig, attempt: int = 1, threads: int | None = None
) -> Outcome:
    """Register a pair and write its results, figures and provenance to its folder; faults become its outcome.

    Parameters
    ----------
    case : Case
        The pair; its `field` is not looked at.
    root : Path
        Folder of the cohort: the pair's is ``pairs/NAME`` in it.
    config : RegistrationConfig
        The settings.
    attempt : int
        Which try this is.
    threads : int, optional
        How many processors to use; PyTorch's choice when left out.
    """
    began, started = time.perf_counter(), datetime.now(UTC)
    folder = _folder(case, root)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        key, config = case_key(case, Registering(config)), _on_this_worker(config)
        registration, score = _register(case, config)
        seconds = time.perf_counter() - began
        outcome = Outcome(
            name=case.name, status="done", folder=str(folder), seconds=seconds, attempt=attempt, score=score
        )
        record = {"key": key, "outcome": outcome.to_dict(), "provenance": _provenance(case, started)}
        with filling(folder, obsolete=left_over) as new:  # the record comes with its results, never alone
            registration.save(new)
            (new / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    except Exception as error:  # whatever it is, it must not cost the other pairs
        text = str(error) if isinstance(error, RanError) else f"{type(error).__name__}: {error}"
        again, seconds = not isinstance(error, InputError), time.perf_counter() - began
        return Outcome(name=case.name, status="failed", reason=text, again=again, attempt=attempt, seconds=seconds)
    return outcome


def _register(case: Case, config: RegistrationConfig) -> tuple[Registration, CaseScore]:
    inputs = load_case(case)
    run = Run(inputs, config)
    for _ in run:
        pass
    registration = run.result()
    return registration, measure_case(case, inputs, solved_by(registration))


def original_files(folder: str | Path) -> dict[str, Path]:
    """Return the files that a finished pair was made of by what they are, such as ``fixed`` or ``moving_labels``."""
    content = parse_json((Path(folder) / RECORD).read_text(encoding="utf-8"))
    return {name: Path(file["path"]) for name, file in content["provenance"]["files"].items()}


def _folder(case: Case, root: Path) -> Path:
    return root / "pairs" / file_name(case.name)


def _on_this_worker(config: RegistrationConfig) -> RegistrationConfig:
    """Spread the workers of one machine over its GPUs."""
    try:
        from distributed import get_worker

        worker = get_worker()
    except (ImportError, ValueError):  # called without Dask
        return config
    gpus = torch.cuda.device_count()
    if config.device in ("auto", "cuda") and gpus > 1 and isinstance(worker.name, int):
        return config.replace(device=f"cuda:{worker.name % gpus}")
    return config


def _provenance(case: Case, started: datetime) -> dict[str, Any]:
    files = {name: path.resolve() for name, path in case.files.items() if name != "field"}
    return {
        "files": {name: {"path": str(path), "sha256": _digest(path)} for name, path in files.items()},
        "napari-ran": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": socket.gethostname(),
        "started": started.isoformat(timespec="seconds"),
    }


def _digest(path: Path) -> str:
    """Return the hash of a file, or of all files of a folder in the order of their names."""
    found = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as opened:
            while chunk := opened.read(2**20):
                found.update(chunk)
    return found.hexdigest()
