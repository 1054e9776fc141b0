"""YAML and JSON from files that anyone may have written: bounded before anything is built of them.

Both parsers build plain values only, never objects. What is left to bound is size: nesting that exhausts the stack,
numbers of thousands of digits, and YAML aliases, ten lines of which can stand for a billion values.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from napari_ran.errors import brief

DEEPEST = 50
"""Levels of nesting that are followed."""

MOST_VALUES = 100_000
"""Values that a YAML text may stand for, every alias counted as what it repeats."""

MOST_LETTERS = 4_000_000
"""Length of a YAML text."""


class TextError(ValueError):
    """A text that is not what it should be, or stands for more than it should."""


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says.

    Raises
    ------
    TextError
        It is not YAML, asks for objects, or goes beyond the bounds above; the message is one line.
    """
    if len(text) > MOST_LETTERS:
        raise TextError(f"it has {len(text):,} letters, more than {MOST_LETTERS:,}")
    try:
        _refuse_bombs(text)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TextError(brief(" ".join(str(error).split()))) from None
    except RecursionError:
        raise TextError("it is nested too deeply") from None
    except TextError:
        raise
    except (ValueError, OverflowError) as error:  # numbers of thousands of digits, days that do not exist
        raise TextError(brief(str(error))) from None


def parse_json(text: str) -> Any:
    """Return what a JSON text says.

    Raises
    ------
    TextError
        It is not JSON, or is nested too deeply; the message is one line.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise TextError("it is nested too deeply") from None
    except ValueError as error:
        raise TextError(brief(str(error))) from None


def _refuse_bombs(text: str) -> None:
    """Count, event by event, how deep a YAML text goes and how many values it stands for."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor or "", MOST_VALUES)  # one that is still open would repeat itself for ever
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if len(opened) > DEEPEST:
            raise TextError("it is nested too deeply")
        if total > MOST_VALUES:
            raise TextError(f"it stands for more than {MOST_VALUES:,} values")


__all__ = ["TextError", "parse_json", "parse_yaml"]
