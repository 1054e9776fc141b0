"""Make the picture and the animation of the README from the sliding phantom, in a real viewer.

``readme/viewer.png`` is the window after a registration; ``readme/levels.png`` steps through the stages of its result,
from the coarsest level of the network to the refinement.

On a machine without a screen: ``xvfb-run -a -s '-screen 0 1600x1000x24' python scripts/readme_pictures.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from inspect_pictures import CORONAL
from photography import shrink, wait
from PIL import Image as Picture
from screenshots import Photographer

from napari_ran.contributions import phantom_layers
from napari_ran.io.layers import napari_affine
from napari_ran.synthetic import sliding_phantom
from napari_ran.widgets.inspect import InspectWidget
from napari_ran.widgets.inspection.views import Choice

MOVIE = (980, 700)
"""Window of the animation in pixels: shown as it is, so that its words can be read."""

MILLISECONDS = 900
REST = 2600
"""How long a stage is shown, and the last one."""

LARGEST = 2_000_000
"""Bytes; a page of the hub should not take longer to load."""

FIXED, MOVING, SHOWN = "phantom fixed", "phantom moving", "displacement (mm)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/images/readme"))
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 80, 64), help="of the phantom, for a quick trial")
    parser.add_argument("--seconds", type=float, default=600, help="longest time for the registration")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    camera = Photographer(arguments.folder)
    camera.open(phantom_layers(sliding_phantom(shape=tuple(arguments.shape))))
    look_from_the_front(camera)
    camera.widget.register()
    if not wait(arguments.seconds, camera.ready):
        raise SystemExit("the registration did not finish")
    photograph_result(camera)
    film(camera)
    camera.viewer.close()


def look_from_the_front(camera: Photographer) -> None:
    """Show the coronal plane through the middle, head up: along it the organs slide."""
    viewer = camera.viewer
    viewer.dims.order = CORONAL
    viewer.dims.set_point(1, float(np.mean(viewer.dims.range[1][:2])))
    scene = getattr(viewer, "scene", None)
    (viewer.camera if scene is None else scene.camera).orientation2d = ("up", "right")
    viewer.reset_view()


def photograph_result(camera: Photographer) -> None:
    """Photograph the window with the displacements on the fixed image, and the report beside it."""
    layers = camera.viewer.layers
    for layer in layers:
        layer.visible = layer.name in (FIXED, SHOWN)
        if hasattr(layer, "interpolation2d"):
            layer.interpolation2d = "linear"
    layers[SHOWN].opacity, layers[SHOWN].blending, layers[SHOWN].colorbar.visible = 0.6, "translucent", True
    layers.selection.active = layers[SHOWN]
    look_from_the_front(camera)
    wait(1.5)
    camera.shoot("viewer")
    shrink(camera.folder / "viewer.png")


def film(camera: Photographer) -> None:
    """Step through the stages with Inspect's slider and save what is seen as an animation."""
    camera.widget.inspect()
    window = camera.viewer.window
    inspect = next(one for one in window.dock_widgets.values() if isinstance(one, InspectWidget))
    window.remove_dock_widget(camera.widget)
    for dock in (window._qt_viewer.dockLayerControls, window._qt_viewer.dockLayerList):
        dock.hide()  # the animation is about the canvas and the slider
    window.resize(*MOVIE)
    stages = inspect.session.inspection.stages
    choose(camera, inspect, 0)
    tiles = lay_out(camera, inspect)
    frames = []
    for stage in range(len(stages)):
        choose(camera, inspect, stage)
        fill(inspect, tiles, stage)
        look_from_the_front(camera)
        wait(1.2)
        frames.append(Picture.fromarray(window.screenshot(flash=False)).convert("RGB"))
    save(frames, camera.folder / "levels.png")


def choose(camera: Photographer, inspect: Any, stage: int) -> None:
    """Move the slider to a stage, showing the warped image."""
    inspect.levels.choose(quantity="warped", stage=stage)
    wanted = inspect.session.allowed(inspect.levels.choice)
    if not wait(60, lambda: inspect.layers.picture is not None and inspect.layers.picture.choice == wanted):
        raise SystemExit(f"stage {stage} was not shown")
    wait(10, lambda: not inspect.levels.missing_thumbnails())


def lay_out(camera: Photographer, inspect: Any) -> dict[str, Any]:
    """Show four layers side by side: fixed, moving, and of the stage the warped image and the displacement."""
    layers = camera.viewer.layers
    fixed, moving, warped = inspect.layers.find("ground"), layers[MOVING], inspect.layers.find("map")
    picture = field(inspect, 0)
    displacement = camera.viewer.add_image(
        np.asarray(picture.data), affine=napari_affine(picture.grid), units=warped.units, **picture.style
    )
    shown = {"fixed": fixed, "moving": moving, "warped": warped, "displacement": displacement}
    for layer in [one for one in layers if not any(one is kept for kept in shown.values())]:
        layers.remove(layer)  # a tile is kept for what is hidden, too
    for name in ("displacement", "warped", "moving", "fixed"):  # the grid is filled from the lower end of the list
        layers.move(layers.index(shown[name]), 0)
    for name, layer in shown.items():
        layer.visible, layer.interpolation2d, layer.opacity = True, "linear", 1.0
        layer.name = name
        layer.name_overlay.visible = True
        layer.name_overlay.font_size = 9
    grid = camera.viewer.canvas.grid
    grid.shape, grid.enabled, grid.stride = (2, 2), True, 1
    look_from_the_front(camera)
    return shown


def field(inspect: Any, stage: int) -> Any:
    """Return the lengths of the displacements of a stage, as Inspect draws them."""
    return inspect.session.picture(Choice("field", stage, style="magnitude", plane=inspect.levels.choice.plane), True)


def fill(inspect: Any, tiles: dict[str, Any], stage: int) -> None:
    """Put a stage's displacement into its tile."""
    picture, layer = field(inspect, stage), tiles["displacement"]
    layer.data, layer.affine = np.asarray(picture.data), napari_affine(picture.grid)
    layer.contrast_limits = picture.legend.limits


def save(frames: list[Picture.Image], path: Path) -> None:
    """Save frames as an animated PNG, which keeps all colours, and say how large the file is."""
    times = [MILLISECONDS] * (len(frames) - 1) + [REST]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=True)
    print(f"{path}: {len(frames)} frames, {path.stat().st_size / 1024:.0f} KiB")
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"the animation is larger than {LARGEST} bytes")


if __name__ == "__main__":
    main()
