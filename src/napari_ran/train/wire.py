"""How a training in another process tells and is told: the files of its folder, and events as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from napari_ran.config import TrainConfig
from napari_ran.parsing import parse_json
from napari_ran.train.events import TrainEvent, TrainFailed, TrainFinished, TrainStarted, Validation
from napari_ran.writing import replacing

EVENTS, COMMAND, ERRORS, CONFIG = "events.jsonl", "command", "errors.txt", "config.yaml"
PARENT = "parent"
"""The file that says with which process the training ends; without it, it outlives all."""

_KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(TrainEvent)}
_PATHS = ("checkpoint", "best", "last")
_VALIDATIONS = ("identity", "validation")


def encode(event: TrainEvent) -> str:
    """Return an event as one line of JSON."""
    values = asdict(event)
    if isinstance(event, TrainStarted):
        values["config"] = event.config.to_dict()
    return json.dumps({"event": type(event).__name__} | values, default=str)


def decode(line: str) -> TrainEvent | None:
    """Return the event of a line; None where the line is damaged or of an event that this version does not know."""
    try:
        values: dict[str, Any] = parse_json(line)
        kind = _KINDS[values.pop("event")]
        for name in _PATHS:
            if isinstance(values.get(name), str):
                values[name] = Path(values[name])
        for name in _VALIDATIONS:
            if name in values:
                values[name] = Validation(**values[name])
        if "config" in values:
            values["config"] = TrainConfig(**values["config"])
        event: TrainEvent = kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return event


def straightened(events: Sequence[TrainEvent]) -> list[TrainEvent]:
    """Drop the ends of earlier parts, and what a later part took again."""
    kept: list[TrainEvent] = []
    for event in events:
        if isinstance(event, TrainStarted) and kept:
            done = event.steps_done
            kept = [old for old in kept if not isinstance(old, TrainFinished | TrainFailed) and old.step <= done]
        kept.append(event)
    return kept


def command_in(folder: Path) -> str:
    """Return the command that stands in a folder."""
    try:
        return (folder / COMMAND).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def put(word: str, path: Path) -> None:
    """Write a word to a file in one go, so that nobody reads half of it."""
    with replacing(path) as part:
        part.write_text(word, encoding="utf-8")
