"""The page with which one steps through the levels: slider, quantities, ways to show them, legend, figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt, QTimer, Signal
from qtpy.QtGui import QBrush, QColor, QIcon
from qtpy.QtWidgets import (
    QButtonGroup,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QListView,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_ran.widgets._forms import combo
from napari_ran.widgets.inspection.legend import LegendWidget
from napari_ran.widgets.inspection.session import Session
from napari_ran.widgets.inspection.stages import (
    THUMBNAIL,
    StageMarks,
    blank,
    framed,
    metrics_text,
    short_name,
    stage_text,
)
from napari_ran.widgets.inspection.views import STYLES, STYLES_OF_KIND, WITH_PARTS, Choice, Legend, Picture

PLAY_MS = 800
"""How long each level is seen while playing."""

DIRECTIONS = {
    "forward": ("On the fixed image", "The field that pulls the moving image onto the fixed one."),
    "inverse": ("On the moving image", "The field that pulls the fixed image onto the (aligned) moving one."),
}
START = ("field", "increment", "warped")


class LevelsPage(QWidget):
    """Chooses what is seen.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose theme the colours follow.

    Signals
    -------
    chosen : Choice
        Something else is to be seen.
    filmstrip_wanted : ()
        All levels at the current slice are to be seen side by side.
    """

    chosen = Signal(object)
    filmstrip_wanted = Signal()

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._session: Session | None = None
        self._plane = (-2, -1)
        self._last_style: dict[str, str] = {}
        self._quiet = False
        self._shown = True
        self._thumbnails: dict[tuple[str, int, str], NDArray[np.uint8]] = {}
        self._play = QTimer(self)
        self._play.setInterval(PLAY_MS)
        self._play.timeout.connect(self._next)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 6, 8, 6)
        layout.setSpacing(6)
        layout.addLayout(self._stage_row())
        layout.addLayout(self._direction_row())
        layout.addWidget(self._quantity_list())
        layout.addLayout(self._style_form())
        self.legend = LegendWidget(viewer)
        layout.addWidget(self.legend)
        self.metrics = QLabel()
        self.metrics.setTextFormat(Qt.TextFormat.RichText)
        self.metrics.setWordWrap(True)
        self.metrics.setAccessibleName("Figures of this stage")
        self.metrics.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.metrics)
        self.filmstrip = QPushButton("Filmstrip of all levels…")
        self.filmstrip.setToolTip("<p>Every stage side by side at the current slice, to look at and to save</p>")
        self.filmstrip.clicked.connect(self.filmstrip_wanted)
        layout.addWidget(self.filmstrip)
        layout.addStretch(1)
        self.setEnabled(False)

    # ---------------------------------------------------------------- parts

    def _stage_row(self) -> QVBoxLayout:
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setPageStep(1)
        self.slider.setTickPosition(QSlider.TickPosition.NoTicks)
        self.slider.setAccessibleName("Level")
        self.slider.setToolTip("Step through the levels, from coarse to fine")
        self.slider.valueChanged.connect(self._stage_moved)
        self.marks = StageMarks()
        self.play_button = QToolButton()
        self.play_button.setText("▶")
        self.play_button.setCheckable(True)
        self.play_button.setAccessibleName("Play through the levels")
        self.play_button.setToolTip("Play through the levels again and again")
        self.play_button.toggled.connect(self._play_toggled)
        self.stage_title = QLabel()
        self.stage_title.setWordWrap(True)
        column = QVBoxLayout()
        column.setSpacing(0)
        column.addWidget(self.slider)
        column.addWidget(self.marks)
        row = QHBoxLayout()
        row.addLayout(column, 1)
        row.addWidget(self.play_button)
        whole = QVBoxLayout()
        whole.setSpacing(3)
        whole.addLayout(row)
        whole.addWidget(self.stage_title)
        return whole

    def _direction_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        self.directions = QButtonGroup(self)
        for name, (title, tip) in DIRECTIONS.items():
            button = QPushButton(title)
            button.setCheckable(True)
            button.setToolTip(f"<p>{tip}</p>")
            button.setProperty("direction", name)
            self.directions.addButton(button)
            row.addWidget(button)
        self.directions.buttonClicked.connect(self._direction_clicked)
        return row

    def _quantity_list(self) -> QWidget:
        self.quantities = QListWidget()
        self.quantities.setViewMode(QListView.ViewMode.IconMode)
        self.quantities.setMovement(QListView.Movement.Static)
        self.quantities.setResizeMode(QListView.ResizeMode.Adjust)
        self.quantities.setWordWrap(True)
        self.quantities.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        self.quantities.setGridSize(QSize(100, THUMBNAIL + 52))
        self.quantities.setFixedHeight(2 * (THUMBNAIL + 40) + 8)
        self.quantities.setAccessibleName("Quantity")
        self.quantities.setToolTip("<p>What is shown of the stage; grey where this stage has no such thing</p>")
        font = self.quantities.font()
        font.setPointSizeF(0.78 * font.pointSizeF() if font.pointSizeF() > 0 else 7)
        self.quantities.setFont(font)
        self.quantities.currentItemChanged.connect(self._quantity_chosen)
        return self.quantities

    def _style_form(self) -> QFormLayout:
        self.style_box = combo("Show as", "How the quantity is drawn. Arrows keep their distance when you zoom.")
        self.part_box = combo("Head or channel", "Which head's (or channel's) values are seen.")
        self.style_box.currentIndexChanged.connect(self._style_chosen)
        self.part_box.currentIndexChanged.connect(self._part_chosen)
        form = QFormLayout()
        form.setVerticalSpacing(4)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Show as", self.style_box)
        self._part_label = QLabel("Head")
        form.addRow(self._part_label, self.part_box)
        return form

    # ---------------------------------------------------------------- what is shown

    def show_session(self, session: Session | None) -> None:
        """Offer what an inspection has; what was chosen stays chosen where it exists."""
        self._session = session
        self._thumbnails.clear()
        self.play_button.setChecked(False)
        self.setEnabled(session is not None)
        if session is None:
            self.metrics.clear()
            return
        before, direction, stage = self.quantity, self.direction, self.slider.value()
        at_end = not before or stage == self.slider.maximum()
        inspection = session.inspection
        if direction not in inspection.directions:
            direction = inspection.directions[0]
        self._quiet = True
        for button in self.directions.buttons():
            button.setEnabled(button.property("direction") in inspection.directions)
            button.setChecked(button.property("direction") == direction)
        self.quantities.clear()
        for quantity in inspection.quantities:
            item = QListWidgetItem(blank(), quantity.title)
            item.setData(Qt.ItemDataRole.UserRole, quantity.name)
            item.setTextAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
            self.quantities.addItem(item)
        names = [quantity.name for quantity in inspection.quantities]
        wanted = next((name for name in (before, *START) if name in names), names[0])
        self.quantities.setCurrentRow(names.index(wanted))
        self.slider.setRange(0, len(inspection.stages) - 1)
        self.slider.setEnabled(len(inspection.stages) > 1)
        self.play_button.setEnabled(len(inspection.stages) > 1)
        self.marks.show_marks([short_name(stage) for stage in inspection.stages])
        self.slider.setValue(len(inspection.stages) - 1 if at_end else stage)
        self._quiet = False
        self._offer()
        self._tell()

    @property
    def quantity(self) -> str:
        """Name of the chosen quantity."""
        item = self.quantities.currentItem()
        return "" if item is None else str(item.data(Qt.ItemDataRole.UserRole))

    @property
    def direction(self) -> str:
        """The chosen direction."""
        button = self.directions.checkedButton()
        return "forward" if button is None else str(button.property("direction"))

    @property
    def choice(self) -> Choice:
        """Everything that is chosen."""
        part = self.part_box.currentData()
        style = self.style_box.currentData() or "map"
        # direction colours, grid lines and contours depend on the displayed axes, the others do not
        plane = self._plane if style in ("colour", "grid", "contours") else (-2, -1)
        return Choice(
            self.quantity, self.slider.value(), self.direction, style, -1 if part is None else int(part), plane
        )

    def choose(self, **changes: Any) -> None:
        """Choose as the user would: quantity, stage, direction, style, part."""
        if "direction" in changes:
            for button in self.directions.buttons():
                button.setChecked(button.property("direction") == changes["direction"])
            self._direction_clicked()
        if "quantity" in changes:
            for row in range(self.quantities.count()):
                if self.quantities.item(row).data(Qt.ItemDataRole.UserRole) == changes["quantity"]:
                    self.quantities.setCurrentRow(row)
        if "stage" in changes:
            self.slider.setValue(changes["stage"])
        if "style" in changes:
            self.style_box.setCurrentIndex(self.style_box.findData(changes["style"]))
        if "part" in changes:
            self.part_box.setCurrentIndex(self.part_box.findData(changes["part"]))

    def show_plane(self, plane: tuple[int, int]) -> None:
        """Follow the viewer's displayed axes."""
        if plane != self._plane:
            before = self.choice
            self._plane = plane
            if self._session is not None and self.choice != before:
                self._tell()

    def show_thumbnail(self, quantity: str, stage: int, direction: str, picture: NDArray[np.uint8]) -> None:
        """Put a picture beside a quantity."""
        self._thumbnails[quantity, stage, direction] = picture
        if (stage, direction) == (self.slider.value(), self.direction):
            self._show_thumbnails()

    def missing_thumbnails(self) -> list[str]:
        """Return the quantities of this stage without a picture."""
        if self._session is None:
            return []
        stage, direction = self.slider.value(), self.direction
        found = self._session.inspection.available(stage, direction)
        return [name for name in found if (name, stage, direction) not in self._thumbnails]

    def applied(self, picture: Picture) -> None:
        """Take notice that a view is in the viewer."""
        self._shown = True
        self.legend.show_legend(picture.legend)

    def nothing_to_show(self, reason: str) -> None:
        """Say why there is nothing to see."""
        self._shown = True
        self.legend.show_legend(Legend("none", reason))

    def show_metrics(self, metrics: Any) -> None:
        """Show the figures of the stage, or that they are being measured (None)."""
        self.metrics.setText("<i>measuring…</i>" if metrics is None else metrics_text(metrics))

    # ---------------------------------------------------------------- what the user does

    def _stage_moved(self, value: int) -> None:
        self._show_thumbnails()
        self._offer()
        self._tell()

    def _direction_clicked(self, button: Any = None) -> None:
        self._offer()
        self._tell()

    def _quantity_chosen(self, item: Any = None, before: Any = None) -> None:
        if not self._quiet:
            self._offer()
            self._tell()

    def _style_chosen(self, index: int) -> None:
        if not self._quiet and self._session is not None and self.quantity:
            self._last_style[self._session.kind(self.quantity)] = self.style_box.currentData()
            self._offer_parts()
            self._tell()

    def _part_chosen(self, index: int) -> None:
        if not self._quiet:
            self._tell()

    def _play_toggled(self, on: bool) -> None:
        self.play_button.setText("❚❚" if on else "▶")
        (self._play.start if on else self._play.stop)()

    def _next(self) -> None:
        """Go on to the next stage that has the quantity, once the last one has been seen."""
        if not self._shown or self._session is None:
            return
        count = len(self._session.inspection.stages)
        for step in range(1, count + 1):
            stage = (self.slider.value() + step) % count
            if self.quantity in self._session.inspection.available(stage, self.direction):
                self.slider.setValue(stage)
                return

    def back(self) -> None:
        """Go to the stage before."""
        self.slider.setValue(self.slider.value() - 1)

    def forward(self) -> None:
        """Go to the next stage."""
        self.slider.setValue(self.slider.value() + 1)

    def stop(self) -> None:
        """Stop playing."""
        self.play_button.setChecked(False)

    def _offer(self) -> None:
        """Enable what this stage has, say why not for the rest, and list the styles of the quantity."""
        if self._session is None or self._quiet or not self.quantity:
            return
        inspection, stage = self._session.inspection, self.slider.value()
        found = set(inspection.available(stage, self.direction))
        helps = {quantity.name: quantity.help for quantity in inspection.quantities}
        for row in range(self.quantities.count()):
            item = self.quantities.item(row)
            name = item.data(Qt.ItemDataRole.UserRole)
            item.setForeground(QBrush() if name in found else QColor(128, 128, 128))  # no brush: the theme's colour
            why = "" if name in found else f"<br><i>{inspection.why_not(name, stage, self.direction)}.</i>"
            item.setToolTip(f"<p>{helps[name]}{why}</p>")
        self.stage_title.setText(stage_text(inspection, stage))
        self.marks.show_current(stage)
        kind = self._session.kind(self.quantity)
        styles = STYLES_OF_KIND[kind]
        if [self.style_box.itemData(i) for i in range(self.style_box.count())] != list(styles):
            self._quiet = True
            self.style_box.clear()
            for style in styles:
                self.style_box.addItem(STYLES[style], style)
            self.style_box.setCurrentIndex(max(0, self.style_box.findData(self._last_style.get(kind))))
            self._quiet = False
        self._offer_parts()

    def _offer_parts(self) -> None:
        assert self._session is not None
        kind = self._session.kind(self.quantity)
        wanted = kind in WITH_PARTS or self.style_box.currentData() == "single"
        self.part_box.setVisible(wanted)
        self._part_label.setVisible(wanted)
        if not wanted or self.quantity not in self._session.inspection.available(self.slider.value(), self.direction):
            return
        heads = kind != "features" or self.quantity in ("logits", "attributes")
        count = self._session.parts(self.quantity, self.slider.value(), self.direction)
        word = "Head" if heads else "Channel"
        items = [("Mean of all heads", -1)] if kind == "heads" else []
        items += [(f"{word} {index}", index) for index in range(count)]
        if [self.part_box.itemData(i) for i in range(self.part_box.count())] != [data for _, data in items]:
            before = self.part_box.currentData()
            self._quiet = True
            self.part_box.clear()
            for text, data in items:
                self.part_box.addItem(text, data)
            self.part_box.setCurrentIndex(max(0, self.part_box.findData(before)))
            self._quiet = False
        self._part_label.setText(word)

    def _tell(self) -> None:
        if self._quiet or self._session is None:
            return
        self._shown = False
        self.chosen.emit(self.choice)

    def _show_thumbnails(self) -> None:
        stage, direction = self.slider.value(), self.direction
        for row in range(self.quantities.count()):
            item = self.quantities.item(row)
            picture = self._thumbnails.get((item.data(Qt.ItemDataRole.UserRole), stage, direction))
            if picture is not None:
                item.setIcon(QIcon(framed(picture)))
