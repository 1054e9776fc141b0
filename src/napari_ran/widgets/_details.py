"""What a report of an error needs: the message, the versions, the settings, and where it happened."""

from __future__ import annotations

import platform
import traceback
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from qtpy import API_NAME, QT_VERSION

import napari_ran as ran
from napari_ran.device import describe_device, resolve_device

PACKAGES = ("napari", "torch", "numpy", "monai", "SimpleITK")
"""Whose versions are named, besides our own."""


def details(error: BaseException | None, widget: str = "", settings: Sequence[str] = ()) -> str:
    """Return everything about an error as text to paste into a report; the user's folder becomes ``~``.

    Parameters
    ----------
    error : BaseException or None
        What happened.
    widget : str
        Where.
    settings : sequence of str
        What the forms showed, as YAML.
    """
    parts = [
        "" if error is None else f"{type(error).__name__}: {error}",
        "\n".join(f"{name}: {text}" for name, text in versions().items()) + (f"\nwidget: {widget}" if widget else ""),
    ]
    if error is not None:
        parts.append("".join(traceback.format_exception(error)).strip())
    parts += [f"settings:\n{text}".strip() for text in settings]
    return "\n\n".join(part for part in parts if part).replace(str(Path.home()), "~")


def versions() -> dict[str, str]:
    """Return the versions that matter, by name."""
    found = {"napari-ran": ran.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found | {
        "Qt": f"{QT_VERSION} ({API_NAME})",
        "Python": platform.python_version(),
        "system": platform.platform(),
        "device": describe_device(resolve_device("auto")),
        "threads": str(torch.get_num_threads()),
    }
