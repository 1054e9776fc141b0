"""Photograph the Apply widget after the layers of the phantom's moving side have followed, for ``docs/transforms.md``.

On a machine without a screen: ``xvfb-run -a -s '-screen 0 1600x1000x24' python scripts/apply_picture.py``.
"""

from __future__ import annotations

import numpy as np
from photography import open_viewer, picture_arguments, save_window, wait

import napari_ran as ran
from napari_ran.io.layers import to_layer_data
from napari_ran.widgets.apply import ApplyWidget
from napari_ran.widgets.inspection.recent import recent_of


def main() -> None:
    chosen = picture_arguments(__doc__, "docs/images/apply.png")
    viewer = open_viewer(chosen.size, chosen.theme)
    pair = ran.phantom_2d()
    for value, name in ((pair.fixed, "fixed"), (pair.moving, "moving"), (pair.moving_labels, "moving organs")):
        data, kwargs, kind = to_layer_data(value)
        getattr(viewer, f"add_{kind}")(data, **kwargs | {"name": name})
    viewer.layers["moving organs"].contour = 2
    spacing = float(pair.moving.grid.spacing[0])
    middle = np.asarray(viewer.layers["moving"].extent.world).mean(axis=0)
    box = middle + 18 * spacing * np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    style = {
        "edge_color": "yellow",
        "face_color": "transparent",
        "edge_width": spacing,
        "units": ("mm",) * 2,
        "name": "moving region",
    }
    viewer.add_shapes([box], shape_type="rectangle", **style)
    widget = ApplyWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Apply (RAN)", area="right")
    recent_of(viewer).put(ran.register(pair.fixed, pair.moving, affine="none", device="cpu"))
    widget.layers.tick(*(viewer.layers[name] for name in ("moving", "moving organs", "moving region")))
    wait(300, widget.run_button.isEnabled)
    widget.run()
    wait(300, lambda: widget.runner.task is None)
    viewer.reset_view()
    wait(2)
    save_window(viewer, chosen.path)


if __name__ == "__main__":
    main()
