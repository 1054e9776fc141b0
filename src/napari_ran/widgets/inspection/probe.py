"""The page of the voxel probe: follows the mouse, keeps points, compares and exports them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QWidget

from napari_ran.introspect.probe import Probe, probe
from napari_ran.widgets._forms import button
from napari_ran.widgets._layout import page_column
from napari_ran.widgets._timers import single_shot
from napari_ran.widgets.inspection.kept_points import KeptPoints, pin_colour
from napari_ran.widgets.inspection.layers import InspectLayers
from napari_ran.widgets.inspection.path import PathLines
from napari_ran.widgets.inspection.probe_plot import ProbePlot
from napari_ran.widgets.inspection.session import Session

PAUSE_MS = 5
"""Shortest rest between two probings; moves in between are left out, never queued."""

LINES_MS = 40
"""Shortest time between two drawings of the path in the viewer, whose canvas is slow to repaint without a graphics
card. The figure in the dock follows every probing."""

LAYERS = ("path", "pins")
PIN_KEY = "Shift-P"


class ProbePage(QWidget):
    """Shows how the displacement of the voxel under the mouse came about.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose mouse is followed.
    layers : InspectLayers
        Where the path and the capture range are drawn.

    Attributes
    ----------
    current : Probe or None
        The last point that was probed.
    count, drawings : int
        How many points were probed, and for how many the path was drawn into the viewer.

    Signals
    -------
    failed : Exception
        Something to be shown as a message.
    """

    failed = Signal(object)

    def __init__(self, viewer: Any, layers: InspectLayers) -> None:
        super().__init__()
        self._viewer, self._layers = viewer, layers
        self._session: Session | None = None
        self._stage, self._direction = 0, "forward"
        self._place: NDArray[np.float64] | None = None
        self._cost = 0.0
        self.current: Probe | None = None
        self.count = self.drawings = 0
        self._path, self._drawn = PathLines(layers), 0.0
        self._timer = single_shot(self, PAUSE_MS, self._probe_now)
        self._lines = single_shot(self, LINES_MS, self._draw_lines)
        self._build()

    def _build(self) -> None:
        self.follow = QCheckBox("Follow the mouse")
        self.follow.setChecked(True)
        self.follow.setToolTip("<p>Probe the voxel under the mouse while this page is open</p>")
        tip = f"Keep the last point (or Shift + click, or {PIN_KEY} over the image)"
        self.pin_button = button("Keep point", tip, self.pin)
        self.plot = ProbePlot(self._viewer)
        self.kept = KeptPoints()
        self.kept.changed.connect(self._mark_pins)
        self.kept.chosen.connect(self._show_kept)
        self.kept.failed.connect(self.failed)
        top = QHBoxLayout()
        top.addWidget(self.follow, 1)
        top.addWidget(self.pin_button)
        page_column(self, top, self.plot, self.kept)

    # ---------------------------------------------------------------- what is probed

    def show_session(self, session: Session) -> None:
        """Probe another inspection; kept points go."""
        self._session = session
        self.current, self._place = None, None
        self.plot.show_probe(None, np.zeros((0, 2)), [])
        self.kept.show_stages(session.inspection.stages)

    def show_choice(self, stage: int, direction: str) -> None:
        """Follow the chosen stage (whose capture range is emphasised) and direction."""
        changed = direction != self._direction
        self._stage, self._direction = stage, direction
        if self.current is not None and self.active:
            if changed:
                self.probe_at(self.current.point)
            else:
                self._draw()

    @property
    def active(self) -> bool:
        """Whether the page is open and has something to probe."""
        return self._session is not None and self.isVisible()

    def follow_mouse(self, follow: bool) -> None:
        """Listen to the viewer's mouse and keys, or let go of them."""
        moves, drags = self._viewer.mouse_move_callbacks, self._viewer.mouse_drag_callbacks
        for callbacks, callback in ((moves, self._mouse_moved), (drags, self._mouse_pressed)):
            if follow and callback not in callbacks:
                callbacks.append(callback)
            elif not follow and callback in callbacks:
                callbacks.remove(callback)
        self._viewer.bind_key(PIN_KEY, self._pin_pressed if follow else None, overwrite=True)
        if not follow:
            self._stop()

    def leave(self) -> None:
        """Take the path, the capture range and the marks out of the viewer."""
        self._stop()
        self._layers.remove(LAYERS)

    def _stop(self) -> None:
        self._timer.stop()
        self._lines.stop()

    def enter(self) -> None:
        """Draw them again."""
        self._draw()
        self._mark_pins()

    def _mouse_moved(self, viewer: Any, event: Any) -> None:
        if not self.active or not self.follow.isChecked():
            return
        self._place = self._on_screen(event)
        if not self._timer.isActive():
            self._timer.start(round(max(PAUSE_MS, 200 * self._cost)))

    def _mouse_pressed(self, viewer: Any, event: Any) -> None:
        if self.active and "Shift" in [str(getattr(key, "name", key)) for key in event.modifiers]:
            self._place = self._on_screen(event)
            self._probe_now()
            self.pin()

    def _pin_pressed(self, viewer: Any) -> None:
        if self.active:
            self.pin()

    def _on_screen(self, event: Any) -> NDArray[np.float64]:
        """Return the place under the mouse; of a volume where the line of sight crosses its middle."""
        position = np.asarray(event.position, dtype=float)
        if not self._layers.flat() and event.view_direction is not None:
            shown = list(event.dims_displayed)
            centre = np.asarray(self._layers.camera.center, dtype=float)[-len(shown) :]
            towards = np.asarray(event.view_direction, dtype=float)[-len(shown) :]
            start = position[shown]
            position[shown] = start + towards * float((centre - start) @ towards)
        return position

    def _probe_now(self) -> None:
        if self._place is None or self._session is None:
            return
        self.probe_at(self._layers.to_world(self._place, self._session.ndim))

    def probe_at(self, point: NDArray[np.float64]) -> None:
        """Probe a point (D,) in mm, RAS, of the image that the field lives on."""
        if self._session is None:
            return
        start = time.perf_counter()
        found = probe(self._session.inspection, point, self._direction)
        if found is not None:  # outside the image the last point stays
            self.current = found
            self.count += 1
            self._draw()
        self._cost = time.perf_counter() - start

    # ---------------------------------------------------------------- drawing

    def _draw(self) -> None:
        """Show the current point in the figure and in the viewer."""
        found = self.current
        if found is None or not self.active:
            return
        kept = self.kept.points
        others = [(self._path.on_screen(pin), pin_colour(i)) for i, pin in enumerate(kept) if pin is not found]
        self.plot.show_probe(found, self._path.on_screen(found), others)
        if 1000 * (time.perf_counter() - self._drawn) >= LINES_MS:
            self._draw_lines()
        else:
            self._lines.start()  # catches up when the mouse stands still

    def _draw_lines(self) -> None:
        """Show the current point's path in the viewer."""
        self._lines.stop()
        if self.current is not None and self.active:
            self._path.draw(self.current, self._stage)
            self.drawings += 1
            self._drawn = time.perf_counter()

    # ---------------------------------------------------------------- kept points

    def pin(self) -> None:
        """Keep the current point."""
        if self.current is not None:
            self.kept.add(self.current)

    def _mark_pins(self) -> None:
        """Mark the kept points in the viewer."""
        kept = self.kept.points
        if not kept or not self.active:
            self._layers.remove(["pins"])
            return
        points = self._layers.to_viewer(np.stack([pin.point for pin in kept]))
        colours = np.array([pin_colour(index).getRgbF() for index in range(len(kept))])
        names = [f"P{index + 1}" for index in range(len(kept))]
        self._layers.points("pins", points, names, colours, "inspect · kept points")

    def _show_kept(self, pin: Probe) -> None:
        self.current = pin
        self._draw()
