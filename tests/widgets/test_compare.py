from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from qtpy.QtCore import Qt

import napari_ran as ran
from napari_ran.benchmark import Compared
from napari_ran.errors import OutputError
from napari_ran.io import save_image, save_labels
from napari_ran.io.layers import to_layer_data
from napari_ran.widgets._layers import own_result
from napari_ran.widgets.compare import CompareWidget
from napari_ran.widgets.comparison.kept import KeptFields
from napari_ran.widgets.comparison.results import ALL
from napari_ran.widgets.comparison.table import ComparisonTable, TableRow, export_table

SYSTEMS = ("start", "general-2d", "no network + field", "demons")
Made = tuple[Any, CompareWidget]


@pytest.fixture
def docked(make_napari_viewer: Callable[..., Any], dock: Callable[..., Made]) -> Made:
    """The 2-D phantom with its labels, and the widget."""
    viewer, made = make_napari_viewer(), ran.phantom_2d()
    for side in ("fixed", "moving"):
        for value, name in ((getattr(made, f"{side}_labels"), f"{side} organs"), (getattr(made, side), side)):
            data, kwargs, kind = to_layer_data(value)
            getattr(viewer, f"add_{kind}")(data, **kwargs | {"name": name})
    _, widget = dock(CompareWidget, viewer)
    widget.affine.setCurrentIndex(widget.affine.findData("none"))
    return viewer, widget


def rest(widget: CompareWidget, qtbot: Any) -> None:
    """Wait until nothing is going on."""
    workers = (widget.runner, widget.reader, *widget.found.workers)
    qtbot.waitUntil(lambda: all(worker.task is None for worker in workers), timeout=120_000)


def compared(widget: CompareWidget, qtbot: Any, *names: str) -> None:
    """Compare systems, and wait for the layers."""
    widget.tick(*(names or SYSTEMS))
    widget.run()
    rest(widget, qtbot)


def headings(widget: CompareWidget) -> list[str]:
    table = widget.found.table
    return [table.horizontalHeaderItem(column).text() for column in range(table.columnCount())]


def shown(viewer: Any) -> dict[str, Any]:
    """The layers of results by their names."""
    return {layer.name: layer for layer in viewer.layers if (own_result(layer) or "").startswith("compare-")}


