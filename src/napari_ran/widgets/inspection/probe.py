"""The page of the voxel probe: follows the mouse, keeps points, compares and exports them."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ran.errors import OutputError
from napari_ran.introspect.probe import Probe, probe
from napari_ran.widgets.inspection.colours import head_colours
from napari_ran.widgets.inspection.layers import InspectLayers
from napari_ran.widgets.inspection.probe_plot import SHORT, ProbePlot, stage_colours
from napari_ran.widgets.inspection.session import Session

PAUSE_MS = 15
"""Shortest time between two probings; moves in between are left out, never queued."""

LAYERS = ("path", "pins")
HEAD_PIXELS = 9.0
"""Most that an arrow's head is long on the screen."""

PIN_KEY = "Shift-P"


class ProbePage(QWidget):
    """Shows how the displacement of the voxel under the mouse came about.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose mouse is followed.
    layers : InspectLayers
        Where the path and the capture range are drawn.

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
        self.pins: list[Probe] = []
        self.count = 0
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._probe_now)
        self._build()

    def _build(self) -> None:
        self.follow = QCheckBox("Follow the mouse")
        self.follow.setChecked(True)
        self.follow.setToolTip("<p>Probe the voxel under the mouse while this page is open</p>")
        self.pin_button = QPushButton("Keep point")
        self.pin_button.setToolTip(f"<p>Keep the last point (or Shift + click, or {PIN_KEY} over the image)</p>")
        self.pin_button.clicked.connect(self.pin)
        self.plot = ProbePlot(self._viewer)
        self.table = QTableWidget(0, 0)
        self.table.setAccessibleName("Kept points: displacement in mm after each stage")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(22)
        self.table.setShowGrid(False)
        self.table.itemSelectionChanged.connect(self._row_selected)
        self.caption = QLabel("Kept points: displacement in mm after each stage")
        self.caption.setWordWrap(True)  # or the page is wider than a narrow dock, which cuts it off
        self.remove_button = QPushButton("Remove")
        self.remove_button.clicked.connect(self.remove_selected)
        self.export_button = QPushButton("Export CSV…")
        self.export_button.setToolTip("<p>Write all contributions, masks and confidences of the kept points</p>")
        self.export_button.clicked.connect(self._ask_where)
        top = QHBoxLayout()
        top.addWidget(self.follow, 1)
        top.addWidget(self.pin_button)
        buttons = QHBoxLayout()
        buttons.addWidget(self.remove_button)
        buttons.addWidget(self.export_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 6, 8, 6)
        layout.addLayout(top)
        layout.addWidget(self.plot)
        layout.addWidget(self.caption)
        layout.addWidget(self.table)
        layout.addLayout(buttons)
        layout.addStretch(1)
        self._show_pins()

    # ---------------------------------------------------------------- what is probed

    def show_session(self, session: Session | None) -> None:
        """Probe another inspection; kept points go."""
        self._session = session
        self.current, self.pins, self._place = None, [], None
        self.plot.show_probe(None, np.zeros((0, 2)), [])
        self._show_pins()

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
            self._timer.stop()

    def leave(self) -> None:
        """Take the path, the capture range and the marks out of the viewer."""
        self._timer.stop()
        self._layers.remove(LAYERS)

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
        others = [(self._screen(pin), _pin_colour(index)) for index, pin in enumerate(self.pins) if pin is not found]
        self.plot.show_probe(found, self._screen(found), others)
        colours = stage_colours(len(found.stages))
        path = self._flattened(self._layers.to_viewer(found.path))
        chain, shades = self._arrows(path, colours)
        boxes, tints = self._boxes(found, colours)
        if len(boxes):
            chain, shades = np.concatenate([chain, boxes]), np.concatenate([shades, tints])
        self._layers.lines("path", chain, shades, "inspect · path and capture range", False, 2.0)

    def _arrows(
        self, path: NDArray[np.float64], colours: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a path as a chain of arrows made of line segments: one layer for all follows the mouse faster."""
        steps = np.diff(path, axis=0)
        segments, shades = [np.stack([path[:-1], steps], 1)], [colours]
        down, right = self._layers.plane(path.shape[1])
        length = np.linalg.norm(steps, axis=1, keepdims=True)
        back = -steps / np.maximum(length, 1e-9) * np.minimum(0.4 * length, HEAD_PIXELS * self._layers.pixel)
        across = np.zeros_like(back)
        across[:, down], across[:, right] = back[:, right], -back[:, down]
        for side in (0.6, -0.6):
            segments.append(np.stack([path[1:], back + side * across], 1))
            shades.append(colours)
        return np.concatenate(segments), np.concatenate(shades)

    def _screen(self, found: Probe) -> NDArray[np.float64]:
        """Return a path as it looks on the screen, (n + 1, 2): right and down, in mm."""
        ndim = found.path.shape[1]
        _, factor = self._layers.units(ndim)
        down, right = self._layers.plane(ndim)
        path = self._layers.to_viewer(found.path) * factor
        return path[:, [right, down]]

    def _flattened(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring places into the slice that is shown, so that they are seen."""
        if points.shape[-1] == 3 and self._layers.flat():
            hidden = ({-3, -2, -1} - set(self._layers.plane(3))).pop()
            points = points.copy()
            points[..., hidden] = self._layers.position(3)[hidden]
        return points

    def _boxes(self, found: Probe, colours: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the edges of the capture ranges as segments; that of the chosen level in full colour."""
        ndim = len(found.point)
        axes = range(ndim)
        if ndim == 3 and self._layers.flat():
            axes = sorted(-1 - axis for axis in self._layers.plane(3))  # type: ignore[assignment]
        segments, tints = [], []
        for index, stage in enumerate(found.stages):
            if stage.capture_range is None:
                continue
            half = found.box_axes * stage.capture_range  # columns
            for axis in axes:
                for corner in np.ndindex(*[2] * (len(axes) - 1)):
                    signs = iter(2 * np.array(corner) - 1)
                    start = found.path[index] + sum((-1 if a == axis else next(signs)) * half[:, a] for a in axes)
                    ends = self._layers.to_viewer(np.stack([start, start + 2 * half[:, axis]]))
                    ends = self._flattened(ends)
                    segments.append(np.stack([ends[0], ends[1] - ends[0]]))
                    tints.append([*colours[index][:3], 1.0 if stage.stage.index == self._stage else 0.35])
        return np.array(segments), np.array(tints)

    # ---------------------------------------------------------------- kept points

    def pin(self) -> None:
        """Keep the current point."""
        if self.current is not None and self.current not in self.pins:
            self.pins.append(self.current)
            self._show_pins()
            self._mark_pins()

    def remove_selected(self) -> None:
        """Forget the selected points, or the last one when none is selected."""
        rows = {index.row() for index in self.table.selectedIndexes()} or {len(self.pins) - 1}
        self.pins = [pin for row, pin in enumerate(self.pins) if row not in rows]
        self._show_pins()
        self._mark_pins()

    def _show_pins(self) -> None:
        stages = [] if self._session is None else self._session.inspection.stages
        heads = ["", *(SHORT.get(stage.kind, str(stage.level)) for stage in stages)]
        self.table.blockSignals(True)
        self.table.setColumnCount(len(heads))
        self.table.setHorizontalHeaderLabels(heads)
        self.table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.setRowCount(len(self.pins))
        for row, pin in enumerate(self.pins):
            lengths = [f"{np.linalg.norm(stage.displacement):.2f}" for stage in pin.stages]
            for column, text in enumerate([f"P{row + 1}", *lengths]):
                item = QTableWidgetItem(text)
                item.setToolTip("({}) mm, {}".format(", ".join(f"{v:.1f}" for v in pin.point), pin.direction))
                if column == 0:
                    item.setForeground(_pin_colour(row))
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.table.setItem(row, column, item)
        self.table.blockSignals(False)
        self.table.setFixedHeight(self.table.horizontalHeader().sizeHint().height() + 22 * len(self.pins) + 4)
        for part in (self.table, self.caption, self.remove_button, self.export_button):
            part.setVisible(bool(self.pins))

    def _mark_pins(self) -> None:
        if not self.pins or not self.active:
            self._layers.remove(["pins"])
            return
        points = self._layers.to_viewer(np.stack([pin.point for pin in self.pins]))
        colours = np.array([_pin_colour(index).getRgbF() for index in range(len(self.pins))])
        names = [f"P{index + 1}" for index in range(len(self.pins))]
        self._layers.points("pins", points, names, colours, "inspect · kept points")

    def _row_selected(self) -> None:
        rows = [index.row() for index in self.table.selectedIndexes()]
        if rows and rows[0] < len(self.pins):
            self.current = self.pins[rows[0]]
            self._draw()

    def _ask_where(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export the kept points", "points.csv", "Table (*.csv)")
        if path:
            self.export(path)

    def export(self, path: str | Path) -> None:
        """Write one line per point, stage and contribution."""
        try:
            write_points(self.pins, Path(path))
        except OSError as error:
            problem = f"the table could not be written ({error.strerror or error})"
            self.failed.emit(OutputError(str(path), problem, "Choose another place"))


def write_points(pins: list[Probe], path: Path) -> None:
    """Write one line per point, stage and contribution; positions and vectors in mm, RAS."""
    if not pins:
        return
    axes = "xyz"[: len(pins[0].point)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        place, moved = [f"{a}_mm" for a in axes], [f"displacement_{a}_mm" for a in axes]
        what = ["confidence", "previous_confidence", "part", "head", "mask"]
        writer.writerow(["point", "direction", *place, "stage", *moved, *what, *(f"part_{a}_mm" for a in axes)])
        for number, pin in enumerate(pins, start=1):
            for stage in pin.stages:
                head = [f"P{number}", pin.direction, *pin.point, stage.stage.title, *stage.displacement]
                for part in stage.contributions:
                    mask = None if part.head is None or stage.masks is None else stage.masks[part.head]
                    row = [*head, stage.confidence, stage.previous_confidence, part.kind, part.head, mask, *part.mm]
                    writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])


def _pin_colour(index: int) -> QColor:
    return QColor.fromRgbF(*head_colours(8)[(index + 5) % 8])
