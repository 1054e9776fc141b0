"""The rows of a benchmark's table, and how each finds its fields."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

from napari_ran.cases import CaseScore, Registering, Solved, Solver
from napari_ran.config import RegistrationConfig
from napari_ran.config.benchmark import BenchmarkConfig, PeerEntry, SystemEntry
from napari_ran.inputs import Inputs
from napari_ran.peers import peer_steps
from napari_ran.preprocess import prepare_pair
from napari_ran.steps import relay

START = "start"
"""Name of the row that does nothing beyond the alignment that all others start from."""

MODE_WORDS = {"none": "", "field": " + field", "network": " + weights"}
"""What is added to a system's name for each mode of instance optimisation: what is optimised for the pair."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    name : str
        What it is called.
    kind : {"start", "system", "peer"}
        What it is.
    mode : str
        Instance optimisation of a system.
    system : SystemEntry, optional
        The network.
    peer : PeerEntry, optional
        The tool.
    """

    name: str
    kind: Literal["start", "system", "peer"]
    mode: str = "none"
    system: SystemEntry | None = None
    peer: PeerEntry | None = None


@dataclass(frozen=True, eq=False)
class RowResult:
    """What was measured for a row: its cases' scores, or why there are none, and its network's parameters."""

    row: Row
    scores: tuple[CaseScore, ...] = ()
    failure: str | None = None
    parameters: int | None = None


def rows_of(config: BenchmarkConfig) -> list[Row]:
    """Return all rows in the order of the table."""
    rows = [Row(START, "start")]
    for entry in config.systems:
        # without a network only the optimised field is anything
        modes = [mode for mode in config.modes if entry.weights != "none" or mode == "field"]
        rows += [Row(f"{entry.name}{MODE_WORDS[mode]}", "system", mode, system=entry) for mode in modes]
    return rows + [Row(entry.label, "peer", peer=entry) for entry in config.peers]


def solver_of(row: Row, config: BenchmarkConfig, weights: str | None) -> Solver:
    """Return what registers the pairs of a row."""
    if row.peer is not None:
        return PeerSolver(row.peer, config.registration, 60 * config.timeout)
    settings = config.registration.replace(weights=weights or "none", instance={"mode": row.mode})
    return Registering(settings)


@dataclass(frozen=True)
class PeerSolver:
    """Registration by another tool, from where a registration with these settings would start.

    Finding that start is not part of its time.
    """

    entry: PeerEntry
    registration: RegistrationConfig
    timeout: float

    def settings(self) -> dict[str, Any]:
        """Return what decides the result."""
        start = {name: getattr(self.registration, name) for name in ("affine", "intensity", "spacing")}
        return {"peer": self.entry.tool, "options": self.entry.options, "start": start}

    def solve(self, inputs: Inputs) -> Generator[str, None, Solved]:
        """Register a pair."""
        yield "start"
        steps = prepare_pair(inputs.fixed, inputs.moving, self.registration)
        prepared = yield from relay(steps, lambda step: f"{step.stage} {step.message}".strip())
        tool = peer_steps(
            self.entry.tool,
            inputs.fixed,
            inputs.moving,
            prepared.affine,
            options=self.entry.options,
            timeout=self.timeout,
        )
        found = yield from relay(tool, lambda seconds: f"{self.entry.tool} at work for {seconds:.0f} s")
        return Solved(found.field, found.seconds, found.peak_bytes)
