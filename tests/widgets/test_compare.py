from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

import napari_ran as ran
from napari_ran.io.layers import to_layer_data
from napari_ran.widgets._layers import own_result
from napari_ran.widgets.compare import ALL, CompareWidget

SYSTEMS = ("start", "general-2d", "no network + field", "demons")
Made = tuple[Any, CompareWidget]


@pytest.fixture
def docked(make_napari_viewer: Callable[..., Any]) -> Iterator[Made]:
    """The 2-D phantom with its labels, and the widget."""
    viewer, made = make_napari_viewer(), ran.phantom_2d()
    for side in ("fixed", "moving"):
        for value, name in ((getattr(made, f"{side}_labels"), f"{side} organs"), (getattr(made, side), side)):
            data, kwargs, kind = to_layer_data(value)
            getattr(viewer, f"add_{kind}")(data, **kwargs | {"name": name})
    widget = CompareWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Compare (RAN)", area="right")
    widget.affine.setCurrentIndex(widget.affine.findData("none"))
    yield viewer, widget
    tasks = [worker.current.task for worker in (widget.runner, widget.shower, widget.differ)]
    for worker in (widget.runner, widget.shower, widget.differ):
        worker.current.drop()
    for task in tasks:
        if task is not None:
            task.join(20)


def rest(widget: CompareWidget, qtbot: Any) -> None:
    """Wait until nothing is going on."""
    workers = (widget.runner, widget.shower, widget.differ)
    qtbot.waitUntil(lambda: all(worker.task is None for worker in workers), timeout=120_000)


def compared(widget: CompareWidget, qtbot: Any, *names: str) -> None:
    """Compare systems, and wait for the layers."""
    widget.tick(*(names or SYSTEMS))
    widget.run()
    rest(widget, qtbot)


def shown(viewer: Any) -> dict[str, Any]:
    """The layers of results by their names."""
    return {layer.name: layer for layer in viewer.layers if (own_result(layer) or "").startswith("compare-")}


