"""Configs as forms: one field per setting, whose default, range and help come from the config itself."""

from __future__ import annotations

import contextlib
import html
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

import yaml
from qtpy.QtCore import QObject, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_ran.config import FrozenConfig
from napari_ran.errors import InputError
from napari_ran.widgets._fields import FINEST, Setting, settings_of
from napari_ran.widgets._layout import add_captioned

AUTOMATIC = "auto"
"""What an optional number shows when it is left to the program."""

_LARGEST = 1_000_000_000


class ConfigForm(QObject):
    """The editors of some settings of a config, nested configs included.

    A setting is named by its path, such as ``spacing`` or ``instance.similarity``. The form has no widget of its own:
    `add_to` puts the editors into any layout, so that one config can be spread over several sections.

    Parameters
    ----------
    config : type of FrozenConfig
        The config whose fields become editors. Defaults, choices and limits are read from it.
    choices : mapping, optional
        Setting path to pairs (value, text) for settings whose values are known only at run time.
    labels : mapping, optional
        Setting path to label, where the field's name does not read well.
    parent : QObject, optional
        The owner.
    """

    def __init__(
        self,
        config: type[FrozenConfig],
        choices: Mapping[str, list[tuple[str, str]]] | None = None,
        labels: Mapping[str, str] | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.config = config
        self._base: FrozenConfig = config()
        self._labels = dict(labels or {})
        self._settings = dict(settings_of(config))
        self._captions: dict[str, QLabel] = {}
        self.editors: dict[str, QWidget] = {}
        for path, setting in self._settings.items():
            editor = _editor(setting, (choices or {}).get(path))
            editor.setAccessibleName(self.label(path))
            editor.setObjectName(path)
            self.editors[path] = editor
        self.start_from(self._base)

    def start_from(self, config: FrozenConfig) -> None:
        """Show a config, and take it for the one that `reset` returns to and that the tool tips name."""
        self._first = config
        self.set(config)
        for path, setting in self._settings.items():
            self.explain(path, setting.help)

    def explain(self, path: str, text: str) -> None:
        """Say what a setting is when the mouse rests on its editor (rich text), and what it is set to at first."""
        editor, first = self.editors[path], _at(self._first.to_dict(), path)
        editor.setToolTip(f"<p>{text}</p><p>Default: {html.escape(_in_words(editor, first))}.</p>")
        if path in self._captions:
            self._captions[path].setToolTip(editor.toolTip())

    def reset(self) -> None:
        """Show what the form showed at first."""
        self.set(self._first)

    def label(self, path: str) -> str:
        """Return the text beside a setting's editor."""
        return self._labels.get(path) or path.rpartition(".")[2].replace("_", " ").capitalize()

    def add_to(self, layout: QFormLayout, *paths: str) -> None:
        """Put the editors of some settings into a form layout, with their labels."""
        for path in paths:
            self._captions[path] = add_captioned(layout, self.label(path), self.editors[path])

    def rest(self, *used: str) -> list[str]:
        """Return the settings that are not among `used`, in the config's order."""
        return [path for path in self.editors if path not in used]

    def get(self) -> Any:
        """Return the config that the editors show.

        Raises
        ------
        InputError
            A value cannot be used.
        """
        values = self._base.to_dict()
        for path, value in self.values().items():
            _put(values, path, value)
        return self.config(**values)

    def values(self) -> dict[str, Any]:
        """Return what every editor holds, by its path.

        Raises
        ------
        InputError
            An editor's text cannot be read.
        """
        return {path: value_of(editor, path) for path, editor in self.editors.items()}

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show some values by their paths; those that can no longer be used are left as they are."""
        usable = self.get()
        for path, value in values.items():
            editor = self.editors.get(path)
            if editor is None or (isinstance(editor, QComboBox) and editor.findData(value) < 0):
                continue  # a setting of another version, a model that was removed, a device of another machine
            whole = usable.to_dict()
            _put(whole, path, value)
            with contextlib.suppress(InputError):
                usable = self.config(**whole)
        self.set(usable)

    def set(self, config: FrozenConfig) -> None:
        """Show a config in the editors."""
        values = config.to_dict()
        self._base = config
        for path, editor in self.editors.items():
            show_value(editor, _at(values, path))

    def set_choices(self, path: str, choices: list[tuple[str, str]]) -> None:
        """Offer other values for a setting that is chosen from a list; what is chosen stays chosen."""
        box = self.editors[path]
        if not isinstance(box, _Combo):
            raise TypeError(f"{path} is not chosen from a list")
        value = box.currentData()
        with signals_blocked(box):
            box.clear()
            box.offer(choices)
            show_value(box, value)


class _Combo(QComboBox):
    """A combo box that leaves the wheel to the scroll area unless it has the focus."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(4)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)  # long layer names must not widen it
        self.setMinimumWidth(110)

    def offer(self, choices: Iterable[tuple[Any, str]]) -> None:
        """Add choices: what each is, and its text."""
        for value, text in choices:
            self.addItem(text, value)

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 (Qt's name)
        """Scroll the form, not the choice."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class _Decimal(QDoubleSpinBox):
    """A box for decimal numbers that shows no more digits than the number has.

    Attributes
    ----------
    exact : float or None
        The number that it was given, which may be finer than what it shows; None once it was edited.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exact: float | None = None
        self.setDecimals(-round(math.log10(FINEST)))
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.valueChanged.connect(self._edited)

    def textFromValue(self, value: float) -> str:  # noqa: N802 (Qt's name)
        """Return the number without zeros at its end."""
        text, point = str(super().textFromValue(value)), self.locale().decimalPoint()
        return text.rstrip("0").removesuffix(point) if point in text else text

    def _edited(self) -> None:
        self.exact = None


class _Line(QLineEdit):
    """A line of text, or of YAML for what is no text."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.optional, self.is_yaml = setting.optional, setting.kind is not str
        if self.is_yaml and self.optional:
            self.setPlaceholderText(AUTOMATIC)


def button(text: str, tooltip: str, slot: Callable[[], Any] | None = None) -> QPushButton:
    """Return a button that says what it does, and does it if it is told how."""
    made = QPushButton(text)
    made.setToolTip(f"<p>{tooltip}</p>")
    if slot is not None:
        made.clicked.connect(slot)
    return made


def combo(accessible_name: str, tooltip: str, choices: Iterable[tuple[Any, str]] = ()) -> QComboBox:
    """Return a combo box fit for a scrolled form; of each choice, what it is and its text."""
    box = _Combo()
    box.setAccessibleName(accessible_name)
    box.setToolTip(f"<p>{tooltip}</p>")
    box.offer(choices)
    return box


def _editor(setting: Setting, choices: list[tuple[str, str]] | None) -> QWidget:
    """Return the editor that suits a setting's type."""
    if get_origin(setting.kind) is Literal:
        choices = choices or [(value, str(value)) for value in get_args(setting.kind)]
    if choices is not None:
        box = _Combo()
        box.offer(choices)
        return box
    if setting.kind is bool:
        return QCheckBox()
    if setting.kind in (int, float) and not (setting.optional and setting.low is None):
        return _number(setting)
    return _Line(setting)


def _number(setting: Setting) -> QAbstractSpinBox:
    """Return a box for numbers; one that can be left to the program is, one step below the smallest number."""
    low = -_LARGEST if setting.low is None else setting.low
    high = _LARGEST if setting.high is None else setting.high
    if setting.kind is int:
        spin: Any = QSpinBox()
        spin.setRange(int(low) - setting.optional, int(high))
        spin.setGroupSeparatorShown(True)
    else:
        spin = _Decimal()
        spin.setRange(low - FINEST * setting.optional, high)
    if setting.optional:
        spin.setSpecialValueText(AUTOMATIC)
    spin.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    spin.setKeyboardTracking(False)
    spin.setMinimumWidth(130)
    return spin


def _at(values: Any, path: str) -> Any:
    """Return the value of a path in nested mappings."""
    for part in path.split("."):
        values = values[part]
    return values


def _put(values: Any, path: str, value: Any) -> None:
    """Set the value of a path in nested mappings."""
    *parents, last = path.split(".")
    for part in parents:
        values = values[part]
    values[last] = value


def _in_words(editor: QWidget, value: Any) -> str:
    """Return a value as the editor shows it."""
    if isinstance(editor, QComboBox):
        index = editor.findData(value)
        return str(editor.itemText(index) if index >= 0 else value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.4g}"
    if value in (None, (), [], ""):
        return "left to the program"
    return str(value).removeprefix("(").removesuffix(")") if isinstance(value, tuple) else str(value)


def value_of(editor: QWidget, path: str) -> Any:
    """Return what an editor holds.

    Raises
    ------
    InputError
        It is text that cannot be read as a value.
    """
    if isinstance(editor, QComboBox):
        return editor.currentData()
    if isinstance(editor, QCheckBox):
        return editor.isChecked()
    if isinstance(editor, _Decimal) and editor.exact is not None:
        return editor.exact
    if isinstance(editor, QSpinBox | QDoubleSpinBox):
        automatic = editor.specialValueText() and editor.value() == editor.minimum()
        return None if automatic else editor.value()
    text = editor.text().strip()
    if not editor.is_yaml:
        return None if editor.optional and not text else text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(path, f"'{text}' cannot be read", "Write a number, or several as [1, 2, 3]") from None


def show_value(editor: QWidget, value: Any) -> None:
    """Show a value in an editor; one that a list of choices does not have is added to it."""
    if isinstance(editor, QComboBox):
        if editor.findData(value) < 0:  # such as a weights file, or a device of another machine
            editor.addItem(str(value), value)
        editor.setCurrentIndex(editor.findData(value))
    elif isinstance(editor, QCheckBox):
        editor.setChecked(bool(value))
    elif isinstance(editor, QSpinBox | QDoubleSpinBox):
        editor.setValue(editor.minimum() if value is None else value)
        if isinstance(editor, _Decimal):
            editor.exact = value
    elif editor.is_yaml and value is not None:
        editor.setText(yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip())
    else:
        editor.setText("" if value is None else str(value))
