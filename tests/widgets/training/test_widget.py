"""The Train widget with real trainings in a child process, on images of a few voxels."""

from __future__ import annotations

import html
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_ran as ran
from napari_ran.config import TrainConfig
from napari_ran.io.checkpoints import ModelCard, save_weights, user_weights
from napari_ran.io.own_models import add_model
from napari_ran.train.sources import find_sources
from napari_ran.widgets.register import RegisterWidget
from napari_ran.widgets.train import TrainWidget
from napari_ran.widgets.training.runs import runs_folder

Made = tuple[Any, TrainWidget]
START_MS = 90_000


def test_a_pair_of_layers_becomes_a_model_in_every_chooser(
    train_in: Callable[[], Made], qtbot: Any, settings: Any, add_pair: Any, said: Any
) -> None:
    viewer, widget = train_in()
    add_pair(viewer)
    register = RegisterWidget(viewer)
    qtbot.addWidget(register)
    widget.setup.set(settings())
    widget.setup.source.setCurrentIndex(widget.setup.source.findData("layers"))
    widget.start()
    assert not widget.start_button.isEnabled()
    qtbot.waitUntil(lambda: widget.start_button.isEnabled(), timeout=START_MS)
    assert not widget.message.isVisible(), said(widget)
    assert widget.page.last is not None
    assert widget.page.last.step == 4
    assert widget.page.loss.line is not None
    assert len(widget.page.loss.curves["training"].points) == 4
    assert [step for step, _ in widget.page.figure.curves["validation"].points] == [0, 2, 4]
    assert widget.page.figure.title.startswith("Dice")
    assert "tiny" in widget.progress.status.text()
    assert ran.load_weights("tiny").card.steps in (2, 4)
    assert (runs_folder() / "tiny" / "pairs" / "000-fixed.nii").exists()
    box: Any = register.form.editors["weights"]
    assert box.findData("tiny") >= 0
    assert widget.models.chosen == "tiny"
    assert "local" not in widget.models.card.text()
    assert "custom" in widget.models.card.text()
    register.shut()
    before = ran.load_weights("tiny").card.figures["dice"]

    again = settings(name="tiny-2", model={"structure": None, "start": "tiny"})
    assert widget.setup.form.editors["name"].text() == again.name  # type: ignore[attr-defined]
    widget.setup.set(again)
    widget.setup.source.setCurrentIndex(widget.setup.source.findData("layers"))
    widget.start()
    qtbot.waitUntil(lambda: widget.start_button.isEnabled(), timeout=START_MS)
    points = widget.page.figure.curves["validation"].points
    assert [step for step, _ in points] == [0, 2, 4]  # at 0 what it starts from; the dashed line is doing nothing
    assert points[0][1] == pytest.approx(before, abs=1e-4)

    widget.setup.set(settings())
    widget.start()
    assert "There is a training named 'tiny' already" in html.unescape(said(widget))


@pytest.mark.slow
def test_a_training_is_paused_killed_resumed_and_stopped(
    train_in: Callable[[], Made], qtbot: Any, settings: Any, said: Any
) -> None:
    _, widget = train_in()
    widget.setup.set(settings(budget={"steps": 100_000}))
    widget.start()
    plot = widget.page.figure
    qtbot.waitUntil(lambda: len(plot.curves.get("validation", _NOTHING).points) > 1, timeout=START_MS)
    widget.pause()
    assert widget.pause_button.text() == "Go on"
    assert widget.progress.status.text().startswith("Paused")
    widget.pause()
    assert widget.run is not None
    pid = widget.run.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: widget.start_button.isEnabled(), timeout=START_MS)
    assert "ended unexpectedly by signal 9" in said(widget)
    assert "It can be resumed" in said(widget)
    assert not user_weights().exists()
    reached = widget.page.last
    assert reached is not None
    widget.setup.form.editors["budget.steps"].setValue(200_000)  # type: ignore[attr-defined]
    widget.resume()
    qtbot.waitUntil(lambda: widget.page.last is not reached and widget.stop_button.isEnabled(), timeout=START_MS)
    widget.stop()
    qtbot.waitUntil(lambda: widget.start_button.isEnabled(), timeout=START_MS)
    assert widget.progress.status.text().startswith("Stopped at step")
    assert widget.page.config is not None
    assert widget.page.config.budget.steps == 200_000
    assert [card.name for card in ran.available_weights()].count("tiny") == 1


