"""The page in napari's preferences and what happens without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import npe2
import pytest
from qtpy.QtWidgets import QCheckBox, QComboBox

from napari_ran.widgets import _settings
from napari_ran.widgets._settings import DEFAULTS, setting

MANIFEST = Path(_settings.__file__).parents[1] / "napari.yaml"
from_napari = _settings.from_napari  # as it is before the tests' settings take its place


@pytest.fixture
def page() -> dict[str, Any]:
    return npe2.PluginManifest.from_file(MANIFEST).contributions.configurations


def test_the_manifest_offers_what_the_code_asks_for(page: dict[str, Any]) -> None:
    assert set(page) == set(DEFAULTS)
    for section, values in DEFAULTS.items():
        properties = page[section].properties
        assert page[section].title
        assert {name: item.default for name, item in properties.items()} == values
        assert all(item.title and item.description for item in properties.values())


def test_the_samples_of_the_page_are_those_of_the_manifest(page: dict[str, Any]) -> None:
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    keys = {sample.key for sample in manifest.contributions.sample_data}
    assert set(page["start"].properties["sample"].enum) <= keys


def test_napari_is_asked_and_its_answer_taken(plugin_settings: Any, npe2pm: Any, monkeypatch: Any) -> None:
    npe2pm.register(npe2.PluginManifest.from_file(MANIFEST))
    monkeypatch.setattr(_settings, "from_napari", from_napari)
    from napari.settings import get_plugin_settings

    assert {name: setting("start", name) for name in DEFAULTS["start"]} == DEFAULTS["start"]
    get_plugin_settings("napari-ran").start.remember = False
    get_plugin_settings("napari-ran").start.sample = "phantom-2d"
    assert setting("start", "remember") is False
    assert setting("start", "sample") == "phantom-2d"


def test_naparis_preferences_show_the_page(plugin_settings: Any, npe2pm: Any, qtbot: Any) -> None:
    npe2pm.register(npe2.PluginManifest.from_file(MANIFEST))
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    dialog = PreferencesDialog()
    qtbot.addWidget(dialog)
    titles = [dialog._list.item(row).text() for row in range(dialog._list.count())]
    page = dialog._stack.widget(titles.index("Residual Aligner registration"))
    assert len(page.findChildren(QCheckBox)) == 2
    assert [box.count() for box in page.findChildren(QComboBox)] == [2]


@pytest.mark.parametrize("answer", [KeyError("no plugin"), ImportError("old napari"), ValueError("damaged file")])
def test_without_a_page_the_defaults_count(answer: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(section: str, name: str) -> Any:
        raise answer

    monkeypatch.setattr(_settings, "from_napari", fail)
    assert setting("start", "remember") is True
    monkeypatch.setattr(_settings, "from_napari", lambda section, name: 7)
    assert setting("start", "sample") == "sliding-phantom"
