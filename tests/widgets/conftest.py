"""A real viewer on a virtual screen: Qt's offscreen platform has no OpenGL, so it is not used where a screen exists."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

if os.environ.get("DISPLAY") and os.environ.get("QT_QPA_PLATFORM") == "offscreen":
    del os.environ["QT_QPA_PLATFORM"]

os.environ["NAPARI_CONFIG"] = ""  # the user's settings of napari are neither read nor written

pytest.importorskip("napari")
pytest.importorskip("pytestqt")


@pytest.fixture(autouse=True)
def _only_new_garbage_is_looked_for() -> None:
    """napari collects garbage several times in a test, and whatever was there before would be looked through again."""
    gc.freeze()


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which this test's widgets remember: not the user's own, nor are the plugin's settings."""
    from napari_ran.widgets import _settings

    monkeypatch.setattr(_settings, "from_napari", lambda section, name: _settings.DEFAULTS[section][name])
    file = tmp_path / "memory" / "viewer.json"
    monkeypatch.setenv("NAPARI_RAN_MEMORY", str(file))
    return file


@pytest.fixture
def artifacts() -> Path:
    """Where screenshots are kept for a look."""
    folder = Path(__file__).parents[1] / "_artifacts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def dock(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Dock a widget of a kind in a viewer, a new one if none is given; in the end its work is dropped and awaited.

    With a viewer that has no window the widget is by itself.
    """
    from qtpy.compat import isalive

    from napari_ran.widgets._worker import Worker

    made = []

    def make(kind: Any, viewer: Any = None) -> tuple[Any, Any]:
        viewer = make_napari_viewer() if viewer is None else viewer
        widget = kind(viewer)
        if hasattr(viewer, "window"):
            viewer.window.add_dock_widget(widget, name=kind.__name__.replace("Widget", " (RAN)"), area="right")
        else:
            qtbot.addWidget(widget)
        made.append((widget, [worker.current for worker in widget.findChildren(Worker)]))
        return viewer, widget

    yield make
    for widget, works in made:
        tasks = [work.task for work in works if work.task is not None]
        if isalive(widget):  # unless its viewer was closed
            widget.shut()
        for work in works:
            work.drop()
        for task in tasks:
            task.join(20)


@pytest.fixture
def widget_in(dock: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """Make a viewer, or take the given one, with the Register widget docked in it."""
    from napari_ran.widgets.register import RegisterWidget

    return lambda viewer=None: dock(RegisterWidget, viewer)


@pytest.fixture
def viewer() -> Any:
    """A viewer without its window, which takes half a second to make: layers, dims and theme."""
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def choices(viewer: Any, qtbot: Any) -> Iterator[Any]:
    """The choosers of the Register widget, by themselves."""
    from qtpy.QtWidgets import QWidget

    from napari_ran.widgets._combos import LayerChoices

    owner = QWidget()
    qtbot.addWidget(owner)
    made = LayerChoices(viewer, owner)
    made.follow_viewer(True)
    yield made
    owner.close()  # Qt's objects go with the last name that Python has for them


MATRIX_3D = np.array([[1.1, 0.2, 0, 5], [-0.2, 1.0, 0.3, -7], [0.1, -0.2, 2.0, 11], [0, 0, 0, 1]])


def small_registration(ndim: int, **settings: Any) -> Any:
    """Register a small pair quickly with the bundled weights, its levels kept."""
    import napari_ran as ran

    grid = ran.Grid.from_spacing((34, 30), (1.5, 1.0)) if ndim == 2 else ran.Grid((26, 20, 16), MATRIX_3D)
    x = np.indices(grid.shape).astype(np.float32)

    def picture(shift: float) -> ran.Image:
        wave = np.sin((x[0] + shift) / 2.5) * np.cos(x[1] / 2.2) * (np.cos(x[2] / 3) if ndim == 3 else 1)
        return ran.Image(torch.from_numpy(100 * wave), grid, "fixed" if shift == 0 else "moving")

    labels = np.zeros(grid.shape, np.int32)
    labels[(slice(4, 12),) * ndim] = 3
    settings = {"keep_levels": True, "affine": "none", "instance": "none", "device": "cpu"} | settings
    return ran.register(
        picture(0),
        picture(1),
        fixed_labels=ran.Labels(labels, grid, "fixed organs"),
        moving_labels=ran.Labels(np.roll(labels, -1, 0), grid, "moving organs"),
        **settings,
    )


@pytest.fixture(scope="session")
def results() -> dict[int, Any]:
    return {ndim: small_registration(ndim) for ndim in (2, 3)}


@pytest.fixture(scope="session")
def register_small() -> Callable[..., Any]:
    """Return the function that registers a small pair of so many dimensions, with other settings if any."""
    return small_registration


@pytest.fixture
def inspect_in(dock: Callable[..., tuple[Any, Any]], qtbot: Any) -> Callable[..., tuple[Any, Any]]:
    """Make a viewer with the Inspect widget docked in it, showing a registration."""
    from napari_ran.widgets.inspect import InspectWidget

    def make(result: Any = None) -> tuple[Any, Any]:
        viewer, widget = dock(InspectWidget)
        widget.seen = lambda: seen(widget, qtbot)
        widget.turn_to = lambda number: turn_to(widget, number)
        if result is not None:
            widget.recent.put(result)
            widget.seen()
        return viewer, widget

    return make


def turn_to(widget: Any, number: int) -> None:
    """Open a page; the viewer's window is not on the screen, so visibility is forced."""
    widget.window().show()
    widget.tabs.setCurrentIndex(number)


def seen(widget: Any, qtbot: Any) -> None:
    """Wait until the viewer shows what is chosen."""

    def check() -> None:
        assert widget.layers.picture is not None
        assert widget.layers.picture.choice == widget.session.allowed(widget.levels.choice)

    qtbot.waitUntil(check, timeout=20_000)
