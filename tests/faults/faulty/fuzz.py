"""Thousands of damaged files, read in a process that may crash, hang or run out of memory without harm."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 30.0
"""What a case may take; the first one of a process also its start."""

GROWTH = 2 * 2**30
"""Bytes of memory that a process may come to hold in all."""

SURVIVED = ("read", "refused")


@dataclass
class Tally:
    """How the cases of a family ended."""

    ends: Counter[str] = field(default_factory=Counter)
    defects: list[dict[str, Any]] = field(default_factory=list)
    resident: int = 0

    @property
    def tried(self) -> int:
        """Number of cases."""
        return sum(self.ends.values())

    @property
    def survived(self) -> int:
        """Number of cases that ended as they should."""
        return sum(self.ends[end] for end in SURVIVED)

    def add(self, case: dict[str, Any]) -> None:
        """Count a case."""
        self.ends[case["end"]] += 1
        self.resident = max(self.resident, case.get("resident", 0))
        if case["end"] not in SURVIVED:
            self.defects.append(case)


def fuzz(family: str, folder: Path, first: int, count: int) -> Tally:
    """Read `count` damaged files of a family, seeds from `first` on, in `folder`; a worker that dies is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    tally, seed = Tally(), first
    while seed < first + count:
        seed = _watch(family, folder, seed, first + count - seed, tally)
    if tally.resident > GROWTH:
        tally.add({"end": "memory", "seed": None, "words": f"{tally.resident / 2**30:.1f} GiB held"})
    return tally


def _watch(family: str, folder: Path, first: int, count: int, tally: Tally) -> int:
    """Run one worker to its end, and return the seed to go on with."""
    here = Path(__file__).resolve()
    paths = [str(here.parents[1]), str(here.parents[3] / "src"), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "faulty.worker", family, str(folder), str(first), str(count)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "XDG_DATA_HOME": str(folder),
    }
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert worker.stdout is not None
    current, patience = None, SECONDS * 4
    try:
        while True:
            ready, _, _ = select.select([worker.stdout], [], [], patience)
            line = worker.stdout.readline() if ready else b""
            if not line:
                break
            said = json.loads(line)
            current, patience = said.get("begins"), SECONDS
            if "end" in said:
                tally.add(said)
        if ready and worker.wait() == 0 and current is None:
            return first + count
        if current is None:
            raise RuntimeError(f"the worker for {family} did not begin: {worker.stderr.read().decode()[-2000:]}")
        end = f"crash by signal {-worker.returncode}" if ready else "hang"
        tally.add({"end": end, "seed": current, "words": f"exit code {worker.returncode}"})
        return int(current) + 1
    finally:
        worker.kill()
        worker.wait()
        worker.stdout.close()
        worker.stderr.close()
