"""The figures of what a network did, on small inspections: what is drawn is what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from napari_ran import figures
from napari_ran.config import RANConfig
from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.figures.colours import head_colour
from napari_ran.introspect.heads import HeadInformation, head_organ_information
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.probe import Contribution, Probe, StageProbe, probe
from napari_ran.introspect.quantities import Stage
from napari_ran.introspect.separability import Separability, separability
from napari_ran.introspect.trace import NetworkTrace
from napari_ran.models import create_model
from napari_ran.theory import capture_ranges, separability_curve

OBLIQUE = np.array([[-1.2, 0.2, 0.1, 5], [0.3, 1.6, -0.3, -7], [0.0, 0.4, 2.4, 3], [0, 0, 0, 1]])


@pytest.fixture(scope="module", params=[(16, 14, 12), (22, 18)], ids=["3d", "2d"])
def inspection(request: pytest.FixtureRequest) -> Inspection:
    shape = request.param
    grid = Grid(shape, OBLIQUE) if len(shape) == 3 else Grid.from_spacing(shape, (0.7, 1.3))
    model = create_model("RAN3", len(shape), seed=0)
    with torch.no_grad():
        model.shared[0].heads_out.weight *= 300
        images = torch.rand((2, 1, 1, *shape), generator=torch.Generator().manual_seed(0))
        output = model(images[1], images[0], keep_levels=True)
    trace = NetworkTrace(model, "test", grid, np.eye(len(shape) + 1), images[0], images[1], output)
    return Inspection.from_trace(trace)


def pdf(slip: float, layout: Any = None, seed: int = 0) -> Separability:
    field = torch.zeros((2, 30, 24))
    field[1, 15:] = slip
    return separability(field, torch.ones((30, 24), dtype=torch.bool), pairs=5000, layout=layout, seed=seed)


def saved(figure: Any, path: Path) -> None:
    figure.savefig(path / "figure.png")
    assert (path / "figure.png").stat().st_size > 8_000


def test_theory_shows_the_table_the_ranges_and_the_curve_of_every_layout(tmp_path: Path) -> None:
    names = ("RAN0", "RAN4-appendix")
    figure = figures.theory(names, distance=64)
    table, ranges, curve = figure.axes
    configs = [RANConfig.preset(name) for name in names]
    texts = [text.get_text() for text in table.texts]
    assert texts[0::2] == [str(p) for config in configs for p in config.pools]
    assert texts[1::2] == [f"|r| {2 * d}" for config in configs for d in config.dilations]
    for config, line, step in zip(configs, ranges.lines, curve.lines, strict=True):
        assert line.get_ydata().tolist() == list(capture_ranges(config))
        assert step.get_ydata() == pytest.approx(separability_curve(config, range(65)))
    assert "RAN0  (area 2,603)" in [text.get_text() for text in curve.get_legend().get_texts()]
    saved(figure, tmp_path)


def test_theory_of_any_layout() -> None:
    config = RANConfig.preset("RAN3", 2).model_copy(update={"dilations": (3, 2, 1, 1, 1)})
    figure = figures.theory({"mine": config})
    assert figure.axes[1].lines[0].get_ydata()[0] == capture_ranges(config)[0]


def test_the_pdf_is_drawn_with_its_bound(tmp_path: Path) -> None:
    found = pdf(8, RANConfig.preset("RAN3", 2))
    figure = figures.separability(found, title="a pair")
    axes = figure.axes[0]
    shown = np.asarray(axes.images[0].get_array())
    assert shown == pytest.approx(np.maximum(found.probability.T, found.probability.max() * 1e-5))
    assert axes.images[0].get_extent() == [0.5, found.distances[-1] + 0.5, -0.5, found.differences[-1] + 0.5]
    assert axes.lines[0].get_ydata() == pytest.approx(found.bound)
    assert any("above the line" in text.get_text() for text in axes.texts)
    saved(figure, tmp_path)


def test_several_pdfs_share_a_scale_and_the_conditional_one_can_be_shown() -> None:
    parts = {f"level {i}": pdf(3 * i, seed=i) for i in range(5)}
    figure = figures.separability(parts, "conditional")
    images = [axes.images[0] for axes in figure.axes[:5]]
    assert len({(image.norm.vmin, image.norm.vmax) for image in images}) == 1
    assert np.asarray(images[2].get_array())[6] == pytest.approx(np.maximum(parts["level 2"].conditional[:, 6], 1e-5))
    assert [axes.get_title(loc="left") for axes in figure.axes[:5]] == list(parts)
    assert not any(axes.lines for axes in figure.axes[:5])  # no layout, no bound
    assert "pairs" in figure.axes[0].texts[0].get_text()


def test_the_difference_is_symmetric_about_white(tmp_path: Path) -> None:
    one, two = pdf(9, RANConfig.preset("RAN4", 2)), pdf(4, RANConfig.preset("RAN0", 2))
    change = one.difference(two)
    figure = figures.separability_difference(change, ("A", "B"))
    axes = figure.axes[0]
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(change.change.T)
    assert axes.images[0].norm.vmin == -axes.images[0].norm.vmax
    assert len(axes.lines) == 2  # both bounds
    assert axes.get_title(loc="left") == "A minus B"
    same = figures.separability_difference(one.difference(one))
    assert len(same.axes[0].lines) == 1
    saved(figure, tmp_path)


def information(shuffles: int = 20) -> dict[int, HeadInformation]:
    x, y = torch.arange(24)[:, None], torch.arange(20)
    labels = ((x - 6) ** 2 + (y - 7) ** 2 < 30) + 2 * ((x - 17) ** 2 + (y - 12) ** 2 < 20).int()
    equal = torch.stack([(labels == i).float() for i in range(3)])
    flat = torch.full((3, 24, 20), 1 / 3)
    return {
        0: head_organ_information(flat, labels, shuffles=shuffles),
        2: head_organ_information(equal, labels, shuffles=shuffles),
    }


def test_heads_show_every_value_and_frame_what_is_above_the_control(tmp_path: Path) -> None:
    found = information()
    figure = figures.heads(found, {1: "liver"}, "phantom")
    matrix, control, shares = figure.axes
    values = np.asarray(matrix.images[0].get_array())
    assert values[1] == pytest.approx([*found[2].per_head, 1])
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert float(matrix.texts[-1].get_text()) == 1
    assert len(matrix.patches) == 4  # three heads and all, of the level that knows
    assert [text.get_text() for text in matrix.get_yticklabels()] == ["level 0", "level 2"]
    assert control.lines[-1].get_xdata()[0] == pytest.approx(1)
    assert [text.get_text() for text in shares.get_yticklabels()] == ["background", "liver", "label 2"]
    widths = np.array([bar.get_width() for bar in shares.patches]).reshape(3, 3)
    assert widths == pytest.approx(found[2].head_given_label)
    saved(figure, tmp_path)
    figures.heads(information(0))  # also without a control


def test_the_filmstrip_has_a_column_per_stage_and_shows_each_voxel_as_it_is(
    inspection: Inspection, tmp_path: Path
) -> None:
    fixed, strip, plane = figures.frames(inspection)
    assert [frame.title for frame in strip] == [stage.title for stage in inspection.stages]
    rows, columns = plane.voxels.shape[1:]
    for stage, frame in zip(inspection.stages, strip, strict=True):
        assert frame.magnitude.shape == (rows, columns)
        length = inspection.get("field", stage.index).magnitude[0].numpy()
        assert frame.magnitude == pytest.approx(length[tuple(plane.voxels // stage.pool_size)])
        if stage.level is not None:
            masks = inspection.get("masks", stage.index).numpy()
            assert np.array_equal(frame.dominant, masks.argmax(0)[tuple(plane.voxels // stage.pool_size)])
    assert strip[-1].dominant is None
    assert fixed == pytest.approx(inspection.trace.fixed[0, 0].numpy()[tuple(plane.voxels)])
    figure = figures.filmstrip(fixed, strip, plane, heads=6, title="levels")
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) >= 1 + 3 * len(strip) + 2 * (len(strip) - 1)
    leading = drawn[1 + 3 * len(strip)].images[0]  # the fourth row, level 0
    head = int(strip[0].dominant[0, 0])
    assert to_hex(leading.to_rgba(np.asarray(leading.get_array()))[0, 0]) == head_colour(head).lower()
    saved(figure, tmp_path)


def test_the_filmstrip_of_a_chosen_plane_and_of_a_field_alone() -> None:
    grid = Grid.from_spacing((12, 10, 8))
    field = torch.arange(12.0)[:, None, None].expand(3, 12, 10, 8)
    inspection = Inspection.from_field(DisplacementField(field, grid))
    fixed, strip, plane = figures.frames(inspection, "sagittal", np.array([3.0, 2, 2]))
    assert fixed is None
    assert plane.name == "sagittal"
    assert strip[0].magnitude == pytest.approx(3 * np.sqrt(3))
    figure = figures.filmstrip(fixed, strip, plane)
    assert len([axes for axes in figure.axes if axes.images]) == 1
    image = Image(torch.rand(grid.shape), grid)
    fixed, strip, plane = figures.frames(Inspection.from_field(DisplacementField(field, grid), image, image))
    assert strip[0].warped is not None
    assert plane.name == "axial"


def a_probe() -> Probe:
    parts = (
        Contribution("residual", 1, np.array([2.0, 0, 0])),
        Contribution("carried", 0, np.array([-0.5, 0, 0])),
        Contribution("bias", None, np.array([1.5, 4.0, 0])),
    )
    stages = (
        StageProbe(
            Stage(0, "level", "Level 0", 0, 2, 5.0),
            (1, 1, 1),
            np.array([3.0, 4.0, 0]),
            parts,
            np.array([0.2, 0.8]),
            None,
            0.9,
            None,
            np.array([5.0, 6.0, 7.0]),
        ),
        StageProbe(Stage(1, "field", "Field"), (1, 1, 1), np.array([0.0, 6.0, 0])),
    )
    path = np.array([[1.0, 2, 3], [4, 6, 3], [1, 8, 3]])
    return Probe(path[0], "forward", path, path, stages, np.eye(3))


def test_bars_of_a_stage_sum_to_its_displacement() -> None:
    figure = figures.probe(a_probe())
    bars = figure.axes[1].collections[0]
    widths = [path.vertices[1, 0] - path.vertices[0, 0] for path in bars.get_paths()]
    assert sum(widths) == pytest.approx(5)
    assert widths == pytest.approx([1.2, -0.3, 4.1])
    assert to_hex(bars.get_facecolors()[0]) == head_colour(1).lower()
    (marks,) = [line for line in figure.axes[1].lines if line.get_marker() == "D"]
    assert marks.get_xdata() == pytest.approx([5, 6])
    assert figure.axes[1].get_xlim()[0] < -0.3 < 6 < figure.axes[1].get_xlim()[1]
    assert "5.00 mm\nhead 1 (80%), conf. 0.90" in [text.get_text() for text in figure.axes[1].texts]


def test_the_path_is_shown_in_its_plane_with_the_box_that_a_level_reaches() -> None:
    figure = figures.probe(a_probe(), names=["pin"])
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left")) == ("x (mm)", "y (mm)", "pin")
    corners = axes.patches[0].get_xy()
    assert (corners.min(0), corners.max(0)) == (pytest.approx([-4, -4]), pytest.approx([6, 8]))
    ends = [np.ravel(line.get_data()) for line in axes.lines if line.get_marker() == "o"]
    assert ends[0] == pytest.approx([4, 6])
    assert ends[1] == pytest.approx([1, 8])
    figures.draw_path(axes, a_probe(), plane=(1, 2))  # again into the same axes, another plane
    assert (axes.get_xlabel(), len(axes.patches)) == ("y (mm)", 1 + len([t for t in axes.texts if t.get_text()]))


def test_probes_of_a_network_can_be_drawn_below_each_other(inspection: Inspection, tmp_path: Path) -> None:
    grid = inspection.trace.grid
    points = [probe(inspection, grid.to_world(np.array(grid.shape) // n)) for n in (2, 3)]
    figure = figures.probe(points, title="two pins")
    assert len(figure.axes) == 4
    for axes, point in zip(figure.axes[1::2], points, strict=True):
        (marks,) = [line for line in axes.lines if line.get_marker() == "D"]
        assert list(marks.get_xdata()) == pytest.approx(
            [np.linalg.norm(stage.displacement) for stage in point.stages], abs=1e-6
        )
    saved(figure, tmp_path)
