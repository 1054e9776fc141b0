"""The viewer closed in mid-run: the training stops or goes on, as chosen, and is found again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import napari_ran as ran
from napari_ran.train.process import TrainingProcess
from napari_ran.train.wire import command_in
from napari_ran.widgets.train import TrainWidget
from napari_ran.widgets.training.runs import runs_folder

Made = tuple[Any, TrainWidget]
START_MS = 90_000

VIEWER = """
import sys
import napari
from qtpy.QtCore import QTimer
from napari_ran.config import TrainConfig
from napari_ran.widgets.train import TrainWidget

viewer = napari.Viewer()
widget = TrainWidget(viewer)
viewer.window.add_dock_widget(widget, name="Train (RAN)")
widget.setup.set(TrainConfig.from_yaml(sys.argv[1]))
box = widget.setup.at_close
box.setCurrentIndex(box.findData(sys.argv[2] == "go on"))
widget.start()

def look():
    if "validation" in widget.page.figure.curves and widget.page.last is not None:
        viewer.window._qt_window.close()  # as the button in its corner does

timer = QTimer()
timer.timeout.connect(look)
timer.start(50)
napari.run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["go on", "stop"])
def test_a_program_that_ends_leaves_the_training_as_chosen(
    train_in: Callable[[], Made], tmp_path: Path, settings: Any, qtbot: Any, choice: str
) -> None:
    settings(budget={"steps": 100_000}).to_yaml(tmp_path / "given.yaml")
    command = [sys.executable, "-c", VIEWER, str(tmp_path / "given.yaml"), choice]
    program = subprocess.run(command, timeout=120, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert program.returncode == 0, program.stderr
    run = TrainingProcess.attach(runs_folder() / "tiny")
    if choice == "stop":
        assert run.wait() == "stopped"
    else:
        assert run.pid is not None
        reached = max(getattr(event, "step", 0) for event in run.poll())
        end = time.monotonic() + 60
        while not any(getattr(event, "step", 0) > reached for event in run.poll()):
            assert time.monotonic() < end
            time.sleep(0.05)

    _, widget = train_in()  # the next time
    assert widget.run is not None
    assert widget.setup.at_close.currentData() == (choice == "go on")
    if choice == "go on":
        assert widget.page.runs.box.currentText() == "tiny   (running)"
        assert not widget.start_button.isEnabled()
        widget.stop()
    qtbot.waitUntil(lambda: widget.start_button.isEnabled(), timeout=START_MS)
    assert "tiny" in [card.name for card in ran.available_weights()]


@pytest.mark.slow
def test_a_viewer_that_closes_while_its_program_goes_on_stops_the_training(
    train_in: Callable[[], Made], settings: Any, qtbot: Any
) -> None:
    viewer, widget = train_in()
    widget.setup.set(settings(budget={"steps": 100_000}))
    box = widget.setup.at_close
    box.setCurrentIndex(box.findData(True))
    widget.start()
    qtbot.waitUntil(lambda: widget.page.last is not None, timeout=START_MS)
    run = widget.run
    assert run is not None
    assert run.outlives
    box.setCurrentIndex(box.findData(False))
    box.activated.emit(box.currentIndex())  # the user thinks again
    assert not run.outlives
    viewer.close()
    qtbot.waitUntil(lambda: command_in(run.folder) == "stop", timeout=5_000)
    assert run.wait() == "stopped"
