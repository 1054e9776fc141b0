"""Frozen, validated configs that refuse unknown keys by name and round-trip through YAML."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from napari_ran.errors import InputError, brief
from napari_ran.parsing import TextError, parse_yaml
from napari_ran.writing import replacing


class FrozenConfig(BaseModel):
    """Base of all configs: immutable, no unknown keys, one clear error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _readable(type(self), error) from None

    def replace(self, **overrides: Any) -> Self:
        """Return a copy with some values replaced, validated anew.

        A dictionary given for a nested config changes only the keys it names.
        """
        values = self.to_dict()
        for key, value in overrides.items():
            if isinstance(value, BaseModel):
                value = value.model_dump(mode="json")
            elif isinstance(value, dict) and isinstance(values.get(key), dict):
                value = values[key] | value
            values[key] = value
        return type(self)(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values; ``type(self)(**config.to_dict()) == config``."""
        return self.model_dump(mode="json")

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the config as YAML, and write it to `path`, whole or not at all, when one is given."""
        text = yaml.safe_dump(self.to_dict(), sort_keys=False)
        if path is not None:
            with replacing(path, "the settings") as part:
                part.write_text(text, encoding="utf-8")
        return text

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """Read a config from a YAML file.

        Raises
        ------
        InputError
            The file is missing, is not YAML, is not a mapping, or has an unknown or invalid key.
        """
        path = Path(source)
        try:
            values = parse_yaml(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                "config", f"cannot read {path} ({error.strerror})", "Give the path of a YAML file"
            ) from None
        except (TextError, UnicodeDecodeError) as error:
            raise InputError("config", f"{path} is not valid YAML ({error})", "Export the settings again") from None
        if values is None:
            values = {}
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise InputError(
                "config", f"{path} holds {type(values).__name__}, not named settings", "Write 'key: value' lines"
            )
        return cls(**values)


def _readable(config: type[BaseModel], error: ValidationError) -> InputError:
    """Turn pydantic's first complaint into one sentence that names the key."""
    detail = error.errors()[0]
    place = ".".join(str(part) for part in detail["loc"])
    key = place or config.__name__
    if detail["type"] == "extra_forbidden":
        known = _keys_at(config, detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else f"Known keys are {', '.join(known)}"
        return InputError(key, f"unknown key of {config.__name__}", hint)
    nested = detail.get("ctx", {}).get("error")
    if isinstance(nested, InputError):  # a nested config has already found the words
        name = nested.argument if place in ("", nested.argument) else f"{place}.{nested.argument}"
        return InputError(name, nested.problem, nested.cure)
    problem = detail["msg"].removeprefix("Value error, ")
    came = brief(repr(detail["input"]))
    return InputError(key, f"{problem[0].lower()}{problem[1:]}, got {came}", "Correct this value")


def _keys_at(config: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    fields = config.model_fields
    for part in location:
        annotation = fields[str(part)].annotation if str(part) in fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        fields = annotation.model_fields
    return list(fields)


def _on_or_off(value: Any) -> Any:
    """Return ``on`` and ``off`` for YAML's words for them, which it reads as true and false; all else as it is."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


SWITCH = BeforeValidator(_on_or_off)
"""Lets a setting that has the values ``on`` and ``off`` be read from YAML."""
