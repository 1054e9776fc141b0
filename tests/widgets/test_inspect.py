from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from qtpy.QtGui import QTextDocument

import napari_ran as ran
from napari_ran.introspect.inspection import Inspection
from napari_ran.io.layers import napari_affine, to_layer_data
from napari_ran.widgets._layers import own_result
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.inspection.layers import PICTURES
from napari_ran.widgets.inspection.space import PREFIX


def shown(viewer: Any) -> list[str]:
    """The keys of the visible inspect layers."""
    keys = [(own_result(layer) or "", layer) for layer in viewer.layers]
    return [key.removeprefix(PREFIX) for key, layer in keys if key.startswith(PREFIX) and layer.visible]


def test_without_a_result_it_says_what_to_do(inspect_in: Callable[..., Any]) -> None:
    viewer, widget = inspect_in()
    assert "Register a pair" in widget.title.text()
    assert not widget.levels.isEnabled()
    assert len(viewer.layers) == 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_quantity_and_style_is_a_layer_in_its_place(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration], ndim: int
) -> None:
    viewer, widget = inspect_in(results[ndim])
    inspection = widget.session.inspection
    count = 0
    for quantity in inspection.quantities:
        stage = max(s.index for s in inspection.stages if quantity.name in inspection.available(s.index))
        widget.levels.choose(quantity=quantity.name, stage=stage)
        for index in range(widget.levels.style_box.count()):
            widget.levels.style_box.setCurrentIndex(index)
            widget.seen()
            picture = widget.layers.picture
            assert shown(viewer) == ["ground", picture.slot]
            layer = widget.layers.find(picture.slot)
            corner = np.zeros(ndim)
            world = layer.data_to_world(corner)
            np.testing.assert_allclose(widget.layers.to_world(world, ndim), picture.grid.to_world(corner), atol=1e-4)
            count += 1
    assert count > 15
    assert len(viewer.layers) == 1 + len(PICTURES)


def test_arrows_point_where_the_field_says(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration]
) -> None:
    viewer, widget = inspect_in(results[3])
    widget.levels.choose(quantity="field", style="arrows")
    widget.seen()
    layer = widget.layers.find("arrows")
    field = widget.session.inspection.get("field", widget.levels.choice.stage).data
    assert len(layer.data) > 20
    place = layer.world_to_data(viewer.dims.point)
    assert (layer.data[:, 0, 0] == round(place[0])).all()  # those of the slice that is seen
    for start, vector in layer.data[:: len(layer.data) // 7]:
        z, y, x = start.astype(int)
        np.testing.assert_allclose(vector[::-1], field[:, x, y, z], atol=1e-6)


def test_arrows_keep_their_distance_on_the_screen(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration], qtbot: Any
) -> None:
    _, widget = inspect_in(results[2])
    widget.levels.choose(quantity="field", style="arrows")
    widget.seen()
    widget.layers.camera.zoom = 3.0
    qtbot.waitUntil(lambda: len(widget.layers.find("arrows").data) < 100, timeout=5000)
    few = len(widget.layers.find("arrows").data)
    widget.layers.camera.zoom = 30.0
    qtbot.waitUntil(lambda: len(widget.layers.find("arrows").data) > 2 * few, timeout=5000)


def test_levels_replace_each_other_in_place_with_the_same_limits(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration]
) -> None:
    viewer, widget = inspect_in(results[3])
    widget.levels.choose(quantity="field", style="magnitude", stage=0)
    widget.seen()
    layer, count = widget.layers.find("map"), len(viewer.layers)
    limits, coarse = tuple(layer.contrast_limits), layer.data.shape
    for stage in range(1, len(widget.session.inspection.stages)):
        widget.levels.choose(stage=stage)
        widget.seen()
        assert widget.layers.find("map") is layer
        assert tuple(layer.contrast_limits) == limits
        assert len(viewer.layers) == count
    assert layer.data.shape > coarse
    lengths = widget.session.inspection.get("field", stage).magnitude[0]
    np.testing.assert_allclose(layer.data, lengths.numpy().T, atol=1e-5)
    layer.contrast_limits = (0, limits[1] / 2)
    layer.opacity = 0.3
    widget.levels.choose(stage=1)
    widget.seen()
    assert tuple(layer.contrast_limits) == (0, limits[1] / 2)
    assert layer.opacity == 0.3


