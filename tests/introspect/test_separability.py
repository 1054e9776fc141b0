from __future__ import annotations

import csv
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ran.config import RANConfig
from napari_ran.data import DisplacementField, Grid
from napari_ran.errors import InputError
from napari_ran.introspect.boundary import boundary_motion, motion_across_path
from napari_ran.introspect.separability import correct_points, on_image_grid, separability
from napari_ran.synthetic import phantom_2d
from napari_ran.synthetic.slip import tangential
from napari_ran.theory import largest_difference

SHAPES = {2: (30, 24), 3: (16, 14, 12)}
OBLIQUE = Grid((24, 22, 20), np.array([[-1.2, 0.2, 0.1, 5], [0.3, 1.6, -0.3, -7], [0.0, 0.4, 2.0, 3], [0, 0, 0, 1]]))


def sliding(shape: tuple[int, ...], slip: float, axis: int = 0, along: int = 1) -> torch.Tensor:
    """Two half spaces: beyond the middle of `axis` everything moves by `slip` along another axis."""
    field = torch.zeros((len(shape), *shape))
    field[(along, *[slice(None)] * axis, slice(shape[axis] // 2, None))] = slip
    return field


def exact(field: np.ndarray, correct: np.ndarray, reach: int, bins: int) -> np.ndarray:
    """All pairs, one by one."""
    points = np.argwhere(correct)
    counts = np.zeros((reach, bins))
    for i, x in enumerate(points):
        p = np.abs(points[i + 1 :] - x).max(axis=1)
        q = np.abs(field[:, *points[i + 1 :].T] - field[:, *x][:, None]).max(axis=0)
        np.add.at(counts, (p[p <= reach] - 1, np.rint(q[p <= reach]).astype(int)), 1)
    return counts / counts.sum()


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_translation_separates_nothing(ndim: int) -> None:
    shape = SHAPES[ndim]
    field = torch.arange(1.0, ndim + 1).view(-1, *[1] * ndim).expand(ndim, *shape)
    found = separability(field, torch.ones(shape, dtype=torch.bool), pairs=20_000, sigma=0)
    assert found.pairs >= 20_000
    assert found.probability[:, 0].sum() == pytest.approx(1)
    assert not found.counts[:, 1:].any()
    assert not found.mean_difference.any()


@pytest.mark.parametrize("ndim", [2, 3])
def test_half_spaces_that_slide_differ_by_the_slip_across_and_not_at_all_within(ndim: int) -> None:
    shape = SHAPES[ndim]
    found = separability(sliding(shape, 5.0), torch.ones(shape, dtype=torch.bool), pairs=20_000, sigma=0)
    assert set(np.flatnonzero(found.counts.sum(0))) == {0, 5}
    pairs = found.pairs_in(((1, 99), 5), limit=1000)
    assert len(pairs) == 1000
    side = pairs[:, :, 0] >= shape[0] // 2
    assert (side[:, 0] != side[:, 1]).all()
    together = found.pairs_in(((1, 99), 0), limit=1000)[:, :, 0] >= shape[0] // 2
    assert (together[:, 0] == together[:, 1]).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_drawn_pairs_weigh_as_much_as_there_are_in_the_image(ndim: int) -> None:
    """Short distances are drawn more often than they occur; the joint probability must not show it."""
    generator = torch.Generator().manual_seed(0)
    shape = (12, 10, 7)[:ndim]
    field = 3 * torch.randn((ndim, *shape), generator=generator)
    correct = torch.rand(shape, generator=generator) < 0.6
    found = separability(field, correct, pairs=400_000, max_distance=6, max_difference=30, sigma=0)
    truth = exact(field.numpy(), correct.numpy(), 6, 31)
    assert found.histogram == pytest.approx(truth, abs=2e-3)
    assert found.histogram.sum(1) == pytest.approx(truth.sum(1), rel=0.02)
    rows = truth / truth.sum(1, keepdims=True)
    assert found.conditional == pytest.approx(rows, abs=0.01)
    assert found.counts[0].sum() > 10_000  # neighbours, of which there are few


def test_every_drawn_pair_is_of_two_correct_points_at_its_distance_and_difference() -> None:
    generator = torch.Generator().manual_seed(1)
    field = 4 * torch.rand((3, *SHAPES[3]), generator=generator)
    correct = torch.rand(SHAPES[3], generator=generator) < 0.5
    found = separability(field, correct, pairs=5_000)
    for p, q in product((1, 4, 9), (0, 1, 3)):
        for x, y in found.pairs_in((p, q), limit=20):
            assert correct[tuple(x)]
            assert correct[tuple(y)]
            assert np.abs(x - y).max() == p
            assert abs(float((field[:, *x] - field[:, *y]).abs().max()) - q) <= 0.5 + 1e-5


def test_equal_seeds_give_equal_pairs_and_the_global_state_is_left_alone() -> None:
    field, correct = sliding(SHAPES[3], 2.0), torch.ones(SHAPES[3], dtype=torch.bool)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (separability(field, correct, pairs=1000, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.points, same.points)
    assert np.array_equal(one.counts, same.counts)
    assert not np.array_equal(one.points, other.points)
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_it_does_not_matter_which_way_round_the_field_points_nor_a_shift_of_it() -> None:
    generator = torch.Generator().manual_seed(2)
    field = 4 * torch.rand((2, *SHAPES[2]), generator=generator)
    correct = torch.ones(SHAPES[2], dtype=torch.bool)
    one, two = (separability(f, correct, pairs=1000, max_difference=5) for f in (field, 7 - field))
    assert np.abs(one.counts - two.counts).sum() <= 2  # a difference on the edge of two bins may round either way


def test_smoothing_keeps_the_sum_and_spreads_by_its_sigma() -> None:
    correct = torch.ones((60, 60), dtype=torch.bool)
    found = separability(sliding((60, 60), 12.0), correct, pairs=50_000, max_difference=24)
    assert found.probability.sum() == pytest.approx(1)
    assert found.conditional.sum(1) == pytest.approx(1)
    row = found.conditional[20][6:]  # the part around the slip
    q = np.arange(6, 25)
    variance = (row * (q - 12) ** 2).sum() / row.sum()
    assert variance == pytest.approx(1, rel=0.1)


def test_differences_beyond_the_axis_are_counted_apart() -> None:
    field, correct = sliding(SHAPES[2], 9.0), torch.ones(SHAPES[2], dtype=torch.bool)
    whole = separability(field, correct, pairs=20_000, sigma=0)
    cut = separability(field, correct, pairs=20_000, sigma=0, max_difference=4)
    assert whole.beyond == 0
    assert cut.beyond == pytest.approx(whole.histogram[:, 9].sum())
    alternating = torch.zeros((2, 2, 1))
    alternating[0, 1] = 8
    with pytest.raises(InputError, match="all differences are larger than 0 voxels"):
        separability(alternating, torch.ones((2, 1), dtype=torch.bool), pairs=100, max_difference=0)


def test_the_bound_is_that_of_the_layout_and_the_share_above_it_is_counted() -> None:
    config = RANConfig.preset("RAN4", 2)
    field, correct = sliding(SHAPES[2], 20.0), torch.ones(SHAPES[2], dtype=torch.bool)
    found = separability(field, correct, pairs=20_000, layout=config, sigma=0)
    assert found.bound.tolist() == [largest_difference(config, p) for p in found.distances]
    near = found.bound < 20
    assert found.above_bound == pytest.approx(found.histogram[near, 20].sum())
    assert 0 < found.above_bound < 1
    assert separability(field, correct, pairs=100).above_bound is None


def test_the_difference_of_two_is_over_what_both_have() -> None:
    correct = torch.ones(SHAPES[2], dtype=torch.bool)
    one = separability(sliding(SHAPES[2], 9.0), correct, pairs=5000, max_distance=10)
    two = separability(sliding(SHAPES[2], 3.0), correct, pairs=5000, max_distance=8, layout=RANConfig.preset("RAN0", 2))
    change = one.difference(two)
    assert change.change.shape == (8, 10)
    wide = np.zeros((8, 10))
    wide[:, : len(two.differences)] = two.probability
    assert change.change == pytest.approx(one.probability[:8] - wide)
    assert change.bounds[0] is None
    assert len(change.bounds[1]) == 8
    assert one.difference(one, "conditional").change == pytest.approx(0)
    assert two.difference(one, "conditional").change == pytest.approx(-one.difference(two, "conditional").change)


def test_a_level_acts_on_the_image_by_repetition_and_in_its_voxels() -> None:
    level = torch.arange(12.0).view(2, 3, 2)
    image = on_image_grid(level, 4, (11, 8))
    assert image.shape == (2, 11, 8)
    for x, y in product(range(11), range(8)):
        assert image[:, x, y].tolist() == (4 * level[:, x // 4, y // 4]).tolist()
    assert on_image_grid(level, 4, (11, 8), displacement=False).max() == 11
    with pytest.raises(InputError, match="do not reach 13 voxels"):
        on_image_grid(level, 4, (13, 8))


def test_csv_holds_every_cell(tmp_path: Path) -> None:
    correct = torch.ones(SHAPES[2], dtype=torch.bool)
    found = separability(sliding(SHAPES[2], 3.0), correct, pairs=1000, layout=RANConfig.preset("RAN3", 2))
    found.to_csv(tmp_path / "pdf.csv")
    rows = list(csv.DictReader((tmp_path / "pdf.csv").open()))
    assert len(rows) == found.counts.size
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(1, abs=1e-4)
    assert rows[0]["delta_inf"] == "4"
    found.difference(found).to_csv(tmp_path / "change.csv")
    assert len((tmp_path / "change.csv").read_text().splitlines()) == 1 + found.counts.size


def test_which_points_are_correct() -> None:
    fixed, warped = torch.tensor([0, 1, 1, 2, 2, 0]), torch.tensor([0, 1, 2, 2, 2, 3])
    assert correct_points(fixed, warped).tolist() == [False, True, False, True, True, False]
    mask = torch.tensor([1, 1, 1, 1, 0, 0])
    assert correct_points(mask=mask).tolist() == mask.bool().tolist()
    assert correct_points(fixed, warped, mask=mask).tolist() == [False, True, False, True, False, False]
    image = torch.tensor([-1.0, -0.9, 0.0, 9.0, 0.1, -0.5])
    assert correct_points(image=image).tolist() == [False, False, False, True, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fixed_labels": torch.ones(4), "warped_labels": 2 * torch.ones(4)}, "no two points have the label"),
        ({"mask": torch.zeros(4)}, "mask has fewer than two points"),
        ({"image": torch.zeros(4)}, "the image has no foreground"),
        ({"fixed_labels": torch.ones(4)}, "warped_labels: labels of one image alone"),
        ({"fixed_labels": torch.ones(4), "warped_labels": torch.ones(5)}, "all must have one shape"),
        ({}, "nothing that says which points count"),
    ],
)
def test_says_why_no_point_is_correct(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        correct_points(**arguments)


def test_says_that_there_is_no_pair() -> None:
    field = torch.zeros((2, *SHAPES[2]))
    none = torch.zeros(SHAPES[2], dtype=torch.bool)
    with pytest.raises(InputError, match="fewer than two correctly registered points"):
        separability(field, none)
    far = none.clone()
    far[0, 0] = far[-1, -1] = True
    with pytest.raises(InputError, match="no two correctly registered points within 3 voxels"):
        separability(field, far, pairs=100, max_distance=3)
    with pytest.raises(InputError, match="must have shape"):
        separability(field, none.T)


def parts(grid: Grid, axis: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.zeros(grid.shape, bool)
    first[(*[slice(None)] * axis, slice(grid.shape[axis] // 2))] = True
    return first, ~first


@pytest.mark.parametrize(("grid", "axis"), [(OBLIQUE, 0), (OBLIQUE, 2), (Grid.from_spacing((24, 18), (0.7, 1.3)), 1)])
def test_slip_and_gap_of_half_spaces(grid: Grid, axis: int) -> None:
    first, second = parts(grid, axis)
    row = np.linalg.inv(grid.affine[:-1, :-1])[axis]
    normal = row / np.linalg.norm(row)  # of the plane between the two, towards the second
    slide = grid.affine[:-1, (axis + 1) % grid.ndim] * 1.5
    opening = 2.5 * normal
    vector = np.linalg.inv(grid.affine[:-1, :-1]) @ (slide + opening)
    field = torch.from_numpy((second * vector.reshape(-1, *[1] * grid.ndim)).astype(np.float32))
    found = boundary_motion(DisplacementField(field, grid), first, second, offset=2.0)
    assert found.normals == pytest.approx(np.broadcast_to(normal, found.normals.shape), abs=1e-3)
    assert found.slip == pytest.approx(np.linalg.norm(slide - (slide @ normal) * normal), abs=0.01)
    assert found.gap == pytest.approx(2.5 + slide @ normal, abs=0.01)
    across = boundary_motion(DisplacementField(field, grid), second, None, offset=2.0)  # a mask's border, from inside
    assert across.gap == pytest.approx(found.gap[0], abs=0.01)


def test_a_gap_between_labels_that_do_not_touch_is_halfway() -> None:
    grid = Grid.from_spacing((20, 20, 20))
    first, second = np.zeros((2, *grid.shape), bool)
    first[2:9, 3:17, 3:17], second[11:18, 3:17, 3:17] = True, True  # two voxels of background between
    field = torch.zeros((3, *grid.shape))
    field[0, 10:] = -1.0
    found = boundary_motion(DisplacementField(field, grid), first, second)
    facing = np.abs(found.normals[:, 0]) > 0.99
    assert found.points[facing, 0] == pytest.approx(9.5)
    assert found.gap[facing] == pytest.approx(-1, abs=0.02)  # they close in; normals are rounded off at the rims
    assert found.slip[facing] == pytest.approx(0, abs=0.15)
    assert found.summary()["points"] == len(found.points)
    with pytest.raises(InputError, match="second: the two parts do not touch"):
        boundary_motion(DisplacementField(field, grid), first, np.roll(second, 2, axis=0))
    with pytest.raises(InputError, match="second: this side of the boundary has no voxel"):
        boundary_motion(DisplacementField(field, grid), first, np.zeros_like(first))


def test_a_smooth_field_neither_slips_nor_opens() -> None:
    grid = Grid.from_spacing((20, 20, 20))
    first, second = parts(grid, 1)
    found = boundary_motion(DisplacementField(torch.full((3, *grid.shape), 2.0), grid), first, second)
    assert np.abs(found.jump).max() < 1e-5


def test_motion_across_a_drawn_path(tmp_path: Path) -> None:
    grid = Grid.from_spacing((24, 20, 16), (1.0, 1.5, 2.0))
    field = sliding(grid.shape, 4.0, axis=0, along=1)  # 6 mm along y, across the plane at x = 11.5
    field[0, 12:] = 3.0
    path = [[11.5, 3, 16], [11.5, 12, 16], [11.5, 12, 16], [11.5, 24, 16]]  # in the slice z = 16 mm
    found = motion_across_path(DisplacementField(field, grid), path, through=[0, 0, 1])
    assert found.slip == pytest.approx(6)
    assert np.abs(found.gap) == pytest.approx(3)
    assert found.points[:, 1].min() < 4 < 23 < found.points[:, 1].max()
    found.to_csv(tmp_path / "path.csv")
    assert len((tmp_path / "path.csv").read_text().splitlines()) == 1 + len(found.points)
    for wrong, message in (
        ([[1, 1, 1]] * 2, "two different corners"),
        ([[0, 0, 0], [0, 99, 0]], "leaves the image at 1 of its 2 corners"),
        (path, "lies in two slices"),
    ):
        with pytest.raises(InputError, match=message):
            motion_across_path(DisplacementField(field, grid), wrong)


def test_labels_find_the_slip_that_the_phantom_knows() -> None:
    pair = phantom_2d(0, (80, 64))
    where = pair.interface
    labels = pair.fixed_labels.array
    side_a, side_b = np.isin(labels, (1, 3)), np.isin(labels, (2, 4))
    found = boundary_motion(pair.truth, side_b, side_a, offset=where.offset)
    between = np.array(where.names) == "side A - side B"
    near = np.linalg.norm(found.points[:, None] - where.points[between], axis=2)
    matched = near.min(axis=1) < 1.5
    expected = where.measured_jump(pair.truth)[between][near.argmin(axis=1)][matched]
    assert matched.sum() > 20
    error = np.linalg.norm(found.slip_vectors[matched] - expected, axis=1)
    assert np.median(error) < 0.1 * np.median(found.slip[matched])
    assert np.median(np.abs(found.gap[matched])) < 0.1 * np.median(found.slip[matched])
    assert tangential(expected, where.normals[between][near.argmin(axis=1)][matched]) == pytest.approx(expected)
