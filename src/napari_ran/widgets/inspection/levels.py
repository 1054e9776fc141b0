"""The page with which one steps through the levels: slider, quantities, ways to show them, legend, figures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSlider,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_ran.introspect.quantities import QUANTITIES, StageMetrics
from napari_ran.widgets._forms import button, combo
from napari_ran.widgets._layout import form_layout, page_column
from napari_ran.widgets.inspection.legend import LegendWidget
from napari_ran.widgets.inspection.quantity_list import QuantityList
from napari_ran.widgets.inspection.session import Session
from napari_ran.widgets.inspection.stages import StageMarks, metrics_text, short_name, stage_text
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
        self._shown = True
        self._play = QTimer(self)
        self._play.setInterval(PLAY_MS)
        self._play.timeout.connect(self._next)
        above = (self._stage_row(), self._direction_row())
        self.quantities = QuantityList()
        self.quantities.currentItemChanged.connect(self._changed)
        style, self.legend = self._style_form(), LegendWidget(viewer)
        self.metrics = QLabel()
        self.metrics.setTextFormat(Qt.TextFormat.RichText)
        self.metrics.setWordWrap(True)
        self.metrics.setAccessibleName("Figures of this stage")
        self.metrics.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        tip = "Every stage side by side at the current slice, to look at and to save"
        self.filmstrip = button("Filmstrip of all levels…", tip, self.filmstrip_wanted)
        page_column(self, *above, self.quantities, style, self.legend, self.metrics, self.filmstrip, spacing=6)
        self.setEnabled(False)

    # ---------------------------------------------------------------- parts

    def _stage_row(self) -> QVBoxLayout:
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setPageStep(1)
        self.slider.setTickPosition(QSlider.TickPosition.NoTicks)
        self.slider.setAccessibleName("Level")
        self.slider.setToolTip("Step through the levels, from coarse to fine")
        self.slider.valueChanged.connect(self._changed)
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
            choice = QPushButton(title)
            choice.setCheckable(True)
            choice.setToolTip(f"<p>{tip}</p>")
            choice.setProperty("direction", name)
            self.directions.addButton(choice)
            row.addWidget(choice)
        self.directions.buttonClicked.connect(self._changed)
        return row

    def _style_form(self) -> QFormLayout:
        self.style_box = combo("Show as", "How the quantity is drawn. Arrows keep their distance when you zoom.")
        self.part_box = combo("Head or channel", "Which head's (or channel's) values are seen.")
        self.style_box.currentIndexChanged.connect(self._style_chosen)
        self.part_box.currentIndexChanged.connect(self._tell)
        form = form_layout()
        form.addRow("Show as", self.style_box)
        self._part_label = QLabel("Head")
        form.addRow(self._part_label, self.part_box)
        return form

    # ---------------------------------------------------------------- what is shown

    def show_session(self, session: Session) -> None:
        """Offer what an inspection has; what was chosen stays chosen where it exists."""
        self._session = session
        self.play_button.setChecked(False)
        self.setEnabled(True)
        inspection, stages = session.inspection, session.inspection.stages
        before, direction, stage = self.quantity, self.direction, self.stage
        at_end = not before or stage == self.slider.maximum()
        if direction not in inspection.directions:
            direction = inspection.directions[0]
        for choice in self.directions.buttons():
            choice.setEnabled(choice.property("direction") in inspection.directions)
            choice.setChecked(choice.property("direction") == direction)
        self.quantities.show_quantities(inspection.quantities, (before, *START))
        with signals_blocked(self.slider):
            self.slider.setRange(0, len(stages) - 1)
            self.slider.setValue(len(stages) - 1 if at_end else stage)
        self.slider.setEnabled(len(stages) > 1)
        self.play_button.setEnabled(len(stages) > 1)
        self.marks.show_marks([short_name(stage) for stage in stages])
        self._changed()

    @property
    def quantity(self) -> str:
        """Name of the chosen quantity."""
        return self.quantities.chosen

    @property
    def stage(self) -> int:
        """The chosen stage."""
        return int(self.slider.value())

    @property
    def direction(self) -> str:
        """The chosen direction."""
        chosen = self.directions.checkedButton()
        return "forward" if chosen is None else str(chosen.property("direction"))

    @property
    def choice(self) -> Choice:
        """Everything that is chosen."""
        part = self.part_box.currentData()
        style = self.style_box.currentData() or "map"
        # direction colours, grid lines and contours depend on the displayed axes, the others do not
        plane = self._plane if style in ("colour", "grid", "contours") else (-2, -1)
        return Choice(self.quantity, self.stage, self.direction, style, -1 if part is None else int(part), plane)

    def choose(self, **changes: Any) -> None:
        """Choose as the user would: quantity, stage, direction, style, part."""
        if "direction" in changes:
            for choice in self.directions.buttons():
                choice.setChecked(choice.property("direction") == changes["direction"])
            self._changed()
        if "quantity" in changes:
            self.quantities.choose(changes["quantity"])
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
        self.quantities.keep(quantity, stage, direction, picture)
        if self._session is not None:
            self.quantities.show_stage(self._session.inspection, self.stage, self.direction)

    def missing_thumbnails(self) -> list[str]:
        """Return the quantities of this stage without a picture."""
        if self._session is None:
            return []
        return self.quantities.missing(self._session.inspection, self.stage, self.direction)

    def applied(self, picture: Picture) -> None:
        """Take notice that a view is in the viewer."""
        self._shown = True
        self.legend.show_legend(picture.legend)

    def nothing_to_show(self, reason: str) -> None:
        """Say why there is nothing to see."""
        self._shown = True
        self.legend.show_legend(Legend("none", reason))

    def show_metrics(self, metrics: StageMetrics | None) -> None:
        """Show the figures of the stage, or that they are being measured (None)."""
        self.metrics.setText("<i>measuring…</i>" if metrics is None else metrics_text(metrics))

    # ---------------------------------------------------------------- what the user does

    def _changed(self, *_: Any) -> None:
        """Offer what there is of another quantity, stage or direction, and tell that it is chosen."""
        self._offer()
        self._tell()

    def _style_chosen(self, index: int) -> None:
        if self._session is not None:
            self._last_style[QUANTITIES[self.quantity].kind] = self.style_box.currentData()
            self._offer_parts()
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
            stage = (self.stage + step) % count
            if not self._session.inspection.why_not(self.quantity, stage, self.direction):
                self.slider.setValue(stage)
                return

    def back(self) -> None:
        """Go to the stage before."""
        self.slider.setValue(self.stage - 1)

    def forward(self) -> None:
        """Go to the next stage."""
        self.slider.setValue(self.stage + 1)

    def stop(self) -> None:
        """Stop playing."""
        self.play_button.setChecked(False)

    def _offer(self) -> None:
        """Say what this stage has, and list the styles of the quantity."""
        if self._session is None:
            return
        self.quantities.show_stage(self._session.inspection, self.stage, self.direction)
        self.stage_title.setText(stage_text(self._session.inspection, self.stage))
        self.marks.show_current(self.stage)
        kind = QUANTITIES[self.quantity].kind
        _fill(self.style_box, [(STYLES[style], style) for style in STYLES_OF_KIND[kind]], self._last_style.get(kind))
        self._offer_parts()

    def _offer_parts(self) -> None:
        assert self._session is not None
        kind = QUANTITIES[self.quantity].kind
        wanted = kind in WITH_PARTS or self.style_box.currentData() == "single"
        self.part_box.setVisible(wanted)
        self._part_label.setVisible(wanted)
        if not wanted or self._session.inspection.why_not(self.quantity, self.stage, self.direction):
            return
        what, count = self._session.parts(self.quantity, self.stage)
        items: list[tuple[str, Any]] = [("Mean of all heads", -1)] if kind == "heads" else []
        items += [(f"{what} {index}", index) for index in range(count)]
        _fill(self.part_box, items, self.part_box.currentData())
        self._part_label.setText(what)

    def _tell(self, *_: Any) -> None:
        if self._session is None:
            return
        self._shown = False
        self.chosen.emit(self.choice)


def _fill(box: QComboBox, items: list[tuple[str, Any]], wanted: Any) -> None:
    """Let a box offer these texts and values, and choose the wanted one or else the first, if it had others."""
    if [(box.itemText(index), box.itemData(index)) for index in range(box.count())] == items:
        return
    with signals_blocked(box):
        box.clear()
        for text, value in items:
            box.addItem(text, value)
        box.setCurrentIndex(max(0, box.findData(wanted)))
