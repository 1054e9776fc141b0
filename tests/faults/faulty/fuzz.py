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

SECONDS = 120.0
"""What a case may take, on a machine that does other things too."""

SURVIVED = ("read", "refused")


@dataclass
class Tally:
    """How the cases of a family ended."""

    ends: Counter[str] = field(default_factory=Counter)
    defects: list[dict[str, Any]] = field(default_factory=list)

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
        if case["end"] not in SURVIVED:
            self.defects.append(case)


Plan = list[tuple[str, int, int]]
"""Families, each with its first seed and the number of its cases."""


def fuzz(plan: Plan, folder: Path) -> dict[str, Tally]:
    """Read damaged files in `folder` as a plan says; a worker that dies is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    tallies = {family: Tally() for family, _, _ in plan}
    left: Plan | None = plan
    while left:
        left = _watch(left, folder, tallies)
    return tallies


def _watch(plan: Plan, folder: Path, tallies: dict[str, Tally]) -> Plan:
    """Run one worker to its end, and return what is left of the plan."""
    here = Path(__file__).resolve()
    paths = [str(here.parents[1]), str(here.parents[3] / "src"), os.environ.get("PYTHONPATH", "")]
    more = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "XDG_DATA_HOME": str(folder)}
    command = [sys.executable, "-m", "faulty.worker", str(folder), json.dumps(plan)]
    current: dict[str, Any] | None = None
    inside, patience = False, SECONDS * 2
    with (folder / "errors.txt").open("w+b") as errors:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=os.environ | more)
        assert worker.stdout is not None
        try:
            while True:
                ready, _, _ = select.select([worker.stdout], [], [], patience)
                line = worker.stdout.readline() if ready else b""
                if not line:
                    break
                said = json.loads(line)
                if "begins" in said:
                    current, inside, patience = said, True, SECONDS
                else:
                    inside, patience = False, SECONDS * 2  # samples may be made now
                    tallies[said["family"]].add(said)
            if ready and worker.wait() == 0:
                return []
            if current is None:
                errors.seek(0)
                raise RuntimeError(f"the worker did not begin: {errors.read().decode()[-2000:]}")
        finally:
            worker.kill()
            worker.wait()
            worker.stdout.close()
    end = f"crash with code {worker.returncode}" if ready else "hang"
    end += "" if inside else " after the case"
    family, seed = current["family"], current["begins"]
    tallies[family].add({"end": end, "seed": seed, "family": family})
    place = next(n for n, part in enumerate(plan) if part[0] == family and 0 <= seed - part[1] < part[2])
    _, first, count = plan[place]
    return [(family, seed + 1, first + count - seed - 1), *plan[place + 1 :]]
