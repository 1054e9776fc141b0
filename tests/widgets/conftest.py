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
def widget_in(make_napari_viewer: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """Make a viewer with the Register widget docked in it."""

    def make(show: bool = False) -> tuple[Any, Any]:
        from napari_ran.widgets.register import RegisterWidget

        viewer = make_napari_viewer(show=show)
        widget = RegisterWidget(viewer)
        viewer.window.add_dock_widget(widget, name="Register (RAN)", area="right")
        return viewer, widget

    return make


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
def inspect_in(make_napari_viewer: Callable[..., Any], qtbot: Any) -> Iterator[Callable[..., Any]]:
    """Make a viewer with the Inspect widget docked in it, showing a registration."""
    from qtpy.compat import isalive

    made = []

    def make(result: Any = None) -> tuple[Any, Any]:
        from napari_ran.widgets._worker import Worker
        from napari_ran.widgets.inspect import InspectWidget

        viewer = make_napari_viewer()
        widget = InspectWidget(viewer)
        viewer.window.add_dock_widget(widget, name="Inspect (RAN)", area="right")
        widget.seen = lambda: seen(widget, qtbot)
        made.append((widget, widget.findChildren(Worker)))
        if result is not None:
            widget.recent.put(result)
            widget.seen()
        return viewer, widget

    yield make
    for widget, workers in made:
        tasks = [worker.current.task for worker in workers]
        if isalive(widget):  # unless its viewer was closed
            widget.shut()
        for task in tasks:
            if task is not None:
                task.join(20)


def seen(widget: Any, qtbot: Any) -> None:
    """Wait until the viewer shows what is chosen."""

    def check() -> None:
        assert widget.layers.picture is not None
        assert widget.layers.picture.choice == widget.session.allowed(widget.levels.choice)

    qtbot.waitUntil(check, timeout=20_000)
