"""The Apply widget in a real viewer: layers follow transforms of this and of other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

import napari_ran as ran
from napari_ran.io.layers import to_layer_data
from napari_ran.widgets.apply import ApplyWidget
from napari_ran.widgets.inspection.recent import recent_of

SHAPE, SPACING = (20, 18, 16), 2.0
SHIFT = 3
"""Fixed points look so many voxels further along x."""

Made = tuple[Any, ApplyWidget]


def shifted(shape: tuple[int, ...] = SHAPE) -> ran.Transform:
    """A transform that shifts by whole voxels, so that what comes out is known."""
    displacement = np.zeros((len(shape), *shape), np.float32)
    displacement[0] = SHIFT
    return ran.Transform(ran.DisplacementField(displacement, ran.Grid.from_spacing(shape, SPACING)))  # type: ignore[arg-type]


@pytest.fixture
def docked(dock: Callable[..., Made]) -> Made:
    return dock(ApplyWidget)


def moving_image(viewer: Any, name: str = "moving", shape: tuple[int, ...] = SHAPE) -> Any:
    values = np.random.default_rng(1).uniform(size=shape).astype(np.float32)
    data, kwargs, _ = to_layer_data(ran.Image(values, ran.Grid.from_spacing(shape, SPACING), name))  # type: ignore[arg-type]
    return viewer.add_image(data, **kwargs)


def open_file(widget: ApplyWidget, qtbot: Any, path: Path) -> None:
    widget.source.choose(path)
    qtbot.waitUntil(lambda: widget.source.reader.task is None, timeout=20_000)


def apply(widget: ApplyWidget, qtbot: Any, *layers: Any) -> None:
    widget.layers.tick(*layers)
    assert widget.run_button.isEnabled()
    qtbot.mouseClick(widget.run_button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: widget.runner.task is None, timeout=30_000)


@pytest.mark.parametrize("name", ["1Warp.nii.gz", "field.h5", "field.mha"])
def test_files_of_other_tools_carry_an_image(docked: Made, qtbot: Any, tmp_path: Path, name: str) -> None:
    viewer, widget = docked
    layer = moving_image(viewer)
    open_file(widget, qtbot, shifted().save(tmp_path / name))
    assert "20 × 18 × 16 voxels of 2 mm" in widget.source.info.text()
    apply(widget, qtbot, layer)
    made = viewer.layers["moving applied"]
    np.testing.assert_allclose(made.data[..., :-SHIFT], layer.data[..., SHIFT:], atol=1e-4)
    np.testing.assert_allclose(made.affine.affine_matrix, layer.affine.affine_matrix)
    assert viewer.layers.index(made) == viewer.layers.index(layer) + 1
    assert not layer.visible
    assert widget.progress.status.text() == "Done: 1 layer made."


def test_everything_that_napari_draws_follows(docked: Made, qtbot: Any, tmp_path: Path) -> None:
    """Points of the moving image travel against the shift: it says where fixed points look."""
    viewer, widget = docked
    image = moving_image(viewer)
    place = {"affine": image.affine, "units": image.units}
    labels = viewer.add_labels((image.data > 0.5).astype(np.uint8), name="organs", **place)
    labels.contour = 1
    series = viewer.add_image(np.stack([image.data, image.data + 1]), scale=(5, 2, 2, 2), name="beat")
    points = viewer.add_points(np.array([[4.0, 5.0, 9.0], [8.0, 9.0, 10.0]]), name="marks", **place)
    shapes = viewer.add_shapes(
        np.array([[4, 5, 9], [4, 9, 9], [4, 9, 12.0]]), shape_type="polygon", name="roi", **place
    )
    surface = viewer.add_surface((points.data[[0, 1, 1]] + np.eye(3), np.array([[0, 1, 2]])), name="skin", **place)
    open_file(widget, qtbot, shifted().save(tmp_path / "field.h5"))
    apply(widget, qtbot, image, labels, series, points, shapes, surface)
    assert not widget.message.isVisible()
    found = {layer.name.removesuffix(" applied"): layer for layer in viewer.layers if layer.name.endswith("applied")}
    np.testing.assert_array_equal(found["organs"].data[..., :-SHIFT], labels.data[..., SHIFT:])
    assert (found["organs"].data.dtype, found["organs"].contour) == (np.uint8, 1)
    np.testing.assert_allclose(found["beat"].data[1], found["beat"].data[0] + 1, atol=1e-5)
    for name, layer in (("marks", points.data), ("roi", shapes.data[0])):
        now = found[name].data if name == "marks" else found[name].data[0]
        np.testing.assert_allclose(now, layer - [0, 0, SHIFT], atol=1e-3)
    np.testing.assert_allclose(found["skin"].data[0], surface.data[0] - [0, 0, SHIFT], atol=1e-3)
    assert widget.progress.status.text() == "Done: 6 layers made."


def test_the_last_registration_of_the_viewer_is_taken(docked: Made, results: dict[int, Any], qtbot: Any) -> None:
    viewer, widget = docked
    assert widget.source.transform is None
    assert not widget.run_button.isEnabled()
    result = results[2]
    for value in (result.fixed, result.moving):
        data, kwargs, _ = to_layer_data(value)
        viewer.add_image(data, **kwargs)
    recent_of(viewer).put(result)
    assert "both directions known" in widget.source.info.text()
    apply(widget, qtbot, viewer.layers["moving"])
    np.testing.assert_allclose(viewer.layers["moving applied"].data, to_layer_data(result.warped)[0], atol=1e-3)
    widget.direction.setCurrentIndex(1)
    assert widget.choices.boxes["grid"].itemText(0) == "the moving image's"
    apply(widget, qtbot, viewer.layers["fixed"])
    expected = ran.Transform.of(result).opposite().apply(result.fixed)
    np.testing.assert_allclose(viewer.layers["fixed applied"].data, to_layer_data(expected)[0], atol=1e-3)


def test_voxels_come_out_on_another_grid(docked: Made, qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = docked
    layer = moving_image(viewer)
    data, kwargs, _ = to_layer_data(
        ran.Image(np.zeros((10, 9, 8), np.float32), ran.Grid.from_spacing((10, 9, 8), 4.0), "c")
    )  # type: ignore[arg-type]
    viewer.add_image(data, **kwargs | {"name": "coarse"})
    open_file(widget, qtbot, shifted().save(tmp_path / "field.h5"))
    widget.choices.choose("grid", viewer.layers["coarse"])
    apply(widget, qtbot, layer)
    np.testing.assert_allclose(
        viewer.layers["moving applied"].data[..., :8], layer.data[::2, ::2, SHIFT::2][..., :8], atol=1e-4
    )


def test_one_layer_that_cannot_be_carried_does_not_cost_the_others(docked: Made, qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = docked
    plane = viewer.add_image(np.zeros((9, 9)), name="plane")
    layer = moving_image(viewer)
    far = viewer.add_points(np.array([[500.0, 500.0, 500.0]]), affine=layer.affine, units=layer.units, name="far")
    open_file(widget, qtbot, shifted().save(tmp_path / "field.h5"))
    apply(widget, qtbot, plane, layer, far)
    assert "plane" in widget.message.text.text()
    assert "2 axes" in widget.message.text.text()
    assert {"moving applied", "far applied"} <= {one.name for one in viewer.layers}
    status = widget.progress.status.text()
    assert status.startswith("Done: 2 layers made. Plane: not carried. Far: 1 of 1 points lie outside the field")


@pytest.mark.parametrize("content", [b"", b"no transform", None])
def test_a_file_that_is_none_says_so(docked: Made, qtbot: Any, tmp_path: Path, content: bytes | None) -> None:
    viewer, widget = docked
    moving_image(viewer)
    path = tmp_path / "field.nii.gz"
    if content is not None:
        path.write_bytes(content)
    open_file(widget, qtbot, path)
    assert widget.source.info.text() == "Not read."
    assert "field.nii.gz" in widget.message.text.text()
    assert widget.message.isVisibleTo(widget)
    widget.layers.tick(viewer.layers[0])
    assert not widget.run_button.isEnabled()
    open_file(widget, qtbot, shifted().save(path, "ants"))
    assert not widget.message.isVisibleTo(widget)
    assert widget.run_button.isEnabled()


def test_cancel_keeps_what_is_done_and_layers_may_go_meanwhile(docked: Made, qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = docked
    layer = moving_image(viewer)
    many = np.random.default_rng(0).integers(0, 40, (60, 60, 60))
    slow = viewer.add_labels(np.kron(many, np.ones((2, 2, 2), int)), scale=(0.25,) * 3, units=layer.units, name="slow")
    open_file(widget, qtbot, shifted().save(tmp_path / "field.h5"))
    widget.labels.setCurrentIndex(widget.labels.findData("gaussian"))
    widget.layers.tick(layer, slow)
    widget.run()
    viewer.layers.remove(layer)
    qtbot.waitUntil(lambda: "moving applied" in viewer.layers, timeout=20_000)
    widget.cancel()
    qtbot.waitUntil(lambda: widget.runner.task is None, timeout=20_000)
    assert widget.progress.status.text() == "Stopped: 1 layer made."
    assert "slow applied" not in viewer.layers
    assert widget.run_button.isEnabled()
    assert not widget.cancel_button.isEnabled()


def test_a_file_that_cannot_be_read_leaves_the_run_alone(docked: Made, qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = docked
    layers = [moving_image(viewer, f"moving {number}") for number in range(3)]
    open_file(widget, qtbot, shifted().save(tmp_path / "field.h5"))
    widget.layers.tick(*layers)
    widget.run()
    widget.source.failed.emit(ran.InputError("path", "it is no transform", "Choose another file"))
    assert "It is no transform" in widget.message.text.text()
    assert widget.cancel_button.isEnabled()
    assert not widget.run_button.isEnabled()
    qtbot.waitUntil(lambda: widget.runner.task is None, timeout=20_000)
    assert widget.progress.status.text() == "Done: 3 layers made."
    assert "moving 2 applied" in viewer.layers


def test_closing_the_dock_while_at_work_ends_the_work(docked: Made, qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = docked
    layers = [moving_image(viewer, f"moving {number}") for number in range(10)]
    open_file(widget, qtbot, shifted().save(tmp_path / "field.h5"))
    widget.layers.tick(*layers)
    widget.run()
    task = widget.runner.task
    assert task is not None
    viewer.window.remove_dock_widget(widget)
    task.join(20)
    assert not task.running
    assert task.dropped.is_set()
