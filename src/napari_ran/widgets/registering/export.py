"""The dialog that asks how a transform should be handed on to another tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFileDialog, QFormLayout, QLabel, QWidget

from napari_ran.io.fields import FORMATS
from napari_ran.widgets._access import Spoken, explain_buttons
from napari_ran.widgets._forms import combo

OPENING = {
    "itk": "SimpleITK.ReadTransform; 3D Slicer: Add Data; antsApplyTransforms -t",
    "itk-image": "SimpleITK.ReadImage; 3D Slicer: Add Data, as Transform; transformix",
    "ants": "antsApplyTransforms -d 3 -i MOVING -r FIXED -t FILE -o WARPED",
    "slicer": "3D Slicer: Add Data, as Transform",
    "fsl": "applywarp --rel -i MOVING -r FIXED -w FILE -o WARPED",
    "learn2reg": "Learn2Reg's evaluation, as disp_FIXED_MOVING.nii.gz",
}
"""What to do with a file of each format."""


class ExportDialog(QDialog):
    """Asks for a format and a direction.

    Parameters
    ----------
    ndim : int
        Number of axes of the transform: formats that cannot hold it are left out.
    notes : sequence of str
        What to bear in mind of its coordinates.
    """

    def __init__(self, ndim: int, notes: Sequence[str] = (), parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export transform")
        formats = [(name, format.title) for name, format in FORMATS.items() if ndim in format.dimensions]
        self.format_box = combo("For", "Which tool should open it.", formats)
        self.direction_box = combo(
            "Direction",
            "What the other tool resamples with it. Tools carry points the opposite way: those of the moving image "
            "come to the fixed one by the second choice.",
            [("forward", "moving image onto the fixed one"), ("inverse", "fixed image onto the moving one")],
        )
        self.help = QLabel()
        self.help.setWordWrap(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel)
        explain_buttons(buttons, "Choose where to write the file")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout(self)
        form.addRow("For", self.format_box)
        form.addRow("It brings the", self.direction_box)
        form.addRow("Open it with", self.help)
        for note in notes:
            label = QLabel(note)
            label.setWordWrap(True)
            form.addRow("Mind", label)
        form.addRow(buttons)
        self.format_box.currentIndexChanged.connect(self._say)
        self._say()
        self.setMinimumWidth(460)
        Spoken(self)

    @property
    def format(self) -> str:
        """The chosen format, of `napari_ran.io.fields.FORMATS`."""
        return str(self.format_box.currentData())

    @property
    def inverse(self) -> bool:
        """Whether the other direction is wanted."""
        return bool(self.direction_box.currentData() == "inverse")

    def ask_where(self) -> Path | None:
        """Ask for the file; None if nothing was chosen."""
        format = FORMATS[self.format]
        name = ("inverse_" if self.inverse and self.format != "learn2reg" else "") + format.suggestion
        endings = " ".join(f"*{suffix}" for suffix in format.suffixes)
        path, _ = QFileDialog.getSaveFileName(self, "Export transform", name, f"{format.title} ({endings})")
        return Path(path) if path else None

    def _say(self) -> None:
        self.help.setText(OPENING[self.format])
