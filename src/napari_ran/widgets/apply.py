"""The Apply widget: layers of any kind follow a transform that is known."""

from __future__ import annotations

from typing import Any

from napari.layers import Labels, Layer
from qtpy.QtWidgets import QGroupBox, QVBoxLayout, QWidget

from napari_ran.carrying import CarryStep
from napari_ran.io.layers import LayerData
from napari_ran.widgets._forms import combo
from napari_ran.widgets._layout import add_captioned, form_layout
from napari_ran.widgets._progress import counted
from napari_ran.widgets._remembered import FormMemory
from napari_ran.widgets._running import RunningWidget
from napari_ran.widgets.applying.chosen import GridChoices, LayerList
from napari_ran.widgets.applying.source import TransformChooser
from napari_ran.widgets.applying.work import carrying_work

OWN_GRID = {False: "the fixed image's", True: "the moving image's"}
"""Which grid voxels come out on unless another is chosen, by whether the transform is reversed."""


class ApplyWidget(RunningWidget):
    """Choose a transform, tick layers, and have them brought to the other image.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer whose layers are carried.
    """

    help_page = "transforms.md"
    choices: GridChoices

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.choices = GridChoices(napari_viewer, self)
        self.source = TransformChooser(napari_viewer, self.choices)
        self.layers = LayerList(napari_viewer)
        self._carried: list[Layer] = []
        self._notes: list[str] = []
        self._finished = 0
        self._build(
            *(self.source, self._layers_group(), self._how_group()),
            verb="Apply",
            run="Make a new layer of each that is ticked, right above it",
            cancel="Stop; the layers that are finished stay",
        )
        self.setMinimumWidth(360)
        self.memory = FormMemory(self, "apply", editors={"direction": self.direction, "labels": self.labels})
        self._connect()
        self._name_own_grid()
        self._rest()
        self._follow_viewer(True)

    # ---------------------------------------------------------------- layout

    def _layers_group(self) -> QWidget:
        group = QGroupBox("Layers")
        QVBoxLayout(group).addWidget(self.layers)
        return group

    def _how_group(self) -> QWidget:
        group = QGroupBox("How")
        form = form_layout(group)
        self.direction = combo(
            "Direction",
            "What lies on the moving image is brought to the fixed one; the other way is made when it is not known.",
            [(False, "moving to fixed"), (True, "fixed to moving")],
        )
        self.labels = combo(
            "Labels",
            "Nearest keeps each voxel's label; smooth takes the label of the largest share around it, which rounds "
            "jagged borders but needs longer.",
            [("nearest", "nearest"), ("gaussian", "smooth (Gaussian)")],
        )
        add_captioned(form, "Direction", self.direction)
        add_captioned(form, "Labels", self.labels)
        self.choices.add_to(form, "grid")
        return group

    def _connect(self) -> None:
        self.direction.currentIndexChanged.connect(self._name_own_grid)
        self.choices.listed.connect(self._on_listed)
        self.layers.itemChanged.connect(self._enable)
        self.source.changed.connect(self._on_transform)
        self.source.failed.connect(self._complain)

    # ---------------------------------------------------------------- choosing

    def _name_own_grid(self) -> None:
        """Say on which grid voxels come out where none is chosen."""
        self.choices.boxes["grid"].setItemText(0, OWN_GRID[bool(self.direction.currentData())])

    def _on_listed(self) -> None:
        self.layers.refresh()
        self._name_own_grid()

    def _on_transform(self) -> None:
        self.message.hide()
        self._enable()

    def _ready(self) -> bool:
        return self.source.transform is not None and bool(self.layers.ticked())

    def _enable(self) -> None:
        wanted = len(self.layers.ticked())
        self.run_button.setText(f"Apply to {counted(wanted, 'layer')}" if wanted else "Apply")
        super()._enable()

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
        self.progress.show_share(0)
        self._start(
            carrying_work(
                transform,
                [layer.as_layer_data_tuple() for layer in self._carried],
                bool(self.direction.currentData()),
                None if grid is None else grid.as_layer_data_tuple(),
                self.labels.currentData(),
            )
        )

    def _on_step(self, step: CarryStep) -> None:
        ended = step.layer is not None or step.error is not None
        done = max(step.number - 1, 0) + (1.0 if ended else step.part / step.parts)
        part = f", {step.part + 1} of {step.parts}" if step.parts > 1 and not ended else ""
        where = f"{step.name} ({step.number} of {step.total}){part}" if step.number else "Making the other direction…"
        self._show(done / step.total, where)
        if step.error is not None:
            self._notes.append(f"{step.name}: not carried")
            self.message.show_error(step.error, {})
        elif step.layer is not None:
            self._finished += 1
            self._place(step.layer, self._carried[step.number - 1])
            if step.warning:
                self._notes.append(f"{step.name}: {step.warning}")

    def _place(self, layer: LayerData, original: Layer) -> None:
        """Put what a layer became right above it, and hide the original; on top when that is gone."""
        made = Layer.create(*layer)
        if isinstance(made, Labels):  # the contour is not among what napari hands over
            made.contour = original.contour
        if original in self.viewer.layers:
            self.viewer.layers.insert(self.viewer.layers.index(original) + 1, made)
            original.visible = False
        else:
            self.viewer.add_layer(made)

    def _on_finished(self, whole: bool) -> None:
        made = f"{counted(self._finished, 'layer')} made"
        words = [f"Done: {made}" if whole else f"Stopped: {made}", *self._notes]
        self._rest(". ".join(word[:1].upper() + word[1:] for word in words) + ".")

    def _rest(self, words: str = "") -> None:
        self._carried = []
        super()._rest(words)

    def _follow_viewer(self, follow: bool) -> None:
        super()._follow_viewer(follow)
        self.source.follow(follow)
