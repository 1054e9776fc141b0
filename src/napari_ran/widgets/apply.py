"""The Apply widget: layers of any kind follow a transform that is known."""

from __future__ import annotations

from typing import Any

from napari.layers import Layer
from qtpy.QtWidgets import QFormLayout, QGroupBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_ran.carrying import CarryStep
from napari_ran.widgets._combos import NONE
from napari_ran.widgets._docked import DockedWidget
from napari_ran.widgets._forms import combo
from napari_ran.widgets._layout import form_layout, scrolled
from napari_ran.widgets._message import MessagePanel
from napari_ran.widgets._progress import ProgressPanel
from napari_ran.widgets._remembered import FormMemory
from napari_ran.widgets._shortcuts import bind
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.applying.chosen import GridChoices, LayerList
from napari_ran.widgets.applying.source import TransformChooser
from napari_ran.widgets.applying.work import carrying_work

OWN_GRID = {False: "the fixed image's", True: "the moving image's"}
"""Which grid voxels come out on unless another is chosen, by whether the transform is reversed."""


class ApplyWidget(DockedWidget):
    """Choose a transform, tick layers, and have them brought to the other image.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are carried.
    """

    help_page = "transforms.md"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.choices = GridChoices(napari_viewer, self)
        self.source = TransformChooser(napari_viewer, self.choices)
        self.layers = LayerList(napari_viewer)
        self.runner = Worker(self)
        self._carried: list[Layer] = []
        self._notes: list[str] = []
        self._finished = 0
        self._build()
        self.memory = FormMemory(self, "apply", editors={"direction": self.direction, "labels": self.labels})
        self._connect()
        self._on_direction()
        self._rest("")
        self._follow_viewer(True)

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(4, 6, 8, 6)
        column.setSpacing(8)
        for part in (self.source, self._layers_group(), self._how_group()):
            column.addWidget(part)
        column.addStretch(1)
        self.progress, self.message = ProgressPanel(), MessagePanel(self.viewer)
        self.run_button, self.cancel_button = QPushButton("Apply"), QPushButton("Cancel")
        self.run_button.setToolTip("<p>Make a new layer of each that is ticked, right above it</p>")
        self.cancel_button.setToolTip("<p>Stop; the layers that are finished stay</p>")
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button, 2)
        buttons.addWidget(self.cancel_button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(scrolled(page), 1)
        layout.addWidget(self.message)
        layout.addWidget(self.progress)
        layout.addLayout(buttons)
        self.setMinimumWidth(360)
        bind(self, run=self.run_button, stop=self.cancel_button)

    def _layers_group(self) -> QWidget:
        group = QGroupBox("Layers")
        QVBoxLayout(group).addWidget(self.layers)
        return group

    def _how_group(self) -> QWidget:
        group = QGroupBox("How")
        form: QFormLayout = form_layout(group)
        self.direction = combo(
            "Direction",
            "What lies on the moving image is brought to the fixed one; the other way is made when it is not known.",
        )
        self.direction.addItem("moving to fixed", False)
        self.direction.addItem("fixed to moving", True)
        self.labels = combo(
            "Labels",
            "Nearest keeps each voxel's label; smooth takes the label of the largest share around it, which rounds "
            "jagged borders but needs longer.",
        )
        self.labels.addItem("nearest", "nearest")
        self.labels.addItem("smooth (Gaussian)", "gaussian")
        for title, box in (("Direction", self.direction), ("Labels", self.labels)):
            label = QLabel(title)
            label.setBuddy(box)
            label.setToolTip(box.toolTip())
            form.addRow(label, box)
        form.addRow(self.choices.caption("grid"), self.choices.boxes["grid"])
        return group

    def _connect(self) -> None:
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self.direction.currentIndexChanged.connect(self._on_direction)
        self.choices.listed.connect(self._on_listed)
        self.layers.itemChanged.connect(self._count)
        self.source.changed.connect(self._on_transform)
        self.source.failed.connect(self._complain)
        self.runner.stepped.connect(self._on_step)
        self.runner.finished.connect(self._on_finished)
        self.runner.failed.connect(self._complain)
        self.runner.released.connect(self._on_released)
        for worker in (self.runner, self.source.reader):
            # not a method of this widget: it is already gone when it is called
            self.destroyed.connect(worker.current.drop)

    # ---------------------------------------------------------------- choosing

    def _on_direction(self) -> None:
        """Say on which grid voxels come out where none is chosen."""
        self._name_own_grid()
        self._count()

    def _name_own_grid(self) -> None:
        box = self.choices.boxes["grid"]
        box.setItemText(0, OWN_GRID[bool(self.direction.currentData())])
        for role in ("fixed", "moving"):
            self.choices.boxes[role].setItemText(0, NONE)

    def _on_listed(self) -> None:
        self.layers.refresh()
        self._name_own_grid()

    def _on_transform(self) -> None:
        self.message.hide()
        self._count()

    def _count(self, item: Any = None) -> None:
        wanted = len(self.layers.ticked())
        self.run_button.setText("Apply" if not wanted else f"Apply to {wanted} layer{'s' * (wanted != 1)}")
        ready = self.source.transform is not None and wanted > 0
        self.run_button.setEnabled(ready and not self.cancel_button.isEnabled())

    # ---------------------------------------------------------------- running

    def run(self) -> None:
        """Carry the layers that are ticked."""
        self.message.hide()
        transform, grid = self.source.transform, self.choices.layer("grid")
        if transform is None:
            return
        self._carried = self.layers.ticked()
        self._notes, self._finished = [], 0
        self.memory.keep()
        self.cancel_button.setEnabled(True)
        self.run_button.setEnabled(False)
        self.progress.bar.show()
        self.runner.start(
            carrying_work(
                transform,
                [layer.as_layer_data_tuple() for layer in self._carried],
                bool(self.direction.currentData()),
                None if grid is None else grid.as_layer_data_tuple(),
                self.labels.currentData(),
            )
        )

    def cancel(self) -> None:
        """Stop; the layers that are finished stay."""
        self.cancel_button.setEnabled(False)
        self.progress.say("Stopping…")
        self.runner.stop()

    def _on_step(self, step: CarryStep) -> None:
        ended = step.layer is not None or step.error is not None
        done = max(step.number - 1, 0) + (1.0 if ended else step.part / step.parts)
        self.progress.bar.setValue(int(1000 * done / step.total))
        if self.runner.task is not None and not self.runner.task.stopping.is_set():
            part = f", {step.part + 1} of {step.parts}" if step.parts > 1 and not ended else ""
            where = (
                f"{step.name} ({step.number} of {step.total}){part}" if step.number else "Making the other direction…"
            )
            self.progress.say(where)
        if step.error is not None:
            self._notes.append(f"{step.name}: not carried")
            self.message.show_error(step.error, {})
        elif step.layer is not None:
            self._finished += 1
            self._place(step)

    def _place(self, step: CarryStep) -> None:
        """Put what a layer became right above it, and hide the original; on top when that is gone."""
        if step.layer is None:
            return
        data, kwargs, kind = step.layer
        made, original = Layer.create(data, kwargs, kind), self._carried[step.number - 1]
        if kind == "labels":  # is not among what napari hands over
            made.contour = original.contour
        if original in self.viewer.layers:
            self.viewer.layers.insert(self.viewer.layers.index(original) + 1, made)
            original.visible = False
        else:
            self.viewer.add_layer(made)
        if step.warning:
            self._notes.append(f"{step.name}: {step.warning}")

    def _on_finished(self, whole: bool) -> None:
        made = f"{self._finished} layer{'s' * (self._finished != 1)} made"
        words = [f"Done: {made}" if whole else f"Stopped: {made}", *self._notes]
        self._rest(". ".join(word[:1].upper() + word[1:] for word in words) + ".")

    def _on_released(self) -> None:
        self.runner.drop()
        self._on_finished(False)

    def _rest(self, words: str) -> None:
        self.cancel_button.setEnabled(False)
        self.progress.rest(words)
        self._carried = []
        self._count()

    def _complain(self, error: Exception) -> None:
        self._rest("")
        self.message.show_error(error, {role: self.choices.title(role) for role in self.choices.ROLES})

    # ---------------------------------------------------------------- end of life

    def shut(self) -> None:
        """Stop all work and let go of the viewer."""
        if not self._open:
            return
        for worker in (self.runner, self.source.reader):
            worker.drop()
        self._follow_viewer(False)
        self._rest("")

    def _follow_viewer(self, follow: bool) -> None:
        self._open = follow
        self.choices.follow_viewer(follow)
        self.source.follow(follow)
        theme = self.viewer.events.theme
        (theme.connect if follow else theme.disconnect)(self.message.apply_theme)


__all__ = ["ApplyWidget"]
