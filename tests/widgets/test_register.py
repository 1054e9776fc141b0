"""The Register widget, from its form to its files; long, as every test works on the same docked widget and pair."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qtpy.QtWidgets import QLabel

import napari_ran as ran
from napari_ran.io import load_field
from napari_ran.io.layers import to_layer_data
from napari_ran.widgets._layers import Look, own_result, own_results, place_layer, placed
from napari_ran.widgets.register import RegisterWidget
from napari_ran.widgets.registering import work
from napari_ran.widgets.registering.export import ExportDialog
from napari_ran.widgets.registering.pages import LABELS, PLAIN
from napari_ran.widgets.registering.results import RESULTS

Made = tuple[Any, RegisterWidget]
MATRIX_3D = np.array([[1.1, 0.2, 0, 5], [-0.2, 1.0, 0.3, -7], [0.1, -0.2, 2.0, 11], [0, 0, 0, 1]])


def blobs(grid: ran.Grid, shift: float) -> Any:
    """A picture with structure at every place, moved along the first axis by so many voxels."""
    x = np.indices(grid.shape).astype(float)
    wave = np.sin((x[0] + shift) / 2.5) * np.cos(x[1] / 2.2)
    return (100 * (wave * (np.cos(x[2] / 3) if grid.ndim == 3 else 1))).astype(np.float32)


def add_pair(viewer: Any, ndim: int = 2) -> None:
    """Add a small pair of images with labels and points, on an oblique grid in 3-D."""
    grid = ran.Grid.from_spacing((26, 22), (1.5, 1.0)) if ndim == 2 else ran.Grid((18, 16, 12), MATRIX_3D)
    labels = np.zeros(grid.shape, np.int32)
    labels[(slice(4, 10),) * ndim] = 3
    points = grid.to_world(np.array([[5.0] * ndim, [8.0] * ndim, [6.0] * (ndim - 1) + [9.0]]))
    for value in (
        ran.Image(blobs(grid, 0), grid, "fixed"),
        ran.Image(blobs(grid, 1.0), grid, "moving"),
        ran.Labels(labels, grid, "fixed organs"),
        ran.Labels(np.roll(labels, -1, 0), grid, "moving organs"),
        ran.Landmarks(points, "fixed points"),
        ran.Landmarks(points - grid.affine[:ndim, 0], "moving points"),
    ):
        data, kwargs, kind = to_layer_data(value)
        getattr(viewer, f"add_{kind}")(data, **kwargs)


QUICK = ran.RegistrationConfig(
    weights="none", device="cpu", affine="none", instance=ran.InstanceConfig(levels=1, steps=8, search=1)
)


@pytest.fixture
def docked(widget_in: Callable[..., Made]) -> Made:
    viewer, widget = widget_in()
    widget.form.set(QUICK)
    return viewer, widget


@pytest.fixture
def bare(widget_in: Callable[..., Made], viewer: Any) -> Made:
    """The widget for what is not drawn: its viewer has no window."""
    _, widget = widget_in(viewer)
    widget.form.set(QUICK)
    return viewer, widget


def run(widget: RegisterWidget, qtbot: Any) -> None:
    """Register, and wait for the layers."""
    with qtbot.waitSignal(widget.placer.done, timeout=60_000):
        widget.register()
        assert not widget.register_button.isEnabled()
        assert widget.cancel_button.isEnabled()


def results(viewer: Any) -> dict[str, Any]:
    return {key: layer for layer in viewer.layers if (key := own_result(layer)) is not None}


class Gate:
    """Lets the test decide when a run goes on after its first step of the instance optimisation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stage: str = "instance") -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        original = ran.Run.__iter__
        gate = self

        def gated(self: ran.Run) -> Iterator[ran.Event]:
            for event in original(self):
                yield event
                if event.stage == stage:
                    gate.reached.set()
                    gate.open.wait(20)

        monkeypatch.setattr(ran.Run, "__iter__", gated)


@pytest.fixture
def gated(docked: Made, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gate]:
    """Register a pair as far as the first step of a stage; what it returns lets the run go on."""

    def start(stage: str = "instance") -> Gate:
        viewer, widget = docked
        add_pair(viewer)
        gate = Gate(monkeypatch, stage)
        widget.register()
        qtbot.waitUntil(gate.reached.is_set, timeout=20_000)
        return gate

    return start


