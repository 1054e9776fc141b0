"""The parts of the Register widget that only show something."""

from __future__ import annotations

import html
from typing import Any, ClassVar

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

import napari_ran as ran
from napari_ran.errors import OutputError

STAGES = {
    "check": ("Checking", 1),
    "preprocess": ("Preprocessing", 4),
    "affine": ("Affine alignment", 12),
    "network": ("Network", 8),
    "instance": ("Instance optimisation", 60),
    "transform": ("Composing and warping", 8),
    "evaluate": ("Measuring", 4),
    "layers": ("Adding layers", 3),
}
"""What a stage is called, and its rough share of the time in percent."""


class ProgressPanel(QWidget):
    """The stage's name and one bar over all stages."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setAccessibleName("Status")
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setAccessibleName("Progress over all stages")
        self.bar.setFormat("%p %")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        layout.addWidget(self.status)
        layout.addWidget(self.bar)
        self.rest()

    def show_event(self, stage: str, step: int, total: int, message: str = "") -> None:
        """Show how far a run is."""
        names = list(STAGES)
        title, share = STAGES.get(stage, (stage.capitalize(), 0))
        done = sum(STAGES[name][1] for name in names[: names.index(stage)]) if stage in STAGES else 0
        fraction = min(step / total, 1.0) if total else 0.0
        whole = sum(weight for _, weight in STAGES.values())
        self.bar.show()
        self.bar.setValue(int(1000 * (done + share * fraction) / whole))
        steps = f", step {step} of {total}" if total > 1 else ""
        self.say(f"{title}{steps}" + (f": {message}" if message else ""))

    def say(self, text: str) -> None:
        """Show a line of status."""
        if self.status.text() != text:
            self.status.setText(text)

    def rest(self, text: str = "") -> None:
        """Show that nothing is running."""
        self.bar.hide()
        self.bar.setValue(0)
        self.say(text)


class MessagePanel(QFrame):
    """An error in words: what is wrong with which argument, and the cure. The text can be selected and copied."""

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.setObjectName("ran_message")
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.text.setAccessibleName("Error message")
        self.text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        close = QToolButton()
        close.setText("×")
        close.setToolTip("Dismiss")
        close.setAccessibleName("Dismiss the message")
        close.clicked.connect(self.hide)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 6, 4, 6)
        layout.addWidget(self.text, 1)
        layout.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        self.apply_theme()
        self.hide()

    def show_error(self, error: BaseException, titles: dict[str, str]) -> None:
        """Show an exception: those meant for users as argument, problem and cure, others as they are."""
        if isinstance(error, ran.InputError):
            head, problem, cure = titles.get(error.argument, error.argument), error.problem, error.cure
        elif isinstance(error, OutputError):
            head, problem, cure = error.path, error.problem, error.cure
        else:
            head = "Unexpected error"
            problem = f"{type(error).__name__}: {error}"
            cure = "The details are in the terminal's log. Please report them"
        sentence = cure if cure.endswith((".", "?", "!")) else f"{cure}."
        parts = (html.escape(text) for text in (head, f"{problem[:1].upper()}{problem[1:]}", sentence))
        self.text.setText("<b>{}</b><br>{}.<br><i>{}</i>".format(*parts))
        self.show()

    def apply_theme(self, event: Any = None) -> None:
        """Take the viewer's error colour."""
        theme = get_theme(self._viewer.theme)
        self.setStyleSheet(
            f"#ran_message {{ border: 1px solid {theme.error.as_hex()}; border-left: 4px solid {theme.error.as_hex()};"
            f" border-radius: 3px; background: {theme.background.as_hex()}; }}"
        )


class ResultTable(QTableWidget):
    """A report's rows: name, before, after, unit."""

    HEADS = ("Measure", "Before", "After")
    SHORT: ClassVar[dict[str, str]] = {
        "maximum": "max",
        "minimum": "min",
        " landmarks": " pts",
        "95th percentile": "95 %",
        "Jacobian determinant": "Jacobian",
        "Inverse consistency": "Inverse error",
    }
    """What takes too much room in a dock; the tool tip has the whole name."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(self.HEADS), parent)
        self.setHorizontalHeaderLabels(list(self.HEADS))
        self.verticalHeader().hide()
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setAlternatingRowColors(False)
        self.setShowGrid(False)
        self.setAccessibleName("Result of the registration")
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().setDefaultSectionSize(22)

    def show_report(self, report: Any) -> None:
        """Fill in a report and the time it took."""
        rows = [*report.table(), ("Time", None, report.seconds, "s")]
        self.setRowCount(len(rows))
        for index, (name, before, after, unit) in enumerate(rows):
            short = name
            for long, brief in self.SHORT.items():
                short = short.replace(long, brief)
            texts = (short, _number(before), f"{_number(after)} {unit}".strip())
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(name)
                if column:
                    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(index, column, item)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + 22 * len(rows) + 4)


def _number(value: float | None) -> str:
    """Return a number with as many digits as one wants to read."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 0.1 else f"{value:.2f}"
