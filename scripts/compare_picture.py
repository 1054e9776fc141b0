"""Photograph the Compare widget with the phantom's systems side by side, for ``docs/compare.md``.

On a machine without a screen: ``xvfb-run -a -s '-screen 0 1600x1000x24' python scripts/compare_picture.py``. Tools
of the extra ``peers`` are in the picture as far as they are installed.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import napari
from napari._qt.qt_event_loop import get_qapp
from PIL import Image as Picture

import napari_ran as ran
from napari_ran.io.layers import to_layer_data
from napari_ran.widgets.compare import CompareWidget

os.environ.setdefault("NAPARI_RAN_MEMORY", "")  # the picture shows the defaults, whatever was used here last

SIZE = (1500, 900)
LEFT_OUT = {"hippocampus", "hippocampus + field", "elastix-bspline"}


def wait(until: Callable[[], bool], seconds: float = 900) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        get_qapp().processEvents()
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, nargs="?", default=Path("docs/images/compare.png"))
    path: Path = parser.parse_args().path
    get_qapp()
    viewer = napari.Viewer(show=True, title="napari-ran")
    viewer.window.resize(*SIZE)
    pair = ran.sliding_phantom(shape=(64, 56, 48), seed=1)
    for value, name in (
        (pair.fixed_labels, "fixed organs"),
        (pair.moving_labels, "moving organs"),
        (pair.fixed, "fixed"),
        (pair.moving, "moving"),
    ):
        data, kwargs, kind = to_layer_data(value)
        getattr(viewer, f"add_{kind}")(data, **kwargs | {"name": name}).visible = kind == "image"
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Compare (RAN)", area="right")
    names = [widget.systems.item(row).text() for row in range(widget.systems.count())]
    widget.tick(*(name for name in names if name not in LEFT_OUT))
    widget.found.view.setCurrentIndex(widget.found.view.findData("magnitude"))
    widget.run()
    wait(lambda: widget.runner.task is None and widget.found.shower.task is None)
    widget.found.grid.setChecked(True)
    viewer.dims.order = (1, 0, 2)  # along this plane the parts slide
    viewer.reset_view()
    wait(lambda: False, 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    viewer.window.screenshot(path=str(path), flash=False)
    Picture.open(path).convert("RGB").quantize(192).save(path, optimize=True)
    viewer.close()


if __name__ == "__main__":
    main()
