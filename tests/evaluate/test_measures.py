from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks
from napari_ran.errors import InputError
from napari_ran.evaluate import measures as E
from napari_ran.measure import StageRecord
from napari_ran.report import Spread

OBLIQUE = Grid(
    (20, 17, 14),
    np.array([[1.2, -0.5, 0.1, 5], [0.6, 1.6, -0.3, -7], [0.0, 0.4, 2.4, 3], [0, 0, 0, 1]]),
)
PLANE = Grid.from_spacing((24, 19), (0.7, 1.3), (4, -2))


def translation(grid: Grid, offset: list[float]) -> np.ndarray:
    matrix = np.eye(grid.ndim + 1)
    matrix[:-1, -1] = offset
    return matrix


def blobs(grid: Grid, centre: np.ndarray, radius: float) -> np.ndarray:
    axes = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    world = grid.to_world(np.stack(axes, -1))
    return np.linalg.norm(world - centre, axis=-1) < radius


@pytest.mark.parametrize("grid", [OBLIQUE, PLANE], ids=["3d", "2d"])
def test_dice_of_known_overlaps(grid: Grid) -> None:
    a, b = np.zeros(grid.shape, int), np.zeros(grid.shape, int)
    a[2:6], b[4:8] = 3, 3  # half of each overlaps
    a[10:12], b[10:12] = 700, 700
    a[14], b[15] = 5, 5  # disjoint
    a[0] = 9  # only in one
    assert E.dice(Labels(a, grid), Labels(b, grid)) == {3: 0.5, 5: 0.0, 700: 1.0}
    assert E.dice(Labels(a, grid), Labels(b, grid), ids=[9]) == {9: 0.0}


def test_dice_agrees_with_a_direct_count_across_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "SLAB", 300)
    rng = np.random.default_rng(0)
    a, b = rng.integers(-1, 5, (2, *OBLIQUE.shape))
    scores = E.dice(Labels(a, OBLIQUE), Labels(b, OBLIQUE))
    assert sorted(scores) == [-1, 1, 2, 3, 4]
    for label, score in scores.items():
        assert score == pytest.approx(
            2 * ((a == label) & (b == label)).sum() / ((a == label).sum() + (b == label).sum())
        )


def test_dice_refuses_another_grid() -> None:
    with pytest.raises(InputError, match="another grid"):
        E.dice(Labels(np.zeros(OBLIQUE.shape), OBLIQUE), Labels(np.zeros(PLANE.shape), PLANE))


@pytest.mark.parametrize("grid", [OBLIQUE, PLANE], ids=["3d", "2d"])
def test_tre_is_in_millimetres_and_goes_from_fixed_to_moving(grid: Grid) -> None:
    offset = [3.0, -2.0, 1.0][: grid.ndim]
    field = DisplacementField.from_world_map(grid, translation(grid, offset))
    fixed = Landmarks.from_voxels(np.random.default_rng(1).uniform(3, 10, (7, grid.ndim)), grid)
    moving = Landmarks(fixed.points + offset)
    assert E.target_registration_error(fixed, moving, field) == pytest.approx(np.zeros(7), abs=1e-5)
    still = E.target_registration_error(fixed, moving, DisplacementField.identity(grid))
    assert still == pytest.approx(np.full(7, np.linalg.norm(offset)), abs=1e-5)


def test_end_point_error_is_in_millimetres() -> None:
    truth = DisplacementField.from_world_map(OBLIQUE, translation(OBLIQUE, [3, 4, 0]))
    assert E.end_point_error(DisplacementField.identity(OBLIQUE), truth) == pytest.approx(5.0, abs=1e-4)
    with pytest.raises(InputError, match="another grid"):
        E.end_point_error(DisplacementField.identity(PLANE), truth)


@pytest.mark.parametrize("grid", [OBLIQUE, PLANE], ids=["3d", "2d"])
def test_jacobian_of_a_known_stretch(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "SLAB", 100)
    tensor = torch.zeros((grid.ndim, *grid.shape))
    tensor[0] = 0.25 * torch.arange(grid.shape[0]).view(-1, *[1] * (grid.ndim - 1))
    summary = E.jacobian_summary(DisplacementField(tensor, grid))
    assert (summary.min, summary.mean, summary.max) == pytest.approx((1.25, 1.25, 1.25), abs=1e-5)
    assert summary.folding_percent == 0
    assert summary.sdlogj == pytest.approx(0, abs=1e-6)


def test_jacobian_in_slabs_equals_the_whole_and_counts_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    field = DisplacementField(torch.randn((3, *OBLIQUE.shape)), OBLIQUE)
    whole = field.jacobian_determinant
    monkeypatch.setattr(F, "SLAB", 500)
    summary = E.jacobian_summary(field)
    assert summary.min == pytest.approx(float(whole.min()))
    assert summary.mean == pytest.approx(float(whole.mean()), abs=1e-5)
    assert summary.folding_percent == pytest.approx(field.folding_percent)
    assert summary.folding_percent > 5
    inner = whole[2:-2, 2:-2, 2:-2].numpy()
    assert summary.sdlogj == pytest.approx(np.log((inner + 3).clip(1e-9, 1e9)).std(), abs=1e-5)


