from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, NonNegativeFloat, PositiveFloat
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QWidget

from napari_ran.config import FrozenConfig, RegistrationConfig
from napari_ran.errors import InputError
from napari_ran.widgets._forms import ConfigForm


class Inner(FrozenConfig):
    """Inner settings.

    Attributes
    ----------
    steps, tries : int
        How often; from 1
        to 500.
    rates : tuple of float
        Step lengths in voxels.
    """

    steps: int = Field(100, ge=1, le=500)
    tries: int = 3
    rates: tuple[float, ...] = (0.5, 0.25)


class Outer(FrozenConfig):
    """Outer settings.

    Attributes
    ----------
    kind : {"a", "b"}
        Which.
    inner : Inner
        More.
    """

    kind: Literal["a", "b"] = "b"
    size: PositiveFloat | None = Field(None, description="Size in mm.")
    stiffness: NonNegativeFloat | None = None
    least: float | None = None
    window: int | None = Field(None, ge=3, le=15)
    weight: float = Field(1 / 3, ge=0)
    fast: bool = True
    name: str = "x"
    inner: Inner = Field(default_factory=Inner)


@pytest.fixture
def form(qtbot: Any) -> ConfigForm:
    return ConfigForm(Outer)


@pytest.mark.parametrize("config", [Outer, RegistrationConfig])
def test_the_form_starts_at_the_configs_defaults(qtbot: Any, config: type[FrozenConfig]) -> None:
    assert ConfigForm(config).get() == config()


def test_what_is_set_comes_back(form: ConfigForm) -> None:
    config = Outer(kind="a", size=1.23456789, weight=1e-6, fast=False, name="y", inner=Inner(steps=7, rates=(0.1,)))
    form.set(config)
    assert form.get() == config


def test_an_edit_reaches_the_config(form: ConfigForm) -> None:
    form.editors["inner.steps"].setValue(42)
    form.editors["size"].setValue(2.5)
    form.editors["kind"].setCurrentText("a")
    form.editors["inner.rates"].setText("[1, 2]")
    config = form.get()
    assert (config.inner.steps, config.size, config.kind, config.inner.rates) == (42, 2.5, "a", (1.0, 2.0))


@pytest.mark.parametrize(("value", "text"), [(5.0, "5"), (0.25, "0.25"), (1 / 3, "0.3333"), (100.0, "100")])
def test_a_number_shows_no_more_digits_than_it_has(form: ConfigForm, value: float, text: str) -> None:
    form.set(Outer(weight=value))
    assert form.editors["weight"].text() == text


def test_an_optional_number_can_be_left_to_the_program(form: ConfigForm) -> None:
    editor = form.editors["size"]
    assert isinstance(editor, QDoubleSpinBox)
    assert editor.text() == "auto"
    editor.setValue(2.0)
    editor.setValue(0.0)
    assert form.get().size is None


def test_nought_is_a_number_where_the_config_takes_it(form: ConfigForm) -> None:
    editor = form.editors["stiffness"]
    assert editor.text() == "auto"
    editor.stepUp()
    assert (editor.text(), form.get().stiffness) == ("0", 0)
    form.set(Outer(stiffness=0.0))
    assert editor.text() == "0"
    editor.setValue(editor.minimum())
    assert (editor.text(), form.get().stiffness) == ("auto", None)


def test_an_optional_number_without_a_smallest_is_written(form: ConfigForm) -> None:
    editor = form.editors["least"]
    assert (editor.placeholderText(), form.get().least) == ("auto", None)
    for text, value in (("0", 0), ("-2.5", -2.5), ("", None)):
        editor.setText(text)
        assert form.get().least == value


def test_an_optional_number_has_the_configs_limits(form: ConfigForm) -> None:
    editor = form.editors["window"]
    editor.stepUp()
    assert (editor.value(), editor.maximum()) == (3, 15)
    editor.stepDown()
    assert (editor.text(), form.get().window) == ("auto", None)


def test_an_edit_of_the_last_digit_counts(form: ConfigForm) -> None:
    form.set(Outer(weight=0.0002))
    form.editors["weight"].setValue(0.0001)
    assert form.get().weight == 0.0001


def test_limits_and_help_come_from_the_config(form: ConfigForm) -> None:
    assert (form.editors["inner.steps"].minimum(), form.editors["inner.steps"].maximum()) == (1, 500)
    assert "from 1 to 500" in form.editors["inner.steps"].toolTip()
    assert "from 1 to 500" in form.editors["inner.tries"].toolTip()
    assert "Size in mm" in form.editors["size"].toolTip()
    assert "Which" in form.editors["kind"].toolTip()


def test_every_setting_of_a_registration_explains_itself(qtbot: Any) -> None:
    form = ConfigForm(RegistrationConfig)
    silent = [path for path, editor in form.editors.items() if len(editor.toolTip()) < 20]
    assert not silent
    assert all(editor.accessibleName() for editor in form.editors.values())


def test_a_value_of_another_machine_is_kept(qtbot: Any) -> None:
    form = ConfigForm(RegistrationConfig, {"device": [("auto", "auto (CPU)")]})
    form.set(RegistrationConfig(device="cuda:3"))
    assert form.get().device == "cuda:3"
    assert isinstance(form.editors["device"], QComboBox)


def test_text_that_cannot_be_read_is_named(form: ConfigForm) -> None:
    form.editors["inner.rates"].setText("[1, ")
    with pytest.raises(InputError, match=r"inner\.rates: '\[1,' cannot be read"):
        form.get()


def test_labels_are_buddies_of_their_editors(form: ConfigForm, qtbot: Any) -> None:
    page = QWidget()
    qtbot.addWidget(page)
    layout = QFormLayout(page)
    form.add_to(layout, "kind", "inner.steps")
    assert form.rest("kind", "inner.steps") == [
        *("size", "stiffness", "least", "window", "weight", "fast", "name", "inner.tries", "inner.rates"),
    ]
    assert layout.labelForField(form.editors["inner.steps"]).buddy() is form.editors["inner.steps"]


def test_settings_go_through_a_file(form: ConfigForm, tmp_path: Path) -> None:
    form.editors["inner.steps"].setValue(9)
    form.get().to_yaml(tmp_path / "settings.yaml")
    other = ConfigForm(Outer)
    other.set(Outer.from_yaml(tmp_path / "settings.yaml"))
    assert other.get() == form.get()
