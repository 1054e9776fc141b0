"""Measure how long the viewer is ever blocked while the Register widget registers the phantom.

A timer of 10 ms runs in the viewer; the longest gap between two of its ticks is how long a user could have waited for
an answer to a click. On a busy machine a gap also holds the time that other programs took: the column beside it is the
processor time of the viewer's thread alone, in the worst of the gaps. Printed for the run itself and for the moment
when the result's layers are added.

On a machine without a screen: ``xvfb-run -a -s '-screen 0 1600x1000x24' python scripts/ui_latency.py``.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

import napari
from napari._qt.qt_event_loop import get_qapp
from qtpy.QtCore import Qt, QTimer

from napari_ran.contributions import sample_phantom, sample_phantom_2d
from napari_ran.widgets.register import RegisterWidget

TICK_MS = 10


@dataclass
class Gaps:
    """The gaps between ticks, per phase."""

    phase: str = "idle"
    last: float = field(default_factory=time.perf_counter)
    last_own: float = field(default_factory=time.thread_time)
    own: dict[str, float] = field(default_factory=dict)
    found: dict[str, list[float]] = field(default_factory=dict)

    def tick(self) -> None:
        """Note the time since the last tick."""
        now = time.perf_counter()
        self.found.setdefault(self.phase, []).append(1000 * (now - self.last))
        self.last = now
        spent = time.thread_time()
        self.own[self.phase] = max(self.own.get(self.phase, 0.0), 1000 * (spent - self.last_own))
        self.last_own = spent

    def enter(self, phase: str) -> None:
        """Count what follows for another phase."""
        self.tick()
        self.phase = phase

    def table(self) -> list[str]:
        """Return the lines to print."""
        rows = [f"{'phase':<24}{'longest gap':>14}{'own time':>13}{'99th percentile':>18}{'ticks':>8}"]
        for phase, gaps in self.found.items():
            ordered = sorted(gaps)
            high = ordered[int(0.99 * (len(ordered) - 1))]
            longest = f"{ordered[-1]:>11.0f} ms{self.own[phase]:>10.0f} ms"
            rows.append(f"{phase:<24}{longest}{high:>15.0f} ms{len(gaps):>8}")
        return rows


def wait(app: object, seconds: float, until=lambda: False) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        app.processEvents()
        time.sleep(0.001)


def measure(two_dimensional: bool, runs: int, seconds: float) -> list[str]:
    app = get_qapp()
    viewer = napari.Viewer(show=True)
    widget = RegisterWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Register (RAN)", area="right")
    for data, kwargs, kind in sample_phantom_2d() if two_dimensional else sample_phantom():
        viewer.add_layer(napari.layers.Layer.create(data, kwargs, kind))
    wait(app, 1.0)
    gaps = Gaps()
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(gaps.tick)
    timer.start(TICK_MS)
    wait(app, 1.0)
    place = widget.placer.place

    def place_noting(layers: list) -> None:
        gaps.enter("adding layers")
        place(layers)

    widget.placer.place = place_noting
    for number in range(runs):
        gaps.enter(f"run {number + 1}")
        widget.register()
        wait(app, seconds, widget.register_button.isEnabled)
        gaps.enter("idle")
        wait(app, 0.5)
    timer.stop()
    viewer.close()
    return gaps.table()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--two-dimensional", action="store_true", help="use the 2-D phantom")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=300, help="longest time for one run")
    arguments = parser.parse_args()
    print("\n".join(measure(arguments.two_dimensional, arguments.runs, arguments.seconds)))


if __name__ == "__main__":
    main()
