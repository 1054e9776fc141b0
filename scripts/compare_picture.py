"""Photograph the Compare widget with the phantom's systems side by side, for ``docs/compare.md``.

On a machine without a screen: ``xvfb-run -a -s '-screen 0 1600x1000x24' python scripts/compare_picture.py``. Tools
of the extra ``peers`` are in the picture as far as they are installed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from photography import open_viewer, save_window, wait

import napari_ran as ran
from napari_ran.io.layers import to_layer_data
from napari_ran.widgets.compare import CompareWidget

SIZE = (1500, 900)
LEFT_OUT = {"hippocampus", "hippocampus + field", "elastix-bspline"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, nargs="?", default=Path("docs/images/compare.png"))
    path: Path = parser.parse_args().path
    viewer = open_viewer(SIZE)
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
    wait(900, lambda: widget.runner.task is None and widget.found.shower.task is None)
    widget.found.grid.setChecked(True)
    viewer.dims.order = (1, 0, 2)  # along this plane the parts slide
    viewer.reset_view()
    wait(2)
    save_window(viewer, path)


if __name__ == "__main__":
    main()