def test_large_grids_are_measured_at_every_second_voxel(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    field = DisplacementField(torch.randn((3, *OBLIQUE.shape)), OBLIQUE)
    whole, inside = E.inverse_consistency(field, DisplacementField.identity(OBLIQUE))
    thinned = E._thinned(field, np.prod(OBLIQUE.shape) // 8)
    some, inside_some = E.inverse_consistency(thinned, DisplacementField.identity(OBLIQUE))
    every = (slice(None, None, 2),) * 3
    assert torch.equal(inside_some, inside[every])
    torch.testing.assert_close(some.tensor[0], whole.tensor[0][every], atol=1e-4, rtol=1e-4)
    assert E._thinned(field, np.prod(OBLIQUE.shape)) is field
    monkeypatch.setattr(Spread, "MOST", 1000)
    values = torch.rand(40_000).numpy()
    assert Spread.of(values).p95 == pytest.approx(0.95, abs=0.02)
    assert Spread.of(values).max == values.max()


def test_sdlogj_does_not_exist_on_a_tiny_grid() -> None:
    assert E.jacobian_summary(DisplacementField.identity(Grid.from_spacing((4, 9)))).sdlogj is None


@pytest.mark.parametrize("grid", [OBLIQUE, PLANE], ids=["3d", "2d"])
def test_inverse_consistency_of_a_translation_between_two_grids(grid: Grid) -> None:
    offset = np.array([2.0, -1.5, 1.0][: grid.ndim])
    other = Grid(
        tuple(n + 6 for n in grid.shape), translation(grid, offset - 3 * grid.affine[:-1, :-1].sum(1)) @ grid.affine
    )
    field = DisplacementField.from_world_map(grid, translation(grid, offset))
    inverse = DisplacementField.from_world_map(other, translation(grid, -offset), "moving", "fixed")
    error, inside = E.inverse_consistency(field, inverse)
    assert bool(inside.all())
    assert error.grid == grid
    assert error.array == pytest.approx(np.zeros(grid.shape), abs=1e-4)
    error, _ = E.inverse_consistency(field, DisplacementField.identity(other, "moving", "fixed"))
    assert error.array == pytest.approx(np.full(grid.shape, np.linalg.norm(offset)), abs=1e-4)


def test_inverse_consistency_leaves_out_what_maps_outside() -> None:
    grid = Grid.from_spacing((10, 8), 2.0)
    field = DisplacementField.from_world_map(grid, translation(grid, [8.0, 0.0]))  # four voxels along the first axis
    error, inside = E.inverse_consistency(field, DisplacementField.identity(grid, "moving", "fixed"))
    assert inside[:, 0].tolist() == [True] * 6 + [False] * 4
    assert error.array[:6] == pytest.approx(np.full((6, 8), 8.0), abs=1e-4)
    assert not error.array[6:].any()
    assert error.metadata["outside_percent"] == pytest.approx(40)


def pair(grid: Grid, offset: np.ndarray) -> tuple[Image, Image, Labels, Labels, Landmarks, Landmarks]:
    middle = grid.centre
    shapes = [blobs(grid, middle + move, radius) for move in (0, offset) for radius in (7, 4)]
    texture = np.random.default_rng(2).uniform(0, 0.05, (2, *grid.shape))
    fixed, moving = (Image(100 * (a * 0.5 + b * 0.5 + t), grid, name) for a, b, t, name in (
        (shapes[0], shapes[1], texture[0], "fixed"), (shapes[2], shapes[3], texture[1], "moving")))  # fmt: skip
    labels = [Labels(a.astype(int) + b, grid, names={1: "shell"}) for a, b in (shapes[:2], shapes[2:])]
    points = middle + np.random.default_rng(3).uniform(-3, 3, (5, grid.ndim))
    return fixed, moving, labels[0], labels[1], Landmarks(points), Landmarks(points + offset)


@pytest.mark.parametrize("grid", [OBLIQUE, PLANE], ids=["3d", "2d"])
def test_a_whole_report(grid: Grid) -> None:
    from napari_ran.transform import warp_image

    offset = np.array([2.0, -1.5, 1.0][: grid.ndim])
    fixed, moving, fixed_labels, moving_labels, fixed_points, moving_points = pair(grid, offset)
    field = DisplacementField.from_world_map(grid, translation(grid, offset))
    inverse = DisplacementField.from_world_map(grid, translation(grid, -offset), "moving", "fixed")
    stage = StageRecord(name="network", seconds=1.5, peak_bytes=10)
    report = E.evaluate(
        fixed, moving, warp_image(moving, field), field, inverse,
        fixed_labels=fixed_labels, moving_labels=moving_labels, fixed_landmarks=fixed_points,
        moving_landmarks=moving_points, stages=(stage,), messages=("auto chose minmax",), device="CPU",
    )  # fmt: skip
    assert report.similarity_before is not None
    assert report.similarity_after is not None
    assert report.similarity_after > report.similarity_before + 0.1
    assert report.dice_mean_before is not None
    assert report.dice_mean_after is not None
    assert report.dice_mean_after > max(0.75, report.dice_mean_before + 0.2)  # small shapes on coarse voxels
    assert report.label_names == {1: "shell"}
    assert report.tre_before is not None
    assert report.tre_after is not None
    assert report.tre_before.mean == pytest.approx(np.linalg.norm(offset))
    assert report.tre_after.max < 1e-4
    assert report.folding_percent == 0
    assert report.displacement_mm is not None
    assert report.displacement_mm.mean == pytest.approx(np.linalg.norm(offset), abs=1e-4)
    assert report.inverse_consistency_mm is not None
    assert report.inverse_consistency_mm.max < 1e-3
    assert (report.seconds, report.peak_bytes, report.complete) == (1.5, 10, True)
    assert E.Report.from_json(report.to_json()) == report
    names = [row[0] for row in report.table()]
    assert "Dice, shell" in names
    assert "Dice, label 2" in names
    assert f"TRE, mean of {len(fixed_points)} landmarks" in names
    assert all(unit in ("", "mm", "%") for *_, unit in report.table())


def test_report_without_annotations_has_no_such_rows() -> None:
    field = DisplacementField.identity(PLANE)
    fixed, moving, *_ = pair(PLANE, np.array([2.0, -1.5]))
    report = E.evaluate(fixed, moving, moving, field)
    assert report.dice_after == {}
    assert report.tre_after is None
    assert report.inverse_consistency_mm is None
    assert report.similarity_before == report.similarity_after
    assert not [row for row in report.table() if row[0].startswith(("Dice", "TRE", "Inverse"))]
    assert json.loads(report.to_json())["derived"]["dice_mean_after"] is None


def test_a_pair_that_does_not_meet_has_no_similarity() -> None:
    fixed, moving, *_ = pair(PLANE, np.array([2.0, -1.5]))
    far = DisplacementField.from_world_map(PLANE, translation(PLANE, [500, 0]))
    assert E.similarity(fixed, moving, moving, far) == (None, None)


def test_large_images_are_reduced_before_the_similarity(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, *_ = pair(OBLIQUE, np.array([2.0, -1.5, 1.0]))
    monkeypatch.setattr(E, "SIMILARITY_VOXELS", 1000)
    seen: list[tuple[int, ...]] = []
    real = E.losses.local_ncc
    monkeypatch.setattr(E.losses, "local_ncc", lambda a, b, **kw: seen.append(tuple(a.shape)) or real(a, b, **kw))
    before, after = E.similarity(fixed, fixed, fixed, DisplacementField.identity(OBLIQUE))
    assert before == after
    assert after is not None
    assert after > 0.9
    assert seen
    assert all(np.prod(shape) < 1300 for shape in seen)


def test_labels_on_another_grid_name_both() -> None:
    fixed, *_ = pair(PLANE, np.array([2.0, -1.5]))
    labels = Labels(np.zeros((24, 18)), Grid.from_spacing((24, 18)))
    with pytest.raises(InputError, match=r"fixed_labels: .*\(24, 18\).*'fixed' has \(24, 19\).*resample"):
        E.check_labels("fixed_labels", labels, fixed)


def test_landmarks_are_checked() -> None:
    points = Landmarks.from_voxels([[2, 3], [4, 5], [6, 7]], PLANE)
    with pytest.raises(InputError, match=r"as many points as fixed_landmarks.*got 2 for 3"):
        E.check_landmarks(points, Landmarks(points.points[:2]), PLANE, PLANE)
    with pytest.raises(InputError, match="at least one"):
        E.target_registration_error(
            Landmarks(np.zeros((0, 2))), Landmarks(np.zeros((0, 2))), DisplacementField.identity(PLANE)
        )
    off = Landmarks.from_voxels([[2, 3], [-1, 5], [6, 19]], PLANE)
    with pytest.raises(InputError, match=r"moving_landmarks: 2 of 3 .* \(counting from 1: 2, 3\)"):
        E.check_landmarks(points, off, PLANE, PLANE)
    with pytest.raises(InputError, match="2 coordinates, the image 3 dimensions"):
        E.check_landmarks(points, points, OBLIQUE, OBLIQUE)
    many = Landmarks(np.full((8, 2), 1000.0))
    with pytest.raises(InputError, match=r"8 of 8 .* 1, 2, 3, 4, 5, \.\.\."):
        E.check_landmarks(many, many, PLANE, PLANE)


def test_a_foreign_file_is_no_report(tmp_path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(InputError, match="cannot be read"):
        E.Report.from_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"cannot be read .*nested too deeply"):
        E.Report.from_json(path)
    path.write_text("[1]")
    with pytest.raises(InputError, match="holds list"):
        E.Report.from_json(path)
    path.write_text('{"dice": 1}')
    with pytest.raises(InputError, match="unknown key of Report"):
        E.Report.from_json(path)