def test_the_form_shows_the_configs_defaults(widget_in: Callable[..., Made], viewer: Any) -> None:
    _, widget = widget_in(viewer)
    assert widget.form.get() == ran.RegistrationConfig(keep_levels=True)
    assert set(PLAIN) | set(LABELS) <= set(widget.form.editors)
    assert "CPU" in widget.form.editors["device"].itemText(0) or "GPU" in widget.form.editors["device"].itemText(0)


def test_a_fresh_widget_says_what_to_do(widget_in: Callable[..., Made], viewer: Any) -> None:
    _, widget = widget_in(viewer)
    assert "Open two images" in widget.progress.status.text()
    add_pair(viewer)
    assert widget.progress.status.text() == ""


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_pair_becomes_layers_in_world_coordinates(docked: Made, qtbot: Any, ndim: int, artifacts: Path) -> None:
    viewer, widget = docked
    add_pair(viewer, ndim)
    run(widget, qtbot)
    made = results(viewer)
    assert set(made) == {kind.key for kind in RESULTS}
    assert [key for key, layer in made.items() if layer.visible] == ["warped"]
    fixed = viewer.layers["fixed"]
    for key in ("warped", "checkerboard", "difference", "magnitude", "grid", "jacobian", "consistency", "labels"):
        np.testing.assert_allclose(made[key].affine.affine_matrix, fixed.affine.affine_matrix, atol=1e-9)
        assert made[key].units == fixed.units
        assert made[key].data.shape == fixed.data.shape
    assert widget.result is not None
    np.testing.assert_allclose(made["warped"].data, widget.result.warped.array.T, atol=1e-4)
    np.testing.assert_allclose(made["warped"].contrast_limits, viewer.layers["moving"].contrast_limits)
    report = widget.result.report
    assert report.similarity_after > report.similarity_before
    assert report.dice_mean_after is not None
    assert report.tre_after is not None
    assert widget.outcome.table.rowCount() == len(report.table()) + 1
    assert widget.plot.steps > 0
    assert widget.register_button.isEnabled()
    assert viewer.layers.selection.active is made["warped"]
    viewer.screenshot(str(artifacts / f"result_{ndim}d.png"), canvas_only=False, flash=False)


