from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QCheckBox, QComboBox, QWidget

import napari_ran as ran
from napari_ran.widgets import _remembered, _settings
from napari_ran.widgets._forms import ConfigForm
from napari_ran.widgets._remembered import FormMemory, forget, keep, memory_file, recall


@pytest.fixture
def made(qtbot: Any) -> Callable[[], tuple[ConfigForm, FormMemory, QComboBox, QCheckBox]]:
    """Make a form with its memory, as a new session would."""

    owners = []  # Qt's objects go with the last name that Python has for them

    def make() -> tuple[ConfigForm, FormMemory, QComboBox, QCheckBox]:
        owner = QWidget()
        qtbot.addWidget(owner)
        here = {"weights": [("auto", "auto")], "device": [("auto", "auto"), ("cpu", "CPU")]}
        form, box, tick = ConfigForm(ran.RegistrationConfig, here, parent=owner), QComboBox(owner), QCheckBox(owner)
        for editor in form.editors.values():
            editor.setParent(owner)
        box.addItem("one", 1)
        box.addItem("two", 2)
        memory = FormMemory(owner, "form", form, {"box": box, "tick": tick}, leave_out=("preset",))
        owners.append(owner)
        return form, memory, box, tick

    return make


def test_what_was_used_comes_back_and_can_be_reset(made: Any, memory: Path) -> None:
    form, kept, box, tick = made()
    form.set(ran.RegistrationConfig(preset="RAN0", spacing=2.5, instance={"steps": 7, "mode": "network"}))
    box.setCurrentIndex(1)
    tick.setChecked(True)
    kept.keep()
    form, kept, box, tick = made()
    assert form.get() == ran.RegistrationConfig(spacing=2.5, instance={"steps": 7, "mode": "network"})
    assert (box.currentData(), tick.isChecked()) == (2, True)
    kept.reset()
    assert form.get() == ran.RegistrationConfig()
    assert (box.currentData(), tick.isChecked()) == (1, False)
    assert made()[0].get() == ran.RegistrationConfig()
    forget()
    assert not memory.exists()
    forget()


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x00\xff\xfe not text",
        b"{",
        b"[1, 2]",
        b'"text"',
        b"[" * 20_000,
        b'{"form": 3}',
        b'{"form": {"spacing": "far", "instance.steps": -4, "affine": {"a": 1}, "box": [], "tick": "yes"}}',
        b'{"form": {"weights": "gone.safetensors", "device": "cuda:9", "unknown.setting": 1, "intensity": null}}',
    ],
)
def test_a_damaged_file_does_no_harm_and_is_replaced(made: Any, memory: Path, damage: bytes) -> None:
    memory.parent.mkdir()
    memory.write_bytes(damage)
    form, kept, box, tick = made()
    assert form.get() == ran.RegistrationConfig()
    assert (box.currentData(), tick.isChecked()) == (1, False)
    box.setCurrentIndex(1)
    kept.keep()
    assert json.loads(memory.read_text())["form"]["box"] == 2


def test_sound_values_beside_damaged_ones_are_used(made: Any) -> None:
    keep("form", {"spacing": 3.0, "instance.steps": "many", "keep_levels": True})
    form, *_ = made()
    assert form.get() == ran.RegistrationConfig(spacing=3.0, keep_levels=True)


def test_a_folder_in_the_files_place_does_no_harm(made: Any, memory: Path) -> None:
    memory.mkdir(parents=True)
    _, kept, *_ = made()
    kept.keep()
    forget()
    assert recall("form") == {}
    assert memory.is_dir()


def test_a_value_that_cannot_be_used_is_not_remembered(made: Any) -> None:
    form, kept, *_ = made()
    form.editors["spacing"].setValue(4.0)
    kept.keep()
    form.values = lambda: (_ for _ in ()).throw(ran.InputError("x", "unreadable", "Mend it"))
    form.editors["spacing"].setValue(5.0)
    kept.keep()
    assert recall("form")["spacing"] == 4.0


def test_nothing_is_remembered_where_the_settings_say_so(made: Any, memory: Path, monkeypatch: Any) -> None:
    keep("form", {"spacing": 3.0})
    monkeypatch.setattr(_settings, "from_napari", lambda section, name: name != "remember")
    form, kept, *_ = made()
    assert form.get().spacing is None
    before = memory.read_text()
    kept.keep()
    assert memory.read_text() == before


def test_the_place_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAPARI_RAN_MEMORY", "")
    keep("form", {"a": 1})
    forget()
    assert recall("form") == {}
    assert memory_file() is None
    monkeypatch.delenv("NAPARI_RAN_MEMORY")
    monkeypatch.setattr(_remembered, "user_config_dir", lambda *_, **__: str(tmp_path))
    assert memory_file() == tmp_path / "viewer.json"


def test_sections_do_not_disturb_each_other(memory: Path) -> None:
    keep("a", {"x": 1})
    keep("b", {"x": 2})
    assert (recall("a"), recall("b"), recall("c")) == ({"x": 1}, {"x": 2}, {})
    assert [file.name for file in memory.parent.iterdir()] == [memory.name]
    assert os.stat(memory).st_size < 200


def test_the_register_widget_starts_with_what_was_used_last(widget_in: Any, viewer: Any) -> None:
    _, widget = widget_in(viewer)
    widget.form.set(widget.form.get().replace(affine="rigid", spacing=2.0))
    widget.setup.result_boxes["difference"].setChecked(False)
    for name in ("fixed", "moving"):
        viewer.add_image(np.random.default_rng(0).random((24, 24)), name=name)
    widget.register()
    widget.worker.drop()
    _, again = widget_in(viewer)
    assert again.form.get().affine == "rigid"
    assert again.form.get().spacing == 2.0
    assert "difference" not in again.setup.wanted_results()
    again.setup.files.reset_button.click()
    assert again.form.get() == ran.RegistrationConfig(keep_levels=True)
    assert "difference" in again.setup.wanted_results()
    assert recall("register")["affine"] == "auto"
