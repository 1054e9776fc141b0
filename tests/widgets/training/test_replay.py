"""The epoch slider: snapshots of a real training, shown in a real viewer."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran import functional as F
from napari_ran.io.checkpoints import save_weights
from napari_ran.io.layers import napari_affine
from napari_ran.looks import look_at_whole, look_grids
from napari_ran.steps import last
from napari_ran.synthetic import PairConfig, generate_batch
from napari_ran.train import fit
from napari_ran.train.batch import PairBatch
from napari_ran.train.keeping import PAIR, SNAPSHOTS, kept_pair, snapshots
from napari_ran.train.wire import EVENTS, encode
from napari_ran.widgets._layers import own_result
from napari_ran.widgets.train import TrainWidget
from napari_ran.widgets.training.replay import ReplayPanel
from napari_ran.widgets.training.replay_work import replaying

Made = tuple[Any, TrainWidget]
START_MS, SHOWN_MS = 90_000, 20_000


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, settings: Any) -> Path:
    """Train for six steps in this process and return the folder, as a training of the viewer leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    config = settings(validation={"every": 2, "pairs": 1, "snapshots": 8}, budget={"steps": 6})
    lines = [encode(event) for event in fit(config, folder)]
    (folder / EVENTS).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """One of the viewer's trainings."""
    runs = tmp_path / "data" / "napari-ran" / "runs"
    return Path(shutil.copytree(trained, runs / "tiny"))


def layer(viewer: Any, key: str) -> Any:
    return next(one for one in viewer.layers if own_result(one) == f"replay-{key}")


def shows(panel: ReplayPanel, step: int) -> bool:
    return panel.shown is not None and panel.shown.step == step


def test_the_slider_replays_a_training_that_is_found_again(
    folder: Path, train_in: Callable[[], Made], qtbot: Any
) -> None:
    viewer, widget = train_in()
    panel = widget.page.replay
    qtbot.waitUntil(lambda: widget.start_button.isEnabled(), timeout=SHOWN_MS)
    assert panel.slider.maximum() == 3
    assert panel.label.text().startswith("Step 6  ·  ")
    assert "min" in panel.label.text()
    assert len(viewer.layers) == 0  # nobody has asked for any

    panel.slider.triggerAction(panel.slider.SliderAction.SliderSingleStepSub)
    qtbot.waitUntil(lambda: shows(panel, 4), timeout=SHOWN_MS)
    pair, grid = kept_pair(folder)
    with torch.no_grad():
        field = ran.load_weights(snapshots(folder)[4])(pair.moving, pair.fixed).field
    warped = F.warp(pair.moving, field, padding="border")[0, 0].numpy()
    np.testing.assert_allclose(layer(viewer, "warped").data, warped.T, atol=1e-5)
    np.testing.assert_allclose(layer(viewer, "warped").affine.affine_matrix, napari_affine(grid))
    np.testing.assert_allclose(layer(viewer, "fixed").data, pair.fixed[0, 0].numpy().T)
    names = [one.name for one in viewer.layers]
    assert len(names) == 3

    panel.slider.setValue(0)
    assert panel.label.text().startswith("Step 0  ·  before the training")
    assert [plot.marked for plot in (widget.page.loss, widget.page.figure)] == [0, 0]
    qtbot.waitUntil(lambda: shows(panel, 0), timeout=SHOWN_MS)
    assert float(np.abs(layer(viewer, "warped").data - warped.T).max()) > 0
    assert [one.name for one in viewer.layers] == names  # in place, not piled up

    panel.slider.setValue(2)
    assert shows(panel, 4)  # it was kept: no waiting
    panel.seen_box.setChecked(False)
    assert len(viewer.layers) == 0