def test_a_layer_deleted_by_hand_comes_back(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration]
) -> None:
    viewer, widget = inspect_in(results[3])
    widget.levels.choose(quantity="confidence", stage=1)
    widget.seen()
    viewer.layers.clear()
    widget.levels.choose(stage=2)
    widget.seen()
    assert shown(viewer) == ["ground", "map"]


def test_users_layers_keep_their_place_and_selection(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration]
) -> None:
    viewer, widget = inspect_in()
    data, kwargs, _ = to_layer_data(results[2].fixed)
    mine = viewer.add_image(data, **kwargs)
    viewer.layers.selection.active = mine
    widget.recent.put(results[2])
    widget.seen()
    assert viewer.layers[0] is mine
    assert viewer.layers.selection.active is mine
    assert own_result(mine) is None


def test_a_result_lies_in_the_units_of_a_time_series(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration]
) -> None:
    viewer, widget = inspect_in()
    viewer.add_image(np.zeros((2, 16, 20, 26)), scale=(1, 2000, 1000, 1000), units=("s", "um", "um", "um"))
    widget.recent.put(results[3])
    widget.seen()
    ground = widget.layers.find("ground")
    assert {str(unit) for unit in ground.units} == {"micrometer"}
    expected = 1000 * napari_affine(widget.session.inspection.trace.grid)[:-1, -1]
    np.testing.assert_allclose(ground.data_to_world(np.zeros(3)), expected, rtol=1e-6)


def test_a_quantity_that_a_stage_lacks_is_explained(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration]
) -> None:
    viewer, widget = inspect_in(results[2])
    widget.levels.choose(quantity="previous_confidence", stage=1)
    widget.seen()
    widget.levels.choose(stage=0)
    assert "level 0" in widget.levels.legend.legend.title.lower()
    assert shown(viewer) == ["ground"]


def test_what_coarser_looks_found_is_a_stage_of_one_direction(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration], qtbot: Any
) -> None:
    trace = results[3].trace
    assert trace is not None
    viewer, widget = inspect_in()
    widget.show_inspection(Inspection.from_trace(replace(trace, start=torch.full_like(trace.output.field, 0.5))))
    assert widget.levels.marks._marks == ["looks", "0", "1", "2", "3", "4", "out"]
    widget.levels.choose(quantity="field", stage=0)
    widget.seen()
    assert "ground" in shown(viewer)
    assert len(shown(viewer)) == 2
    widget.levels.choose(direction="inverse")
    assert "as the coarser looks had warped it" in widget.levels.legend.legend.title
    assert shown(viewer) == ["ground"]
    widget.levels.choose(stage=1)
    widget.seen()
    trace = widget.session.inspection.trace
    np.testing.assert_allclose(widget.layers.find("ground").data, trace.seen[0, 0].numpy().T)


def test_a_result_without_levels_offers_its_field_and_says_why(
    inspect_in: Callable[..., Any], register_small: Callable[..., ran.Registration]
) -> None:
    _, widget = inspect_in(register_small(2, keep_levels=False))
    assert "keep_levels" in widget.note.text()
    assert widget.note.isVisibleTo(widget)
    assert not widget.levels.slider.isEnabled()
    names = {quantity.name for quantity in widget.session.inspection.quantities}
    assert "field" in names
    assert "masks" not in names


def test_a_name_is_shown_as_it_is(inspect_in: Callable[..., Any]) -> None:
    _, widget = inspect_in()
    pair = ran.phantom_2d(3, (56, 48))
    moving = ran.Image(pair.moving.tensor, pair.moving.grid, "T1 <before> & after")
    widget.show_inspection(Inspection.from_field(pair.truth, pair.fixed, moving))
    label = QTextDocument()
    label.setHtml(widget.title.text())
    assert label.toPlainText() == f"T1 <before> & after to {pair.fixed.name}"


