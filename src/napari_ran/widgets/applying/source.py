"""Where the transform comes from: the last registration of the viewer, or a folder or file of any tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QGroupBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget
from superqt.utils import signals_blocked

import napari_ran as ran
from napari_ran.carrying import describe
from napari_ran.io.fields import FORMATS
from napari_ran.widgets._forms import button, combo
from napari_ran.widgets._layout import form_layout
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.applying.chosen import GridChoices
from napari_ran.widgets.applying.work import loading_work
from napari_ran.widgets.inspection.foreign import ENDINGS
from napari_ran.widgets.inspection.recent import recent_of

NOTHING = "Register two images, or open the transform of any tool."


class TransformChooser(QGroupBox):
    """Chooses a transform, reads it in the background, and says what it is.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose last registration can be taken.
    choices : GridChoices
        Where the fixed and the moving image are chosen, for files that need their grids.

    Attributes
    ----------
    transform : Transform or None
        What is chosen, once it is read.

    Signals
    -------
    changed : ()
        There is another transform, or none.
    failed : object
        The exception with which the reading ended.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, viewer: Any, choices: GridChoices) -> None:
        super().__init__("Transform")
        self.transform: ran.Transform | None = None
        self._choices = choices
        self._recent = recent_of(viewer)
        self.reader = Worker(self)
        self._build()
        self.box.currentIndexChanged.connect(self.load)
        for box in (self.format_box, choices.boxes["fixed"], choices.boxes["moving"]):
            box.activated.connect(self.load)
        self.reader.finished.connect(self._on_read)
        self.reader.failed.connect(self._on_failed)
        self.load()

    def _build(self) -> None:
        self.box = combo("Transform", "The last registration, or what was opened from a file or a folder.")
        self.box.setPlaceholderText("none yet")
        tools = "A transform or field of ITK, 3D Slicer, ANTs, FSL or Learn2Reg"
        self.file_button = button("File…", tools, self._ask_for_file)
        self.folder_button = button("Folder…", "The folder of a saved registration", self._ask_for_folder)
        self.info = QLabel()
        self.info.setWordWrap(True)
        self.info.setAccessibleName("What is loaded")
        self.format_box = combo(
            "Format",
            "What the file is, where neither its name nor its header says it.",
            [(None, "as the file says"), *((name, format.title) for name, format in FORMATS.items())],
        )
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.box, 1)
        row.addWidget(self.file_button)
        row.addWidget(self.folder_button)
        self.details = QWidget()
        form = form_layout(self.details)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Format", self.format_box)
        self._choices.add_to(form, "fixed", "moving")
        column = QVBoxLayout(self)
        column.addLayout(row)
        column.addWidget(self.info)
        column.addWidget(self.details)

    # ---------------------------------------------------------------- choosing

    def choose(self, path: str | Path) -> None:
        """Take a transform's file, or the folder of a registration."""
        path = Path(path)
        index = next((i for i in range(self.box.count()) if self.box.itemData(i) == path), -1)
        if index >= 0 and index == self.box.currentIndex():
            self.load()
            return
        if index < 0:
            index = self.box.count()
            self.box.addItem(path.name, path)
            if self.box.currentIndex() == index:  # the first item chooses itself
                return
        self.box.setCurrentIndex(index)

    def load(self) -> None:
        """Take what is chosen; files are read in the background."""
        self.reader.drop()
        self.transform = None
        chosen = self.box.currentData()
        self.details.setVisible(isinstance(chosen, Path))
        if isinstance(chosen, Path):
            self.box.setToolTip(f"<p>{chosen}</p>")
            self.info.setText(f"Reading {chosen.name}…")
            layers = [self._choices.layer(role) for role in ("fixed", "moving")]
            fixed, moving = (None if layer is None else layer.as_layer_data_tuple() for layer in layers)
            self.reader.start(loading_work(chosen, self.format_box.currentData(), fixed, moving))
        elif chosen is not None:
            self.transform = ran.Transform.of(chosen)
            self.info.setText(f"{describe(self.transform)}.")
        else:
            self.info.setText(NOTHING)
        self.changed.emit()

    def _on_read(self, transform: ran.Transform) -> None:
        self.transform = transform
        self.info.setText(f"{describe(transform)}.")
        self.changed.emit()

    def _on_failed(self, error: Exception) -> None:
        self.info.setText("Not read.")
        self.failed.emit(error)

    def _ask_for_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a transform", "", f"Transforms ({ENDINGS})")
        if path:
            self.choose(path)

    def _ask_for_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open the folder of a registration")
        if path:
            self.choose(path)

    # ---------------------------------------------------------------- the last registration

    def follow(self, follow: bool) -> None:
        """Keep up with the registrations of the viewer, or no longer."""
        (self._recent.changed.connect if follow else self._recent.changed.disconnect)(self._take_recent)
        if follow:
            self._take_recent()

    def _take_recent(self) -> None:
        """Offer the last registration first; choose it unless a file is chosen."""
        result = self._recent.result
        if result is None or (self.box.count() and self.box.itemData(0) is result):
            return
        of_file = isinstance(self.box.currentData(), Path)
        with signals_blocked(self.box):
            if self.box.count() and not isinstance(self.box.itemData(0), Path):
                self.box.removeItem(0)
            self.box.insertItem(0, f"last registration: {result.moving.name} → {result.fixed.name}", result)
            if not of_file:
                self.box.setCurrentIndex(0)
        if not of_file:
            self.load()
