"""Settings of a benchmark: which systems are compared, on what, and how they are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from napari_ran.config.base import FrozenConfig
from napari_ran.config.registration import RegistrationConfig
from napari_ran.config.training import VERSION
from napari_ran.errors import InputError
from napari_ran.types import InstanceMode


class SystemEntry(FrozenConfig):
    """A network to compare; a plain string is its name.

    Attributes
    ----------
    name : str
        What its rows are called. Without `weights` and a structure of its own it is also which system it is, see
        `napari_ran.models.SYSTEMS`.
    weights : str, optional
        Name or file of weights; ``none`` for no network at all. Without it, the system is trained.
    training : dict
        What differs in its training from the others', by the names of `TrainConfig`, in every part.
    """

    name: str
    weights: str | None = None
    training: dict[str, Any] = Field(default_factory=dict)


class PeerEntry(FrozenConfig):
    """Another registration tool; a plain string is which one it is.

    Attributes
    ----------
    tool : str
        One of `napari_ran.peers.PEERS`.
    name : str, optional
        What its row is called; the tool's name when left out.
    options : dict
        Its own settings.
    """

    tool: str
    name: str = ""
    options: dict[str, Any] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """What its row is called."""
        return self.name or self.tool


class BenchmarkConfig(FrozenConfig):
    """Every choice of a benchmark. Files are named relative to the file of these settings.

    Attributes
    ----------
    version : int
        Version of these settings.
    name : str
        Title of the table.
    cases : str
        CSV file of the held pairs, as for ``napari-ran evaluate``.
    training : tuple of str
        YAML files of the training, or of its parts, that each system without weights goes through: the same data,
        budget and seed for all. ``model.preset`` becomes the system.
    systems : tuple of SystemEntry
        The networks.
    modes : tuple of {"none", "field", "network"}
        Each network is measured alone (``none``) and with these kinds of instance optimisation.
    peers : tuple of PeerEntry
        Other tools. They start where the networks start.
    registration : RegistrationConfig
        How pairs are registered; `weights` and the mode of `instance` are set for each row.
    reference : str, optional
        The row that the others are compared with; the first system's first row when left out.
    timeout : float
        Minutes after which a tool is stopped on a pair.
    """

    version: PositiveInt = VERSION
    name: str = "benchmark"
    cases: str
    training: tuple[str, ...] = ()
    systems: tuple[SystemEntry, ...] = ()
    modes: tuple[InstanceMode, ...] = Field(("none", "field"), min_length=1)
    peers: tuple[PeerEntry, ...] = ()
    registration: RegistrationConfig = Field(default_factory=RegistrationConfig)
    reference: str | None = None
    timeout: PositiveFloat = 30.0

    @field_validator("systems", mode="before")
    @classmethod
    def _systems_by_name(cls, values: Any) -> Any:
        return _named(values, "name")

    @field_validator("peers", mode="before")
    @classmethod
    def _peers_by_name(cls, values: Any) -> Any:
        return _named(values, "tool")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        names = [entry.name for entry in self.systems] + [entry.label for entry in self.peers]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError("systems", f"two entries are called '{twice}'", "Give each a name of its own")
        untrained = next((entry.name for entry in self.systems if entry.weights is None), None)
        if untrained is not None and not self.training:
            raise InputError("training", f"'{untrained}' has no weights and no training", "Name one of the two")
        if not names:
            raise InputError("systems", "there is nothing to compare", "Name systems or peers")
        return self

    @classmethod
    def from_yaml(cls, source: str | Path) -> Self:
        """Read a config from a YAML file; the files it names become absolute, seen from its folder.

        Parameters
        ----------
        source : path
            The file.
        """
        config, folder = super().from_yaml(source), Path(source).expanduser().absolute().parent

        def placed(name: str) -> str:
            return str(folder / Path(name).expanduser())

        systems = [
            entry.replace(weights=placed(entry.weights))
            if entry.weights and (folder / entry.weights).is_file()
            else entry
            for entry in config.systems
        ]
        return config.replace(
            cases=placed(config.cases),
            training=[placed(name) for name in config.training],
            systems=[entry.to_dict() for entry in systems],
        )


def _named(values: Any, key: str) -> Any:
    if isinstance(values, list | tuple):
        return [{key: value} if isinstance(value, str) else value for value in values]
    return values
