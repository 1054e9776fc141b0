"""Every widget: names and explanations on all controls, room on a small screen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from qtpy.QtWidgets import QAbstractSpinBox, QLineEdit, QPushButton, QScrollArea, QTabBar, QVBoxLayout, QWidget

from napari_ran.config import RegistrationConfig, TrainConfig
from napari_ran.widgets._access import Spoken, controls, name_of, plain, tips_of
from napari_ran.widgets._fields import settings_of
from napari_ran.widgets._forms import ConfigForm
from napari_ran.widgets.apply import ApplyWidget
from napari_ran.widgets.cohort import CohortWidget
from napari_ran.widgets.compare import CompareWidget
from napari_ran.widgets.inspect import InspectWidget
from napari_ran.widgets.inspection.foreign import FieldDialog
from napari_ran.widgets.register import RegisterWidget
from napari_ran.widgets.registering.export import ExportDialog
from napari_ran.widgets.train import TrainWidget
from napari_ran.widgets.welcome import WelcomeWidget

KINDS = (WelcomeWidget, RegisterWidget, InspectWidget, TrainWidget, CompareWidget, ApplyWidget, CohortWidget)
UNITS = re.compile(
    r"\bmm\b|voxel|MiB|GiB|radian|step|second|minute|epoch|share|weight|factor|number|most|probability|decay|"
    r"share|norm|rate|relative|multiplied|seed|deviation|how many|pairs|processes|machines|level|subjects|"
    r"validations|above|version",
    re.IGNORECASE,
)
"""What a number may be counted in: a length, a time, a count, or a share without a unit."""


@pytest.fixture
def widgets(make_napari_viewer: Callable[..., Any], monkeypatch: Any, tmp_path: Any) -> Iterator[list[Any]]:
    monkeypatch.setattr("napari_ran.widgets.training.runs.user_data_dir", lambda *_, **__: str(tmp_path))
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1280, 720)
    made = [kind(viewer) for kind in KINDS]
    for widget in made:
        viewer.window.add_dock_widget(widget, name=type(widget).__name__, area="right", tabify=True)
    yield made
    for widget in made:
        widget.shut()


def test_every_control_of_every_widget_has_a_name_and_an_explanation(widgets: list[Any]) -> None:
    silent = []
    for widget in widgets:
        found = list(controls(widget))
        assert len(found) > 4, widget
        for control in found:
            where = f"{type(widget).__name__}: {type(control).__name__} '{name_of(control)}'"
            if not name_of(control):
                silent.append(f"{where} has no name")
            if not all(tips_of(control)):
                silent.append(f"{where} has no tool tip")
            if not control.accessibleDescription():
                silent.append(f"{where} has no description")
            if "<" in control.accessibleDescription():
                silent.append(f"{where}: '{control.accessibleDescription()}' has tags")
    assert not silent


def test_every_control_of_the_dialogs_too(make_napari_viewer: Callable[..., Any], qtbot: Any) -> None:
    for dialog in (ExportDialog(3), FieldDialog(make_napari_viewer())):
        qtbot.addWidget(dialog)
        found = list(controls(dialog))
        assert len(found) >= 4
        for control in found:
            assert name_of(control), type(control)
            assert all(tips_of(control)), name_of(control)
            assert control.accessibleDescription() == tips_of(control)[0]


def test_no_control_is_overlooked_by_the_walk(widget_in: Callable[..., Any]) -> None:
    _, register = widget_in()
    found = set(controls(register))
    for expected in (
        register.register_button,
        register.tabs.tabBar(),
        register.plot,
        register.outcome.table,
        register.progress.bar,
        *register.form.editors.values(),
        *register.choices.boxes.values(),
    ):
        assert expected in found
    inner = [line for box in found if isinstance(box, QAbstractSpinBox) for line in box.findChildren(QLineEdit)]
    assert inner
    assert not found & set(inner)


def test_a_new_tool_tip_is_spoken_too(qtbot: Any) -> None:
    owner = QWidget()
    qtbot.addWidget(owner)
    button = QPushButton("Go", owner)
    button.setToolTip("<p>Starts &amp; <b>runs</b></p>")
    QVBoxLayout(owner).addWidget(button)
    Spoken(owner)
    assert button.accessibleDescription() == "Starts & runs"
    button.setToolTip("<p>Waits</p>")
    assert button.accessibleDescription() == "Waits"


@pytest.mark.parametrize("config", [RegistrationConfig, TrainConfig])
def test_every_number_says_what_it_is_counted_in_and_every_setting_its_default(config: Any, qtbot: Any) -> None:
    form = ConfigForm(config)
    settings = dict(settings_of(config))
    numbers = [path for path, editor in form.editors.items() if isinstance(editor, QAbstractSpinBox)]
    assert len(numbers) > 8
    assert [path for path in numbers if not UNITS.search(settings[path].help)] == []
    for path, editor in form.editors.items():
        assert re.search(r"Default: \S", plain(editor.toolTip())), path
    for editor in form.editors.values():
        editor.deleteLater()


def test_the_default_in_a_tool_tip_is_what_the_form_starts_with(widget_in: Callable[..., Any]) -> None:
    _, register = widget_in()
    assert plain(register.form.editors["keep_levels"].toolTip()).endswith("Default: on.")
    assert plain(register.form.editors["instance.mode"].toolTip()).endswith("Default: displacement field.")


def test_nothing_is_cut_off_on_a_small_screen(widgets: list[Any], qtbot: Any) -> None:
    for widget in widgets:
        widget.parent().raise_()
        qtbot.wait(30)
        name = type(widget).__name__
        assert widget.minimumSizeHint().height() <= 420, f"{name} needs {widget.minimumSizeHint().height()} pixels"
        assert widget.minimumSizeHint().width() <= 420, f"{name} is too wide"
        for area in widget.findChildren(QScrollArea):
            if area.isVisible() and area.widget() is not None:
                page, room = area.widget(), area.viewport()
                assert page.minimumSizeHint().width() <= room.width(), f"{name}: a page is cut off at its right"
        for control in controls(widget):
            if control.isVisible() and not isinstance(control, QTabBar):
                left = control.mapTo(widget, control.rect().topLeft()).x()
                assert left >= 0, f"{name}: {name_of(control)} begins outside"
                assert left + control.width() <= widget.width(), f"{name}: {name_of(control)} is cut off"
