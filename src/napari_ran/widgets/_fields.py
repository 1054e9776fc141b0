"""What a config says about its settings: their types, limits and explanations."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from napari_ran.config import FrozenConfig

FINEST = 1e-4
"""Smallest step between two decimal numbers of a form."""


@dataclass(frozen=True)
class Setting:
    """A setting of a config.

    Attributes
    ----------
    kind : Any
        Its type, without None and without constraints.
    optional : bool
        Whether it can be None: left to the program.
    low, high : float or None
        Smallest and largest number that it accepts, where the config says so.
    help : str
        What it is (rich text): the field's description, else what the config's docstring says.
    """

    kind: Any
    optional: bool
    low: float | None
    high: float | None
    help: str


def settings_of(config: type[FrozenConfig], prefix: str = "") -> Iterator[tuple[str, Setting]]:
    """Yield the path of every setting, such as ``instance.steps``, and what it is; nested configs included."""
    documented = _attributes(config.__doc__ or "")
    for name, info in config.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, FrozenConfig):
            yield from settings_of(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, _setting(info, info.description or documented.get(name, ""))


def _attributes(docstring: str) -> dict[str, str]:
    """Return the explanations of a numpy docstring's Attributes section, by name."""
    _, _, section = docstring.partition("Attributes\n")
    found: dict[str, str] = {}
    names: list[str] = []
    indent = len(section) - len(section.lstrip(" ")) if section else 0
    for line in section.splitlines()[1:]:
        heading = re.match(rf" {{{indent}}}(\w[\w, ]*?)\s*:", line)
        if heading:
            names = [name.strip() for name in heading.group(1).split(",")]
        elif line.strip():
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
    return {name: re.sub(r"``([^`]*)``|`([^`]*)`", r"<i>\1\2</i>", text) for name, text in found.items()}


def _setting(info: FieldInfo, text: str) -> Setting:
    kind, optional, rules = info.annotation, False, list(info.metadata)
    if get_origin(kind) in (Union, types.UnionType):
        parts = [part for part in get_args(kind) if part is not type(None)]
        optional = len(parts) < len(get_args(kind))
        kind = parts[0] if len(parts) == 1 else kind
    while hasattr(kind, "__metadata__"):  # Annotated, as PositiveFloat is
        kind, *more = get_args(kind)
        rules += more
    return Setting(kind, optional, *_limits(rules, 1 if kind is int else FINEST), text)


def _limits(rules: list[Any], step: float) -> tuple[float | None, float | None]:
    """Return the smallest and the largest number that satisfy a field's constraints, as far as there are some."""
    low: float | None = None
    high: float | None = None
    for rule in rules:
        low = rule.ge if getattr(rule, "ge", None) is not None else low
        low = rule.gt + step if getattr(rule, "gt", None) is not None else low
        high = rule.le if getattr(rule, "le", None) is not None else high
        high = rule.lt - step if getattr(rule, "lt", None) is not None else high
    return low, high