@pytest.mark.slow
@pytest.mark.parametrize("go_on", [True, False])
def test_a_training_is_found_again(train_in: Callable[[], Made], qtbot: Any, go_on: bool, settings: Any) -> None:
    viewer, widget = train_in()
    widget.setup.set(settings(budget={"steps": 100_000}))
    widget.setup.at_close.setCurrentIndex(widget.setup.at_close.findData(go_on))
    widget.start()
    qtbot.waitUntil(lambda: widget.page.last is not None, timeout=START_MS)
    viewer.window.remove_dock_widget(widget)
    again = TrainWidget(viewer)
    viewer.window.add_dock_widget(again, name="Train (RAN) 2", area="right")
    assert again.run is not None
    qtbot.waitUntil(lambda: again.page.last is not None, timeout=START_MS)
    if go_on:
        assert again.stop_button.isEnabled()
        again.stop()
    qtbot.waitUntil(lambda: again.start_button.isEnabled(), timeout=START_MS)
    assert "tiny" in [card.name for card in ran.available_weights()]
    again.shut()


class _NOTHING:
    points: tuple[Any, ...] = ()


def keep_model(name: str) -> Path:
    """Write a small model into the user's folder."""
    narrow = ran.RANConfig.preset("RAN3", 3).replace(encoder_channels=(4,) * 4, decoder_channels=(4,) * 5, heads=2)
    return save_weights(ran.create_model(narrow), user_weights() / f"{name}.safetensors", _card(name))


def _card(name: str) -> ModelCard:
    return ModelCard(name=name, preset="custom", ndim=3, objective="1 ncc 9", limits="none known")


@pytest.mark.parametrize("source", ["generated", "folder", "dataset", "pairs"])
def test_settings_come_back_from_the_form(
    train_in: Callable[..., Made], viewer: Any, tmp_path: Path, source: str, qtbot: Any, settings: Any
) -> None:
    _, widget = train_in(viewer)
    path = None if source == "generated" else str(tmp_path)
    config = settings(
        data={"source": source, "path": path, "shape": [16, 32, 16], "include": ["a*"], "spacing": 1.5},
        objective={"compare": "mind", "dice": 0.25, "foreground": 0.1},
        optimiser={"rate": 0.00012345},
        validation={"data": TrainConfig().data.to_dict(), "patience": 3},
        budget={"steps": 7, "minutes": 2.5},
    )
    config.to_yaml(tmp_path / "given.yaml")
    widget.setup.files.load(tmp_path / "given.yaml")
    widget.save_settings(tmp_path / "back.yaml")
    qtbot.waitUntil((tmp_path / "back.yaml").exists, timeout=10_000)
    assert TrainConfig.from_yaml(tmp_path / "back.yaml") == config


def test_layers_are_written_beside_the_settings(
    train_in: Callable[..., Made], viewer: Any, tmp_path: Path, qtbot: Any, add_pair: Any, choose: Any
) -> None:
    _, widget = train_in(viewer)
    add_pair(viewer, 2)
    choose(widget, "layers")
    widget.save_settings(tmp_path / "training.yaml")
    qtbot.waitUntil((tmp_path / "training.yaml").exists, timeout=10_000)
    config = TrainConfig.from_yaml(tmp_path / "training.yaml")
    assert config.model.ndim == 2
    (pair,) = find_sources(config, 2).validation
    assert pair.fixed.shape[-2:] == (16, 32)
    assert pair.fixed_labels is not None


