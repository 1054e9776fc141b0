"""A displacement field that another tool made, from a layer or a file, with the images that it belongs to."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from napari.layers import Image as ImageLayer
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFileDialog, QFormLayout, QLabel, QWidget

import napari_ran as ran
from napari_ran.data import DisplacementField
from napari_ran.introspect.inspection import Inspection
from napari_ran.io import load_field
from napari_ran.io.layers import grid_of_layer, layer_affine
from napari_ran.widgets._access import Spoken, explain_buttons
from napari_ran.widgets._forms import button, combo
from napari_ran.widgets._layers import Source, own_result, placement
from napari_ran.widgets._worker import Task, Work
from napari_ran.widgets.inspection.space import PREFIX

EXPLANATION = (
    "A field maps points of the fixed image to points of the moving image. As a layer it is an image with one more "
    "axis in front: (2, Y, X) or (3, Z, Y, X), components in the order of the layer's axes."
)
ENDINGS = "*.h5 *.tfm *.txt *.mat *.nii *.nii.gz *.nrrd *.mha"


class FieldDialog(QDialog):
    """Asks for a field and, if they are at hand, its two images.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers can be chosen.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Field of another tool")
        self.path: Path | None = None
        self.field_box = combo("Field", "An image layer of components, or a file.")
        kinds = [("voxels", "voxels of the layer"), ("mm", "mm along the layer's axes")]
        self.unit_box = combo("Measured in", "What the numbers of the layer are; files say it themselves.", kinds)
        self.fixed_box = combo("Fixed image", "The image that stays; without it there is no difference image.")
        self.moving_box = combo("Moving image", "The image that is pulled; without it there is no warped image.")
        tip = "A transform or field of ITK, 3D Slicer, ANTs, FSL or Learn2Reg"
        self.file_button = button("Choose a file…", tip, self._ask)
        self._fill(viewer)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        explain_buttons(buttons, "Read the field and show it in Inspect")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        explanation = QLabel(EXPLANATION)
        explanation.setWordWrap(True)
        form = QFormLayout(self)
        form.addRow(explanation)
        form.addRow("Field", self.field_box)
        form.addRow("", self.file_button)
        form.addRow("Measured in", self.unit_box)
        form.addRow("Fixed image", self.fixed_box)
        form.addRow("Moving image", self.moving_box)
        form.addRow(buttons)
        self.setMinimumWidth(420)
        Spoken(self)

    def _fill(self, viewer: Any) -> None:
        for box in (self.fixed_box, self.moving_box):
            box.addItem("none", None)
        for layer in viewer.layers:
            if not isinstance(layer, ImageLayer) or (own_result(layer) or "").startswith(PREFIX) or layer.rgb:
                continue
            if layer.data.ndim in (3, 4) and layer.data.shape[0] == layer.data.ndim - 1:
                self.field_box.addItem(layer.name, layer)
            for box, word in ((self.fixed_box, "fixed"), (self.moving_box, "moving")):
                box.addItem(layer.name, layer)
                if word in layer.name.lower():
                    box.setCurrentIndex(box.count() - 1)

    def _ask(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a field", "", f"Fields ({ENDINGS})")
        if path:
            self.choose_file(Path(path))

    def choose_file(self, path: Path) -> None:
        """Choose a file in place of a layer."""
        self.path = path
        self.field_box.setPlaceholderText(path.name)
        self.field_box.setCurrentIndex(-1)

    def work(self) -> Work:
        """Return the work of reading what is chosen; it returns an `Inspection`.

        Raises
        ------
        InputError
            Nothing is chosen, or a layer cannot be used.
        """
        images = {}
        for role, box in (("fixed", self.fixed_box), ("moving", self.moving_box)):
            layer = box.currentData()
            images[role] = None if layer is None else Source.of(layer, role)
        layer = self.field_box.currentData()
        field = self.path if layer is None else layer_values(layer)
        if field is None:
            cure = "Choose a layer of components (3, Z, Y, X), or a file"
            raise ran.InputError("field", "no field is chosen", cure)
        return foreign_work(field, self.unit_box.currentData(), images)


def layer_values(layer: Any) -> tuple[Any, Any]:
    """Return the components of a field layer and the matrix of its spatial axes, data to world in mm."""
    # the components' axis is no length, whatever its unit says
    placed = placement(layer) | {"units": (layer.units[-1], *layer.units[1:])}
    return layer.data, layer_affine(placed, layer.ndim)[1:, 1:]


def field_from_layer(components: Any, matrix: Any, unit: str) -> DisplacementField:
    """Return a field from components (D, *S) in the viewer's order of axes, in voxels or in mm along the axes."""
    values = np.asarray(components, dtype=np.float32)
    grid = grid_of_layer(values.shape[1:], matrix)
    ours = values[::-1].transpose(0, *range(values.ndim - 1, 0, -1)).copy()
    if unit == "mm":
        ours /= grid.spacing.astype(np.float32).reshape(-1, *[1] * grid.ndim)
    return DisplacementField(torch.from_numpy(ours), grid)


def foreign_work(field: Path | tuple[Any, Any], unit: str, images: dict[str, Source | None]) -> Work:
    """Return the work of reading a field and its images; it returns an `Inspection`."""

    def work(task: Task) -> Generator[Any, None, Inspection]:
        yield from ()
        pair = {role: None if source is None else source.image() for role, source in images.items()}
        if isinstance(field, Path):
            fixed, moving = (None if image is None else image.grid for image in (pair["fixed"], pair["moving"]))
            found = load_field(field, fixed=fixed, moving=moving)
        else:
            found = field_from_layer(*field, unit)
        return Inspection.from_field(found, pair["fixed"], pair["moving"])

    return work
