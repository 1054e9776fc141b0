"""The parts of the Register widget that only show something."""

from __future__ import annotations

from typing import Any, ClassVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

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
        self.bar.setToolTip("<p>Share of the expected work that is done, in percent</p>")
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
        self.setToolTip("<p>Figures of the last result, each with its unit, before and after the registration</p>")
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