@pytest.mark.parametrize(
    ("source", "images", "words"),
    [
        ("layers", 0, "Open two images"),
        ("layers", 1, "Open two images"),
        ("all", 1, "a pair needs two"),
        ("folder", 0, "Name the folder or file"),
    ],
)
def test_what_is_missing_is_said(
    train_in: Callable[..., Made], viewer: Any, source: str, images: int, words: str, choose: Any, said: Any
) -> None:
    _, widget = train_in(viewer)
    for number in range(images):
        viewer.add_image(np.zeros((8, 8, 8), np.float32), name=f"image {number}")
    choose(widget, source)
    widget.start()
    assert words in said(widget)
    assert widget.start_button.isEnabled()


def test_layers_of_different_axes_and_missing_labels_are_refused(
    train_in: Callable[..., Made], viewer: Any, choose: Any, said: Any
) -> None:
    _, widget = train_in(viewer)
    viewer.add_image(np.zeros((8, 8, 8), np.float32), name="fixed")
    flat = viewer.add_image(np.zeros((8, 8), np.float32), name="moving")
    for source in ("layers", "all"):
        choose(widget, source)
        widget.start()
        assert "has 2 axes and" in said(widget)
    viewer.layers.remove(flat)
    viewer.add_image(np.zeros((8, 8, 8), np.float32), name="moving")
    widget.setup.form.editors["objective.dice"].setValue(1.0)  # type: ignore[attr-defined]
    for source in ("layers", "all"):
        choose(widget, source)
        widget.start()
        assert "set the weight of the labels to 0" in said(widget)


def test_all_pairs_take_the_labels_that_are_called_like_the_images(
    train_in: Callable[..., Made], viewer: Any, add_pair: Any, choose: Any
) -> None:
    _, widget = train_in(viewer)
    add_pair(viewer, 2)
    choose(widget, "all")
    _, pairs, validation = widget.setup.get()
    assert pairs is not None
    assert validation is None
    first, second = pairs.convert()
    assert (first.fixed.name, first.moving.name) == ("fixed", "moving")  # type: ignore[union-attr]
    assert first.fixed is second.moving
    assert first.moving_labels.name == "moving organs"  # type: ignore[union-attr]


def test_a_generated_pair_is_shown_and_replaced(
    train_in: Callable[..., Made], viewer: Any, qtbot: Any, settings: Any
) -> None:
    _, widget = train_in(viewer)
    widget.setup.set(settings())
    widget.preview()
    qtbot.waitUntil(lambda: "generated motion" in viewer.layers, timeout=20_000)
    before = viewer.layers["generated fixed"].data.copy()
    assert before.shape == (16, 32, 16)
    widget.preview()
    qtbot.waitUntil(lambda: not np.array_equal(viewer.layers["generated fixed"].data, before), timeout=20_000)
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=5_000)


def test_models_are_listed_renamed_exported_and_removed(
    train_in: Callable[..., Made], viewer: Any, tmp_path: Path, said: Any
) -> None:
    keep_model("mine")
    (user_weights() / "broken.safetensors").write_bytes(b"nothing")
    _, widget = train_in(viewer)
    page = widget.models
    page.choose("broken")
    assert "damaged" in page.card.text()
    page.remove()
    page.choose("general-3d")
    assert not page.rename_button.isEnabled()
    page.choose("mine")
    assert "1 ncc 9" in page.card.text()
    page.rename("general-3d")
    assert "already" in said(widget)
    page.rename("theirs")
    assert page.chosen == "theirs"
    start: Any = widget.setup.form.editors["model.start"]
    assert start.findData("theirs") >= 0
    assert start.findData("mine") < 0
    page.export(tmp_path / "copy")
    assert ran.load_weights(tmp_path / "copy.safetensors").card.limits == "none known"
    page.export(tmp_path / "nowhere" / "deep" / "copy")
    page.remove()
    assert page.chosen != "theirs"
    assert list(user_weights().glob("*.safetensors")) == []


def test_a_damaged_file_does_not_become_a_model(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(b"x" * 100)
    with pytest.raises(ran.InputError, match="not a safetensors file"):
        add_model(path, "mine")
    with pytest.raises(ran.InputError, match="cannot be the name"):
        add_model(keep_model("good"), "../up")
    assert add_model(keep_model("good"), "good") == "good-2"
