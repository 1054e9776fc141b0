"""What the Compare widget does in its threads."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Any

import napari_ran as ran
from napari_ran.benchmark import Candidate, Compared, PairStep, compare_pair
from napari_ran.inputs import Inputs, load_inputs
from napari_ran.io.layers import LayerData
from napari_ran.widgets._layers import Look, Source
from napari_ran.widgets._worker import Task, Work
from napari_ran.widgets.comparison.layers import disagreement_layer, layer_of, scale_of


def comparing_work(sources: dict[str, Source], candidates: Sequence[Candidate]) -> Work:
    """Return the work of a comparison: it yields the `Inputs`, then every `PairStep`; what was found stays found."""

    def work(task: Task) -> Generator[Inputs | PairStep, None, bool]:
        given: dict[str, Any] = {}
        for role, source in sources.items():
            kind = role.rpartition("_")[2]
            given[role] = getattr(source, kind if kind in ("labels", "landmarks") else "image")()
        inputs = load_inputs(**given)
        yield inputs
        with closing(compare_pair(inputs, candidates)) as steps:
            for step in steps:
                yield step
                if task.stopping.is_set():
                    return False
        return True

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
