"""Checkpoints of a run: written whole or not at all, checked when they are read, with the one before to fall back on.

A file is a line that names the format, the SHA-256 of what follows, and the state as `torch.save` writes it; it is read
with ``weights_only``, so that nothing in it is run.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from napari_ran.errors import InputError, brief
from napari_ran.writing import replacing

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
_FORMAT = b"napari-ran checkpoint 1\n"
_DIGEST = 32

State = dict[str, Any]


def write_checkpoint(state: State, folder: Path) -> Path:
    """Write ``last.ckpt``; the one that was there becomes ``previous.ckpt``.

    Raises
    ------
    OutputError
        It could not be written (a full disk, say); the checkpoints that are there stay.
    """
    return write_state(state, folder / LAST, folder / PREVIOUS)


def write_state(state: State, path: Path, previous: Path | None = None) -> Path:
    """Write a state, whole or not at all; what was there goes to `previous`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()
    cure = "The one before is kept; free some space"
    with replacing(path, "the checkpoint", cure, previous=previous, durable=True) as part, part.open("wb") as file:
        file.write(_FORMAT + hashlib.sha256(payload).digest())
        file.write(payload)
    return path


def has_checkpoint(folder: Path) -> bool:
    """Whether a run could go on in this folder."""
    return (folder / LAST).exists() or (folder / PREVIOUS).exists()


def refuse_begun(folder: Path, resume: bool) -> None:
    """Raise `InputError` if the folder holds a training that is not to go on."""
    if has_checkpoint(folder) and not resume:
        raise InputError("folder", f"{folder} holds a training already", "Resume it or choose another folder")


def read_checkpoint(path: Path) -> State:
    """Read one checkpoint.

    Raises
    ------
    InputError
        It is missing, cut short, changed, or no checkpoint.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(str(path), f"the checkpoint cannot be read ({error.strerror})", "Choose another") from None
    head = len(_FORMAT) + _DIGEST
    if not content.startswith(_FORMAT):
        raise InputError(str(path), "the file is not a checkpoint of this package", "Choose another")
    if hashlib.sha256(memoryview(content)[head:]).digest() != content[len(_FORMAT) : head]:
        raise InputError(str(path), "the checkpoint is damaged: it is not what was written", "Choose another")
    try:
        state = torch.load(io.BytesIO(content[head:]), map_location="cpu", weights_only=True)
    except Exception as error:  # what was not written by `write_state` makes it raise nearly anything
        problem = f"the checkpoint holds what is not read ({brief(str(error).splitlines()[0])})"
        raise InputError(str(path), problem, "Choose another") from None
    if not isinstance(state, dict) or not (type(state.get("step")) is int and 0 <= state["step"] < 2**53):
        raise InputError(str(path), "the checkpoint does not say its step", "Choose another")
    _refuse_values(path, state)
    return state


def _refuse_values(path: Path, state: State) -> None:
    """Refuse weights that are no numbers: a training that goes on from them never recovers."""
    for part in ("model", "average"):
        held = state.get(part)
        for name, value in held.items() if isinstance(held, dict) else ():
            if not isinstance(value, torch.Tensor) or not bool(torch.isfinite(value).all()):
                raise InputError(str(path), f"the checkpoint holds no finite numbers in '{name}'", "Choose another")


def newest_checkpoint(folder: Path) -> tuple[State, str | None]:
    """Return the newest state that can be read, and a sentence if it is not the last one that was written.

    Raises
    ------
    InputError
        There is none, or none can be read.
    """
    problems: list[InputError] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            state = read_checkpoint(path)
        except InputError as error:
            problems.append(error)
            continue
        if not problems:
            return state, None
        broken = problems[0]
        return state, (
            f"{broken.argument}: {broken.problem}. Going on from {path.name} instead, which is of step {state['step']}."
        )
    if not problems:
        raise InputError("folder", f"there is no checkpoint in {folder}", "Start a new training there")
    names = " and ".join(Path(problem.argument).name for problem in problems)
    raise InputError(
        "folder",
        f"no checkpoint in {folder} can be read ({names}: {problems[0].problem})",
        "Start from best.safetensors in a new folder",
    )
