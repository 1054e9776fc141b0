from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from qtpy.QtWidgets import QFileDialog

from napari_ran.widgets._settings_file import SettingsRow


@pytest.fixture
def row(qtbot: Any) -> SettingsRow:
    made = SettingsRow("mine.yaml", "reads", "writes")
    qtbot.addWidget(made)
    return made


@pytest.mark.parametrize(("dialog", "name"), [("getOpenFileName", "load"), ("getSaveFileName", "save")])
def test_a_chosen_file_is_passed_on_and_a_cancelled_dialog_is_not(
    row: SettingsRow, qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dialog: str, name: str
) -> None:
    chosen, asked = getattr(row, f"chosen_to_{name}"), []
    answers = iter([str(tmp_path / "a.yaml"), ""])

    def answer(parent: Any, title: str, folder: str, kind: str) -> tuple[str, str]:
        asked.append(folder)
        return next(answers), kind

    monkeypatch.setattr(QFileDialog, dialog, answer)
    button = getattr(row, f"{name}_button")
    with qtbot.waitSignal(chosen) as passed:
        button.click()
    assert passed.args == [str(tmp_path / "a.yaml")]
    with qtbot.assertNotEmitted(chosen):
        button.click()
    assert asked == ["mine.yaml" if name == "save" else ""] * 2