def test_levels_and_masks_are_shown_on_their_own_grids(folder: Path, train_in: Callable[[], Made], qtbot: Any) -> None:
    viewer, widget = train_in()
    panel = widget.page.replay
    qtbot.waitUntil(lambda: bool(panel.step), timeout=SHOWN_MS)
    panel.watch()
    qtbot.waitUntil(lambda: shows(panel, 6), timeout=SHOWN_MS)
    pair, grid = kept_pair(folder)
    with torch.no_grad():
        levels = ran.load_weights(snapshots(folder)[6])(pair.moving, pair.fixed, keep_levels=True).levels
    for number, level in enumerate(levels):
        inside = tuple(slice(-(-n // level.pool_size)) for n in grid.shape)
        panel.show_box.setCurrentIndex(panel.show_box.findData(f"field {number}"))
        shown = layer(viewer, "map")
        assert shown.visible
        assert shown.name == f"validation: level {number} displacement (mm)"
        mm = level.pool_size * level.forward.field[0] * torch.tensor(grid.spacing).view(3, 1, 1, 1)
        length = torch.linalg.vector_norm(mm, dim=0)[inside].numpy()
        np.testing.assert_allclose(shown.data, length.T, atol=1e-4)
        assert shown.contrast_limits[1] >= length.max() * 0.999
        assert "mm" in panel.legend.text()
        panel.show_box.setCurrentIndex(panel.show_box.findData(f"heads {number}"))
        assert [own_result(one) for one in viewer.layers].count("replay-map") == 0
        heads = layer(viewer, "heads")
        assert heads.visible
        assert heads.rgb
        assert "head 1" in panel.legend.text()
        assert not layer(viewer, "grid").visible
        assert heads.data.shape == (*reversed(length.shape), 3)
    masks = levels[-1].forward.masks[0][(slice(None), *inside)].argmax(0).numpy().T
    red = [heads.data[masks == head][:, 0].mean() for head in range(2)]
    assert red[0] < red[1]  # blue and orange
    panel.show_box.setCurrentIndex(panel.show_box.findData("warped"))
    assert len(viewer.layers) == 3
    assert layer(viewer, "grid").visible
    layer(viewer, "grid").visible = False
    panel.slider.setValue(0)
    qtbot.waitUntil(lambda: shows(panel, 0), timeout=SHOWN_MS)
    assert not layer(viewer, "grid").visible  # as the user wants it


def test_play_runs_through_all_snapshots_and_ends(folder: Path, train_in: Callable[[], Made], qtbot: Any) -> None:
    _, widget = train_in()
    panel = widget.page.replay
    panel._turn.setInterval(10)
    qtbot.waitUntil(lambda: bool(panel.step), timeout=SHOWN_MS)
    seen = []
    panel.slider.valueChanged.connect(seen.append)
    panel.play_button.click()
    qtbot.waitUntil(lambda: not panel.play_button.isChecked(), timeout=SHOWN_MS)
    assert seen == [0, 1, 2, 3]
    assert shows(panel, 6)


def test_the_memory_of_what_was_computed_is_bounded(folder: Path, train_in: Callable[[], Made], qtbot: Any) -> None:
    _, widget = train_in()
    panel = widget.page.replay
    qtbot.waitUntil(lambda: bool(panel.step), timeout=SHOWN_MS)
    panel.watch()
    qtbot.waitUntil(lambda: shows(panel, 6), timeout=SHOWN_MS)
    assert panel.shown is not None
    panel._kept.budget = int(2.5 * panel.shown.bytes)
    for value, step in ((2, 4), (1, 2), (0, 0)):
        panel.slider.setValue(value)
        qtbot.waitUntil(lambda step=step: shows(panel, step), timeout=SHOWN_MS)
    assert [step for step in (6, 4, 2, 0) if panel._kept.find(panel._key(step)) is not None] == [2, 0]


def test_no_snapshots_and_damaged_ones_are_said(
    folder: Path, train_in: Callable[[], Made], qtbot: Any, said: Any, settings: Any
) -> None:
    snapshots(folder)[6].write_bytes(b"nothing")
    _, widget = train_in()
    panel = widget.page.replay
    qtbot.waitUntil(lambda: widget.start_button.isEnabled(), timeout=SHOWN_MS)
    panel.watch()
    qtbot.waitUntil(lambda: "not a safetensors file" in said(widget), timeout=SHOWN_MS)
    panel.slider.setValue(1)
    qtbot.waitUntil(lambda: shows(panel, 2), timeout=SHOWN_MS)
    os.truncate(folder / PAIR, 100)
    widget.attach(folder)
    panel.watch()
    qtbot.waitUntil(lambda: "The file is damaged" in said(widget), timeout=SHOWN_MS)

    shutil.rmtree(folder / SNAPSHOTS)
    widget.attach(folder)
    assert panel.label.text().startswith("Snapshots appear here")
    events = (folder / EVENTS).read_text()
    (folder / EVENTS).write_text(events.replace('"snapshots": 8', '"snapshots": 0'))
    widget.attach(folder)
    assert "keeps no snapshots" in panel.label.text()
    assert not panel.controls.isVisibleTo(panel)


def test_a_snapshot_that_is_given_up_while_it_is_computed_is_no_error(
    folder: Path, train_in: Callable[[], Made], qtbot: Any
) -> None:
    _, widget = train_in()
    panel = widget.page.replay
    qtbot.waitUntil(lambda: bool(panel.step), timeout=SHOWN_MS)
    panel.watch()
    qtbot.waitUntil(lambda: shows(panel, 6), timeout=SHOWN_MS)
    failed: list[Exception] = []
    panel.failed.connect(failed.append)
    panel._rest.setInterval(2_000)  # the failure comes before the next snapshot is computed
    panel.slider.setValue(0)
    snapshots(folder)[0].unlink()
    panel._compute()
    panel.slider.setValue(2)
    qtbot.waitUntil(lambda: shows(panel, 4), timeout=SHOWN_MS)
    assert failed == []
    assert panel.slider.maximum() == 2


@pytest.mark.slow
def test_the_newest_snapshot_is_shown_as_it_comes(train_in: Callable[[], Made], qtbot: Any, settings: Any) -> None:
    viewer, widget = train_in()
    widget.setup.set(settings(validation={"every": 2, "pairs": 1, "snapshots": 3}, budget={"steps": 100_000}))
    widget.start()
    panel = widget.page.replay
    for _ in range(2):
        before = -1 if panel.shown is None else panel.shown.step
        qtbot.waitUntil(lambda before=before: panel.shown is not None and panel.shown.step > before, timeout=START_MS)
    assert len(viewer.layers) == 3
    panel.slider.setValue(0)  # looking back: no longer carried along
    qtbot.waitUntil(lambda: shows(panel, 0), timeout=SHOWN_MS)
    newest = max(panel._files)
    qtbot.waitUntil(lambda: max(panel._files) > newest, timeout=START_MS)
    assert shows(panel, 0)
    assert panel.slider.maximum() < 6
    widget.stop()
    qtbot.waitUntil(lambda: widget.start_button.isEnabled(), timeout=START_MS)


def test_instance_optimisation_is_a_line_in_the_curves(folder: Path, train_in: Callable[[], Made], qtbot: Any) -> None:
    _, widget = train_in()
    page = widget.page
    qtbot.waitUntil(lambda: widget.start_button.isEnabled(), timeout=SHOWN_MS)
    assert page.figure.goal is None
    page.compare_button.click()
    qtbot.waitUntil(lambda: "pair 1 of 1" in page.compare_button.text(), timeout=SHOWN_MS)
    page.compare_button.click()
    assert page.compare_button.text().startswith("Compare with")
    assert not (folder / "instance.json").exists()
    page.compare_button.click()
    qtbot.waitUntil(lambda: page.figure.goal is not None, timeout=SHOWN_MS)
    assert page.loss.goal is not None
    assert page.loss.line is not None
    assert page.compare_button.isHidden()
    goal = page.figure.goal
    widget.attach(folder)
    assert page.figure.goal == goal  # kept with the training


def test_a_replay_looks_from_coarse_to_fine_where_the_weights_do(tmp_path: Path) -> None:
    """What the coarser looks found is in the field of every level: before the first one, too."""
    shape = (40, 48, 32)
    made = generate_batch(PairConfig(shapes=(shape,), peak=(0.2, 0.22), sliding=0.0, still=0.0), 77, 0)
    grid, pair = ran.Grid.from_spacing(shape, 2.0), PairBatch(made.fixed, made.moving, (2.0,) * 3)
    network = ran.load_weights("general-3d")
    found = last(replaying(save_weights(network, tmp_path / "snapshot.safetensors", network.card), pair, grid, 3))
    grids = look_grids(grid, math.prod(shape), network.multiple, coarse=True)
    with torch.no_grad():
        expected = last(look_at_whole(network, made.fixed, made.moving, grids, keep_levels=True))
        alone = network(made.moving, made.fixed).field
    torch.testing.assert_close(found.field.tensor, expected.forward[0], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(found.field.tensor, alone[0], atol=0.1)
    warped = F.warp(made.moving, expected.forward, padding="border")
    torch.testing.assert_close(found.warped, warped[0], atol=1e-3, rtol=1e-3)
    assert expected.start is not None
    before, after = (float(one.norm(dim=0).mean()) for one in (expected.start[0], found.field.tensor))
    for level, output in zip(found.levels, expected.output.levels, strict=True):
        whole = float(level.field.norm(dim=0).mean()) * output.pool_size
        own = float(output.forward.field.norm(dim=1).mean()) * output.pool_size
        assert own < 0.5 * whole
        assert whole == pytest.approx((before + after) / 2, rel=0.15)
    last_level = F.resize_field(found.levels[-1].field[None], shape)[0]
    torch.testing.assert_close(last_level, found.field.tensor, atol=0.3, rtol=0.0)
