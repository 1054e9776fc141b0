"""What the Compare widget does in its threads."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import napari_ran as ran
from napari_ran.benchmark import Candidate, Compared, PairStep, compare_pair
from napari_ran.cases import Case, load_case, read_cases
from napari_ran.inputs import Inputs, load_inputs
from napari_ran.io.layers import LayerData
from napari_ran.widgets._layers import Look, Source
from napari_ran.widgets._worker import Task, Work
from napari_ran.widgets.comparison.kept import KeptFields
from napari_ran.widgets.comparison.layers import disagreement_layer, image_layers, layer_of, scale_of

LOADED = ""
"""Name of the only pair where it is loaded in the viewer."""


@dataclass(frozen=True)
class ListStep:
    """Progress over pairs: that of pair `number` of `total`, counted from 1, which is called `case` in its list."""

    case: str
    number: int
    total: int
    step: PairStep


def comparing_work(sources: dict[str, Source], candidates: Sequence[Candidate]) -> Work:
    """Return the work of a comparison: it yields the `Inputs`, then every `ListStep`; what was found stays found."""

    def work(task: Task) -> Generator[Inputs | ListStep, None, bool]:
        given: dict[str, Any] = {role: source.converted() for role, source in sources.items()}
        inputs = load_inputs(**given)
        yield inputs
        with closing(compare_pair(inputs, candidates)) as steps:
            for step in steps:
                yield ListStep(LOADED, 1, 1, step)
                if task.stopping.is_set():
                    return False
        return True

    return work


def reading_work(path: Path) -> Work:
    """Return the work of reading a list; it returns the cases and the number of axes of the first."""

    def work(task: Task) -> Generator[None, None, tuple[list[Case], int]]:
        yield from ()
        cases = read_cases(path)
        return cases, load_case(cases[0]).fixed.grid.ndim

    return work


def listing_work(cases: Sequence[Case], candidates: Sequence[Candidate], kept: KeptFields) -> Work:
    """Return the work of a comparison over many pairs: it yields every `ListStep`; the fields are kept in files."""

    def work(task: Task) -> Generator[ListStep, None, bool]:
        for number, case in enumerate(cases, start=1):
            with closing(_comparing(case, candidates)) as steps:
                for step in steps:
                    found = None if step.found is None else kept.put(case.name, step.found)
                    yield ListStep(case.name, number, len(cases), replace(step, found=found))
                    if task.stopping.is_set():
                        return False
        return True

    return work


def _comparing(case: Case, candidates: Sequence[Candidate]) -> Generator[PairStep, None, None]:
    """Compare on one pair of a list; one that cannot be read is a failure of all."""
    try:
        inputs = load_case(case)
    except ran.InputError as error:
        for number, candidate in enumerate(candidates, start=1):
            found = Compared(candidate.name, failure=str(error))
            yield PairStep(candidate.name, number, len(candidates), "failed", found)
    else:
        yield from compare_pair(inputs, candidates, case.labels)


def opening_work(case: Case, results: Sequence[Compared], kept: KeptFields) -> Work:
    """Return the work of opening one pair of a list; it returns the pair, its results, its look and its layers."""

    def work(task: Task) -> Generator[None, None, tuple[Inputs, list[Compared], Look, list[tuple[str, LayerData]]]]:
        yield from ()
        inputs, found = kept.open(case, results)
        look = Look.of_images(inputs.fixed, inputs.moving)
        return inputs, found, look, image_layers(case.name, inputs, look)

    return work


def showing_work(results: list[Compared], view: str, fixed: ran.Image, look: Look) -> Work:
    """Return the work of making every result's layer; it yields each name with its layer.

    It returns the end of the colour scale that all have.
    """

    def work(task: Task) -> Generator[tuple[str, LayerData], None, float]:
        shown = [found for found in results if found.field is not None]
        largest = scale_of(shown, view, fixed)
        for found in shown:
            yield found.name, layer_of(found, view, fixed, look, largest)
        return largest

    return work


def differing_work(results: list[Compared], look: Look) -> Work:
    """Return the work of finding where results differ; it returns the layer."""

    def work(task: Task) -> Generator[None, None, LayerData]:
        yield from ()
        return disagreement_layer(results, look)

    return work
