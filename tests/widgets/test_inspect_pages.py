"""The pages of Inspect; long, as they share registrations that take seconds to make."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import napari_ran as ran
from napari_ran.config import RANConfig
from napari_ran.introspect.ablation import ablate
from napari_ran.introspect.study import stage_separability
from napari_ran.io import save_field
from napari_ran.io.checkpoints import ModelCard, save_weights
from napari_ran.io.layers import napari_affine, to_layer_data
from napari_ran.models import create_system
from napari_ran.models.ablation import Ablation
from napari_ran.widgets._worker import Worker
from napari_ran.widgets.inspect import InspectWidget
from napari_ran.widgets.inspection.foreign import FieldDialog, field_from_layer
from napari_ran.widgets.registering.work import Finished

Results = dict[int, ran.Registration]
Make = Callable[..., Any]


def mouse(viewer: Any, callbacks: Any, place: np.ndarray, *modifiers: str) -> None:
    """Let the mouse be at a place of the viewer's world, as those hear it who are called back."""
    shown = tuple(viewer.dims.displayed)
    event = SimpleNamespace(
        position=tuple(place), view_direction=None, dims_displayed=shown, modifiers=list(modifiers), type="mouse_move"
    )
    for callback in list(callbacks):
        callback(viewer, event)


# ---------------------------------------------------------------- probe


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_probe_follows_the_mouse(inspect_in: Make, results: Results, qtbot: Any, ndim: int) -> None:
    viewer, widget = inspect_in(results[ndim])
    widget.turn_to(1)
    grid = widget.session.inspection.trace.grid
    place = widget.layers.to_viewer(grid.to_world([9.0] * ndim))
    if ndim == 3:  # the mouse is always on a slice that the slider can show
        viewer.dims.set_point(0, place[0])
        place[0] = viewer.dims.point[0]
    point = widget.layers.to_world(place, ndim)
    mouse(viewer, viewer.mouse_move_callbacks, place)
    qtbot.waitUntil(lambda: widget.probe.current is not None, timeout=5000)
    found = widget.probe.current
    np.testing.assert_allclose(found.point, point, atol=1e-6)
    path = widget.layers.find("path")
    levels = sum(stage.capture_range is not None for stage in found.stages)
    assert len(path.data) == 3 * len(found.stages) + 4 * levels  # arrows of three strokes, boxes of four sides
    start = path.data_to_world(path.data[0, 0])
    np.testing.assert_allclose(start, place, atol=1e-3)
    assert widget.probe.plot.probe is found
    widget.probe.plot.grab()  # it can be drawn


def test_many_moves_are_one_probing(inspect_in: Make, results: Results, qtbot: Any) -> None:
    viewer, widget = inspect_in(results[2])
    widget.turn_to(1)
    grid = widget.session.inspection.trace.grid
    for step in range(50):
        place = widget.layers.to_viewer(grid.to_world([5 + step / 5, 10.0]))
        mouse(viewer, viewer.mouse_move_callbacks, place)
    qtbot.waitUntil(lambda: widget.probe.current is not None, timeout=5000)
    qtbot.wait(200)
    assert widget.probe.count == 1
    np.testing.assert_allclose(widget.probe.current.point, grid.to_world([5 + 49 / 5, 10.0]), atol=1e-6)


