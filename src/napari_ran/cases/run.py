"""All cases one after another; what is finished is kept, and a run that was stopped goes on there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from napari_ran._version import __version__
from napari_ran.cases.listing import Case
from napari_ran.cases.scores import CaseScore, score_case
from napari_ran.config import RegistrationConfig
from napari_ran.data import DisplacementField
from napari_ran.errors import InputError
from napari_ran.inputs import Inputs, load_inputs
from napari_ran.io import load_field
from napari_ran.registration import Run
from napari_ran.transform import compose_to
from napari_ran.writing import replacing

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
    cases: Sequence[Case], folder: str | Path, config: RegistrationConfig | None = None
) -> Generator[CaseStep, None, list[CaseScore]]:
    """Score every case: by its field, or by registering it.

    Parameters
    ----------
    cases : sequence of Case
        From `read_cases`.
    folder : path
        Finished cases are kept there. One whose files and settings are the same as then is not made again.
    config : RegistrationConfig, optional
        How pairs without a field are registered.

    Yields
    ------
    CaseStep
        Several for each case. Closing the generator keeps what is finished.

    Returns
    -------
    list of CaseScore
        In the order of the cases.
    """
    settings, kept = config or RegistrationConfig(), Path(folder) / CASES
    scores: list[CaseScore] = []
    for number, case in enumerate(cases, start=1):
        place, key = kept / f"{_file_name(case.name)}.json", _key(case, settings)
        score = _finished(place, key)
        if score is None:
            yield CaseStep(number, len(cases), case.name, "reading")
            score = yield from _score(case, settings, number, len(cases))
            with replacing(place, "the score of a case", make_folder=True) as part:
                part.write_text(json.dumps({"key": key, "score": score.to_dict()}, indent=1), encoding="utf-8")
        scores.append(score)
        yield CaseStep(number, len(cases), case.name, "done", score)
    return scores


def _score(case: Case, config: RegistrationConfig, number: int, total: int) -> Generator[CaseStep, None, CaseScore]:
    try:
        inputs = load_inputs(
            case.fixed,
            case.moving,
            case.fixed_labels,
            case.moving_labels,
            case.fixed_landmarks,
            case.moving_landmarks,
        )
        seconds, peak = None, None
        if case.field is not None:
            field = _given(case.field, inputs)
        else:
            run = Run(inputs, config)
            for event in run:
                yield CaseStep(number, total, case.name, f"{event.stage} {event.message}".strip())
            registration = run.result()
            field, stages = registration.field, registration.report.stages
            seconds = sum(stage.seconds for stage in stages if stage.name != "evaluate")
            peak = max(stage.peak_bytes for stage in stages)
    except InputError as error:
        raise InputError(f"case {case.name}", f"{error.argument}: {error.problem}", error.cure) from error
    yield CaseStep(number, total, case.name, "measuring")
    return score_case(
        case.name,
        inputs.fixed,
        inputs.moving,
        field,
        fixed_labels=inputs.fixed_labels,
        moving_labels=inputs.moving_labels,
        fixed_landmarks=inputs.fixed_landmarks,
        moving_landmarks=inputs.moving_landmarks,
        seconds=seconds,
        peak_bytes=peak,
    )


def _given(path: Path, inputs: Inputs) -> DisplacementField:
    """Return a field from a file on the fixed image's grid."""
    field, grid = load_field(path), inputs.fixed.grid
    if field.grid.ndim != grid.ndim:
        raise InputError("field", f"has {field.grid.ndim} dimensions, the images {grid.ndim}", "Give this pair's field")
    return field if field.grid == grid else compose_to(field, np.eye(grid.ndim + 1), grid)


def _key(case: Case, config: RegistrationConfig) -> str:
    """Return what tells whether a finished case is this one: its files as they are now, the settings, the version."""
    files = {
        name: (str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns)
        for name, path in asdict(case).items()
        if isinstance(path, Path)
    }
    settings = None if case.field is not None else config.to_dict()
    weights = Path(config.weights)
    if case.field is None and weights.is_file():
        files["weights"] = (str(weights.resolve()), weights.stat().st_size, weights.stat().st_mtime_ns)
    text = json.dumps([case.name, files, settings, __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _finished(place: Path, key: str) -> CaseScore | None:
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        return CaseScore(**content["score"]) if content["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None


def _file_name(name: str) -> str:
    """Return a name as a file can have it; different names stay different."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
