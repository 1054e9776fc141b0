"""A config as options of the command line: names, choices and help come from it, so that nothing is listed twice."""

from __future__ import annotations

import argparse
import re
import typing
from collections.abc import Sequence
from typing import Any, Literal

import napari_ran as ran
from napari_ran.config import FrozenConfig
from napari_ran.errors import InputError
from napari_ran.parsing import TextError, parse_yaml

INSTANCE_OPTIONS = {"instance": "mode", "similarity": "similarity"}
"""Options that set a value of the nested instance config; ``--set instance.KEY=VALUE`` reaches its other values."""


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``, one option per value of `RegistrationConfig`, and ``--set`` for the nested rest."""
    group = parser.add_argument_group("settings", "each replaces the value of the settings file")
    group.add_argument("--config", metavar="YAML", help="settings file, as the viewer exports it")
    instance = ran.InstanceConfig
    options: dict[str, tuple[type[FrozenConfig], str]] = {
        name: (ran.RegistrationConfig, name) for name in ran.RegistrationConfig.model_fields if name != "instance"
    }
    options |= {option: (instance, name) for option, name in INSTANCE_OPTIONS.items()}
    for option, (config, name) in options.items():
        annotation = config.model_fields[name].annotation
        extra: dict[str, Any] = {"metavar": option.upper(), "type": _value}
        if annotation is bool:
            extra = {"action": argparse.BooleanOptionalAction, "default": None}
        elif annotation is str:
            extra["type"] = str
        elif typing.get_origin(annotation) is Literal:
            extra = {"choices": typing.get_args(annotation)}
        group.add_argument(f"--{option.replace('_', '-')}", dest=f"set_{option}", help=describe(config, name), **extra)
    group.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="assignments",
        help="any setting by its name in the settings file, such as instance.similarity=ncc; instance has also: "
        + ", ".join(name for name in instance.model_fields if name not in INSTANCE_OPTIONS.values()),
    )


def describe(config: type[FrozenConfig], name: str) -> str:
    """Return what a config's docstring says about one of its values, as one line without markup."""
    documented = re.search(rf"^    {name} : .*\n((?:        .+\n)+)", config.__doc__ or "", re.MULTILINE)
    text = " ".join(documented.group(1).split()) if documented else ""
    return text.replace("``", "").replace("`", "").replace("%", "%%")


def configured(arguments: argparse.Namespace) -> ran.RegistrationConfig:
    """Build the config from the settings file and the options that were given."""
    config = (
        ran.RegistrationConfig() if arguments.config is None else ran.RegistrationConfig.from_yaml(arguments.config)
    )
    overrides: dict[str, Any] = {}
    given = {
        name.removeprefix("set_"): value
        for name, value in vars(arguments).items()
        if name.startswith("set_") and value is not None
    }
    for option, value in given.items():
        _assign(overrides, f"instance.{INSTANCE_OPTIONS[option]}" if option in INSTANCE_OPTIONS else option, value)
    assign_all(overrides, arguments.assignments, "instance.similarity=ncc")
    return config.replace(**overrides)


def assign_all(values: dict[str, Any], assignments: Sequence[str], example: str) -> None:
    """Put every ``KEY=VALUE`` of ``--set`` into nested values."""
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InputError("--set", f"expected KEY=VALUE, got '{assignment}'", f"Write for example --set {example}")
        _assign(values, key.strip(), _value(text))


def _value(text: str) -> Any:
    """Read a number, a word or a list as a settings file would."""
    try:
        return parse_yaml(text)
    except TextError:
        return text  # the config refuses it by name


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for part in parents:
        if not isinstance(values.get(part), dict):
            values[part] = {}
        values = values[part]
    values[last] = value
