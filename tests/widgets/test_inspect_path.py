"""The boundary is drawn in the real viewer; the result is the phantom's exact field, so the sliding is known."""

from __future__ import annotations

import csv
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_ran as ran
from napari_ran.introspect import Inspection
from napari_ran.synthetic import PhantomPair

Make = Callable[..., Any]
CORONAL = (1, 0, 2)
SEED = 3


@pytest.fixture(scope="module")
def pairs() -> dict[int, PhantomPair]:
    return {2: ran.phantom_2d(SEED, (56, 48)), 3: ran.sliding_phantom(SEED, (36, 28, 40))}


@pytest.fixture
def shown(inspect_in: Make, pairs: dict[int, PhantomPair]) -> Make:
    """Inspect the phantom's exact field; returns the viewer, the widget and the pane."""

    def show(ndim: int) -> tuple[Any, Any, Any]:
        viewer, widget = inspect_in()
        pair = pairs[ndim]
        widget.show_inspection(Inspection.from_field(pair.truth, pair.fixed, pair.moving))
        widget.seen()
        return viewer, widget, widget.separability.boundary

    return show


def between_sides(pair: PhantomPair, cut: int | None = None, count: int = 7) -> tuple[np.ndarray, float]:
    """Return corners (N, D) along the boundary between the organs' two sides, in mm, and the exact slip there in mm.

    In 3-D the boundary is followed in the middle slice along the axis `cut`.
    """
    face, grid = pair.interface, pair.fixed.grid
    chosen = np.array(face.names) == "side A - side B"
    if cut is not None:
        place = grid.to_world([(n - 1) // 2 for n in grid.shape])[cut]
        chosen &= np.abs(face.points[:, cut] - place) < 0.6 * grid.spacing[cut]
    points, jump = face.points[chosen], face.jump[chosen]
    along = 1 if cut == grid.ndim - 1 else -1
    order = np.argsort(points[:, along])
    points = points[order[np.linspace(0, len(order) - 1, count).round().astype(int)]]
    if cut is not None:
        points[:, cut] = place
    return points, float(np.linalg.norm(jump, axis=1).mean())


def draw(layer: Any, places: np.ndarray, drag: bool = False) -> None:
    """Draw along places of the viewer's world as a hand would: click by click, or with the button held down."""
    from napari.utils import interactions
    from napari.utils._test_utils import read_only_mouse_event

    def mouse(kind: str, number: int) -> None:
        at = {"position": tuple(places[number]), "pos": np.array([40.0 * number, 0.0])}
        getattr(interactions, f"{kind}_callbacks")(layer, read_only_mouse_event(type=kind, **at))

    layer.mode = "add_path" if drag else "add_polyline"
    for number in range(len(places)):
        mouse("mouse_move", number)
        if not drag or number == 0:
            mouse("mouse_press", number)
        if not drag or number == len(places) - 1:
            mouse("mouse_release", number)
    if not drag:
        mouse("mouse_double_click", -1)


def measured(pane: Any, qtbot: Any) -> dict[str, float]:
    pane.path_button.click()
    qtbot.waitUntil(lambda: pane.motion is not None, timeout=20_000)
    return pane.motion.summary()


def refused(widget: Any, qtbot: Any) -> str:
    pane = widget.separability.boundary
    widget.message.hide()
    pane.path_button.click()
    qtbot.waitUntil(lambda: not widget.message.isHidden(), timeout=20_000)
    assert pane.motion is None
    assert pane.text.text() == ""
    return html.unescape(widget.message.text.text())


# ---------------------------------------------------------------- against the truth


def test_slip_and_gap_across_a_path_drawn_by_hand_in_2d(
    shown: Make, pairs: dict[int, PhantomPair], qtbot: Any, tmp_path: Path
) -> None:
    from napari._app_model.actions._file import new_shapes

    viewer, widget, pane = shown(2)
    viewer.layers.selection.active = widget.layers.find("ground")
    new_shapes(viewer)  # what napari's button does: a layer with the place and scale of the selected one
    corners, slip = between_sides(pairs[2])
    draw(viewer.layers[-1], widget.layers.to_viewer(corners))
    assert viewer.layers[-1].shape_type == ["path"]
    found = measured(pane, qtbot)
    assert found["slip_mean_mm"] == pytest.approx(slip, rel=0.15)
    assert slip > 2
    assert found["absolute_gap_p95_mm"] < 0.2
    ends = np.linalg.norm(np.diff(corners, axis=0), axis=1).sum()
    assert found["points"] == pytest.approx(ends / 1.5, abs=1.5)
    assert f"slip {found['slip_mean_mm']:.2f} mm on average" in pane.text.text()
    assert f"Across the path of '{viewer.layers[-1].name}'" in pane.text.text()
    pane.export(str(tmp_path / "path.csv"))
    rows = list(csv.DictReader((tmp_path / "path.csv").open()))
    assert np.mean([float(row["slip_mm"]) for row in rows]) == pytest.approx(found["slip_mean_mm"], abs=1e-3)


@pytest.mark.parametrize("cut", [1, 2])
def test_slip_and_gap_in_slices_of_a_volume(shown: Make, pairs: dict[int, PhantomPair], qtbot: Any, cut: int) -> None:
    viewer, widget, pane = shown(3)
    corners, slip = between_sides(pairs[3], cut)
    places = widget.layers.to_viewer(corners)
    viewer.dims.order = CORONAL if cut == 1 else (0, 1, 2)
    viewer.dims.set_point(2 - cut, places[0, 2 - cut])
    layer = viewer.add_shapes(ndim=3)
    draw(layer, places)
    found = measured(pane, qtbot)
    assert found["slip_mean_mm"] == pytest.approx(slip, rel=0.15)
    assert slip > 2
    assert found["absolute_gap_p95_mm"] < 0.5


def test_a_straight_line_lies_in_the_slice_that_is_shown(
    shown: Make, pairs: dict[int, PhantomPair], qtbot: Any
) -> None:
    viewer, widget, pane = shown(3)
    corners, _ = between_sides(pairs[3], 1)
    face = pairs[3].interface
    near = np.linalg.norm((face.points - corners.mean(0)) / [1, 1, 2], axis=1) < 4  # where the line is
    slip = float(np.linalg.norm(face.jump[near], axis=1).mean())
    line = corners.mean(0) + np.array([[0, 0, -6.0], [0, 0, 6.0]])
    viewer.dims.order = CORONAL
    viewer.add_shapes([widget.layers.to_viewer(line)], shape_type="line")
    found = measured(pane, qtbot)
    assert found["slip_mean_mm"] == pytest.approx(slip, rel=0.15)
    assert found["absolute_gap_p95_mm"] < 0.5
    np.testing.assert_allclose(np.abs(pane.motion.normals), np.broadcast_to([1, 0, 0], (len(pane.motion.points), 3)))
    viewer.dims.order = (2, 0, 1)  # the sagittal plane: the line parts what lies before it from what lies behind it
    measured(pane, qtbot)
    np.testing.assert_allclose(np.abs(pane.motion.normals), np.broadcast_to([0, 1, 0], (len(pane.motion.points), 3)))


def test_a_layer_with_a_place_and_scale_of_its_own(shown: Make, pairs: dict[int, PhantomPair], qtbot: Any) -> None:
    viewer, widget, pane = shown(2)
    corners, slip = between_sides(pairs[2])
    places = widget.layers.to_viewer(corners)
    viewer.add_shapes([places], shape_type="path", name="plain")
    plain = measured(pane, qtbot)
    layer = viewer.add_shapes(ndim=2, scale=(0.5, -2), translate=(7, -30), rotate=20, name="placed")
    layer.add_paths([np.stack([layer.world_to_data(place) for place in places])])
    found = measured(pane, qtbot)
    assert "'placed'" in pane.text.text()
    assert found == pytest.approx(plain, rel=1e-3, abs=1e-3)
    assert found["slip_mean_mm"] == pytest.approx(slip, rel=0.15)


def test_a_flat_layer_over_a_volume_lies_in_the_slice_that_is_shown(
    shown: Make, pairs: dict[int, PhantomPair], qtbot: Any
) -> None:
    viewer, widget, pane = shown(3)
    corners, slip = between_sides(pairs[3], 2)
    places = widget.layers.to_viewer(corners)
    viewer.dims.set_point(0, places[0, 0])
    viewer.add_shapes([places[:, 1:]], shape_type="path")
    assert measured(pane, qtbot)["slip_mean_mm"] == pytest.approx(slip, rel=0.15)


# ---------------------------------------------------------------- which path


def test_selected_paths_count_or_all_without_a_selection(
    shown: Make, pairs: dict[int, PhantomPair], qtbot: Any
) -> None:
    viewer, widget, pane = shown(2)
    corners, slip = between_sides(pairs[2])
    places = widget.layers.to_viewer(corners)
    layer = viewer.add_shapes([places[:4], places + np.array([0.0, 14.0]), places[3:]], shape_type="path", name="three")
    apart = []
    for chosen in ({0}, {2}, {0, 2}):
        layer.selected_data = chosen
        apart.append(measured(pane, qtbot))
        assert f"Across {len(chosen)} selected of 3 paths of 'three'" in pane.text.text()
    assert apart[2]["points"] == apart[0]["points"] + apart[1]["points"]
    assert apart[2]["slip_mean_mm"] == pytest.approx(slip, rel=0.15)
    layer.selected_data = set()
    everything = measured(pane, qtbot)
    assert everything["points"] > apart[2]["points"]
    assert everything["slip_mean_mm"] < apart[2]["slip_mean_mm"]  # beside the boundary nothing slides
    assert "Across all 3 paths of 'three'" in pane.text.text()


def test_outlines_are_closed(shown: Make, qtbot: Any) -> None:
    viewer, _, pane = shown(2)
    box = np.array([[-20.0, -20], [-20, 20], [10, 20], [10, -20]])  # 40 x 30 mm
    layer = viewer.add_shapes([box], shape_type="rectangle")
    assert measured(pane, qtbot)["points"] == round(140 / 1.5)
    layer.data = []
    layer.add_ellipses([box])
    middle, radii = box.mean(0), np.array([15.0, 20.0])
    assert measured(pane, qtbot)["points"] == pytest.approx(110.5 / 1.5, abs=1)  # Ramanujan's circumference
    places = (-pane.motion.points[:, ::-1] - middle) / radii
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1, atol=0.01)


def test_an_unsteady_hand_makes_no_slip(shown: Make, pairs: dict[int, PhantomPair], qtbot: Any) -> None:
    viewer, widget, pane = shown(2)
    corners, slip = between_sides(pairs[2])
    dense = np.stack([np.interp(np.linspace(0, 6, 300), np.arange(7), column) for column in corners.T], 1)
    dense += np.random.default_rng(0).normal(scale=0.1, size=dense.shape)
    layer = viewer.add_shapes(ndim=2)
    draw(layer, widget.layers.to_viewer(dense), drag=True)
    assert len(layer.data) == 1
    assert len(layer.data[0]) > 100
    found = measured(pane, qtbot)
    assert found["slip_mean_mm"] == pytest.approx(slip, rel=0.2)
    assert found["absolute_gap_mean_mm"] < 0.5


# ---------------------------------------------------------------- what cannot be measured


def test_what_cannot_be_measured_is_said(shown: Make, qtbot: Any) -> None:
    viewer, widget, _ = shown(2)
    assert "There is no shapes layer" in refused(widget, qtbot)
    layer = viewer.add_shapes(ndim=2, name="border")
    assert "The shapes layer 'border' is empty" in refused(widget, qtbot)
    layer.add_polygons([np.array([[500.0, 500], [500, 520], [520, 510]])])
    said = refused(widget, qtbot)
    assert "In 'border', the path leaves the image at 4 of its 4 corners" in said
    layer.data = []
    layer.add_paths([np.array([[0.0, 0], [0, 10], [0, 900]])])
    assert "In 'border', the path leaves the image at 1 of its 3 corners" in refused(widget, qtbot)
    layer.data = []
    layer.add_paths([np.array([[3.0, 3], [3, 3]])])
    assert "two different corners" in refused(widget, qtbot)


def test_an_empty_selected_layer_is_not_replaced_by_another(shown: Make, qtbot: Any) -> None:
    viewer, widget, pane = shown(2)
    viewer.add_shapes([np.array([[-10.0, 0], [10, 0]])], shape_type="line", name="old")
    empty = viewer.add_shapes(ndim=2, name="new")
    assert viewer.layers.selection.active is empty
    assert "'new' is empty" in refused(widget, qtbot)
    viewer.layers.selection.active = widget.layers.find("ground")
    measured(pane, qtbot)
    assert "'old'" in pane.text.text()


def test_what_was_measured_goes_with_its_stage_and_direction(inspect_in: Make, results: Any, qtbot: Any) -> None:
    viewer, widget = inspect_in(results[2])
    pane = widget.separability.boundary
    middle = widget.layers.to_viewer(results[2].fixed.grid.centre[None])[0]
    viewer.add_shapes([np.array([middle, middle + np.array([0, 6])])], shape_type="line")
    final = measured(pane, qtbot)
    widget.separability.stage_box.setCurrentIndex(0)
    widget.separability.stage_box.activated.emit(0)
    assert pane.motion is None
    assert measured(pane, qtbot)["slip_mean_mm"] != final["slip_mean_mm"]
    widget.separability.show_direction("inverse")
    assert pane.text.text() == ""
    assert pane.export_button.isHidden()