def test_systems_become_rows_boxes_and_layers(docked: Made, qtbot: Any, tmp_path: Path) -> None:
    viewer, widget = docked
    assert widget.choices.layer("fixed_labels").name == "fixed organs"
    compared(widget, qtbot)
    assert widget.progress.status.text() == "Done."
    assert [found.name for found in widget.found.results] == list(SYSTEMS)
    assert widget.found.table.names() == list(SYSTEMS)
    layers = shown(viewer)
    assert list(layers) == list(SYSTEMS)
    assert [name for name, layer in layers.items() if layer.visible] == ["demons"]
    for found in widget.found.results:
        assert np.array_equal(layers[found.name].data, to_layer_data(found.warped)[0])
    assert list(widget.found.boxes.values["demons"]) == list(widget.found.results[0].score.label_names.values())
    assert not widget.found.boxes.grab().isNull()

    heads = headings(widget)
    assert heads[:3] == ["System", "Dice", "HD95"]
    widget.found.table.sortItems(heads.index("Dice"), Qt.SortOrder.DescendingOrder)
    dice = {found.name: found.score.mean("dice") for found in widget.found.results}
    assert widget.found.table.names() == sorted(dice, key=lambda name: -dice[name])
    widget.found.export(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == widget.found.table.names()
    assert float(rows[0]["dice"]) == pytest.approx(max(dice.values()))


def test_a_row_chooses_its_layer_and_all_show_one_thing_with_one_scale(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    compared(widget, qtbot)
    widget.found.table.selectRow(widget.found.table.names().index("general-2d"))
    assert [name for name, layer in shown(viewer).items() if layer.visible] == ["general-2d"]
    assert viewer.layers.selection.active.name == "general-2d"
    widget.found.view.setCurrentIndex(widget.found.view.findData("magnitude"))
    rest(widget, qtbot)
    limits = {tuple(layer.contrast_limits) for layer in shown(viewer).values()}
    largest = max(float(found.field.magnitude.max()) for found in widget.found.results)
    assert len(limits) == 1
    assert limits.pop() == pytest.approx((0, largest))
    assert f"{largest:.3g} mm" in widget.found.scale.text()
    assert [name for name, layer in shown(viewer).items() if layer.visible] == ["general-2d"]  # still this one
    for view in ("difference", "jacobian", "grid"):
        widget.found.view.setCurrentIndex(widget.found.view.findData(view))
        rest(widget, qtbot)
        assert len(shown(viewer)) == len(SYSTEMS)


def test_side_by_side_and_back(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    compared(widget, qtbot)
    before = {layer.name: layer.visible for layer in viewer.layers}
    widget.found.grid.setChecked(True)
    assert viewer.canvas.grid.enabled
    assert all(layer.visible and layer.name_overlay.visible for layer in shown(viewer).values())
    widget.found.grid.setChecked(False)
    assert not viewer.canvas.grid.enabled
    assert {layer.name: layer.visible for layer in viewer.layers} == before
    assert not any(layer.name_overlay.visible for layer in viewer.layers)
    widget.found.grid.setChecked(True)
    widget.found.view.setCurrentIndex(widget.found.view.findData("jacobian"))  # makes the layers anew
    rest(widget, qtbot)
    assert all(layer.visible for layer in shown(viewer).values())
    widget.found.grid.setChecked(False)
    assert [name for name, layer in shown(viewer).items() if layer.visible] == ["demons"]


def test_where_two_systems_differ_becomes_a_layer(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    compared(widget, qtbot)
    widget.found.one.setCurrentText("start")
    widget.found.other.setCurrentText("demons")
    widget.found.differ_button.click()
    rest(widget, qtbot)
    layer = viewer.layers.selection.active
    assert layer.name == "disagreement (mm): start / demons"
    exact = {found.name: found.field for found in widget.found.results}["demons"]  # "start" does not move
    assert np.allclose(layer.data, exact.magnitude.numpy().transpose(), atol=1e-4)
    widget.found.other.setCurrentText(ALL)
    widget.found.differ_button.click()
    rest(widget, qtbot)
    assert viewer.layers.selection.active.name == "disagreement (mm): all"
    assert sum("disagreement" in layer.name for layer in viewer.layers) == 1
    widget.found.clear_button.click()
    assert not shown(viewer)
    assert [layer.name for layer in viewer.layers] == ["fixed organs", "fixed", "moving organs", "moving"]


def test_cancel_keeps_what_is_finished(docked: Made, qtbot: Any) -> None:
    viewer, widget = docked
    widget.tick("start", "no network + field", "demons")
    widget.run()
    assert not widget.run_button.isEnabled()
    qtbot.waitUntil(lambda: len(widget.found.results) >= 1, timeout=60_000)
    widget.cancel()
    rest(widget, qtbot)
    assert widget.found.results[0].name == "start"
    assert len(widget.found.results) < 3
    assert "what was finished is shown" in widget.progress.status.text()
    assert "start" in shown(viewer)
    assert widget.run_button.isEnabled()


def test_a_file_that_cannot_be_written_leaves_the_run_alone(docked: Made, qtbot: Any) -> None:
    _, widget = docked
    widget.tick("start", "no network + field", "demons")
    widget.run()
    widget.found.failed.emit(OutputError("table.csv", "the disk is full", "Free some space"))
    assert "The disk is full" in widget.message.text.text()
    assert widget.cancel_button.isEnabled()
    assert not widget.run_button.isEnabled()
    widget.cancel()
    widget.tick("start")
    assert not widget.run_button.isEnabled()  # before the run has come to its end
    rest(widget, qtbot)
    assert widget.run_button.isEnabled()


def test_numbers_that_are_missing_come_last_in_either_order(qtbot: Any) -> None:
    table = ComparisonTable()
    qtbot.addWidget(table)
    table.fill([TableRow(name, {"dice": dice}) for name, dice in (("a", 0.2), ("none", None), ("b", 0.7))])
    table.sortItems(1, Qt.SortOrder.AscendingOrder)
    assert table.names() == ["a", "b", "none"]
    table.sortItems(1, Qt.SortOrder.DescendingOrder)
    assert table.names() == ["b", "a", "none"]


def test_a_full_disk_is_said_where_a_field_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    field = ran.DisplacementField.identity(ran.phantom_2d().fixed.grid)
    monkeypatch.setattr(np, "save", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(OutputError, match="could not be kept"):
        KeptFields().put("one", Compared("start", field=field))


def test_the_table_of_pairs_with_other_systems_than_the_one_that_is_shown_is_written(tmp_path: Path) -> None:
    pairs = {"one": [Compared("start"), Compared("demons")], "two": [Compared("start")]}
    export_table(tmp_path / "table.csv", pairs, order=["start"])  # as when the second is looked at, after a stop
    with (tmp_path / "table.csv").open() as file:
        rows = [(row["case"], row["system"]) for row in csv.DictReader(file)]
    assert rows == [("one", "start"), ("one", "demons"), ("two", "start")]


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
    assert "demons was stopped" in str(widget.found.results[1].failure)
    assert "1 failed" in widget.progress.status.text()
    assert widget.found.table.item(1, 0).text() == "demons: failed"
    assert "demons was stopped" in widget.found.table.item(1, 0).toolTip()
    assert list(shown(viewer)) == ["start"]


def test_systems_follow_the_images_dimension(docked: Made) -> None:
    viewer, widget = docked
    widget.tick("demons")
    for role in ("fixed", "moving"):
        widget.choices.choose(role, viewer.add_image(np.zeros((6, 8, 8)), name=f"{role} volume"))
    names = [widget.systems.item(row).text() for row in range(widget.systems.count())]
    assert "general-3d" in names
    assert "general-2d" not in names
    assert widget.systems.item(names.index("demons")).checkState() == Qt.CheckState.Checked
    series = viewer.add_image(np.zeros((6, 8, 8)), name="series", axis_labels=("t", "y", "x"))
    widget.choices.choose("fixed", series)
    assert "general-2d" in [widget.systems.item(row).text() for row in range(widget.systems.count())]


# ---------------------------------------------------------------- a list of pairs


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of two pairs, the second without labels."""
    rows = []
    for seed in (1, 2):
        made, row = ran.phantom_2d(seed=seed), {"name": f"pair {seed}"}
        for side in ("fixed", "moving"):
            row[side] = str(save_image(getattr(made, side), tmp_path / f"{side}{seed}.nii.gz"))
            if seed == 1:
                labels = getattr(made, f"{side}_labels")
                row[f"{side}_labels"] = str(save_labels(labels, tmp_path / f"{side}_labels{seed}.nii.gz"))
        rows.append(row)
    path = tmp_path / "pairs.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def chosen(widget: CompareWidget, qtbot: Any, path: Path) -> None:
    widget.choose_list(path)
    qtbot.waitUntil(lambda: widget.reader.task is None, timeout=20_000)


def test_a_list_of_pairs_gives_means_and_each_pair_can_be_opened(
    docked: Made, qtbot: Any, listed: Path, tmp_path: Path, artifacts: Path
) -> None:
    viewer, widget = docked
    chosen(widget, qtbot, listed)
    assert widget.list_note.text() == "2 pairs, 1 with labels"
    names = [widget.systems.item(row).text() for row in range(widget.systems.count())]
    assert "general-2d" in names  # the axes are those of the list
    compared(widget, qtbot, "start", "demons")
    assert widget.progress.status.text() == "Done."
    panel = widget.found
    assert list(panel.pairs) == ["pair 1", "pair 2"]
    assert panel.table.names() == ["start", "demons"]
    heads = headings(widget)
    means = [panel.table.item(1, heads.index(head)).text() for head in ("NCC²", "Cases")]
    both = [next(one for one in results if one.name == "demons").similarity for results in panel.pairs.values()]
    assert means == [f"{np.mean(both):.3f}", "2"]
    assert not shown(viewer)
    assert not panel.view.isEnabled()
    points = panel.boxes.values["demons"]
    assert len(points) == len(panel.pairs["pair 1"][0].score.labels)
    assert all(name.startswith("pair 1, ") for name in points)

    panel.export(tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        rows = [(row["case"], row["system"]) for row in csv.DictReader(file)]
    assert rows == [(case, name) for case in ("pair 1", "pair 2") for name in ("start", "demons")]

    panel.case_box.setCurrentIndex(panel.case_box.findData("pair 2"))
    rest(widget, qtbot)
    made = ran.phantom_2d(seed=2)
    layers = shown(viewer)
    assert list(layers) == ["start", "demons"]
    np.testing.assert_allclose(layers["start"].data, to_layer_data(made.moving)[0], atol=1e-4)
    assert {"pair 2: fixed", "pair 2: moving"} <= {layer.name for layer in viewer.layers}
    assert panel.table.item(1, 0).text() == "demons"
    panel.grid.setChecked(True)
    assert viewer.layers["pair 2: fixed"].visible
    assert not viewer.layers["fixed"].visible  # it belongs to another pair
    viewer.window.screenshot(str(artifacts / "compare-list.png"), flash=False, canvas_only=False)
    panel.differ_button.click()
    rest(widget, qtbot)
    assert viewer.layers.selection.active.name.startswith("disagreement")

    panel.case_box.setCurrentIndex(0)
    assert not shown(viewer)
    assert "pair 2: fixed" not in viewer.layers
    assert viewer.layers["fixed"].visible
    widget.source.setCurrentIndex(0)  # back to the layers that are loaded
    compared(widget, qtbot, "start")
    assert panel.table.names() == ["start"]
    assert not panel.of_list


def test_a_list_that_cannot_be_used_is_said_and_nothing_starts(docked: Made, qtbot: Any, listed: Path) -> None:
    _, widget = docked
    widget.tick("start")
    (listed.parent / "moving2.nii.gz").unlink()
    chosen(widget, qtbot, listed)
    assert "moving2.nii.gz" in widget.message.text.text()
    assert not widget.run_button.isEnabled()
    widget.source.setCurrentIndex(0)
    assert widget.run_button.isEnabled()


def test_a_pair_that_is_damaged_fails_alone_and_cancel_keeps_the_rest(docked: Made, qtbot: Any, listed: Path) -> None:
    _, widget = docked
    chosen(widget, qtbot, listed)
    (listed.parent / "moving1.nii.gz").write_bytes(b"nothing")
    compared(widget, qtbot, "start", "demons")
    panel = widget.found
    assert [found.failure is None for results in panel.pairs.values() for found in results] == [False] * 2 + [True] * 2
    assert "2 failed: see the rows" in widget.progress.status.text()
    assert "case pair 1" in panel.table.item(0, 0).toolTip()
    widget.tick("start", "no network + field", "demons")
    widget.run()
    qtbot.waitUntil(lambda: "pair 1" in panel.pairs and "pair 2" in panel.pairs, timeout=60_000)
    widget.cancel()
    rest(widget, qtbot)
    assert panel.pairs["pair 2"][0].name == "start"
    assert len(panel.pairs["pair 2"]) < 3
