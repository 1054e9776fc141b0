"""The epoch slider: what the network made of the validation pair, at every snapshot of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari.layers import Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QGroupBox, QHBoxLayout, QLabel, QPushButton, QSlider, QVBoxLayout, QWidget
from superqt.utils import signals_blocked

import napari_ran as ran
from napari_ran.cache import Cache
from napari_ran.train import Validated
from napari_ran.train.batch import PairBatch
from napari_ran.train.keeping import kept_pair, snapshots
from napari_ran.widgets._forms import combo
from napari_ran.widgets._layers import own_result, place_layer
from napari_ran.widgets._timers import single_shot
from napari_ran.widgets._worker import Task, Worker
from napari_ran.widgets.inspection.space import ViewerSpace
from napari_ran.widgets.training.replay_work import PREFIX, Replayed, legend, replay_layers, replaying

CACHE_BYTES = 512 * 2**20
"""Most memory for snapshots that were looked at; a bigger one alone is kept as well."""

REST_MS, PLAY_MS = 60, 350
"""How long the slider must rest before a snapshot is computed, and how long each is seen when they are played."""

NONE_YET = "Snapshots appear here as the training is measured."
NO_SNAPSHOTS = (
    "This training keeps no snapshots to look at. Those that are started here do; in the settings it is "
    "<i>snapshots</i>, under Validation."
)


class ReplayPanel(QGroupBox):
    """A slider over the snapshots of a training, which shows each one's work on the validation pair in the viewer.

    The network runs in a thread of its own on the CPU. What it found is kept as long as it fits into `CACHE_BYTES`.

    Parameters
    ----------
    viewer : napari.Viewer
        Where the layers go: one set, changed in place.

    Signals
    -------
    turned_to : int or None
        The step of the snapshot that the slider is at now.
    failed : object
        The exception that kept a snapshot from being shown.
    """

    turned_to = Signal(object)
    failed = Signal(object)

    def __init__(self, viewer: Any) -> None:
        super().__init__("Over the course of the training")
        self._viewer = viewer
        self.worker = Worker(self)
        self._rest = single_shot(self, REST_MS, self._compute)
        self._turn = single_shot(self, PLAY_MS, self._next)
        self._build()
        self.worker.finished.connect(self._on_found)
        self.worker.failed.connect(self._on_failed)
        self.slider.valueChanged.connect(self._on_moved)
        self.slider.sliderPressed.connect(self._want)
        self.slider.actionTriggered.connect(self._want)
        self.play_button.toggled.connect(self._on_play)
        self.show_box.currentIndexChanged.connect(self._on_choice)
        self.seen_box.toggled.connect(self._on_seen)
        self.clear()

    def _build(self) -> None:
        self.play_button = QPushButton("▶")
        self.play_button.setCheckable(True)
        self.play_button.setFixedWidth(34)
        self.play_button.setToolTip("Run through the snapshots")
        self.play_button.setAccessibleName("Play the snapshots")
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName("Snapshot of the training")
        self.slider.setToolTip("<p>Weights of this step of the training, from the first to the last that was kept</p>")
        self.slider.setPageStep(1)
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.label.setAccessibleName("Which snapshot is shown")
        self.show_box = combo("What to show", "What lies over the warped image: displacements, or the heads' masks.")
        self.seen_box = QCheckBox("In the viewer")
        self.seen_box.setToolTip(
            "<p>Show the validation pair in the viewer: the fixed image, the warped one with the deformed grid, and "
            "what is chosen here. With the slider at its right end the newest snapshot is shown as it comes.</p>"
        )
        self.legend = QLabel()
        self.legend.setWordWrap(True)
        self.legend.setAccessibleName("What the colours mean")
        upper, lower = QHBoxLayout(), QHBoxLayout()
        upper.addWidget(self.play_button)
        upper.addWidget(self.slider, 1)
        lower.addWidget(self.show_box, 1)
        lower.addWidget(self.seen_box)
        self.controls = QWidget()
        column = QVBoxLayout(self.controls)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(upper)
        column.addLayout(lower)
        column.addWidget(self.legend)
        layout = QVBoxLayout(self)
        layout.addWidget(self.label)
        layout.addWidget(self.controls)

    # ---------------------------------------------------------------- the run

    def clear(self) -> None:
        """Forget the run, and take its layers out of the viewer."""
        self.worker.drop()
        self._rest.stop()
        self.play_button.setChecked(False)
        self.folder: Path | None = None
        self._files: dict[int, Path] = {}
        self._asked = Path()
        self._times: Mapping[int, Validated] = {}
        self._pair: tuple[PairBatch, ran.Grid] | None = None
        self._kept = Cache(CACHE_BYTES, least=1)
        self._largest: dict[str, float] = {}
        self.shown: Replayed | None = None
        self._show_before, self._has_fixed = "", False
        self.legend.hide()
        self.show_box.clear()
        self.seen_box.setChecked(False)
        self.setVisible(False)

    def open(self, folder: Path, wanted: bool, times: Mapping[int, Validated]) -> None:
        """Look at a run.

        Parameters
        ----------
        folder : Path
            Where it is.
        wanted : bool
            Whether the run keeps snapshots.
        times : mapping
            Step to what was measured then; it may grow.
        """
        self.folder, self._times = folder, times
        self.setVisible(True)
        self.label.setText(NONE_YET if wanted else NO_SNAPSHOTS)
        self.refresh()

    def refresh(self) -> None:
        """Take in the snapshots that there are now; at its right end the slider stays there."""
        if self.folder is None:
            return
        files = snapshots(self.folder)
        self.controls.setVisible(bool(files))
        if not files or list(files) == list(self._files):
            self._describe(working=self.worker.task is not None)
            return
        chosen = self.step
        newest = chosen is None or self.slider.value() == self.slider.maximum()
        self._files, steps = files, list(files)
        value = len(steps) - 1 if newest else min(range(len(steps)), key=lambda i: abs(steps[i] - (chosen or 0)))
        with signals_blocked(self.slider):
            self.slider.setRange(0, len(steps) - 1)
            self.slider.setValue(value)
        self._describe(working=self.worker.task is not None)
        if self.step != chosen and self.worker.task is None and not self._rest.isActive():
            self._ask()  # else when that is done: snapshots may come faster than they can be looked at

    def watch(self) -> None:
        """Show the snapshots in the viewer as they come."""
        self.seen_box.setChecked(True)

    @property
    def step(self) -> int | None:
        """The step of the chosen snapshot."""
        steps = list(self._files)
        return steps[self.slider.value()] if self.slider.value() < len(steps) else None

    def shut(self) -> None:
        """Stop all work."""
        self._rest.stop()
        self._turn.stop()
        self.worker.drop()

    # ---------------------------------------------------------------- choosing

    def _want(self, action: int = 0) -> None:
        """Whoever moves the slider wants to see something."""
        self.seen_box.setChecked(True)

    def _on_moved(self, value: int) -> None:
        self._describe()
        self._ask()

    def _on_choice(self, index: int) -> None:
        if self.shown is not None and index >= 0:
            self._show(self.shown)

    def _on_seen(self, seen: bool) -> None:
        if seen:
            self._ask()
            return
        self.worker.drop()
        self._rest.stop()
        self.play_button.setChecked(False)
        for layer in self._own_layers():
            self._viewer.layers.remove(layer)
        self._describe()

    def _on_play(self, play: bool) -> None:
        self.play_button.setText("❚❚" if play else "▶")
        if not play:
            self._turn.stop()
            return
        self._want()
        if self.slider.value() == self.slider.maximum():
            self.slider.setValue(0)
        self._ask()

    def _next(self) -> None:
        if self.slider.value() == self.slider.maximum():
            self.play_button.setChecked(False)
        else:
            self.slider.setValue(self.slider.value() + 1)

    def _describe(self, working: bool = False) -> None:
        """Say which snapshot is chosen: its step, its time, and what was measured."""
        step = self.step
        self.turned_to.emit(step)
        if step is None:
            return
        parts = [f"Step {step}"]
        found = self._times.get(step)
        if found is not None:
            parts.append(f"{found.seconds / 60:.1f} min")
            if found.validation.dice is not None:
                parts.append(f"Dice {found.validation.dice:.3f}")
            elif found.validation.tre_mm is not None:
                parts.append(f"landmark error {found.validation.tre_mm:.2f} mm")
        elif step == 0:
            parts.append("before the training")
        self.label.setText("  ·  ".join(parts) + ("  ·  computing…" if working else ""))

    # ---------------------------------------------------------------- computing and showing

    def _key(self, step: int) -> tuple[int, int]:
        """Tell a snapshot from one of the same step that a resumed run has written anew."""
        return step, self._files[step].stat().st_mtime_ns

    def _ask(self) -> None:
        """Show the chosen snapshot, at once where it is known."""
        step = self.step
        if not self.seen_box.isChecked() or step is None:
            return
        try:
            known = self._kept.find(self._key(step))
        except OSError:  # given up in this moment
            known = None
        if known is None:
            self._rest.start()
            return
        self.worker.drop()
        self._rest.stop()
        self._show(known)

    def _compute(self) -> None:
        step, folder = self.step, self.folder
        if step is None or folder is None:
            return
        path, pair = self._files[step], self._pair
        self._asked = path
        self._describe(working=True)

        def work(task: Task) -> Any:
            yield
            images, grid = pair or kept_pair(folder)
            found = yield from replaying(path, images, grid, step)
            return (images, grid), found

        self.worker.start(work)

    def _on_found(self, outcome: tuple[tuple[PairBatch, ran.Grid], Replayed]) -> None:
        self._pair, found = outcome
        with contextlib.suppress(KeyError, OSError):  # the run has given it up meanwhile
            self._kept.put(self._key(found.step), found, found.bytes)
        self._describe()
        self._show(found)
        if self.step != found.step:
            self._ask()

    def _on_failed(self, error: Exception) -> None:
        self._describe()
        if self._asked.exists():
            self.play_button.setChecked(False)
            self.failed.emit(error)
            return
        self.refresh()  # the run has given it up meanwhile
        self._ask()

    def _own_layers(self) -> list[Layer]:
        return [layer for layer in self._viewer.layers if (own_result(layer) or "").startswith(PREFIX)]

    def _show(self, found: Replayed) -> None:
        """Put a snapshot into the viewer, in place of the one before."""
        self.shown = found
        if self.show_box.count() == 0:
            with signals_blocked(self.show_box):
                for key, text in found.shows():
                    self.show_box.addItem(text, key)
        show = str(self.show_box.currentData())
        there = {own_result(layer) for layer in self._viewer.layers}
        with_fixed = not (self._has_fixed and PREFIX + "fixed" in there)
        layers = replay_layers(found, show, self._largest, with_fixed)
        wanted = {key for key, _, _ in layers} | {PREFIX + "fixed"}
        for layer in self._own_layers():
            if own_result(layer) not in wanted:
                self._viewer.layers.remove(layer)
        space = ViewerSpace(self._viewer)
        selected = self._viewer.layers.selection.active
        for key, (data, kwargs, kind), visible in layers:
            affine, units = space.in_units(kwargs["affine"])
            given = {"affine": affine, "units": units} | ({} if key in there else {"visible": visible})
            layer = place_layer(self._viewer, key, (data, kwargs | given, kind))
            layer.name = kwargs["name"]
            if show != self._show_before and layer.visible != visible:  # else it is as the user wants it
                layer.visible = visible
        self._has_fixed = True
        self._show_before = show
        self.legend.setText(legend(found, show, self._largest))
        self.legend.setVisible(bool(self.legend.text()))
        if selected is not None and selected in self._viewer.layers:
            self._viewer.layers.selection.active = selected
        if self.play_button.isChecked():
            self._turn.start()