def test_a_second_run_replaces_the_layers_and_keeps_the_users_changes(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    add_pair(viewer)
    run(widget, qtbot)
    before, count = results(viewer), len(viewer.layers)
    old = before["warped"].data.copy()
    before["warped"].contrast_limits = (-20, 30)
    before["magnitude"].visible = True
    before["vectors"].edge_width = 0.7
    before["jacobian"].name = "my determinant"
    widget.form.editors["instance.mode"].setCurrentIndex(widget.form.editors["instance.mode"].findData("none"))
    run(widget, qtbot)
    after = results(viewer)
    assert len(viewer.layers) == count
    assert all(after[key] is before[key] for key in before)
    assert tuple(after["warped"].contrast_limits) == (-20, 30)
    assert after["magnitude"].visible
    assert after["vectors"].edge_width == 0.7
    assert after["jacobian"].name == "my determinant"
    assert not np.allclose(after["warped"].data, old)
    np.testing.assert_allclose(after["magnitude"].data, 0, atol=1e-6)
    np.testing.assert_allclose(after["magnitude"].contrast_limits, (0, 1e-3))  # untouched: follows the new values


def test_results_that_are_not_wanted_are_not_made_and_old_ones_go(bare: Made, qtbot: Any) -> None:
    viewer, widget = bare
    add_pair(viewer)
    run(widget, qtbot)
    for key in ("vectors", "grid", "jacobian"):
        widget.setup.result_boxes[key].setChecked(False)
    run(widget, qtbot)
    assert set(results(viewer)) == {kind.key for kind in RESULTS} - {"vectors", "grid", "jacobian"}


def test_a_copy_of_a_result_belongs_to_the_user(bare: Made, qtbot: Any) -> None:
    import napari

    viewer, widget = bare
    add_pair(viewer)
    run(widget, qtbot)
    original = results(viewer)["warped"]
    copy = napari.layers.Layer.create(*original.as_layer_data_tuple())
    copy.name = "kept"
    viewer.add_layer(copy)
    data = copy.data
    widget.form.editors["instance.mode"].setCurrentIndex(widget.form.editors["instance.mode"].findData("none"))
    run(widget, qtbot)
    assert own_result(copy) is None
    assert copy in viewer.layers
    assert copy.data is data
    assert results(viewer)["warped"] is original


def test_a_pair_of_another_dimension_takes_the_places(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    add_pair(viewer, 2)
    run(widget, qtbot)
    for layer in [layer for layer in viewer.layers if own_result(layer) is None]:
        viewer.layers.remove(layer)
    add_pair(viewer, 3)
    run(widget, qtbot)
    assert {layer.ndim for layer in results(viewer).values()} == {3}
    assert len(results(viewer)) == len(RESULTS)


def test_layers_without_units_stay_without(bare: Made, qtbot: Any) -> None:
    viewer, widget = bare
    grid = ran.Grid.from_spacing((26, 22), 1.0)
    viewer.add_image(blobs(grid, 0), name="one")
    viewer.add_image(blobs(grid, 1), name="two")
    run(widget, qtbot)
    assert {str(unit) for layer in viewer.layers for unit in layer.units} == {"pixel"}
    extent = viewer.layers["one"].extent.world
    np.testing.assert_allclose(results(viewer)["warped"].extent.world, extent)


def test_micrometres_are_understood(bare: Made, qtbot: Any) -> None:
    viewer, widget = bare
    grid = ran.Grid.from_spacing((26, 22), 1.0)
    for name, shift in (("one", 0), ("two", 1)):
        viewer.add_image(blobs(grid, shift), name=name, scale=(500, 500), units=("um", "um"))
    run(widget, qtbot)
    assert widget.result is not None
    np.testing.assert_allclose(widget.result.fixed.grid.spacing, 0.5)
    np.testing.assert_allclose(results(viewer)["warped"].extent.world, viewer.layers["one"].extent.world)


def chosen(viewer: Any, widget: RegisterWidget, fixed: str, moving: str) -> str:
    """Choose, register, and return the message."""
    widget.choices.choose("fixed", viewer.layers[fixed])
    widget.choices.choose("moving", viewer.layers[moving])
    widget.register()
    return str(widget.message.text.text())


def test_the_same_layer_twice_is_refused(bare: Made) -> None:
    viewer, widget = bare
    add_pair(viewer)
    message = chosen(viewer, widget, "fixed", "fixed")
    assert "Moving image" in message
    assert "Choose two different layers" in message
    assert not widget.message.isHidden()
    assert widget.register_button.isEnabled()


def test_a_colour_image_is_refused(bare: Made) -> None:
    viewer, widget = bare
    add_pair(viewer)
    viewer.add_image(np.random.default_rng(0).random((20, 20, 3)), rgb=True, name="photo")
    message = chosen(viewer, widget, "fixed", "photo")
    assert "colour (RGB)" in message
    assert "Split RGB" in message


def test_no_image_is_refused(bare: Made) -> None:
    _, widget = bare
    widget.register()
    assert "no image is chosen" in widget.message.text.text().lower()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("flat", np.ones((20, 20)), "same value"),
        ("holes", np.where(np.eye(20) > 0, np.nan, 1.0), "NaN"),
    ],
)
def test_bad_images_are_refused_in_words(bare: Made, qtbot: Any, name: str, data: Any, said: str) -> None:
    viewer, widget = bare
    add_pair(viewer)
    viewer.add_image(data, name=name, contrast_limits=(0, 1))
    with qtbot.waitSignal(widget.worker.failed, timeout=20_000) as signal:
        chosen(viewer, widget, "fixed", name)
    assert isinstance(signal.args[0], ran.InputError)
    assert said in widget.message.text.text()
    assert "Traceback" not in widget.message.text.text()
    assert widget.register_button.isEnabled()
    assert not results(viewer)


def test_labels_of_another_grid_are_refused(bare: Made, qtbot: Any) -> None:
    viewer, widget = bare
    add_pair(viewer)
    viewer.add_labels(np.ones((5, 5), int), name="elsewhere")
    widget.choices.choose("moving_labels", viewer.layers["elsewhere"])
    with qtbot.waitSignal(widget.worker.failed, timeout=20_000):
        widget.register()
    assert "Moving labels" in widget.message.text.text()


