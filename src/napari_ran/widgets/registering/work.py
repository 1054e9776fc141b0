"""What the Register widget does in its thread: convert the layers, register, prepare the layers of the result."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import napari_ran as ran
from napari_ran.io.layers import LayerData
from napari_ran.io.placement import misplaced
from napari_ran.widgets._layers import Look, Source
from napari_ran.widgets._worker import Task, Work
from napari_ran.widgets.registering.results import result_layers

STAGES_WITH_RESULT = ("network", "instance", "transform", "evaluate", "layers")
"""From the first of these on there is a field to keep when a run is cancelled."""


@dataclass(frozen=True, eq=False)
class Finished:
    """A registration with its layers, ready for the viewer.

    Attributes
    ----------
    result : Registration
        What was found.
    layers : list
        Which result each is, and the layer.
    notes : tuple of str
        What to bear in mind of the coordinates; among the messages of the report too.
    """

    result: ran.Registration
    layers: list[tuple[str, LayerData]]
    notes: tuple[str, ...] = ()


def registration_work(
    sources: dict[str, Source], config: ran.RegistrationConfig, keys: set[str], look: Look, initial: str = ""
) -> Work:
    """Return the work of one run: it yields `Event` and returns `Finished`, or None when it was stopped too early.

    Parameters
    ----------
    sources : dict
        Role (``fixed``, ``moving``, ``moving_labels``, ...) to what its layer holds.
    config : RegistrationConfig
        The settings.
    keys : set of str
        The results that are wanted as layers; see `RESULTS`.
    look : Look
        How they should look.
    initial : str
        File or folder of a transform to start from; empty for none.
    """

    def work(task: Task) -> Generator[ran.Event, None, Finished | None]:
        yield ran.Event("check", 0, 1, "reading the layers")
        inputs: dict[str, Any] = {role: source.converted() for role, source in sources.items()}
        run = ran.start(**inputs, config=config, initial=initial or None)
        try:
            for event in run:
                yield event
                if task.stopping.is_set():
                    run.cancel()
            if not run.has_result:
                return None
            result = run.result()
        finally:
            run.close()
        notes = _notes(result, sources)
        result = replace(result, report=result.report.replace(messages=(*result.report.messages, *notes)))
        layers: list[tuple[str, LayerData]] = []
        for prepared in result_layers(result, keys, look):
            yield ran.Event("layers", len(layers), len(keys), "preparing")
            layers.append(prepared)
        return Finished(result, layers, notes)

    return work


def saving_work(result: ran.Registration, folder: Path) -> Work:
    """Return the work of writing a result's files; it returns the folder."""

    def work(task: Task) -> Generator[Any, None, Path]:
        yield from ()
        return result.save(folder)

    return work


def exporting_work(result: ran.Registration, path: Path, format: str, inverse: bool) -> Work:
    """Return the work of writing a result's transform for another tool; it returns the path."""

    def work(task: Task) -> Generator[Any, None, Path]:
        yield from ()
        transform = ran.Transform.of(result)
        return (transform.opposite() if inverse else transform).save(path, format)

    return work


def _notes(result: ran.Registration, sources: dict[str, Source]) -> tuple[str, ...]:
    """Return what to bear in mind of images that do not lie where their files say."""
    files = {role: sources[role] for role in ("fixed", "moving") if sources[role].path}
    notes = (misplaced(getattr(result, role).grid, source.path, source.name) for role, source in files.items())
    return tuple(filter(None, notes))
