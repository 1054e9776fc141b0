"""The Welcome widget: a tour from the embedded sample to what each level of the network did, in the real widgets."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_ran.widgets._docked import DockedWidget
from napari_ran.widgets._forms import button
from napari_ran.widgets._layout import scrolled
from napari_ran.widgets._remembered import forget, keep, recall
from napari_ran.widgets._shortcuts import bind
from napari_ran.widgets.welcoming.guide import Guide
from napari_ran.widgets.welcoming.steps import END, STEPS, Needs, Step

SECTION = "tour"
"""Where the step is remembered."""

STOPPED = "The registration was stopped or closed before it found anything. Try again, or skip this step."
WAITING = "Registering the sample: its progress stands in Register…"

LOOK_MS = 150
"""How often to look whether a registration has come to its end."""


class WelcomeWidget(DockedWidget):
    """Leads from the sample over its registration through Inspect, one button per step.

    Each step first makes what it needs and what is not there (any more): widgets and layers may be closed in between.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the tour goes through.

    Attributes
    ----------
    index : int
        The step that is shown, from 0.
    shown : bool
        Whether what it is about has been brought up in this session.
    """

    help_page = "first-steps.md"

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(napari_viewer)
        self.guide = Guide(napari_viewer)
        self.index, self.shown, self._ended, self._settled = _remembered_step(), False, False, False
        self._wait = QTimer(self)
        self._wait.setInterval(LOOK_MS)
        self._wait.timeout.connect(self._look)
        self._build()
        self._show()
        self._follow_viewer(True)

    # ---------------------------------------------------------------- layout

    def _build(self) -> None:
        self.title, self.text = QLabel(), QLabel()
        self.title.setAccessibleName("Step of the tour")
        self.text.setAccessibleName("What this step shows")
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.steps = QProgressBar()
        self.steps.setRange(0, len(STEPS))
        self.steps.setTextVisible(False)
        self.steps.setFixedHeight(4)
        self.steps.setAccessibleName("Progress of the tour")
        self.steps.setToolTip(f"<p>How far the tour has come, of {len(STEPS)} steps</p>")
        self.back_button = button("Back", "Go back to the step before", self.back)
        self.skip_button = button("Skip", "Go on without this step; a later one makes what it needs", self.skip)
        self.next_button = button("", "Do what this step is about, then go on to the next", self.go_on)
        self.again_button = button("Start again", "Go back to the first step; nothing is closed", self.start_again)
        tip = "Forget the last used values of all forms and the step of this tour"
        self.forget_button = button("Forget settings", tip, self.forget)
        self.next_button.setDefault(True)
        page = QWidget()
        inside = QVBoxLayout(page)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.text, 1)
        row = QHBoxLayout()
        for part in (self.again_button, self.forget_button):
            row.addWidget(part)
        row.addStretch(1)
        for part in (self.back_button, self.skip_button, self.next_button):
            row.addWidget(part)
        self.page = scrolled(page)
        self.page.setMinimumHeight(2 * self.fontMetrics().lineSpacing() + 6)  # where the window is low, it scrolls
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 6, 8, 6)
        layout.setSpacing(4)
        for part in (self.title, self.steps, self.page, self.message):
            layout.addWidget(part)
        layout.addLayout(row)
        self.setMinimumWidth(340)
        bind(self, forward=self.next_button, back=self.back_button)

    # ---------------------------------------------------------------- going

    @property
    def step(self) -> Step:
        """The step that is shown."""
        return STEPS[self.index]

    @property
    def last(self) -> bool:
        """Whether no step follows."""
        return self.index + 1 == len(STEPS)

    def go_on(self) -> None:
        """Do what the step is about; once that is seen, go on to the next step and do that."""
        if self.shown:
            self.skip()
        if not self._ended:
            self._act()

    def back(self) -> None:
        """Show the step before; its button does it again."""
        self._turn_to(self.index - 1)

    def skip(self) -> None:
        """Show the next step without doing this one, or the end where there is none."""
        if self.last:
            self._end()
        else:
            self._turn_to(self.index + 1)

    def start_again(self) -> None:
        """Show the first step."""
        self._turn_to(0)

    def forget(self) -> None:
        """Forget the last used values of all forms, and where the tour was."""
        forget()
        self._turn_to(0)
        self.text.setText("Forgotten: each form starts with its defaults when it is opened the next time.")

    def _turn_to(self, index: int) -> None:
        self._wait.stop()
        self.message.hide()
        self.index, self.shown, self._ended = max(index, 0), False, False
        keep(SECTION, {"step": self.index})
        self._show()

    def _act(self) -> None:
        """Make what the step needs, as far as it is not there, and then what it is about."""
        self.message.hide()
        try:
            if self.step.needs > Needs.NOTHING and not self.guide.has(Needs.SAMPLE):
                self.guide.open_sample()
            if self.step.key == "register" or not self.guide.has(self.step.needs):
                self.guide.register()
                self._wait.start()
                self._show()
                return
            self._do()
        except Exception as error:  # whatever it is, it is shown, and the tour can go on
            self._complain(error)

    def _do(self) -> None:
        if self.step.key != "register":  # which is done by the time that its result is there
            getattr(self.guide, self.step.key)()
        self.shown = True
        self._show()
        if self.step.key in ("register", "levels"):  # a dock has opened: the canvas is narrower than before
            QTimer.singleShot(LOOK_MS, self._refit)

    def _refit(self) -> None:
        if self._open:
            self.viewer.reset_view()

    def _look(self) -> None:
        """Go on when the registration has come to its end, and say so when it came to none."""
        if self.guide.registering:
            return
        self._wait.stop()
        try:
            if self.guide.has(Needs.RESULT):
                self._do()
            else:
                self._show()
                self.text.setText(STOPPED)
        except Exception as error:
            self._complain(error)

    def _end(self) -> None:
        self._ended = True
        keep(SECTION, {"step": 0})
        self._show()

    def _complain(self, error: Exception) -> None:
        self._wait.stop()
        self._show()
        self.message.show_error(error, {"sample": "The sample"})

    # ---------------------------------------------------------------- showing

    def _show(self) -> None:
        """Show the step, and enable what can be done now."""
        waiting = self._wait.isActive()
        self.title.setText(f"<b>{self.step.title}</b> &nbsp; step {self.index + 1} of {len(STEPS)}")
        self.steps.setValue(len(STEPS) if self._ended else self.index + self.shown)
        words = self.step.seen if self.shown else self.step.will
        self.text.setText(WAITING if waiting else words)
        self.next_button.setText(self._after if self.shown else self.step.action)
        for part, possible in (
            (self.next_button, not waiting),
            (self.back_button, self.index > 0 and not waiting),
            (self.skip_button, True),
        ):
            part.setEnabled(possible and not self._ended)
        if self._ended:
            self.title.setText("<b>The end of the tour</b>")
            self.text.setText(END)

    @property
    def _after(self) -> str:
        """What the button says once the step is seen."""
        if self.last:
            return "Finish"
        action = STEPS[self.index + 1].action
        return f"Next: {action[:1].lower()}{action[1:]}"

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 (Qt's name)
        """Move to the bottom of the window the first time: the widgets that the tour uses open at its right."""
        super().showEvent(event)
        if not self._settled:
            self._settled = True
            QTimer.singleShot(0, self._settle)

    def _settle(self) -> None:
        dock: Any = self.parent()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parent()
        window = self.window()
        if dock is None or not isinstance(window, QMainWindow):
            return
        if window.dockWidgetArea(dock) == Qt.DockWidgetArea.RightDockWidgetArea:
            window.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
            window.resizeDocks([dock], [self.sizeHint().height()], Qt.Orientation.Vertical)

    # ---------------------------------------------------------------- end of life

    def shut(self) -> None:
        """Stop waiting and let go of the viewer; the step is remembered."""
        self._wait.stop()
        super().shut()


def _remembered_step() -> int:
    """Return the step at which the tour was left, the first where nothing sound was kept."""
    step = recall(SECTION).get("step", 0)
    return step if isinstance(step, int) and not isinstance(step, bool) and 0 <= step < len(STEPS) else 0
