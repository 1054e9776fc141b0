"""Print how fast the Inspect widget follows: ``python benchmarks/inspect_rates.py [--size 160]``.

The bundled 3-D weights run once over the phantom, resampled to ``size`` voxels a side; then the widget steps through
the stages in a real viewer. A step is timed from the slider's move until the new layer is drawn:

- step: another stage of this quantity was looked at before; nothing of this stage's view was made ahead;
- first: nothing is known but what the network left: limits, shares and warped images are forgotten before each step;
- own: processor time of the viewer's own thread in a step; on a busy machine the others hold the time that other
  programs took.

Then, per view: the time until the next slice of the finest level is drawn, and the time in which the background makes
the whole volume, which only a viewer in 3-D mode needs.

The probe's rates are the points per second that the figure in the dock shows, and the viewer, while the mouse moves all
the time.
On a machine without a screen: ``xvfb-run -a -s '-screen 0 1600x1000x24' python benchmarks/inspect_rates.py``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import napari
import numpy as np
import torch
from napari._qt.qt_event_loop import get_qapp

from napari_ran import functional as F
from napari_ran.data import Grid
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.probe import probe
from napari_ran.introspect.trace import NetworkTrace, on_cpu
from napari_ran.io.checkpoints import default_weights, load_weights
from napari_ran.synthetic import sliding_phantom
from napari_ran.widgets.inspect import InspectWidget
from napari_ran.widgets.inspection.session import Session
from napari_ran.widgets.inspection.views import make_picture

VIEWS = (
    ("field", "arrows"),
    ("field", "magnitude"),
    ("field", "colour"),
    ("field", "grid"),
    ("field", "contours"),
    ("masks", "blend"),
    ("masks", "single"),
    ("confidence", "map"),
    ("warped", "map"),
    ("difference", "map"),
    ("increment", "contours"),
    ("jacobian", "map"),
)


def traced(size: int) -> NetworkTrace:
    """Run the bundled network over the phantom at so many voxels a side."""
    pair = sliding_phantom()
    images = [F.resize(image.tensor[None], (size,) * 3) for image in (pair.fixed, pair.moving)]
    fixed, moving = ((image - image.min()) / (image.max() - image.min()) for image in images)
    name = default_weights(3)
    assert name is not None
    model = load_weights(name).eval()
    with torch.no_grad():
        output = on_cpu(model(moving, fixed, keep_levels=True))
    return NetworkTrace(model, name, Grid.from_spacing((size,) * 3, 1.5), np.eye(4), fixed, moving, output)


class Bench:
    """A viewer with the Inspect widget, and a clock."""

    def __init__(self, inspection: Inspection) -> None:
        self.app = get_qapp()
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1400, 900)
        self.widget = InspectWidget(self.viewer)
        self.viewer.window.add_dock_widget(self.widget, name="Inspect (RAN)", area="right")
        self.widget.show_inspection(inspection)
        self.viewer.reset_view()
        self.wait(self.shown)

    def wait(self, until: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let the viewer live until something is true."""
        end = time.perf_counter() + seconds
        while not until() and time.perf_counter() < end:
            self.app.processEvents()
            time.sleep(0.001)

    def shown(self) -> bool:
        """Whether the viewer shows what is chosen."""
        picture = self.widget.layers.picture
        return picture is not None and picture.choice == self.widget._wanted

    def step(self, stage: int) -> tuple[float, float]:
        """Move the slider; return the seconds until the view is drawn, and this thread's processor seconds."""
        start, own = time.perf_counter(), time.thread_time()
        self.widget.levels.slider.setValue(stage)
        self.wait(self.shown)
        self.app.processEvents()
        return time.perf_counter() - start, time.thread_time() - own

    def forget(self) -> None:
        """Forget all that was found out about the inspection."""
        session = self.widget.session
        fresh = Session(session.inspection)
        session.limits, session.shares, session.shelf = fresh.limits, fresh.shares, fresh.shelf
        session._prepared.clear()
        session.inspection._cache.clear()

    def view(self, quantity: str, style: str) -> list[list[float]]:
        """Return seconds: of steps, of first steps, this thread's own of steps, of slices, of the whole volume."""
        inspection, session = self.widget.session.inspection, self.widget.session
        stages = [stage.index for stage in inspection.stages if not inspection.why_not(quantity, stage.index)]
        self.widget.levels.choose(quantity=quantity, stage=stages[-1])
        self.widget.levels.choose(style=style)
        self.wait(self.shown)
        first, known = [], []
        for stage in stages:
            self.quiet()
            self.forget()
            first.append(self.step(stage)[0])
        self.quiet()
        for stage in stages:
            known.append(self.step(stage))
            self.quiet()
        slices = [self.slice(index) for index in range(60, 100, 5)]
        start = time.perf_counter()
        make_picture(inspection, self.widget._wanted, session.limits, session.shares).complete()
        whole = [time.perf_counter() - start]
        return [[wall for wall, _ in known], first, [own for _, own in known], slices, whole]

    def quiet(self) -> None:
        """Let the viewer live until nothing is being made in the background."""
        workers = (self.widget.stepper, self.widget.painter, self.widget.measurer)
        self.rest(0.3)
        self.wait(lambda: all(worker.task is None for worker in workers))

    def slice(self, index: int) -> float:
        """Go to a slice of the ground; return the seconds until it is drawn."""
        start = time.perf_counter()
        self.viewer.dims.set_current_step(0, index)
        self.app.processEvents()
        return time.perf_counter() - start

    def rest(self, seconds: float) -> None:
        """Let the viewer live for a while."""
        end = time.perf_counter() + seconds
        self.wait(lambda: time.perf_counter() > end)

    def probes(self, seconds: float) -> tuple[float, float]:
        """Move the mouse every few milliseconds; return the points per second in the figure, and in the viewer."""
        page = self.widget.probe
        self.widget.tabs.setCurrentIndex(1)
        self.rest(0.3)
        grid = self.widget.session.inspection.trace.grid
        middle, start, moves = np.array(grid.shape) / 2, time.perf_counter(), 0
        before = np.array([page.count, page.drawings])
        while time.perf_counter() - start < seconds:
            angle = moves / 40
            voxel = middle + 0.25 * middle * np.array([np.cos(angle), np.sin(angle), 0])
            place = self.widget.layers.to_viewer(grid.to_world(voxel))
            event: Any = SimpleNamespace(position=tuple(place), view_direction=None, modifiers=[])
            for callback in list(self.viewer.mouse_move_callbacks):
                callback(self.viewer, event)
            self.app.processEvents()
            time.sleep(0.005)
            moves += 1
        figure, viewer = (np.array([page.count, page.drawings]) - before) / (time.perf_counter() - start)
        return float(figure), float(viewer)


