from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_ran as ran
from napari_ran.widgets._worker import Worker

Make = Callable[..., Any]


@pytest.mark.usefixtures("quick_report")
def test_the_report_is_written_in_the_background(
    inspect_in: Make, results: dict[int, ran.Registration], qtbot: Any, tmp_path: Path
) -> None:
    _, widget = inspect_in(results[2])
    export = widget.export
    assert export.button.isEnabled()
    steps: list[Any] = []
    export.worker.stepped.connect(steps.append)
    export.write(tmp_path / "out")
    assert not export.button.isEnabled()
    qtbot.waitUntil(lambda: export.button.isEnabled(), timeout=60_000)
    text = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<summary>Settings</summary>" in text
    assert "<summary>Report of the registration</summary>" in text
    assert "out/index.html" in export.words.text()
    assert steps[-1].step == steps[-1].total - 1
    assert export.bar.isHidden()


def test_stopping_the_report_leaves_nothing_behind(
    inspect_in: Make, results: dict[int, ran.Registration], qtbot: Any, tmp_path: Path
) -> None:
    _, widget = inspect_in(results[2])
    export = widget.export
    export.write(tmp_path / "out", ablation=True)
    qtbot.waitUntil(lambda: export.bar.value() > 0, timeout=60_000)
    export.stop_button.click()
    qtbot.waitUntil(lambda: export.button.isEnabled(), timeout=60_000)
    assert "nothing was written" in export.words.text()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_said_in_words(
    inspect_in: Make, results: dict[int, ran.Registration], qtbot: Any, tmp_path: Path
) -> None:
    _, widget = inspect_in(results[2])
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    widget.export.write(tmp_path / "file" / "out")
    qtbot.waitUntil(lambda: not widget.message.isHidden(), timeout=60_000)
    assert "could not be written" in widget.message.text.text()
    assert widget.export.button.isEnabled()


# ---------------------------------------------------------------- tables and figures


@pytest.fixture
def measured(inspect_in: Make, results: dict[int, ran.Registration], qtbot: Any) -> Any:
    """Return the widget with something to write on every page."""
    _, widget = inspect_in(results[2])
    widget.turn_to(3)
    qtbot.waitUntil(lambda: widget.separability.found is not None, timeout=30_000)
    widget.separability.boundary.measure_labels()
    qtbot.waitUntil(lambda: widget.separability.boundary.motion is not None, timeout=30_000)
    widget.turn_to(1)
    widget.probe.probe_at(widget.session.inspection.trace.grid.to_world([9.0, 9.0]))
    widget.probe.pin()
    widget.ablation.which.setCurrentIndex(1)
    widget.ablation.start_study()
    qtbot.waitUntil(lambda: widget.ablation.study_button.isEnabled(), timeout=30_000)
    widget.draw_filmstrip()
    qtbot.waitUntil(lambda: widget.film is not None, timeout=30_000)
    return widget


def test_what_cannot_be_written_is_said_and_leaves_nothing_behind(
    measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = {
        "film": (measured.film.save, ".png"),
        "pdf": (measured.separability.export, ".png"),
        "cells": (measured.separability.export, ".csv"),
        "boundary": (measured.separability.boundary.export, ".csv"),
        "points": (measured.probe.kept.export, ".csv"),
        "study": (measured.ablation.export, ".csv"),
    }
    for name, (write, ending) in writers.items():
        measured.message.hide()
        write(str(tmp_path / "nowhere" / (name + ending)))
        assert "could not be written" in measured.message.text.text(), name
        assert not measured.message.isHidden(), name
    for write in (measured.film.save, measured.separability.export):
        measured.message.hide()
        write(str(tmp_path / "figure.jpgg"))
        assert "could not be written" in measured.message.text.text()
        assert not measured.message.isHidden()

    def cut_short(self: Any, path: Any) -> None:
        Path(path).write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device")

    kept = tmp_path / "kept.csv"
    kept.write_text("whole", encoding="utf-8")
    for owner, write in (
        (measured.separability.found, measured.separability.export),
        (measured.separability.boundary.motion, measured.separability.boundary.export),
        (measured.ablation.study, measured.ablation.export),
    ):
        monkeypatch.setattr(type(owner), "to_csv", cut_short)
        write(str(kept))
        assert kept.read_text(encoding="utf-8") == "whole"
    assert list(tmp_path.iterdir()) == [kept]


def test_a_figure_without_an_ending_is_a_png(measured: Any, tmp_path: Path) -> None:
    measured.film.save(tmp_path / "film")
    measured.separability.export(tmp_path / "pdf")
    assert [path.read_bytes()[:4] for path in sorted(tmp_path.iterdir())] == [b"\x89PNG"] * 2
    assert {path.name for path in tmp_path.iterdir()} == {"film.png", "pdf.png"}


def test_a_pdf_is_never_written_under_the_name_of_another_stage(measured: Any, qtbot: Any, tmp_path: Path) -> None:
    measured.turn_to(3)
    pane = measured.separability
    before = pane.found
    pane.stage_box.setCurrentIndex(0)
    pane.measure()
    pane.export(tmp_path / "pdf.csv")
    assert list(tmp_path.iterdir()) == []
    qtbot.waitUntil(lambda: pane.found is not None, timeout=30_000)
    assert not np.array_equal(pane.found.counts, before.counts)
    pane.export(tmp_path / "pdf.csv")
    assert (tmp_path / "pdf.csv").exists()


def test_work_that_the_closing_dock_stops_can_be_begun_again(measured: Any, qtbot: Any, tmp_path: Path) -> None:
    viewer = measured.viewer
    measured.ablation.start_study()
    measured.draw_filmstrip()
    measured.export.write(tmp_path / "out")
    buttons = (measured.ablation.study_button, measured.levels.filmstrip, measured.export.button)
    assert not any(button.isEnabled() for button in buttons)
    viewer.window.remove_dock_widget(measured)
    assert all(worker.task is None for worker in measured.findChildren(Worker))
    viewer.window.add_dock_widget(measured, name="Inspect (RAN) again", area="right")
    assert all(button.isEnabled() for button in buttons)
    assert measured.ablation.progress.isHidden()
    assert measured.export.isHidden()
    qtbot.waitUntil(lambda: list(tmp_path.iterdir()) == [], timeout=30_000)
