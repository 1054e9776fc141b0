from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qtpy.QtWidgets import QFileDialog

import napari_ran as ran
from napari_ran.widgets._settings_file import SettingsRow


@pytest.fixture
def row(qtbot: Any) -> SettingsRow:
    made = SettingsRow("mine.yaml", ran.RegistrationConfig, "reads", "writes")
    qtbot.addWidget(made)
    return made


@pytest.mark.parametrize(("dialog", "name"), [("getOpenFileName", "load"), ("getSaveFileName", "save")])
def test_a_chosen_file_is_passed_on_and_a_cancelled_dialog_is_not(
    row: SettingsRow, qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dialog: str, name: str
) -> None:
    path, config, asked = tmp_path / "a.yaml", ran.RegistrationConfig(spacing=2.0), []
    config.to_yaml(path)
    signal, passed = {"load": (row.loaded, config), "save": (row.chosen_to_save, str(path))}[name]
    answers = iter([str(path), ""])

    def answer(parent: Any, title: str, folder: str, kind: str) -> tuple[str, str]:
        asked.append(folder)
        return next(answers), kind

    monkeypatch.setattr(QFileDialog, dialog, answer)
    button = getattr(row, f"{name}_button")
    with qtbot.waitSignal(signal) as got:
        button.click()
    assert got.args == [passed]
    with qtbot.assertNotEmitted(signal):
        button.click()
    assert asked == ["mine.yaml" if name == "save" else ""] * 2


def test_a_file_that_cannot_be_read_is_said_and_loads_nothing(row: SettingsRow, qtbot: Any, tmp_path: Path) -> None:
    with qtbot.assertNotEmitted(row.loaded), qtbot.waitSignal(row.failed) as failed:
        row.load(tmp_path / "none.yaml")
    assert isinstance(failed.args[0], ran.RanError)
