"""What the Apply widget does in its threads: read a transform, carry layers."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import napari_ran as ran
from napari_ran.applying import LabelMethod
from napari_ran.carrying import CarryStep, carry_layers, layer_grid
from napari_ran.io.layers import LayerData
from napari_ran.widgets._worker import Task, Work


def loading_work(path: Path, format: str | None, fixed: LayerData | None, moving: LayerData | None) -> Work:
    """Return the work of reading a result's folder or a transform's file; it returns a `Transform`.

    Parameters
    ----------
    path : path
        What to read.
    format : str, optional
        One of `napari_ran.io.fields.FORMATS`; the file says it when left out.
    fixed, moving : layer data, optional
        Layers on whose grids the images lie, for files that do not say it.
    """

    def work(task: Task) -> Generator[Any, None, ran.Transform]:
        yield from ()
        grids = {role: layer_grid(layer) for role, layer in (("fixed", fixed), ("moving", moving)) if layer is not None}
        return ran.Transform.load(path, format, **grids)

    return work


def carrying_work(
    transform: ran.Transform, layers: list[LayerData], reverse: bool, grid: LayerData | None, labels: LabelMethod
) -> Work:
    """Return the work of carrying layers: it yields `CarryStep` and returns whether it came to the end."""

    def work(task: Task) -> Generator[CarryStep, None, bool]:
        onto = None if grid is None else layer_grid(grid, transform.field.grid.ndim)
        for step in carry_layers(transform, layers, reverse=reverse, grid=onto, labels=labels):
            yield step
            if task.stopping.is_set():
                return False
        return True

    return work
