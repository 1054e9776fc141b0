"""Several ways of registering one pair, measured alike."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from napari_ran.benchmark.rows import MODE_WORDS, START, PeerSolver
from napari_ran.cases import CaseScore, Registering, Solver, score_case
from napari_ran.config import PeerEntry, RegistrationConfig
from napari_ran.data import DisplacementField, Image
from napari_ran.errors import InputError
from napari_ran.evaluate import similarity
from napari_ran.inputs import Inputs
from napari_ran.io.checkpoints import available_weights
from napari_ran.peers import PEERS, PeerError
from napari_ran.steps import relay
from napari_ran.transform import warp_image

TIMEOUT = 1800.0
"""Seconds after which another tool is stopped."""


@dataclass(frozen=True)
class Candidate:
    """A way of registering a pair, and what to call it."""

    name: str
    solver: Solver


@dataclass(frozen=True, eq=False)
class Compared:
    """What a candidate found.

    Attributes
    ----------
    name : str
        The candidate.
    score : CaseScore, optional
        What was measured; None if it failed.
    field : DisplacementField, optional
        On the fixed image's grid, from fixed to moving points.
    warped : Image, optional
        The moving image on the fixed grid.
    similarity : float, optional
        Mean squared local NCC of the warped and the fixed image, 0 to 1.
    failure : str, optional
        Why there is none of this.
    """

    name: str
    score: CaseScore | None = None
    field: DisplacementField | None = None
    warped: Image | None = None
    similarity: float | None = None
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class PairStep:
    """Progress: candidate `number` of `total`, counted from 1, and what it found once it is done."""

    name: str
    number: int
    total: int
    message: str
    found: Compared | None = None


def candidates_for(ndim: int, settings: RegistrationConfig | None = None) -> list[Candidate]:
    """Return what can be compared here: all weights for so many axes, no network, and the tools that are installed.

    Parameters
    ----------
    ndim : {2, 3}
        Number of axes.
    settings : RegistrationConfig, optional
        What all have in common: the alignment before, the intensities and the details of instance optimisation.
    """
    common = settings or RegistrationConfig()
    found = [Candidate(START, Registering(common.replace(weights="none", instance={"mode": "none"})))]
    for card in available_weights():
        if card.ndim == ndim:
            found += [
                Candidate(
                    f"{card.name}{MODE_WORDS[mode]}", Registering(common.replace(weights=card.name, instance=mode))
                )
                for mode in ("none", "field")
            ]
    plain = Registering(common.replace(weights="none", instance={"mode": "field"}))
    found.append(Candidate(f"no network{MODE_WORDS['field']}", plain))
    return found + [
        Candidate(name, PeerSolver(PeerEntry(tool=name), common, TIMEOUT))
        for name, peer in PEERS.items()
        if ndim in peer.dimensions and peer.installed
    ]


def compare_pair(
    inputs: Inputs, candidates: Sequence[Candidate], only: Collection[int] = ()
) -> Generator[PairStep, None, list[Compared]]:
    """Register a pair in several ways.

    Parameters
    ----------
    inputs : Inputs
        The pair, with labels and landmarks as far as there are some.
    candidates : sequence of Candidate
        The ways. One that fails says so and stops no other.
    only : collection of int
        The labels to score; all that both maps have when empty.

    Yields
    ------
    PairStep
        Closing the generator keeps what was yielded.

    Returns
    -------
    list of Compared
        In the order of the candidates.
    """
    results = []
    for number, candidate in enumerate(candidates, start=1):

        def step(message: str, found: Compared | None = None, at: int = number, name: str = candidate.name) -> PairStep:
            return PairStep(name, at, len(candidates), message, found)

        try:
            solved = yield from relay(candidate.solver.solve(inputs), step)
        except (InputError, PeerError) as error:
            found = Compared(candidate.name, failure=str(error))
        else:
            yield step("measuring")
            score = score_case(
                candidate.name, inputs, solved.field, only=only, seconds=solved.seconds, peak_bytes=solved.peak_bytes
            )
            warped = warp_image(inputs.moving, solved.field)
            likeness = similarity(inputs.fixed, inputs.moving, warped, solved.field)[1]
            found = Compared(candidate.name, score, solved.field, warped, likeness)
        results.append(found)
        yield step(found.failure or "done", found)
    return results


def disagreement(fields: Sequence[DisplacementField]) -> Image:
    """Return how far fields on one grid lie apart at every voxel, in mm.

    Of two fields the length of their difference; of more the largest distance of one from the mean of all, doubled, so
    that both agree for two.

    Parameters
    ----------
    fields : sequence of DisplacementField
        At least two, on one grid.

    Raises
    ------
    InputError
        There are fewer than two, or they lie on different grids.
    """
    if len(fields) < 2 or any(field.grid != fields[0].grid for field in fields):
        raise InputError("fields", "at least two fields on one grid are needed", "Compare two systems")
    world = np.stack([field.millimetres.cpu().numpy() for field in fields])
    apart = 2 * np.linalg.norm(world - world.mean(axis=0), axis=1).max(axis=0)
    return Image(torch.from_numpy(np.ascontiguousarray(apart, dtype=np.float32)), fields[0].grid, "disagreement (mm)")