def views(bench: Bench) -> None:
    """Print the steps of every view."""
    heads = ("step", "first", "own", "slice")
    print(
        f"{'view':<22}" + "".join(f"{head + ', ms':>20}" for head in heads) + f"{'whole, ms':>12}   (median, largest)"
    )
    for quantity, style in VIEWS:
        *pairs, whole = ([1000 * value for value in row] for row in bench.view(quantity, style))
        cells = "".join(f"{np.median(row):12.0f}{max(row):8.0f}" for row in pairs)
        print(f"{quantity + ', ' + style:<22}{cells}{whole[0]:12.0f}", flush=True)


def probing(bench: Bench, inspection: Inspection, seconds: float) -> None:
    """Print how long one point takes, and the rates while the mouse moves."""
    times = []
    grid = inspection.trace.grid
    for voxel in np.random.default_rng(0).uniform(0.2, 0.8, (20, 3)) * np.array(grid.shape):
        begin = time.perf_counter()
        probe(inspection, grid.to_world(voxel))
        times.append(1000 * (time.perf_counter() - begin))
    print(f"probe alone: median {np.median(times):.0f} ms, largest {max(times):.0f} ms")
    figure, viewer = bench.probes(seconds)
    print(f"probe following the mouse, per second: figure {figure:.1f}, path in the viewer {viewer:.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=160, help="voxels a side")
    parser.add_argument("--only", default="views,probe", help="views, probe, or both")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long the mouse moves")
    arguments = parser.parse_args()
    start = time.perf_counter()
    inspection = Inspection.from_trace(traced(arguments.size), "phantom")
    load = os.getloadavg()[0]
    print(f"{arguments.size}^3 voxels, {torch.get_num_threads()} threads, {os.cpu_count()} cores, load {load:.1f}")
    print(f"network with all levels kept: {time.perf_counter() - start:.1f} s")
    bench = Bench(inspection)
    if "views" in arguments.only:
        views(bench)
    if "probe" in arguments.only:
        probing(bench, inspection, arguments.seconds)
    bench.viewer.close()


if __name__ == "__main__":
    main()