def test_an_error_of_the_program_is_shown_too(bare: Made, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, widget = bare
    add_pair(viewer)
    monkeypatch.setattr(work.ran, "start", lambda *args, **kwargs: 1 / 0)
    with qtbot.waitSignal(widget.worker.failed, timeout=20_000):
        widget.register()
    assert "ZeroDivisionError" in widget.message.text.text()
    assert widget.register_button.isEnabled()


def test_cancel_keeps_the_best_field_so_far(docked: Made, qtbot: Any, gated: Callable[..., Gate]) -> None:
    viewer, widget = docked
    gate = gated()
    with qtbot.waitSignal(widget.placer.done, timeout=20_000):
        widget.cancel()
        gate.open.set()
    assert widget.result is not None
    assert not widget.result.report.complete
    assert "warped" in results(viewer)
    assert "Stopped early" in widget.progress.status.text()


def test_cancel_gives_the_gui_back_within_a_second_and_shows_the_late_result(
    docked: Made, qtbot: Any, gated: Callable[..., Gate]
) -> None:
    viewer, widget = docked
    gate = gated()
    qtbot.waitUntil(lambda: widget._stage == "instance", timeout=5000)
    widget.cancel()
    qtbot.waitUntil(widget.register_button.isEnabled, timeout=1000)
    assert "appears as soon as" in widget.progress.status.text()
    with qtbot.waitSignal(widget.placer.done, timeout=20_000):
        gate.open.set()
    assert "warped" in results(viewer)


def test_cancel_before_anything_was_found_leaves_nothing(docked: Made, qtbot: Any, gated: Callable[..., Gate]) -> None:
    viewer, widget = docked
    gate = gated("preprocess")
    task = widget.worker.task
    widget.cancel()
    qtbot.waitUntil(widget.register_button.isEnabled, timeout=1000)
    assert "before anything was found" in widget.progress.status.text()
    gate.open.set()
    task.join(20)
    qtbot.wait(100)
    assert not results(viewer)
    assert widget.result is None


def test_closing_the_dock_mid_run_stops_the_thread(docked: Made, qtbot: Any, gated: Callable[..., Gate]) -> None:
    viewer, widget = docked
    gate = gated()
    task = widget.worker.task
    viewer.window.remove_dock_widget(widget)
    assert widget.worker.task is None
    gate.open.set()
    task.join(20)
    assert not task.running
    viewer.layers["fixed"].name = "renamed"  # nobody listens any more
    assert not results(viewer)
    viewer.window.add_dock_widget(widget, name="again")
    assert "renamed" in [widget.choices.boxes["fixed"].itemText(i) for i in range(2)]


def test_closing_the_viewer_mid_run_stops_the_thread(docked: Made, qtbot: Any, gated: Callable[..., Gate]) -> None:
    viewer, widget = docked
    gate = gated()
    task = widget.worker.task
    viewer.close()
    qtbot.wait(50)
    assert task.dropped.is_set()
    gate.open.set()
    task.join(20)
    assert not task.running


def test_settings_round_trip_through_a_file(bare: Made, tmp_path: Path) -> None:
    _, widget = bare
    widget.form.editors["spacing"].setValue(1.25)
    widget.save_settings(tmp_path / "settings.yaml")
    wanted = widget.form.get()
    assert ran.RegistrationConfig.from_yaml(tmp_path / "settings.yaml") == wanted
    widget.form.set(ran.RegistrationConfig())
    widget.message.show()
    widget.setup.files.load(tmp_path / "settings.yaml")
    assert widget.message.isHidden()
    assert widget.progress.status.text() == f"Settings loaded from {tmp_path / 'settings.yaml'}."
    assert widget.form.get() == wanted
    assert wanted.spacing == 1.25


def test_a_bad_settings_file_is_refused_and_the_form_stays(bare: Made, tmp_path: Path) -> None:
    _, widget = bare
    before = widget.form.get()
    (tmp_path / "bad.yaml").write_text("spacin: 2\n")
    widget.setup.files.load(tmp_path / "bad.yaml")
    assert "Did you mean" in widget.message.text.text()
    assert widget.form.get() == before


def test_the_result_is_saved(bare: Made, qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = bare
    add_pair(viewer)
    assert not widget.outcome.save_button.isEnabled()
    run(widget, qtbot)
    assert widget.outcome.save_button.isEnabled()
    with qtbot.waitSignal(widget.saver.finished, timeout=30_000):
        widget.save(tmp_path / "out")
        assert not widget.outcome.export_button.isEnabled()  # it would end the saving
    assert widget.outcome.export_button.isEnabled()
    assert {"warped.nii.gz", "report.json", "settings.yaml"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert "Saved to" in widget.progress.status.text()


def test_an_image_that_was_moved_by_hand_is_named_where_its_transform_is_exported(
    docked: Made, qtbot: Any, tmp_path: Path, artifacts: Path
) -> None:
    viewer, widget = docked
    grid = ran.Grid((18, 16, 12), MATRIX_3D)
    for name, shift in (("fixed", 0.0), ("moving", 1.0)):
        path = ran.io.save_image(ran.Image(blobs(grid, shift), grid), tmp_path / f"{name}.nii.gz")
        viewer.open(path, plugin="napari-ran")
    viewer.layers["moving"].affine = [[1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] @ np.asarray(
        viewer.layers["moving"].affine.affine_matrix
    )
    run(widget, qtbot)
    (said,) = [text for text in widget.result.report.messages if "where its file says" in text]
    assert "'moving'" in said
    assert "4 mm away" in said
    assert said in widget.outcome.notes.text()
    dialog = ExportDialog(widget.result.field.grid.ndim, widget._notes)
    qtbot.addWidget(dialog)
    dialog.grab().save(str(artifacts / "export-moved.png"))
    assert said in [label.text() for label in dialog.findChildren(QLabel)]


def test_the_transform_is_exported_for_another_tool(
    bare: Made, qtbot: Any, tmp_path: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, widget = bare
    add_pair(viewer)
    assert not widget.outcome.export_button.isEnabled()
    run(widget, qtbot)
    dialog = ExportDialog(widget.result.field.grid.ndim)
    qtbot.addWidget(dialog)
    dialog.format_box.setCurrentIndex(dialog.format_box.findData("ants"))
    assert "antsApplyTransforms" in dialog.help.text()
    dialog.grab().save(str(artifacts / "export.png"))
    dialog.direction_box.setCurrentIndex(1)
    monkeypatch.setattr(ExportDialog, "exec", lambda self: True)
    chosen = {"ants": tmp_path / "1Warp.nii.gz"}
    monkeypatch.setattr(ExportDialog, "ask_where", lambda self: chosen.get(self.format, tmp_path / "field.h5"))
    with qtbot.waitSignal(widget.saver.finished, timeout=30_000):
        widget.outcome.export_button.click()
    found = load_field(tmp_path / "field.h5")
    assert torch.allclose(found.tensor, widget.result.field.tensor, atol=1e-3)
    assert "Saved to" in widget.progress.status.text()
    with qtbot.waitSignal(widget.saver.finished, timeout=30_000):
        widget.export(chosen["ants"], dialog.format, dialog.inverse)
    assert torch.allclose(load_field(chosen["ants"]).tensor, widget.result.inverse_field.tensor, atol=1e-3)
    with qtbot.waitSignal(widget.saver.failed, timeout=30_000):
        widget.export(tmp_path / "nowhere" / "field.h5", "itk")
    assert "does not exist" in widget.message.text.text()
    assert widget.outcome.export_button.isEnabled()


def test_a_new_result_leaves_the_layers_of_other_widgets(bare: Made, qtbot: Any) -> None:
    viewer, widget = bare
    add_pair(viewer)
    run(widget, qtbot)
    fixed = widget.result.fixed
    layer = placed(to_layer_data(fixed), "compare-demons", Look.of_images(fixed, fixed))
    other = place_layer(viewer, "compare-demons", layer)
    widget.setup.result_boxes["difference"].setChecked(False)
    run(widget, qtbot)
    assert other in viewer.layers
    assert "difference" not in own_results(viewer)


def test_a_layer_that_napari_refuses_is_said_and_the_next_run_works(
    bare: Made, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, widget = bare
    add_pair(viewer)

    def refuse(*_: Any) -> None:
        raise RuntimeError("no room on the graphics card")

    with monkeypatch.context() as patch, qtbot.waitSignal(widget.placer.failed, timeout=30_000):
        patch.setattr("napari_ran.widgets.registering.results.place_layer", refuse)
        widget.register()
    assert "no room on the graphics card" in widget.message.text.text()
    assert widget.register_button.isEnabled()
    run(widget, qtbot)
    assert "warped" in [own_result(layer) for layer in viewer.layers]


def test_a_folder_that_cannot_be_written_is_named(bare: Made, qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = bare
    add_pair(viewer)
    run(widget, qtbot)
    (tmp_path / "file").write_text("in the way")
    with qtbot.waitSignal(widget.saver.failed, timeout=30_000):
        widget.save(tmp_path / "file" / "out")
    assert "could not be written" in widget.message.text.text()
    assert widget.outcome.save_button.isEnabled()


def test_the_theme_is_followed(docked: Made) -> None:
    viewer, widget = docked
    viewer.theme = "dark"
    before = widget.message.styleSheet()
    viewer.theme = "light"
    assert widget.message.styleSheet() != before


def test_the_plugin_menu_makes_the_widget(make_napari_viewer: Callable[..., Any]) -> None:
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-ran", "Register (RAN)")
    assert isinstance(widget, RegisterWidget)


def test_masks_are_found_by_their_names_and_reach_the_registration(bare: Made, qtbot: Any) -> None:
    viewer, widget = bare
    add_pair(viewer)
    fixed, moving = (widget.choices.layer(side) for side in ("fixed", "moving"))
    assert widget.choices.layer("fixed_mask") is None
    values = np.ones(fixed.data.shape, dtype=int)
    mask = viewer.add_labels(
        values, name="fixed mask", affine=fixed.affine, scale=fixed.scale, translate=fixed.translate
    )
    assert widget.choices.layer("fixed_mask") is mask
    assert widget.choices.layer("fixed_labels") is not mask
    mask.data = np.zeros_like(values)
    widget.register()
    qtbot.waitUntil(lambda: widget.message.isVisibleTo(widget), timeout=20_000)
    assert "The mask is empty" in widget.message.text.text()
    assert "Fixed mask" in widget.message.text.text()
    mask.data = values
    run(widget, qtbot)
    assert widget.result is not None
    widget.choices.swap()
    assert widget.choices.layer("moving_mask") is mask
    assert widget.choices.layer("moving") is fixed
    assert moving is widget.choices.layer("fixed")


def test_rigid_regions_and_a_saved_start_reach_the_registration(bare: Made, qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = bare
    add_pair(viewer)
    fixed = widget.choices.layer("fixed")
    values = np.zeros(fixed.data.shape, dtype=int)
    values[tuple(slice(n // 3, n // 2) for n in values.shape)] = 4
    layer = viewer.add_labels(
        values, name="rigid bones", affine=fixed.affine, scale=fixed.scale, translate=fixed.translate
    )
    assert widget.choices.layer("rigid_regions") is layer
    assert widget.choices.layer("fixed_labels") is not layer
    run(widget, qtbot)
    assert "Region 4 moved rigidly" in widget.outcome.notes.text()
    folder = widget.result.save(tmp_path / "first")
    widget.setup.initial.setText(str(folder))
    run(widget, qtbot)
    assert "the initial transform takes its place" in widget.outcome.notes.text()
    widget.setup.initial.setText(str(tmp_path / "nowhere"))
    widget.register()
    qtbot.waitUntil(lambda: widget.message.isVisibleTo(widget), timeout=20_000)
    assert "Start from" in widget.message.text.text()


def test_a_layer_that_was_moved_by_hand_is_registered_from_there(bare: Made, qtbot: Any) -> None:
    """What napari's Transform mode does to a layer, its affine, is where the registration begins."""
    viewer, widget = bare
    add_pair(viewer)
    moving = widget.choices.layer("moving")
    before = np.asarray(moving.affine.affine_matrix)
    turned = np.eye(len(before))
    turned[:-1, -1] = 4.0
    moving.affine = turned @ before
    widget.form.set(ran.RegistrationConfig(weights="none", affine="none", instance="none"))
    widget.choices.choose("moving_labels", None)  # they stayed behind
    run(widget, qtbot)
    result = widget.result
    assert result is not None
    shown = np.asarray(moving.affine.affine_matrix)
    np.testing.assert_allclose(np.abs(result.moving.grid.affine[:-1, -1][::-1]), np.abs(shown[:-1, -1]), atol=1e-3)
    np.testing.assert_allclose(result.affine, np.eye(len(before)), atol=1e-9)
