from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton, QShortcut, QVBoxLayout, QWidget

from napari_ran.widgets import _settings
from napari_ran.widgets._shortcuts import SHORTCUTS, bind

PAGE = Path(__file__).parents[2] / "docs" / "first-steps.md"


def text_of(keys: Any) -> str:
    """A key sequence as Qt spells it."""
    return QKeySequence(str(keys).replace("Meta+", "Ctrl+")).toString()


def test_no_keys_are_given_twice_and_none_is_naparis_own(make_napari_viewer: Any) -> None:
    from napari._app_model import get_app_model
    from napari.utils.shortcuts import default_shortcuts

    make_napari_viewer()
    ours = [QKeySequence(keys.keys).toString() for keys in SHORTCUTS.values()]
    assert len(set(ours)) == len(ours)
    assert all(ours)
    theirs = {text_of(binding) for bindings in default_shortcuts.values() for binding in bindings}
    theirs |= {text_of(rule.keybinding) for rule in get_app_model().keybindings}
    assert "Ctrl+R" in theirs  # reset the view
    assert "Ctrl+O" in theirs  # open a file
    assert not theirs & set(ours)


@pytest.fixture
def shown(qtbot: Any) -> tuple[QWidget, QPushButton]:
    owner, button = QWidget(), QPushButton("Run")
    qtbot.addWidget(owner)
    button.setToolTip("<p>Runs</p>")
    QVBoxLayout(owner).addWidget(button)
    owner.show()
    qtbot.waitExposed(owner)
    owner.activateWindow()
    return owner, button


def test_keys_click_a_button_that_can_be_clicked(shown: tuple[QWidget, QPushButton], qtbot: Any) -> None:
    owner, button = shown
    clicks: list[bool] = []
    button.clicked.connect(clicks.append)
    bind(owner, run=button)
    assert "Ctrl+Return" in button.toolTip()
    button.setFocus()
    qtbot.waitUntil(button.hasFocus)
    QTest.keyClick(button, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert len(clicks) == 1
    button.setEnabled(False)
    owner.setFocus()
    QTest.keyClick(owner, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert len(clicks) == 1


def test_the_settings_switch_them_off(shown: tuple[QWidget, QPushButton], monkeypatch: pytest.MonkeyPatch) -> None:
    owner, button = shown
    monkeypatch.setattr(_settings, "from_napari", lambda section, name: name != "dock_keys")
    bind(owner, run=button)
    assert not owner.findChildren(QShortcut)
    assert "Ctrl" not in button.toolTip()


def test_pages_are_turned_and_levels_stepped(inspect_in: Any, results: Any) -> None:
    _, widget = inspect_in(results[2])
    actions = {shortcut.objectName(): shortcut for shortcut in widget.findChildren(QShortcut)}
    assert {"back", "forward", "play", "next_page", "previous_page", "help"} <= set(actions)
    last = widget.levels.slider.value()
    actions["back"].activated.emit()
    assert widget.levels.slider.value() == last - 1
    actions["forward"].activated.emit()
    assert widget.levels.slider.value() == last
    actions["previous_page"].activated.emit()
    assert widget.tabs.currentIndex() == widget.tabs.count() - 1
    actions["next_page"].activated.emit()
    assert widget.tabs.currentIndex() == 0


def test_the_documentation_lists_them_all() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for keys in SHORTCUTS.values():
        assert f"| `{keys.keys}` | {keys.what} |" in text
