"""Runs of the program that are killed: forked off a process that has everything imported, so that each takes moments.

``python -m faulty.forks`` reads jobs as lines of JSON and answers each with a line. `Forks` is the other end of it.
A run may be killed after some seconds, or at one of its own file operations, before it takes place.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")
"""Audit events at which a run may be killed."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code (negative: the signal), what it said on stderr, time, and file operations."""

    code: int
    words: str
    seconds: float
    operations: int

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.code == -signal.SIGKILL


class Forks:
    """A process that forks runs; use it as a context."""

    def __enter__(self) -> Forks:
        here = Path(__file__).resolve()
        paths = [str(here.parents[1]), str(here.parents[3] / "src"), os.environ.get("PYTHONPATH", "")]
        more = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "faulty.forks"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | more,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()

    def run(
        self, *arguments: str, kill_at: int | None = None, kill_after: float | None = None, within: str = ""
    ) -> Ended:
        """Run the command line; `kill_at` counts the file operations below the folder `within`, from 1."""
        job = {"arguments": arguments, "kill_at": kill_at, "kill_after": kill_after, "within": within}
        return self.run_together([job])[0]

    def run_together(self, jobs: list[dict[str, Any]]) -> list[Ended]:
        """Run several at the same time; each may wait for its ``delay`` in seconds first."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(jobs) + "\n")
        self._server.stdin.flush()
        return [Ended(**one) for one in json.loads(self._server.stdout.readline())]


def main() -> None:
    """Serve jobs until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import torch

    torch.set_num_threads(1)
    import matplotlib.pyplot  # noqa: F401  # what a run would import

    import napari_ran.cli
    import napari_ran.cohort.pair
    import napari_ran.dashboard
    import napari_ran.train
    import napari_ran.webpage  # noqa: F401

    for line in sys.stdin:
        answers.write(json.dumps(_all([_begun(job) for job in json.loads(line)])) + "\n")


def _begun(job: dict[str, Any]) -> dict[str, Any]:
    words, name = tempfile.mkstemp()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.dup2(words, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.environ["COLUMNS"] = "5000"
            time.sleep(job.get("delay", 0.0))
            counted = _watched(job)
            code = _called(job["arguments"])
            os.write(2, f"\n{counted()}".encode())
        finally:
            os._exit(code)
    os.close(words)
    return {"pid": pid, "words": name, "started": time.monotonic(), "kill_after": job.get("kill_after")}


def _called(arguments: list[str]) -> int:
    from napari_ran.cli import main as command_line

    if arguments[0] != "pair":
        return command_line(arguments)
    from napari_ran.cases import read_cases
    from napari_ran.cohort import register_case
    from napari_ran.config import RegistrationConfig

    _, listed, root, settings = arguments
    outcome = register_case(read_cases(listed)[0], Path(root), RegistrationConfig.from_yaml(settings))
    os.write(2, outcome.reason.encode())
    return 0 if outcome.status == "done" else 2


def _watched(job: dict[str, Any]) -> Callable[[], int]:
    """Count the file operations below a folder, and die at the one that is asked for; return how to get the count."""
    within, wanted, count = job.get("within") or "", job.get("kill_at"), 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in OPERATIONS or not within or not arguments or not isinstance(arguments[0], str | os.PathLike):
            return
        reads = event == "open" and isinstance(arguments[1], str) and not set(arguments[1]) & set("wax+")
        if not reads and os.fspath(arguments[0]).startswith(within):
            count += 1
            if count == wanted:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: count


def _all(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Wait for runs, and kill those whose time has come."""
    found: dict[int, dict[str, Any]] = {}
    while len(found) < len(runs):
        for run in runs:
            pid, now = run["pid"], time.monotonic() - run["started"]
            if pid in found:
                continue
            if run["kill_after"] is not None and now > run["kill_after"]:
                os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                said, _, count = Path(run["words"]).read_text(errors="replace").rpartition("\n")
                os.unlink(run["words"])
                code = os.waitstatus_to_exitcode(status)
                found[pid] = {"code": code, "words": said if code >= 0 else "", "seconds": now}
                found[pid]["operations"] = int(count) if count.isdigit() else 0
        time.sleep(0.0005)
    return [found[run["pid"]] for run in runs]


if __name__ == "__main__":
    main()
