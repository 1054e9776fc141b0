"""A real viewer on a virtual screen: Qt's offscreen platform has no OpenGL, so it is not used where a screen exists."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("DISPLAY") and os.environ.get("QT_QPA_PLATFORM") == "offscreen":
    del os.environ["QT_QPA_PLATFORM"]

pytest.importorskip("napari")
pytest.importorskip("pytestqt")


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
