"""Photograph the widgets in a real viewer: the form, a run, its result, every view of Inspect, an error, both themes.

With ``--size`` or ``--theme`` (each as often as wanted) every page of every widget is photographed in those instead,
once as it opens and once with something in it: ``--size 1280x720 --size 1920x1080 --theme dark --theme light``.

On a machine without a screen: ``xvfb-run -a -s '-screen 0 1920x1080x24' python scripts/screenshots.py pictures``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import napari
import numpy as np
from photography import open_viewer, wait
from qtpy.QtWidgets import QScrollArea, QTabWidget, QWidget

from napari_ran.contributions import sample_phantom, sample_phantom_2d
from napari_ran.models.ablation import Ablation
from napari_ran.widgets.inspect import InspectWidget
from napari_ran.widgets.register import RegisterWidget
from napari_ran.widgets.welcome import WelcomeWidget
from napari_ran.widgets.welcoming.steps import STEPS

SIZE = (1280, 720)
WIDGETS = ("Welcome", "Register", "Inspect", "Train", "Compare", "Apply", "Cohort")


class Photographer:
    """A viewer with the widget, and where its pictures go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.viewer = open_viewer(SIZE)
        self.widget = RegisterWidget(self.viewer)
        self.viewer.window.add_dock_widget(self.widget, name="Register (RAN)", area="right")
        wait(0.5)

    def shoot(self, name: str) -> None:
        """Save the whole window."""
        wait(0.6)
        path = self.folder / f"{name}.png"
        self.viewer.window.screenshot(path=str(path), flash=False)
        print(path, flush=True)

    def open(self, layers: list[tuple]) -> None:
        """Replace the viewer's layers."""
        self.viewer.layers.clear()
        for data, kwargs, kind in layers:
            self.viewer.add_layer(napari.layers.Layer.create(data, kwargs, kind))
        self.viewer.reset_view()

    def ready(self) -> bool:
        """Whether the widget waits for the user."""
        return self.widget.register_button.isEnabled()

    def scroll_to_end(self, page: int) -> None:
        """Scroll a page of the Register widget down."""
        scroll(self.widget.tabs.widget(page), to_end=True)

    def show_only(self, *names: str) -> None:
        """Show some layers and hide all others."""
        for layer in self.viewer.layers:
            layer.visible = layer.name in names


def photograph_form(camera: Photographer) -> None:
    camera.shoot("01_empty")
    camera.open(sample_phantom())
    camera.shoot("02_form")
    camera.widget.setup.annotations.expand(animate=False)
    camera.shoot("03_annotations")
    camera.widget.setup.annotations.collapse(animate=False)
    camera.widget.setup.advanced.expand(animate=False)
    wait(0.3)
    camera.scroll_to_end(0)
    camera.shoot("04_advanced")
    camera.widget.setup.advanced.collapse(animate=False)
    camera.widget.setup.outputs.expand(animate=False)
    wait(0.3)
    camera.scroll_to_end(0)
    camera.shoot("05_outputs")
    camera.widget.setup.outputs.collapse(animate=False)
    camera.viewer.theme = "light"
    camera.shoot("06_form_light")
    camera.viewer.theme = "dark"


def photograph_error(camera: Photographer) -> None:
    fixed = camera.widget.choices.layer("fixed")
    moving = camera.widget.choices.layer("moving")
    camera.widget.choices.choose("moving", fixed)
    camera.widget.register()
    camera.shoot("07_error")
    camera.viewer.theme = "light"
    camera.shoot("08_error_light")
    camera.viewer.theme = "dark"
    camera.widget.choices.choose("moving", moving)
    camera.widget.message.hide()


def photograph_run(camera: Photographer, seconds: float) -> None:
    camera.widget.register()
    wait(seconds, lambda: camera.widget.plot.steps > 12 or camera.ready())
    camera.shoot("09_running")
    if not wait(seconds, camera.ready):
        raise SystemExit("the run did not finish")
    camera.shoot("10_result")
    camera.scroll_to_end(1)
    camera.shoot("11_result_end")
    camera.viewer.theme = "light"
    camera.shoot("12_result_light")
    camera.viewer.theme = "dark"
    for number, names in enumerate(
        [
            ("checkerboard",),
            ("difference",),
            ("phantom fixed", "displacement (mm)"),
            ("phantom fixed", "displacement vectors"),
            ("warped", "deformed grid"),
            ("Jacobian determinant",),
            ("inverse consistency (mm)",),
            ("phantom fixed", "warped labels", "warped points"),
        ]
    ):
        camera.show_only(*names)
        camera.shoot(f"13_{number}_{names[-1].split(' ')[0]}_{names[-1].split(' ')[-1].strip('()')}")
    camera.show_only("warped")


