"""Ways to find the displacement field of a case."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from napari_ran.config import RegistrationConfig
from napari_ran.data import DisplacementField
from napari_ran.inputs import Inputs
from napari_ran.registration import Run
from napari_ran.results import Registration


@dataclass(frozen=True, eq=False)
class Solved:
    """A field on the fixed image's grid, from fixed to moving points, and what finding it took."""

    field: DisplacementField
    seconds: float | None = None
    peak_bytes: int | None = None


class Solver(Protocol):
    """Registers pairs."""

    def settings(self) -> dict[str, Any]:
        """Return all that decides the result besides the images, as JSON can hold it."""
        ...

    def solve(self, inputs: Inputs) -> Generator[str, None, Solved]:
        """Register a pair, saying what is being done."""
        ...


@dataclass(frozen=True)
class Registering:
    """Registration as `napari_ran.register` does it."""

    config: RegistrationConfig

    def settings(self) -> dict[str, Any]:
        """Return the settings, and which file of weights it is."""
        weights = Path(self.config.weights)
        return {"registration": self.config.to_dict()} | ({"file": stamp(weights)} if weights.is_file() else {})

    def solve(self, inputs: Inputs) -> Generator[str, None, Solved]:
        """Register a pair."""
        run = Run(inputs, self.config)
        for event in run:
            yield f"{event.stage} {event.message}".strip()
        return solved_by(run.result())


def solved_by(registration: Registration) -> Solved:
    """Return what a registration found; its time is that of all stages but the measuring at the end."""
    stages = [stage for stage in registration.report.stages if stage.name != "evaluate"]
    seconds = sum(stage.seconds for stage in stages)
    return Solved(registration.field, seconds, max(stage.peak_bytes for stage in stages))


def stamp(path: Path) -> list[Any]:
    """Return what changes when a file does."""
    found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]
