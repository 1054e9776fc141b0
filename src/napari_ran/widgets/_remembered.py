"""What the viewer's widgets remember from one session to the next: the last used values, and where the tour was.

It is one small JSON file. A file that cannot be read counts as empty and is replaced at the next occasion; one that
cannot be written changes nothing but that the next session starts from the defaults.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_config_dir
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QComboBox, QWidget

from napari_ran.errors import RanError
from napari_ran.widgets._forms import ConfigForm, show_value, value_of
from napari_ran.widgets._settings import setting
from napari_ran.writing import replacing

logger = logging.getLogger(__name__)


PLACE = "NAPARI_RAN_MEMORY"
"""Environment variable that names another file; empty for none: nothing is remembered then."""


def memory_file() -> Path | None:
    """Return the file that is remembered in, or None where nothing is."""
    if PLACE in os.environ:
        return Path(os.environ[PLACE]) if os.environ[PLACE] else None
    return Path(user_config_dir("napari-ran", appauthor=False)) / "viewer.json"


def recall(section: str) -> dict[str, Any]:
    """Return what was kept under a name; empty where nothing was, or where the file is damaged."""
    found = _read().get(section)
    return dict(found) if isinstance(found, dict) else {}


def keep(section: str, values: Mapping[str, Any]) -> None:
    """Keep values (of JSON's types) under a name, unless the plugin's settings say that nothing is remembered."""
    if setting("start", "remember"):
        _write(_read() | {section: dict(values)})


def forget() -> None:
    """Forget everything: the next session starts from the defaults."""
    file = memory_file()
    if file is not None:
        try:
            file.unlink(missing_ok=True)
        except OSError:
            logger.warning("%s could not be removed", file, exc_info=True)


def _read() -> dict[str, Any]:
    file = memory_file()
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(everything: dict[str, Any]) -> None:
    file = memory_file()
    if file is None:
        return
    try:
        with replacing(file, "the last used values", make_folder=True) as part:
            part.write_text(json.dumps(everything, indent=1), encoding="utf-8")
    except (OSError, RanError, TypeError, ValueError):
        logger.warning("the last used values could not be kept in %s", file, exc_info=True)


class FormMemory(QObject):
    """Brings the last used values of a widget back, and keeps them when they are used.

    Parameters
    ----------
    section : str
        Name of the widget.
    form : ConfigForm, optional
        Its settings.
    editors : mapping, optional
        Other editors by name: combo boxes, check boxes, numbers or lines.
    leave_out : tuple of str
        Settings of the form that are not remembered, such as a name that must be free.
    parent : QObject
        The widget.
    """

    def __init__(
        self,
        parent: QObject,
        section: str,
        form: ConfigForm | None = None,
        editors: Mapping[str, QWidget] | None = None,
        leave_out: tuple[str, ...] = (),
    ) -> None:
        super().__init__(parent)
        self._section, self._form, self._leave_out = section, form, leave_out
        self._editors = dict(editors or {})
        self._first = {name: value_of(editor, name) for name, editor in self._editors.items()}
        self._recall()

    def keep(self) -> None:
        """Remember what the widget shows; a value that cannot be used is not remembered."""
        values: dict[str, Any] = {name: value_of(editor, name) for name, editor in self._editors.items()}
        if self._form is not None:
            try:
                shown = self._form.values()
            except RanError:
                return
            values |= {path: value for path, value in shown.items() if path not in self._leave_out}
        keep(self._section, values)

    def reset(self) -> None:
        """Show the defaults, and remember them."""
        if self._form is not None:
            self._form.reset()
        for name, value in self._first.items():
            show_value(self._editors[name], value)
        self.keep()

    def _recall(self) -> None:
        """Show what was kept, as far as it can still be used."""
        if not setting("start", "remember"):
            return
        kept = recall(self._section)
        for name, editor in self._editors.items():
            if name in kept and _fits(editor, kept[name], self._first[name]):
                show_value(editor, kept[name])
        if self._form is not None:
            self._form.show_values({path: kept[path] for path in kept if path not in self._leave_out})


def _fits(editor: QWidget, value: Any, first: Any) -> bool:
    """Whether an editor can show a value that was kept."""
    if isinstance(editor, QComboBox):
        return bool(editor.findData(value) >= 0)
    return first is None or type(value) is type(first)