def scroll(page: QWidget, to_end: bool) -> bool:
    """Scroll a page of a dock; returns whether it can be scrolled at all."""
    bar = page.verticalScrollBar() if isinstance(page, QScrollArea) else None
    if bar is not None:
        bar.setValue(bar.maximum() if to_end else 0)
    return bar is not None and bar.maximum() > 0


def photograph_inspect(camera: Photographer) -> None:
    """Photograph every view of the Inspect widget on the latest result."""
    camera.show_only("phantom fixed")
    camera.widget.inspect()
    docked = camera.viewer.window.dock_widgets.values()
    inspect = next(widget for widget in docked if isinstance(widget, InspectWidget))
    stages = inspect.session.inspection.stages
    last, fine = len(stages) - 1, max(stage.index for stage in stages if stage.level is not None)

    def shown() -> bool:
        picture = inspect.layers.picture
        return picture is not None and picture.choice == inspect.session.allowed(inspect.levels.choice)

    views = [("field", style, last) for style in ("arrows", "magnitude", "colour", "grid", "contours")]
    views += [("increment", "arrows", last), ("residual_heads", "arrows", fine)]
    views += [("masks", style, fine) for style in ("blend", "relative", "single")]
    views += [(name, "map", fine) for name in ("confidence", "previous_confidence", "logits", "attributes", "features")]
    views += [(name, "map", last) for name in ("warped", "difference", "jacobian")]
    for number, (quantity, style, stage) in enumerate(views):
        inspect.levels.choose(quantity=quantity, stage=stage)
        inspect.levels.choose(style=style)
        wait(60, shown)
        wait(5, lambda: not inspect.levels.missing_thumbnails())
        camera.shoot(f"20_{number:02d}_levels_{quantity}_{style}")
    inspect.draw_filmstrip()
    wait(60, lambda: inspect.film is not None)
    inspect.film.grab().save(str(camera.folder / "21_filmstrip.png"))
    inspect.film.close()
    grid = inspect.session.inspection.get("field", last).grid
    inspect.levels.choose(quantity="warped", stage=last)
    for page, name in enumerate(("levels", "probe", "ablation", "separability", "design")):
        inspect.tabs.setCurrentIndex(page)
        wait(0.5)
        if name == "probe":
            for place in ((0.36, 0.5, 0.5), (0.62, 0.42, 0.5), (0.6, 0.55, 0.5)):
                inspect.probe.probe_at(grid.to_world(np.array(place) * grid.shape))
                inspect.probe.pin()
        elif name == "ablation":
            inspect.ablation.switch(Ablation(heads=frozenset({(fine, 0)})))
            wait(60, lambda: inspect.ablation.latest is not None)
            inspect.ablation.which.setCurrentIndex(1)
            inspect.ablation.start_study()
            wait(120, inspect.ablation.study_button.isEnabled)
            wait(2.0, shown)
        elif name == "separability":
            inspect.ablation.reset()
            wait(60, lambda: inspect.separability.found is not None and inspect.session is inspect.whole)
            inspect.separability.boundary.measure_labels()
            wait(30, lambda: inspect.separability.boundary.motion is not None)
            wait(30, lambda: inspect.separability.found is not None)
            inspect.separability.light_up(((3, 8), (5, 9)))
        wait(2.0)
        for theme, suffix in (("dark", ""), ("light", "_light")):
            camera.viewer.theme = theme
            camera.shoot(f"22_{page}_{name}{suffix}")
            if scroll(inspect.tabs.currentWidget(), to_end=True):
                camera.shoot(f"22_{page}_{name}_end{suffix}")
            scroll(inspect.tabs.currentWidget(), to_end=False)
        camera.viewer.theme = "dark"
    camera.viewer.window.remove_dock_widget(inspect)


