"""How far a run is, and numbers of things in words."""

from __future__ import annotations

from itertools import takewhile

from qtpy.QtWidgets import (
    QLabel,
    QProgressBar,
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

    def __init__(self) -> None:
        super().__init__()
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
        title, share = STAGES.get(stage, (stage.capitalize(), 0))
        before = takewhile(lambda name: name != stage, STAGES) if stage in STAGES else ()
        done = sum(STAGES[name][1] for name in before)
        fraction = min(step / total, 1.0) if total else 0.0
        whole = sum(weight for _, weight in STAGES.values())
        self.show_share((done + share * fraction) / whole)
        steps = f", step {step} of {total}" if total > 1 else ""
        self.say(f"{title}{steps}" + (f": {message}" if message else ""))

    def show_share(self, share: float) -> None:
        """Show which share of the work is done, from 0 to 1."""
        self.bar.show()
        self.bar.setValue(int(1000 * share))

    def say(self, text: str) -> None:
        """Show a line of status."""
        if self.status.text() != text:
            self.status.setText(text)

    def rest(self, text: str = "") -> None:
        """Show that nothing is running."""
        self.bar.hide()
        self.bar.setValue(0)
        self.say(text)


def counted(number: int, thing: str) -> str:
    """Return a number of things in words, such as "1 layer" or "2 layers"."""
    return f"{number} {thing}{'s' * (number != 1)}"
