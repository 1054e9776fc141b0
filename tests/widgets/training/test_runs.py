"""The list of trainings, landmarks of a pair, and the little things of the form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog, QMessageBox

import napari_ran as ran
from napari_ran.owners import LOCK, identity
from napari_ran.train import TrainFailed, TrainStarted, Validation
from napari_ran.train.wire import CONFIG, EVENTS, encode
from napari_ran.widgets.train import TrainWidget
from napari_ran.widgets.training.runs import all_runs, delete_run, open_runs, runs_folder

Made = tuple[Any, TrainWidget]
MEASURED = Validation(1.0, 0.5, 0.6, None, None, 0.0, 1)


def leave_run(settings: Any, name: str, *, failed: bool = True) -> Path:
    """Write what a training leaves behind that failed, or that was cut off."""
    folder = runs_folder() / name
    folder.mkdir(parents=True)
    config = settings(name=name)
    config.to_yaml(folder / CONFIG)
    events = [TrainStarted(config, 0, MEASURED), *([TrainFailed(3, "The data are gone. Look for them.")] * failed)]
    (folder / EVENTS).write_text("".join(encode(event) + "\n" for event in events))
    return folder


def test_a_failure_is_shown_once_and_can_be_deleted(
    train_in: Callable[..., Made], viewer: Any, settings: Any, said: Any, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    folder = leave_run(settings, "broken")
    assert open_runs() == [folder]
    _, widget = train_in(viewer)
    qtbot.waitUntil(lambda: "The data are gone" in said(widget), timeout=5_000)
    widget.shut()
    assert open_runs() == []
    _, widget = train_in(viewer)
    assert said(widget) == ""
    assert widget.run is None
    chooser = widget.page.runs
    assert not chooser.delete_button.isEnabled()
    assert [chooser.box.itemText(row) for row in range(chooser.box.count())] == ["broken   (failed)"]
    chooser.box.setCurrentIndex(0)
    chooser.box.activated.emit(0)
    qtbot.waitUntil(lambda: "The data are gone" in said(widget), timeout=5_000)
    assert not widget.resume_button.isEnabled()  # there is nothing to go on from
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.No)
    chooser.delete_button.click()
    assert folder.exists()
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    chooser.delete_button.click()
    assert not folder.exists()
    assert widget.run is None
    assert chooser.box.count() == 0
    assert "'broken' was deleted" in widget.progress.status.text()
    assert not widget.message.isVisible()


def test_what_runs_or_is_not_ours_is_not_deleted(settings: Any, tmp_path: Path) -> None:
    folder = leave_run(settings, "cut", failed=False)
    assert all_runs() == {folder: "interrupted"}
    (folder / LOCK).write_text(identity())
    assert all_runs() == {folder: "running"}
    with pytest.raises(ran.InputError, match="'cut' is running"):
        delete_run(folder)
    (tmp_path / EVENTS).write_text("")
    with pytest.raises(ran.InputError, match="is not one of the viewer's trainings"):
        delete_run(tmp_path)
    assert (tmp_path / EVENTS).exists()


def test_points_of_a_pair_are_measured(train_in: Callable[[], Made], settings: Any, add_pair: Any, qtbot: Any) -> None:
    viewer, widget = train_in()
    add_pair(viewer, points=True)
    for name in ("fixed organs", "moving organs"):
        viewer.layers.remove(name)
    widget.setup.set(settings(objective={"landmarks": 0.1}, budget={"steps": 2}))
    widget.setup.source.setCurrentIndex(widget.setup.source.findData("layers"))
    widget.start()
    qtbot.waitUntil(lambda: widget.start_button.isEnabled(), timeout=90_000)
    assert not widget.message.isVisible(), widget.message.text.text()
    assert widget.page.figure.title.startswith("landmark error")
    assert widget.page.figure.line == pytest.approx(1.5, abs=1e-4)  # a voxel along the first axis
    assert widget.page.last is not None
    assert "landmarks" in widget.page.last.terms


def test_points_that_are_missing_or_do_not_correspond_are_said(
    train_in: Callable[..., Made], viewer: Any, add_pair: Any, choose: Any, said: Any
) -> None:
    _, widget = train_in(viewer)
    add_pair(viewer, 2, points=True)
    choose(widget, "layers")
    moving = viewer.layers["moving points"]
    moving.data = moving.data[:3]
    widget.start()
    assert "There are 3 of them, and 4 on the fixed image" in said(widget)
    assert "Moving points" in said(widget)
    choose(widget, "all")
    _, pairs, _ = widget.setup.get()
    assert pairs is not None
    assert all(pair.fixed_landmarks is None for pair in pairs.convert())
    widget.setup.form.editors["objective.landmarks"].setValue(1.0)  # type: ignore[attr-defined]
    viewer.layers.remove(moving)
    for source in ("layers", "all"):
        choose(widget, source)
        widget.start()
        assert "set the weight of the landmarks to 0" in said(widget)


def test_all_pairs_take_the_points_that_are_called_like_the_images(
    train_in: Callable[..., Made], viewer: Any, add_pair: Any, choose: Any
) -> None:
    _, widget = train_in(viewer)
    add_pair(viewer, 2, points=True)
    choose(widget, "all")
    _, pairs, _ = widget.setup.get()
    assert pairs is not None
    first, second = pairs.convert()
    assert first.fixed_landmarks is second.moving_landmarks
    shift = first.fixed_landmarks.points - first.moving_landmarks.points  # type: ignore[union-attr]
    np.testing.assert_allclose(np.abs(shift), np.tile([1.5, 0.0], (4, 1)), atol=1e-9)


def test_a_path_may_be_a_file_or_a_folder_as_the_source_wants(
    train_in: Callable[..., Made], viewer: Any, choose: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, widget = train_in(viewer)
    row = widget.setup.paths["data.path"]
    for source, file, folder in (("folder", False, True), ("dataset", True, True), ("pairs", True, False)):
        choose(widget, source)
        assert row.file_button.isVisibleTo(row) == file
        assert row.folder_button.isVisibleTo(row) == folder
    asked = []

    def answer(*arguments: Any) -> tuple[str, str]:
        asked.append(arguments[-1])
        return str(tmp_path / "given"), ""

    monkeypatch.setattr(QFileDialog, "getOpenFileName", answer)
    row.file_button.click()
    choose(widget, "dataset")
    row.file_button.click()
    assert asked == ["Lists (*.csv)", "Data sets (*.json)"]
    assert row.editor.text() == str(tmp_path / "given")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    row.folder_button.click()
    assert widget.setup.form.get().data.path == str(tmp_path)


def test_what_is_left_out_is_empty_in_the_form(train_in: Callable[..., Made], viewer: Any) -> None:
    _, widget = train_in(viewer)
    shape: Any = widget.setup.form.editors["data.shape"]
    assert shape.text() == ""
    assert shape.placeholderText() == "the images' own, or coarser"
    assert widget.setup.form.get().data.shape is None
    shape.setText("[16, 32, 16]")
    assert widget.setup.form.get().data.shape == (16, 32, 16)
