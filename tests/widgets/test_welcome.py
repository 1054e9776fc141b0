"""The tour: with the real sample, the real widgets and real clicks, and with things closed in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QDockWidget

from napari_ran.widgets import _settings
from napari_ran.widgets._remembered import keep, recall
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.inspect import InspectWidget
from napari_ran.widgets.inspection.recent import recent_of
from napari_ran.widgets.register import RegisterWidget
from napari_ran.widgets.welcome import STOPPED, WelcomeWidget
from napari_ran.widgets.welcoming.steps import END, STEPS

Made = tuple[Any, WelcomeWidget]


@pytest.fixture
def tour(make_napari_viewer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Made]]:
    """Make a viewer with the Welcome widget as the menu makes it; its sample is the quick one."""
    defaults = _settings.DEFAULTS["start"] | {"sample": "phantom-2d"}
    monkeypatch.setattr(_settings, "from_napari", lambda section, name: defaults[name])
    viewers = []

    def make() -> Made:
        viewer = make_napari_viewer(show=True)
        viewers.append(viewer)
        _, widget = viewer.window.add_plugin_dock_widget("napari-ran", "Welcome (RAN)")
        return viewer, widget

    yield make
    tasks = []
    for viewer in viewers:
        for widget in list(viewer.window.dock_widgets.values()):
            tasks += [worker.current.task for worker in widget.findChildren(Worker)]
            if hasattr(widget, "shut"):
                widget.shut()
    for task in tasks:
        if task is not None:
            task.join(20)


def click(button: Any) -> None:
    assert button.isEnabled()
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)


def docked(viewer: Any, kind: type) -> Any:
    return next((widget for widget in viewer.window.dock_widgets.values() if isinstance(widget, kind)), None)


def arrive(widget: WelcomeWidget, qtbot: Any) -> None:
    """Press the button and wait until the step is shown."""
    click(widget.next_button)
    qtbot.waitUntil(lambda: widget.shown, timeout=60_000)
    assert not widget.message.isVisibleTo(widget)


def test_naparis_menu_has_every_widget(make_napari_viewer: Callable[..., Any]) -> None:
    bar = make_napari_viewer().window._qt_window.menuBar()
    layers = next(action.menu() for action in bar.actions() if action.text().endswith("Layers"))
    register = next(action.menu() for action in layers.actions() if action.text() == "Register")
    register.aboutToShow.emit()
    titles = [action.text().partition(" (")[0] for action in register.actions()]
    wanted = ["Welcome", "Register", "Inspect", "Train", "Compare", "Apply", "Cohort"]
    assert [title for title in titles if title in wanted] == wanted


def test_the_whole_tour_by_clicks(tour: Callable[[], Made], qtbot: Any, artifacts: Path) -> None:
    keep("register", {"spacing": 2.0, "affine": "rigid"})
    viewer, widget = tour()
    assert widget.next_button.text() == "Open the sample"
    arrive(widget, qtbot)
    assert {"phantom fixed", "phantom moving"} == {layer.name for layer in viewer.layers if layer.visible}
    assert "register" in widget.next_button.text()
    arrive(widget, qtbot)
    assert recent_of(viewer).result.report.complete
    assert docked(viewer, RegisterWidget).tabs.currentIndex() == 1
    assert docked(viewer, RegisterWidget).form.get().affine == "auto"
    assert recall("register") == {"spacing": 2.0, "affine": "rigid"}  # the user's own settings stay remembered
    arrive(widget, qtbot)
    inspect = docked(viewer, InspectWidget)
    assert inspect.levels.play_button.isChecked()
    assert inspect.levels.quantity == "field"
    qtbot.waitUntil(lambda: inspect.levels.slider.value() > 0, timeout=20_000)
    arrive(widget, qtbot)
    assert not inspect.levels.play_button.isChecked()
    assert inspect.levels.quantity == "increment"
    arrive(widget, qtbot)
    assert (inspect.levels.quantity, inspect.levels.choice.style) == ("masks", "blend")
    arrive(widget, qtbot)
    assert inspect.tabs.currentIndex() == 1
    assert inspect.probe.current is not None
    arrive(widget, qtbot)
    assert inspect.tabs.currentIndex() == 2
    qtbot.waitUntil(lambda: inspect.ablation.latest is not None, timeout=30_000)
    assert len(inspect.ablation.ablation.heads) == 1
    viewer.screenshot(str(artifacts / "welcome.png"), canvas_only=False, flash=False)
    assert widget.next_button.text() == "Finish"
    click(widget.next_button)
    assert widget.text.text() == END
    assert recall("tour") == {"step": 0}
    click(widget.again_button)
    assert widget.index == 0


def test_a_step_makes_all_that_it_needs_and_again_what_was_closed(tour: Callable[[], Made], qtbot: Any) -> None:
    keep("tour", {"step": 3})
    viewer, widget = tour()
    assert widget.step.key == "increment"
    assert not widget.shown
    arrive(widget, qtbot)
    assert docked(viewer, InspectWidget).levels.quantity == "increment"
    first = recent_of(viewer).result
    for kind in (InspectWidget, RegisterWidget):
        viewer.window.remove_dock_widget(docked(viewer, kind))
    viewer.layers.clear()
    arrive(widget, qtbot)
    assert docked(viewer, InspectWidget).levels.quantity == "masks"
    assert recent_of(viewer).result is first  # still there: nothing had to be registered again
    assert docked(viewer, RegisterWidget) is None
    assert widget.guide.pair is not None
    assert recall("tour") == {"step": 4}


def test_a_registration_that_is_closed_or_stopped_is_told_of(tour: Callable[[], Made], qtbot: Any) -> None:
    viewer, widget = tour()
    arrive(widget, qtbot)
    click(widget.next_button)
    assert not widget.next_button.isEnabled()
    viewer.window.remove_dock_widget(docked(viewer, RegisterWidget))
    qtbot.waitUntil(widget.next_button.isEnabled, timeout=10_000)
    assert widget.text.text() == STOPPED
    assert widget.index == 1
    assert widget.next_button.text() == "Register"


def test_steps_can_be_skipped_and_gone_back_to_and_are_remembered(tour: Callable[[], Made]) -> None:
    viewer, widget = tour()
    for number in range(1, len(STEPS)):
        click(widget.skip_button)
        assert recall("tour") == {"step": number}
    assert not viewer.layers
    click(widget.back_button)
    assert widget.index == len(STEPS) - 2
    viewer.window.remove_dock_widget(widget)
    assert WelcomeWidget(viewer).index == len(STEPS) - 2
    assert not widget.next_button.isHidden()


def test_a_step_that_cannot_be_is_the_first(viewer: Any) -> None:
    keep("tour", {"step": 1})
    assert WelcomeWidget(viewer).index == 1
    for step in (-1, 99, "two", None, True, [1], 1.5):
        keep("tour", {"step": step})
        assert WelcomeWidget(viewer).index == 0, step


def test_it_lies_at_the_bottom_and_forgets_when_asked(tour: Callable[[], Made], qtbot: Any, memory: Path) -> None:
    _, widget = tour()
    window = widget.window()
    dock = next(dock for dock in window.findChildren(QDockWidget) if dock.isAncestorOf(widget))
    bottom = Qt.DockWidgetArea.BottomDockWidgetArea
    qtbot.waitUntil(lambda: window.dockWidgetArea(dock) == bottom, timeout=5_000)
    keep("register", {"spacing": 2.0})
    click(widget.skip_button)
    click(widget.forget_button)
    assert recall("register") == {}
    assert widget.index == 0


def test_an_error_is_shown_and_the_tour_goes_on(tour: Callable[[], Made], monkeypatch: Any) -> None:
    _, widget = tour()
    monkeypatch.setattr(type(widget.guide), "open_sample", lambda self: 1 / 0)
    click(widget.next_button)
    assert "ZeroDivisionError" in widget.message.text.text()
    monkeypatch.undo()
    click(widget.skip_button)
    assert widget.index == 1
    assert not widget.message.isVisibleTo(widget)