def test_the_path_in_the_viewer_catches_up_with_the_figure(
    inspect_in: Make, results: Results, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, widget = inspect_in(results[2])
    widget.turn_to(1)
    widget.probe._drawn = time.perf_counter()  # as if it had just been drawn,
    monkeypatch.setattr("napari_ran.widgets.inspection.probe.LINES_MS", 60_000)  # and all that follows came soon after
    grid = widget.session.inspection.trace.grid
    for step in range(8):
        widget.probe.probe_at(grid.to_world([5.0 + 2 * step, 10.0]))
        assert widget.probe.plot.probe is widget.probe.current
    assert widget.probe.count == 8
    assert widget.probe.drawings == 0
    here = widget.layers.to_viewer(widget.probe.current.point)

    def caught_up() -> None:
        path = widget.layers.find("path")
        assert path is not None
        np.testing.assert_allclose(path.data_to_world(path.data[0, 0]), here, atol=1e-3)

    qtbot.waitUntil(caught_up, timeout=5000)
    assert 1 <= widget.probe.drawings < 8


def test_points_are_kept_compared_and_exported(inspect_in: Make, results: Results, tmp_path: Path) -> None:
    viewer, widget = inspect_in(results[2])
    widget.turn_to(1)
    grid = widget.session.inspection.trace.grid
    for voxel in ([6.0, 8.0], [20.0, 12.0]):
        mouse(viewer, viewer.mouse_drag_callbacks, widget.layers.to_viewer(grid.to_world(voxel)), "Shift")
    assert len(widget.probe.kept.points) == 2
    assert widget.probe.kept.table.rowCount() == 2
    assert len(widget.layers.find("pins").data) == 2
    target = tmp_path / "points.csv"
    widget.probe.kept.export(target)
    rows = list(csv.DictReader(target.open()))
    assert {row["point"] for row in rows} == {"P1", "P2"}
    last = [
        row
        for row in rows
        if row["point"] == "P1" and row["stage"] == widget.probe.kept.points[0].stages[-1].stage.title
    ]
    total = sum(float(row["part_x_mm"]) for row in last)
    assert total == pytest.approx(float(last[0]["displacement_x_mm"]), abs=1e-3)
    widget.probe.kept.table.selectRow(0)
    widget.probe.kept.remove_selected()
    assert len(widget.probe.kept.points) == 1
    widget.turn_to(0)
    assert widget.layers.find("pins") is None
    assert widget.layers.find("path") is None


def test_a_place_outside_the_image_keeps_the_last_point(inspect_in: Make, results: Results) -> None:
    _, widget = inspect_in(results[2])
    widget.turn_to(1)
    grid = widget.session.inspection.trace.grid
    widget.probe.probe_at(grid.to_world([6.0, 8.0]))
    before = widget.probe.current
    widget.probe.probe_at(grid.to_world([-50.0, 8.0]))
    assert widget.probe.current is before


# ---------------------------------------------------------------- networks that are no Residual Aligner Networks


def test_the_levels_of_a_pyramid_are_shown_without_what_it_lacks(
    inspect_in: Make, register_small: Callable[..., Any], qtbot: Any, tmp_path: Path, artifacts: Path
) -> None:
    card = ModelCard(name="dprn", preset="DPRn", ndim=2)
    weights = save_weights(create_system("DPRn", 2), tmp_path / "dprn.safetensors", card)
    viewer, widget = inspect_in(register_small(2, weights=str(weights)))
    assert [stage.title for stage in widget.session.inspection.stages][-2:] == ["Level 4", "Output"]
    widget.levels.choose(quantity="masks", stage=2)
    assert not widget.ablation.isEnabled()
    assert "Only the levels of a Residual Aligner Network" in widget.ablation.intro.text()
    widget.turn_to(1)
    place = widget.layers.to_viewer(widget.session.inspection.trace.grid.to_world([9.0, 9.0]))
    mouse(viewer, viewer.mouse_move_callbacks, place)
    qtbot.waitUntil(lambda: widget.probe.current is not None, timeout=5000)
    assert len(widget.probe.current.stages) == 6
    widget.seen()
    widget.grab().save(str(artifacts / "inspect-pyramid.png"))


# ---------------------------------------------------------------- ablation


def test_a_head_switched_off_changes_what_is_shown(inspect_in: Make, results: Results, qtbot: Any) -> None:
    _, widget = inspect_in(results[2])
    widget.turn_to(2)
    off = Ablation(heads=frozenset({(4, 0)}))
    widget.ablation.switch(off)
    assert widget.ablation.ablation == off
    qtbot.waitUntil(lambda: widget.ablation.latest is not None, timeout=20_000)
    widget.seen()
    inspection = widget.session.inspection
    assert inspection is not widget.whole.inspection
    expected = ablate(results[2].trace, off).output.field[0]
    output = next(stage.index for stage in inspection.stages if stage.kind == "output")
    np.testing.assert_allclose(inspection.get("field", output).data, expected, atol=1e-5)
    assert widget.levels.choice.quantity == "warped"
    assert "head 0 of level 4 off" in widget.title.text()
    assert "Similarity" in widget.ablation.outcome.text()
    widget.ablation.reset()
    qtbot.waitUntil(lambda: widget.session is widget.whole, timeout=5000)
    assert "off" not in widget.title.text()


def test_every_part_has_a_box(inspect_in: Make, results: Results) -> None:
    _, widget = inspect_in(results[2])
    config = results[2].trace.model.config
    levels = frozenset(range(config.levels))
    everything = Ablation(
        heads=frozenset((level, head) for level in levels for head in range(config.heads)),
        levels=levels,
        confidences=levels,
        previous_confidences=levels - {0},
        feedback=levels,
        output=True,
    )
    widget.ablation.switch(everything)
    assert widget.ablation.ablation == everything
    widget.ablation.stop()


def test_the_table_of_levels_can_be_cancelled_and_finished(
    inspect_in: Make, results: Results, qtbot: Any, tmp_path: Path
) -> None:
    _, widget = inspect_in(results[2])
    pane = widget.ablation
    pane.which.setCurrentIndex(1)
    pane.start_study()
    assert not pane.study_button.isEnabled()
    pane.cancel_study()
    assert pane.study_button.isEnabled()
    pane.start_study()
    qtbot.waitUntil(lambda: pane.study_button.isEnabled(), timeout=30_000)
    assert pane.study.complete
    assert pane.table.rowCount() == results[2].trace.model.config.levels
    pane.export(tmp_path / "table.csv")
    assert len((tmp_path / "table.csv").read_text().splitlines()) == pane.table.rowCount() + 1


# ---------------------------------------------------------------- separability


def test_the_pdf_is_measured_when_its_page_is_seen(
    inspect_in: Make, results: Results, qtbot: Any, tmp_path: Path
) -> None:
    _, widget = inspect_in(results[2])
    pane = widget.separability
    assert pane.found is None
    widget.turn_to(3)
    qtbot.waitUntil(lambda: pane.found is not None, timeout=30_000)
    expected = stage_separability(widget.session.inspection, len(widget.session.inspection.stages) - 1)
    np.testing.assert_array_equal(pane.found.counts, expected.counts)
    pane.light_up(((1, 4), (0, 1)))
    layer = widget.layers.find("pairs")
    assert len(layer.data) > 3
    grid = widget.session.inspection.trace.grid
    voxels = grid.to_voxel(np.stack([widget.layers.to_world(layer.data_to_world(p), 2) for p in layer.data[:, 0]]))
    np.testing.assert_allclose(voxels, np.round(voxels), atol=1e-3)
    pane.other_box.setCurrentIndex(1)
    pane.measure()
    qtbot.waitUntil(lambda: pane.change is not None, timeout=30_000)
    for name in ("pdf.csv", "pdf.png", "pdf.svg"):
        pane.export(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 500
    pane.plot.grab()


def test_slip_between_labels_and_its_errors(inspect_in: Make, results: Results, qtbot: Any) -> None:
    _, widget = inspect_in(results[2])
    pane = widget.separability.boundary
    pane.second_box.setCurrentIndex(0)
    pane.measure_labels()
    qtbot.waitUntil(lambda: pane.motion is not None, timeout=20_000)
    assert "slip" in pane.text.text()
    pane.measure_path()
    assert "shapes layer" in widget.message.text.text()


def test_dragging_over_the_plot_chooses_cells(inspect_in: Make, results: Results, qtbot: Any) -> None:
    from qtpy.QtCore import QPoint, Qt

    _, widget = inspect_in(results[2])
    widget.turn_to(3)
    pane = widget.separability
    qtbot.waitUntil(lambda: pane.found is not None, timeout=30_000)
    chosen: list[Any] = []
    pane.plot.brushed.connect(chosen.append)
    start = pane.plot.axes.point(2, 1).toPoint()
    qtbot.mousePress(pane.plot, Qt.MouseButton.LeftButton, pos=start)
    qtbot.mouseMove(pane.plot, pane.plot.axes.point(4, 3).toPoint())
    qtbot.mouseRelease(pane.plot, Qt.MouseButton.LeftButton, pos=pane.plot.axes.point(4, 3).toPoint() + QPoint(0, 0))
    assert chosen == [((2, 4), (1, 3))]


# ---------------------------------------------------------------- design


def test_the_layout_editor_shows_what_follows(inspect_in: Make, qtbot: Any) -> None:
    _, widget = inspect_in()
    pane = widget.theory
    qtbot.waitUntil(lambda: "Parameters" in pane.figures.text(), timeout=30_000)
    assert "730,401" in pane.figures.text()
    before = pane.table.item(0, 2).text()
    pane.table.cellWidget(0, 1).setValue(8)
    assert float(pane.table.item(0, 2).text()) > float(before)
    assert pane.config.dilations[0] == 8
    pane.table.cellWidget(1, 0).setValue(3)
    assert pane.config is None
    assert "Pools" in pane.problem.text()
    assert pane.table.item(0, 2).text() == ""
    pane.preset_box.setCurrentIndex(pane.preset_box.findData("RAN4+"))
    pane._preset_chosen(0)
    assert pane.config == RANConfig.preset("RAN4+")


# ---------------------------------------------------------------- other tools' fields, filmstrip


def test_a_field_layer_of_another_tool_is_inspected(inspect_in: Make, qtbot: Any) -> None:
    viewer, widget = inspect_in()
    grid = ran.Grid((9, 8, 7), np.diag([2.0, 1.0, 1.5, 1.0]))
    ours = np.random.default_rng(0).normal(size=(3, *grid.shape)).astype(np.float32)
    theirs = ours[::-1].transpose(0, 3, 2, 1)
    affine = np.eye(5)
    affine[1:, 1:] = napari_affine(grid)
    viewer.add_image(theirs, affine=affine, name="their field")
    dialog = FieldDialog(viewer)
    qtbot.addWidget(dialog)
    assert dialog.field_box.currentText() == "their field"
    widget.open_field(dialog)
    qtbot.waitUntil(lambda: widget.session is not None, timeout=20_000)
    widget.seen()
    inspection = widget.session.inspection
    np.testing.assert_allclose(inspection.get("field", 0).data, ours, atol=1e-6)
    assert inspection.get("field", 0).grid == grid
    assert "without the levels" in widget.note.text()
    assert not widget.ablation.isEnabled()
    names = {quantity.name for quantity in inspection.quantities}
    assert names == {"field", "jacobian"}
    in_mm = field_from_layer(theirs, napari_affine(grid), "mm")
    np.testing.assert_allclose(in_mm.tensor[0], ours[0] / 2, atol=1e-6)


def test_a_field_file_of_another_tool_is_inspected_with_its_images(
    inspect_in: Make, results: Results, qtbot: Any, tmp_path: Path
) -> None:
    """FSL's needs the grid of the moving image, which its layer says."""
    result = results[3]
    path = save_field(result.field, tmp_path / "warp.nii.gz", "fsl", moving=result.moving.grid)
    viewer, widget = inspect_in()
    for name in ("fixed", "moving"):
        data, kwargs, _ = to_layer_data(getattr(result, name))
        viewer.add_image(data, **kwargs | {"name": name})
    dialog = FieldDialog(viewer)
    qtbot.addWidget(dialog)
    dialog.choose_file(path)
    widget.open_field(dialog)
    qtbot.waitUntil(lambda: widget.session is not None, timeout=20_000)
    found = widget.session.inspection.get("field", 0)
    np.testing.assert_allclose(found.data, result.field.tensor, atol=2e-3)


def test_no_field_chosen_is_said(inspect_in: Make, qtbot: Any) -> None:
    viewer, widget = inspect_in()
    dialog = FieldDialog(viewer)
    qtbot.addWidget(dialog)
    widget.open_field(dialog)
    assert "No field is chosen" in widget.message.text.text()


def test_the_filmstrip_is_drawn_and_saved(inspect_in: Make, results: Results, qtbot: Any, tmp_path: Path) -> None:
    _, widget = inspect_in(results[3])
    widget.draw_filmstrip()
    assert not widget.levels.filmstrip.isEnabled()
    qtbot.waitUntil(lambda: widget.film is not None, timeout=30_000)
    widget.film.save(tmp_path / "strip.png")
    assert (tmp_path / "strip.png").stat().st_size > 10_000
    widget.film.close()


# ---------------------------------------------------------------- coming and going


def test_the_register_widget_leads_to_inspect(widget_in: Make, results: Results, qtbot: Any) -> None:
    viewer, widget = widget_in()
    button = widget.outcome.inspect_button
    assert not button.isEnabled()
    with qtbot.waitSignal(widget.placer.done, timeout=20_000):
        widget._on_finished(Finished(results[2], []))
    button.click()
    inspect = next(found for found in viewer.window.dock_widgets.values() if isinstance(found, InspectWidget))
    assert inspect.session.inspection.trace is results[2].trace
    qtbot.waitUntil(lambda: inspect.layers.find("ground") is not None, timeout=20_000)
    with qtbot.waitSignal(widget.placer.done, timeout=20_000):
        widget._on_finished(Finished(results[3], []))
    assert inspect.session.inspection.trace is results[3].trace  # a new result is shown at once
    inspect.shut()


def test_closing_the_viewer_in_mid_run_hurts_nobody(inspect_in: Make, results: Results, qtbot: Any) -> None:
    viewer, widget = inspect_in(results[3])
    widget.draw_filmstrip()
    widget.ablation.start_study()
    widget.ablation.switch(Ablation(levels=frozenset({3})))
    widget.levels.choose(quantity="field", style="contours", stage=1)
    tasks = [worker.current.task for worker in widget.findChildren(Worker) if worker.task is not None]
    assert len(tasks) > 1
    viewer.close()
    for task in tasks:
        task.join(20)
        assert not task.running
    qtbot.wait(50)  # what they still say reaches nobody


def test_layers_deleted_while_probing_come_back(inspect_in: Make, results: Results, qtbot: Any) -> None:
    viewer, widget = inspect_in(results[2])
    widget.turn_to(1)
    grid = widget.session.inspection.trace.grid
    widget.probe.probe_at(grid.to_world([6.0, 8.0]))
    widget.probe.pin()
    viewer.layers.clear()
    widget.probe.probe_at(grid.to_world([9.0, 8.0]))
    qtbot.waitUntil(lambda: widget.layers.find("path") is not None, timeout=5000)
