"""All cases one after another; what is finished is kept, and a run that was stopped goes on there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_ran._version import __version__
from napari_ran.cases.listing import Case
from napari_ran.cases.scores import CaseScore, score_case
from napari_ran.cases.solving import Registering, Solved, Solver, stamp
from napari_ran.config import RegistrationConfig
from napari_ran.data import DisplacementField
from napari_ran.errors import InputError
from napari_ran.inputs import Inputs, load_inputs
from napari_ran.io import load_field, load_image, load_labels
from napari_ran.io.landmarks import load_voxel_landmarks
from napari_ran.parsing import parse_json
from napari_ran.results import GIVEN
from napari_ran.steps import relay
from napari_ran.transform import compose_to
from napari_ran.writing import replacing

_LONGEST_NAME = 60
"""Letters of a case's name in its file's: each may take four bytes, of which a file's name has 255."""

CASES = "cases"
"""Folder of the finished cases."""


@dataclass(frozen=True)
class CaseStep:
    """Progress: case `number` of `total`, counted from 1; its `score` once it is done."""

    number: int
    total: int
    name: str
    message: str
    score: CaseScore | None = None


def score_cases(
    cases: Sequence[Case],
    folder: str | Path,
    solver: Solver | RegistrationConfig | None = None,
    *,
    paper: bool = False,
) -> Generator[CaseStep, None, list[CaseScore]]:
    """Score every case: by its field, or by registering it.

    Parameters
    ----------
    cases : sequence of Case
        From `read_cases`.
    folder : path
        Finished cases are kept there. One whose files and settings are the same as then is not made again.
    solver : Solver or RegistrationConfig, optional
        How pairs without a field are registered.
    paper : bool
        Measure also as the paper's released code does, see `napari_ran.evaluate.paper`.

    Yields
    ------
    CaseStep
        Several for each case. Closing the generator keeps what is finished.

    Returns
    -------
    list of CaseScore
        In the order of the cases.
    """
    solver = _solver(solver)
    scores: list[CaseScore] = []
    for number, case in enumerate(cases, start=1):
        place, key = _place(case, folder), case_key(case, solver, paper)
        score = _finished(place, key)
        if score is None:
            yield CaseStep(number, len(cases), case.name, "reading")
            score = yield from _score(case, solver, number, len(cases), paper)
            with replacing(place, "the score of a case", make_folder=True) as part:
                part.write_text(json.dumps({"key": key, "score": score.to_dict()}, indent=1), encoding="utf-8")
        scores.append(score)
        yield CaseStep(number, len(cases), case.name, "done", score)
    return scores


def finished_cases(
    cases: Sequence[Case], folder: str | Path, solver: Solver | RegistrationConfig | None = None
) -> list[CaseScore] | None:
    """Return what `score_cases` would without any work, or None if a case is not finished."""
    solver = _solver(solver)
    found = [_finished(_place(case, folder), case_key(case, solver)) for case in cases]
    scores = [score for score in found if score is not None]
    return scores if len(scores) == len(cases) else None


def _solver(given: Solver | RegistrationConfig | None) -> Solver:
    if given is None or isinstance(given, RegistrationConfig):
        return Registering(given or RegistrationConfig())
    return given


def _score(case: Case, solver: Solver, number: int, total: int, paper: bool) -> Generator[CaseStep, None, CaseScore]:
    inputs = load_case(case)
    try:
        if case.field is not None:
            solved = Solved(_on_fixed(load_field(case.field), inputs, case.learn2reg))
        else:
            solved = yield from relay(solver.solve(inputs), lambda words: CaseStep(number, total, case.name, words))
    except InputError as error:
        raise _of_case(case, error) from error
    yield CaseStep(number, total, case.name, "measuring")
    return measure_case(case, inputs, solved, paper=paper)


def measure_case(case: Case, inputs: Inputs, solved: Solved, *, paper: bool = False) -> CaseScore:
    """Score the field that was found for a case, against its exact field and in its mask where it has them.

    Raises
    ------
    InputError
        A file cannot be read, or does not fit; the case is named.
    """
    try:
        truth = None if case.truth is None else _on_fixed(load_field(case.truth), inputs, False)
        mask = None if case.mask is None else load_labels(case.mask)
    except InputError as error:
        raise _of_case(case, error) from error
    return score_case(
        case.name,
        inputs,
        solved.field,
        truth=truth,
        mask=mask,
        only=case.labels,
        paper=paper,
        seconds=solved.seconds,
        peak_bytes=solved.peak_bytes,
    )


def load_case(case: Case) -> Inputs:
    """Load a case; by Learn2Reg's rules, images of one shape share the fixed image's grid.

    Raises
    ------
    InputError
        A file cannot be read, or the parts do not fit; the case is named.
    """
    try:
        return _inputs(case)
    except InputError as error:
        raise _of_case(case, error) from error


def _of_case(case: Case, error: InputError) -> InputError:
    return InputError(f"case {case.name}", f"{error.argument}: {error.problem}", error.cure)


def _inputs(case: Case) -> Inputs:
    if not case.learn2reg:
        return load_inputs(case.fixed, case.moving, **{name: getattr(case, name) for name in GIVEN})
    fixed, moving = load_image(case.fixed), load_image(case.moving)
    maps = [None if path is None else load_labels(path) for path in (case.fixed_labels, case.moving_labels)]
    if moving.grid.shape == fixed.grid.shape:
        moving = replace(moving, grid=fixed.grid)
        maps = [None if one is None else replace(one, grid=fixed.grid) for one in maps]
    points = [
        None if path is None else load_voxel_landmarks(path, grid)
        for path, grid in ((case.fixed_landmarks, fixed.grid), (case.moving_landmarks, moving.grid))
    ]
    given: dict[str, Any] = dict(zip(GIVEN, (*maps, *points), strict=True))
    return load_inputs(fixed, moving, **given)


def _on_fixed(field: DisplacementField, inputs: Inputs, by_voxel: bool) -> DisplacementField:
    """Return a field of a file on the fixed image's grid; `by_voxel`: its voxels are that grid's already."""
    grid = inputs.fixed.grid
    if field.grid.ndim != grid.ndim:
        raise InputError("field", f"has {field.grid.ndim} dimensions, the images {grid.ndim}", "Give this pair's field")
    if field.grid == grid:
        return field
    if not by_voxel:
        return compose_to(field, np.eye(grid.ndim + 1), grid)
    if field.grid.shape != grid.shape:
        raise InputError(
            "field", f"has shape {field.grid.shape}, the fixed image {grid.shape}", "Give this pair's field"
        )
    return DisplacementField(field.tensor, grid)


def case_key(case: Case, solver: Solver, paper: bool = False) -> str:
    """Return what tells whether a finished case is this one: its files as they are now, the settings, the version."""
    files = {name: stamp(path) for name, path in case.files.items()}
    settings = None if case.field is not None else solver.settings()
    text = json.dumps(
        [case.name, files, case.labels, settings, *(["paper"] if paper else []), __version__], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _place(case: Case, folder: str | Path) -> Path:
    return Path(folder) / CASES / f"{file_name(case.name)}.json"


def _finished(place: Path, key: str) -> CaseScore | None:
    try:
        content = parse_json(place.read_text(encoding="utf-8"))
        return CaseScore(**content["score"]) if content["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def file_name(name: str) -> str:
    """Return a name as a file can have it, inside its folder; different names stay different."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)[:_LONGEST_NAME]
    plain = "_" * len(plain) if not plain.strip(".") else plain  # . and .. are other folders
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
