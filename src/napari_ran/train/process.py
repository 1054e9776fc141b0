"""A training in a process of its own, which can be paused, stopped, left alone and found again by its folder.

Everything passes through files in the run's folder: the events as lines of JSON, commands as a word. A viewer that is
closed and opened again therefore finds the run as it is, and the memory of a GPU is free as soon as the process ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import torch

from napari_ran.config import TrainConfig
from napari_ran.errors import InputError
from napari_ran.owners import identity, living, running_process, written
from napari_ran.train.checkpoint import has_checkpoint
from napari_ran.train.events import TrainEvent, TrainFailed, TrainFinished
from napari_ran.train.pairs import save_pairs
from napari_ran.train.recorded import make_ready
from napari_ran.train.subjects import TrainPair
from napari_ran.train.wire import COMMAND, CONFIG, ERRORS, EVENTS, PARENT, command_in, decode, put, straightened

_GRACE = 1.0
"""Seconds between the end of a process, or of its lock, and the conclusion that it will not say why."""

State = Literal["starting", "running", "paused", "finished", "stopped", "failed"]


class TrainingProcess:
    """A handle on the training in a folder; the process outlives it, and this process too unless it is tied to it.

    Make one by `start` or `attach`. Nothing here waits, except for `events` and `wait`.

    Parameters
    ----------
    folder : Path
        Folder of the training.
    process : Popen, optional
        The process, where it was started here.
    offset : int
        Bytes of its story that were told already.
    """

    def __init__(self, folder: Path, process: subprocess.Popen[bytes] | None = None, offset: int = 0) -> None:
        self.folder = folder
        self._process = process
        self._offset = offset
        self._paused = process is None and command_in(folder) == "pause"
        self._seen: TrainEvent | None = None
        self._step = 0
        self._gone: float | None = None

    @classmethod
    def start(
        cls,
        config: TrainConfig,
        folder: str | Path,
        resume: bool = False,
        *,
        pairs: Sequence[TrainPair] | None = None,
        validation: Sequence[TrainPair] | None = None,
        outlive: bool = True,
    ) -> TrainingProcess:
        """Start a training.

        Parameters
        ----------
        config, folder, resume
            As for `fit`.
        pairs, validation : sequence of TrainPair, optional
            Pairs in memory. They are written to `folder`, so that the run can be resumed without them.
        outlive : bool
            Whether the training goes on when this process ends; else it stops then, and keeps what it has. It can be
            changed later, see `tie`.

        Raises
        ------
        InputError
            A process trains in this folder, or it holds a training and `resume` is not set.
        OutputError
            The folder may not be written to.
        """
        folder = Path(folder).expanduser().absolute()
        make_ready(folder, resume)
        with written(folder):
            if pairs is not None:
                data = config.data.replace(source="pairs", path=str(save_pairs(pairs, folder / "pairs")))
                config = config.replace(data=data)
            if validation is not None:
                data = config.data.replace(source="pairs", path=str(save_pairs(validation, folder / "validation")))
                config = config.replace(validation={"data": data.to_dict()})
            config.to_yaml(folder / CONFIG)
            _tie(folder, outlive)
            size = (folder / EVENTS).stat().st_size if (folder / EVENTS).exists() else 0
            errors = (folder / ERRORS).open("wb")
        command = [sys.executable, "-m", "napari_ran.train.child", str(folder)]
        command += ["--resume"] * resume
        with errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env={"OMP_NUM_THREADS": str(spared_threads())} | os.environ,
                start_new_session=True,  # an interrupt at the terminal is not meant for it
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        return cls(folder, process, size)

    @classmethod
    def attach(cls, folder: str | Path) -> TrainingProcess:
        """Return a handle on the training that runs, or ran, in a folder; `poll` then tells its story so far.

        Parameters
        ----------
        folder : path
            Folder of the training.

        Raises
        ------
        InputError
            There is none.
        """
        folder = Path(folder).expanduser().absolute()
        if not (folder / EVENTS).exists():
            raise InputError("folder", f"there is no training in {folder}", "Choose the folder of a training")
        return cls(folder)

    @property
    def pid(self) -> int | None:
        """Number of the process, None when it has ended."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        return running_process(self.folder)

    @property
    def state(self) -> State:
        """What the training does, as far as it has been polled."""
        if isinstance(self._seen, TrainFinished):
            return "stopped" if self._seen.reason == "closed" else "finished"
        if isinstance(self._seen, TrainFailed):
            return "failed"
        return "starting" if self._seen is None else "paused" if self._paused else "running"

    @property
    def ended(self) -> bool:
        """Whether the last event has been polled."""
        return isinstance(self._seen, TrainFinished | TrainFailed)

    def poll(self) -> list[TrainEvent]:
        """Return the events since the last call; the end of the process without a word is a `TrainFailed`."""
        if self.ended:
            return []
        pid = self.pid  # before the file is read: what a process wrote before it ended must not be missed
        found = self._read()
        if pid is None and not (found and isinstance(found[-1], TrainFinished | TrainFailed)):
            self._gone = self._gone or time.monotonic()
            if time.monotonic() - self._gone > _GRACE:
                found.append(self._death(found))
        for event in found:
            self._step = event.step
        self._seen = found[-1] if found else self._seen
        return found

    def events(self, interval: float = 0.1) -> Iterator[TrainEvent]:
        """Yield events until the training ends, looking for new ones every `interval` seconds."""
        while not self.ended:
            yield from self.poll()
            if not self.ended:
                time.sleep(interval)

    def pause(self) -> None:
        """Let the training wait after the step that it takes."""
        self._send("pause")
        self._paused = True

    def resume(self) -> None:
        """Let a paused training go on."""
        self._send("resume")
        self._paused = False

    def stop(self) -> None:
        """End the training after the step that it takes; it writes a checkpoint, and the best weights are kept."""
        self._send("stop")

    @property
    def outlives(self) -> bool:
        """Whether the training goes on when every viewer is closed."""
        return not (self.folder / PARENT).exists()

    def tie(self, outlive: bool) -> None:
        """Let the training outlive this process, or stop when this process ends or calls `let_go`.

        Parameters
        ----------
        outlive : bool
            Whether it goes on without this process.
        """
        _tie(self.folder, outlive)

    def let_go(self) -> None:
        """Stop the training if it was to end with this process, before this process ends."""
        with contextlib.suppress(OSError):
            if living((self.folder / PARENT).read_text(encoding="utf-8")) == os.getpid():
                self.stop()

    def kill(self) -> None:
        """End the process at once; the run can be resumed from its last checkpoint."""
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        if self._process is not None:
            self._process.wait()

    def wait(self, timeout: float = 60.0) -> State:
        """Wait until the training and its process have ended, at most `timeout` seconds, and return its state."""
        end = time.monotonic() + timeout
        while (not self.ended or self.pid is not None) and time.monotonic() < end:
            self.poll()
            time.sleep(0.02)
        return self.state

    def _send(self, word: str) -> None:
        put(word, self.folder / COMMAND)

    def _read(self) -> list[TrainEvent]:
        """Return the events of the whole lines that have been added to the file."""
        path = self.folder / EVENTS
        if not path.exists():
            return []
        first = self._offset == 0
        with path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = whole.decode("utf-8", errors="replace").split("\n")
        found = [event for line in lines if (event := decode(line)) is not None]
        return straightened(found) if first else found

    def _death(self, found: Sequence[TrainEvent]) -> TrainFailed:
        code = self._process.returncode if self._process is not None else None
        how = f"by signal {-code}" if code is not None and code < 0 else "" if code is None else f"with code {code}"
        step = found[-1].step if found else self._step
        kept = "It can be resumed." if has_checkpoint(self.folder) else "It had not written a checkpoint yet."
        lines = (self.folder / ERRORS).read_text(errors="replace").strip().splitlines() if code else []
        why = f" Its last words: {lines[-1]}" if lines else ""
        return TrainFailed(step, f"The training process ended unexpectedly {how}".rstrip() + f". {kept}{why}")


def spared_threads() -> int:
    """Return how many threads a training beside a viewer takes: all but one, so that the viewer answers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores - 1, torch.get_num_threads()))


def _tie(folder: Path, outlive: bool) -> None:
    if outlive:
        (folder / PARENT).unlink(missing_ok=True)
    else:
        put(identity(), folder / PARENT)


def history(folder: str | Path) -> list[TrainEvent]:
    """Return the whole story of the training in a folder, all its parts as one: what a resumed part took again is gone.

    Raises
    ------
    InputError
        There is none.
    """
    return TrainingProcess.attach(folder)._read()