class Looks:
    """Photographs what is shown in every size and theme that is wanted."""

    def __init__(self, camera: Photographer, sizes: list[tuple[int, int]], themes: list[str]) -> None:
        self.camera, self.sizes, self.themes = camera, sizes, themes

    def shoot(self, name: str, page: QWidget | None = None) -> None:
        """Save a picture per size and theme; of a page that has to be scrolled its end as well."""
        window = self.camera.viewer.window
        for width, height in self.sizes:
            window.resize(width, height)
            wait(0.4)
            self.camera.viewer.reset_view()  # what is seen does not depend on the sizes before
            for theme in self.themes:
                self.camera.viewer.theme = theme
                self.camera.shoot(f"{width}x{height}_{theme}_{name}")
                if page is not None and scroll(page, to_end=True):
                    self.camera.shoot(f"{width}x{height}_{theme}_{name}_end")
                    scroll(page, to_end=False)
        self.camera.viewer.theme = self.themes[0]

    def shoot_pages(self, name: str, tabs: QTabWidget) -> None:
        """Save pictures of every page of a widget."""
        for index in range(tabs.count()):
            tabs.setCurrentIndex(index)
            wait(0.8)
            self.shoot(f"{name}_{tabs.tabText(index).lower().replace(' ', '')}", tabs.widget(index))
        tabs.setCurrentIndex(0)


def photograph_widgets(camera: Photographer, looks: Looks, seconds: float) -> None:
    """Photograph every widget as it opens, then what can be filled from the phantom."""
    window = camera.viewer.window
    window.remove_dock_widget(camera.widget)
    for name in WIDGETS:
        dock, widget = window.add_plugin_dock_widget("napari-ran", f"{name} (RAN)")
        wait(1.0)
        looks.shoot(f"0_{name.lower()}_empty")
        if name != "Welcome":
            window.remove_dock_widget(dock)
    welcome = _docked(camera, WelcomeWidget)
    for step in STEPS:
        welcome.next_button.click()
        if not wait(seconds, lambda: welcome.shown):
            raise SystemExit(f"the tour stopped at '{step.title}'")
        wait(2.5 if step is not STEPS[-1] else 8.0)
        looks.shoot(f"1_tour_{welcome.index + 1}")
    welcome.next_button.click()
    looks.shoot("1_tour_end")
    window.remove_dock_widget(welcome)
    register, inspect = _docked(camera, RegisterWidget), _docked(camera, InspectWidget)
    inspect.ablation.reset()
    wait(3.0)
    looks.shoot_pages("2_inspect", inspect.tabs)
    window.remove_dock_widget(inspect)
    looks.shoot_pages("2_register", register.tabs)
    register.choices.choose("moving", register.choices.layer("fixed"))
    register.register()
    looks.shoot("2_register_error")
    window.remove_dock_widget(register)
    for name in ("Train", "Compare", "Apply"):
        dock, widget = window.add_plugin_dock_widget("napari-ran", f"{name} (RAN)")
        wait(1.0)
        if name == "Train":
            looks.shoot_pages("3_train", widget.tabs)
        else:
            looks.shoot(f"3_{name.lower()}", widget.findChild(QScrollArea))
        if name == "Compare":
            widget.tick("no network", *list(widget.systems.ticks())[:2])
            widget.run()
            wait(seconds, widget.run_button.isEnabled)
            looks.shoot("4_compare_results", widget.findChild(QScrollArea))
        window.remove_dock_widget(dock)


def _docked(camera: Photographer, kind: type) -> Any:
    """Return the widget of a kind that is docked."""
    docked = camera.viewer.window.dock_widgets.values()
    return next(inner for inner in docked if isinstance(inner, kind))


def photograph_3d(camera: Photographer) -> None:
    camera.viewer.dims.ndisplay = 3
    camera.viewer.reset_view()
    camera.shoot("14_result_3d")
    camera.show_only("displacement vectors")
    camera.shoot("15_vectors_3d")
    camera.viewer.dims.ndisplay = 2


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("tests/_artifacts/screenshots"))
    parser.add_argument("--seconds", type=float, default=240, help="longest time for one run")
    parser.add_argument("--only-form", action="store_true", help="leave out everything that needs a registration")
    parser.add_argument("--size", type=_size, action="append", help="of the window, such as 1280x720")
    parser.add_argument("--theme", choices=("dark", "light"), action="append", help="of the viewer")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    np.seterr(all="ignore")
    camera = Photographer(arguments.folder)
    if arguments.size or arguments.theme:
        looks = Looks(camera, arguments.size or [SIZE], arguments.theme or ["dark"])
        photograph_widgets(camera, looks, arguments.seconds)
        camera.viewer.close()
        return
    photograph_form(camera)
    photograph_error(camera)
    if not arguments.only_form:
        photograph_run(camera, arguments.seconds)
        photograph_inspect(camera)
        photograph_3d(camera)
        camera.open(sample_phantom_2d())
        camera.widget.register()
        wait(1.0)
        wait(arguments.seconds, camera.ready)
        camera.shoot("16_result_2d_pair")
    camera.viewer.close()


if __name__ == "__main__":
    main()