def test_systems_become_rows_boxes_and_layers(docked: Made, qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = docked
    assert widget.choices.layer("fixed_labels").name == "fixed organs"
    compared(widget, qtbot)
    assert widget.progress.status.text() == "Done."
    assert [found.name for found in widget.results] == list(SYSTEMS)
    assert widget.table.names() == list(SYSTEMS)
    layers = shown(viewer)
    assert list(layers) == list(SYSTEMS)
    assert [name for name, layer in layers.items() if layer.visible] == ["demons"]
    for found in widget.results:
        assert np.array_equal(layers[found.name].data, to_layer_data(found.warped)[0])
    assert widget.boxes.values["demons"].keys() == widget.results[0].score.labels.keys()
    assert not widget.boxes.grab().isNull()

    heads = [widget.table.horizontalHeaderItem(column).text() for column in range(widget.table.columnCount())]
    assert heads[:3] == ["System", "Dice", "HD95"]
    widget.table.sortItems(heads.index("Dice"), Qt.SortOrder.DescendingOrder)
    dice = {found.name: found.score.mean("dice") for found in widget.results}
    assert widget.table.names() == sorted(dice, key=lambda name: -dice[name])
    widget.export(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == widget.table.names()
    assert float(rows[0]["dice"]) == pytest.approx(max(dice.values()))


def test_a_row_chooses_its_layer_and_all_show_one_thing_with_one_scale(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    compared(widget, qtbot)
    widget.table.selectRow(widget.table.names().index("general-2d"))
    assert [name for name, layer in shown(viewer).items() if layer.visible] == ["general-2d"]
    assert viewer.layers.selection.active.name == "general-2d"
    widget.view.setCurrentIndex(widget.view.findData("magnitude"))
    rest(widget, qtbot)
    limits = {tuple(layer.contrast_limits) for layer in shown(viewer).values()}
    largest = max(float(found.field.magnitude.max()) for found in widget.results)
    assert len(limits) == 1
    assert limits.pop() == pytest.approx((0, largest))
    assert f"{largest:.3g} mm" in widget.scale.text()
    assert [name for name, layer in shown(viewer).items() if layer.visible] == ["general-2d"]  # still this one
    for view in ("difference", "jacobian", "grid"):
        widget.view.setCurrentIndex(widget.view.findData(view))
        rest(widget, qtbot)
        assert len(shown(viewer)) == len(SYSTEMS)


def test_side_by_side_and_back(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    compared(widget, qtbot)
    before = {layer.name: layer.visible for layer in viewer.layers}
    widget.grid.setChecked(True)
    assert viewer.canvas.grid.enabled
    assert all(layer.visible and layer.name_overlay.visible for layer in shown(viewer).values())
    widget.grid.setChecked(False)
    assert not viewer.canvas.grid.enabled
    assert {layer.name: layer.visible for layer in viewer.layers} == before
    assert not any(layer.name_overlay.visible for layer in viewer.layers)
    widget.grid.setChecked(True)
    widget.view.setCurrentIndex(widget.view.findData("jacobian"))  # makes the layers anew
    rest(widget, qtbot)
    assert all(layer.visible for layer in shown(viewer).values())
    widget.grid.setChecked(False)
    assert [name for name, layer in shown(viewer).items() if layer.visible] == ["demons"]


def test_where_two_systems_differ_becomes_a_layer(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    compared(widget, qtbot)
    widget.one.setCurrentText("start")
    widget.other.setCurrentText("demons")
    widget.differ_button.click()
    rest(widget, qtbot)
    layer = viewer.layers.selection.active
    assert layer.name == "disagreement (mm): start / demons"
    exact = {found.name: found.field for found in widget.results}["demons"]  # "start" does not move
    assert np.allclose(layer.data, exact.magnitude.numpy().transpose(), atol=1e-4)
    widget.other.setCurrentText(ALL)
    widget.differ_button.click()
    rest(widget, qtbot)
    assert viewer.layers.selection.active.name == "disagreement (mm): all"
    assert sum("disagreement" in layer.name for layer in viewer.layers) == 1
    widget.clear_button.click()
    assert not shown(viewer)
    assert [layer.name for layer in viewer.layers] == ["fixed organs", "fixed", "moving organs", "moving"]


def test_cancel_keeps_what_is_finished(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    widget.tick("start", "no network + field", "demons")
    widget.run()
    assert not widget.run_button.isEnabled()
    qtbot.waitUntil(lambda: len(widget.results) >= 1, timeout=60_000)
    widget.cancel()
    rest(widget, qtbot)
    assert widget.results[0].name == "start"
    assert len(widget.results) < 3
    assert "what was finished is shown" in widget.progress.status.text()
    assert "start" in shown(viewer)
    assert widget.run_button.isEnabled()


def test_bad_choices_are_said_and_a_failure_stays_in_its_row(
    docked: Made, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer, widget = docked
    widget.choices.choose("moving", viewer.layers["fixed"])
    widget.run()
    assert "Choose two different layers" in widget.message.text.text()
    widget.choices.choose("moving", viewer.layers["moving"])
    widget.tick()
    assert not widget.run_button.isEnabled()

    monkeypatch.setattr("napari_ran.benchmark.pair.TIMEOUT", 0.01)
    compared(widget, qtbot, "start", "demons")
    assert "demons was stopped" in str(widget.results[1].failure)
    assert "1 failed" in widget.progress.status.text()
    assert widget.table.item(1, 0).text() == "demons: failed"
    assert "demons was stopped" in widget.table.item(1, 0).toolTip()
    assert list(shown(viewer)) == ["start"]


def test_systems_follow_the_images_dimension(docked: Made) -> None:
    viewer, widget = docked
    widget.tick("demons")
    volume = viewer.add_image(np.zeros((6, 8, 8)), name="volume")
    widget.choices.choose("fixed", volume)
    names = [widget.systems.item(row).text() for row in range(widget.systems.count())]
    assert "general-3d" in names
    assert "general-2d" not in names
    assert widget.systems.item(names.index("demons")).checkState() == Qt.CheckState.Checked


def test_the_dock_can_be_closed_while_it_works(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    widget.tick("no network + field", "demons")
    widget.run()
    viewer.window.remove_dock_widget(widget)
    assert widget.runner.task is None