def test_a_saved_result_is_opened(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration], qtbot: Any, tmp_path: Any
) -> None:
    _, widget = inspect_in()
    results[2].save(tmp_path / "result")
    widget.open(tmp_path / "result")
    qtbot.waitUntil(lambda: widget.session is not None, timeout=20_000)
    widget.seen()
    assert len(widget.session.inspection.stages) == len(Inspection.from_registration(results[2]).stages)
    widget.open(tmp_path)
    qtbot.waitUntil(lambda: not widget.message.isHidden(), timeout=20_000)


def test_playing_steps_through_the_levels(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration], qtbot: Any
) -> None:
    _, widget = inspect_in(results[2])
    widget.levels._play.setInterval(20)
    stages: set[int] = set()
    widget.levels.slider.valueChanged.connect(stages.add)
    widget.levels.play_button.setChecked(True)
    qtbot.waitUntil(lambda: len(stages) == len(widget.session.inspection.stages), timeout=20_000)
    widget.levels.play_button.setChecked(False)


def test_thumbnails_and_figures_follow_the_stage(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration], qtbot: Any
) -> None:
    _, widget = inspect_in(results[2])
    widget.levels.choose(stage=3)
    qtbot.waitUntil(lambda: not widget.levels.missing_thumbnails(), timeout=20_000)
    qtbot.waitUntil(lambda: "Dice" in widget.levels.metrics.text(), timeout=20_000)
    expected = widget.session.inspection.metrics(3)
    assert f"{expected.similarity:.3f}" in widget.levels.metrics.text()


def test_a_stage_that_a_direction_lacks_has_no_figures(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration], qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, widget = inspect_in(results[2])
    monkeypatch.setattr(widget.session, "has", lambda choice: choice.stage != 1)
    for stage, words in ((1, ""), (2, "Displacement"), (1, "")):
        widget.levels.choose(stage=stage)
        qtbot.waitUntil(lambda: widget._rest.isActive() is False, timeout=20_000)
        qtbot.waitUntil(lambda words=words: words in widget.levels.metrics.text(), timeout=20_000)
        assert bool(widget.levels.metrics.text()) == bool(words)


def test_thumbnails_are_those_of_the_direction(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration], qtbot: Any
) -> None:
    _, widget = inspect_in(results[2])
    widget.levels.choose(quantity="warped", stage=3)

    def icon(direction: str) -> Any:
        widget.levels.choose(direction=direction)
        qtbot.waitUntil(lambda: not widget.levels.missing_thumbnails(), timeout=20_000)
        return widget.levels.quantities.currentItem().icon().pixmap(56).toImage()

    forward = icon("forward")
    assert icon("inverse") != forward
    assert icon("forward") == forward  # known by now: none has to be made


def test_closing_the_dock_leaves_nothing_behind(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration]
) -> None:
    viewer, widget = inspect_in(results[3])
    widget.levels.choose(quantity="field", style="contours", stage=4)
    viewer.window.remove_dock_widget(widget)
    assert shown(viewer) == []
    viewer.dims.set_point(0, 3)
    assert all(worker.task is None for worker in widget.findChildren(Worker))


def test_the_directions_show_their_own_image(
    inspect_in: Callable[..., Any], results: dict[int, ran.Registration]
) -> None:
    _, widget = inspect_in(results[3])
    widget.levels.choose(direction="inverse")
    widget.seen()
    trace = widget.session.inspection.trace
    np.testing.assert_allclose(widget.layers.find("ground").data, trace.moving[0, 0].numpy().T)


def test_the_slice_stays_while_levels_of_other_grids_are_stepped_through(inspect_in: Any, results: Any) -> None:
    viewer, widget = inspect_in(results[3])
    viewer.dims.order = (1, 0, 2)
    widget.levels.choose(quantity="field")
    widget.levels.choose(style="arrows")
    axis = viewer.dims.range[1]
    viewer.dims.set_point(1, axis.start + 0.4 * (axis.stop - axis.start))
    place = viewer.dims.point
    shapes = set()
    for stage in range(len(widget.session.inspection.stages)):
        widget.levels.choose(stage=stage)
        widget.seen()
        shapes.add(widget.layers.picture.grid.shape)
        assert viewer.dims.point == pytest.approx(place)
    assert len(shapes) > 1
