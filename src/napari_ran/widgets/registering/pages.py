"""The two pages of the Register widget: what is chosen, and what came out."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QGroupBox,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

import napari_ran as ran
from napari_ran.config import PRESETS
from napari_ran.widgets._combos import NONE, RegistrationChoices
from napari_ran.widgets._devices import device_choices
from napari_ran.widgets._forms import ConfigForm, button
from napari_ran.widgets._layout import Section, add_captioned, form_layout, page_column, row_of_widgets
from napari_ran.widgets._models import models
from napari_ran.widgets._paths import PathRow
from napari_ran.widgets._plot import MetricPlot
from napari_ran.widgets._settings_file import SettingsRow
from napari_ran.widgets.registering.results import RESULTS
from napari_ran.widgets.registering.table import ResultTable

TRANSFORMS = "Transforms (*.h5 *.tfm *.txt *.mat *.nrrd *.mha *.nii *.nii.gz)"
"""Filter for the files that a registration can start from."""

PLAIN = ("weights", "device", "intensity", "affine", "instance.mode", "keep_levels")
"""Settings in plain sight; all others are in the advanced section."""

LABELS = {
    "weights": "Network weights",
    "device": "Compute on",
    "intensity": "Intensities",
    "affine": "Pre-alignment",
    "instance.mode": "Refinement",
    "spacing": "Spacing (mm)",
    "preset": "Network preset",
    "network_voxels": "Network voxels",
    "coarse_looks": "Coarser looks first",
    "tiles": "Network tiles",
    "compile": "Compile network",
    "keep_levels": "Keep levels",
    "instance.network_learning_rate": "Network rate",
    "instance.control": "Control spacing",
    "instance.landmarks": "Points weight",
    "instance.labels": "Labels weight",
}
"""What a setting is called in the form, where its name does not say it."""


TEXTS = {
    "intensity": [
        ("auto", "auto"),
        ("ct-soft", "CT, soft tissue window"),
        ("ct-lung", "CT, lung window"),
        ("mri", "MRI, percentiles"),
        ("minmax", "minimum to maximum"),
    ],
    "affine": [("auto", "auto"), ("none", "none"), ("centre", "centre"), ("rigid", "rigid"), ("affine", "affine")],
    "instance.mode": [("field", "displacement field"), ("network", "network weights"), ("none", "no refinement")],
    "instance.similarity": [
        ("auto", "auto"),
        ("ncc", "local NCC"),
        ("mse", "mean squares"),
        ("mind", "MIND-SSC (multimodal)"),
    ],
}
"""What the choices of a setting are called."""


class SetupPage(QWidget):
    """Images, annotations, settings and the layers to make.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers can be chosen.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.choices = RegistrationChoices(viewer, self)
        self.form = ConfigForm(ran.RegistrationConfig, _choices(), LABELS, self)
        self.form.start_from(ran.RegistrationConfig(keep_levels=True))  # here one wants to look inside afterwards
        groups = (self._images_group(), self._annotations_section(), self._method_group(), self._advanced_section())
        self.files = SettingsRow(
            "registration.yaml",
            self.form.config,
            "Read the settings from a YAML file, as the command line's --config does",
            "Write these settings to a YAML file for here, Python or the command line",
        )
        self.files.loaded.connect(self.form.set)
        page_column(self, *groups, self._results_section(), self.files, spacing=8)
        models.changed.connect(self.refresh_models)

    def refresh_models(self) -> None:
        """Offer the weights that there are now."""
        self.form.set_choices("weights", _weights())

    def wanted_results(self) -> set[str]:
        """Return the keys of the results that are to become layers."""
        return {key for key, box in self.result_boxes.items() if box.isChecked()}

    def _images_group(self) -> QWidget:
        group = QGroupBox("Images")
        form = form_layout(group)
        self.choices.add_to(form, "fixed", "moving")
        tip = "Exchange the two images, and their labels, points and masks"
        self.swap_button = button("Swap fixed and moving", tip, self.choices.swap)
        form.addRow("", self.swap_button)
        return group

    def _annotations_section(self) -> QWidget:
        self.annotations = Section("Labels, points, masks, start (optional)")
        content = QWidget()
        form = form_layout(content)
        self.choices.add_to(form, *self.choices.OPTIONAL)
        self.initial = QLineEdit()
        self.initial.setPlaceholderText(NONE)
        self.initial.setAccessibleName("Start from")
        self.initial.setToolTip(
            "<p>A transform to start from: the folder of a saved result, or a file of any tool (ITK, ANTs, 3D Slicer, "
            "FSL). An affine one is improved by the pre-alignment, or kept with pre-alignment none; a deformation is "
            "refined in the network's place. A layer that was moved by hand (napari's Transform mode) starts from "
            "there by itself.</p>"
        )
        add_captioned(form, "Start from", self.initial, PathRow(self.initial, "Start from", TRANSFORMS))
        return self.annotations.fill(content)

    def _method_group(self) -> QWidget:
        group = QGroupBox("Method")
        self.form.add_to(form_layout(group), *PLAIN)
        return group

    def _advanced_section(self) -> QWidget:
        self.advanced = Section("Advanced settings")
        content = QWidget()
        self.form.add_to(form_layout(content), *self.form.rest(*PLAIN))
        return self.advanced.fill(content)

    def _results_section(self) -> QWidget:
        self.outputs = Section("Layers to make")
        content = QWidget()
        column = QVBoxLayout(content)
        column.setSpacing(2)
        self.result_boxes: dict[str, QCheckBox] = {}
        for kind in RESULTS:
            box = QCheckBox(kind.title)
            box.setChecked(True)
            box.setToolTip(f"<p>{kind.tip}</p>")
            self.result_boxes[kind.key] = box
            column.addWidget(box)
        return self.outputs.fill(content)


class ResultPage(QWidget):
    """The live curve, the figures of the result, what was chosen, and where to save it.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme the curve follows.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.plot = MetricPlot(viewer)
        self.table = ResultTable()
        self.table.hide()
        self.notes = QLabel()
        self.notes.setWordWrap(True)
        self.notes.setAccessibleName("What was chosen")
        self.save_button = button(
            "Save result…",
            "Write the warped image, the transform in both directions (ITK .h5, and Learn2Reg), the report, a picture "
            "and the settings into a folder",
        )
        self.export_button = button(
            "Export transform…", "Write the transform for ITK, 3D Slicer, ANTs, FSL or Learn2Reg"
        )
        tip = "See what each level of the network did: displacements, heads, confidences, at any voxel"
        self.inspect_button = button("Inspect levels", tip)
        row = row_of_widgets(self.inspect_button, self.save_button, self.export_button)
        page_column(self, self.plot, row, self.table, self.notes)

    def show_report(self, report: Any) -> None:
        """Show the figures of a result and the choices that were made for it."""
        self.table.show_report(report)
        self.table.show()
        self.notes.setText("\n".join(f"• {text}" for text in report.messages))


def _choices() -> dict[str, list[tuple[str, str]]]:
    """Return the settings' values that depend on this machine: devices, presets, weights."""
    return {
        **TEXTS,
        "device": device_choices(),
        "weights": _weights(),
        "preset": [(name, name) for name in PRESETS],
    }


def _weights() -> list[tuple[str, str]]:
    fixed = [("auto", "auto (bundled)"), ("none", "none (identity)")]
    return fixed + [(card.name, card.name) for card in ran.available_weights()]
