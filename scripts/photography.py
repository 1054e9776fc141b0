"""What the scripts that make pictures of the viewer share: opening one, letting it live, saving its window."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import napari
from napari._qt.qt_event_loop import get_qapp
from PIL import Image as Picture

os.environ.setdefault("NAPARI_RAN_MEMORY", "")  # pictures show the defaults, whatever was used here last

COLOURS = 192
"""Colours of a saved window: of more, nobody sees any."""


def picture_arguments(about: str, path: str) -> argparse.Namespace:
    """Read from the command line where a picture goes, else to `path`, and the size and theme of its viewer."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("path", type=Path, nargs="?", default=Path(path))
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720))
    parser.add_argument("--theme", default="dark")
    return parser.parse_args()


def open_viewer(size: tuple[int, int], theme: str = "dark") -> napari.Viewer:
    """Open a viewer of a size in pixels."""
    get_qapp()
    viewer = napari.Viewer(show=True, title="napari-ran")
    viewer.theme = theme
    viewer.window.resize(*size)
    return viewer


def wait(seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
    """Let the viewer live for a while, or until something is true; return whether it is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        get_qapp().processEvents()
        time.sleep(0.01)
    return until()


def save_window(viewer: napari.Viewer, path: Path) -> None:
    """Save the whole window as a small file, and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    viewer.window.screenshot(path=str(path), flash=False)
    shrink(path, COLOURS)
    viewer.close()


def shrink(path: Path, colours: int | None = None) -> None:
    """Store a picture without transparency, as small as it gets without loss, or in so many colours."""
    with Picture.open(path) as picture:
        plain = picture.convert("RGB")
    (plain if colours is None else plain.quantize(colours)).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")
