"""What a network finds without a part: measured in mm, against the whole, and scored as the evaluation does."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import napari_ran as ran
from napari_ran.config import RANConfig
from napari_ran.data import DisplacementField, Grid, Labels, Landmarks
from napari_ran.errors import InputError
from napari_ran.introspect.ablation import Ablator, ablate, ablation_study, study_parts
from napari_ran.introspect.ablation_table import PARTS, AblationTable
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.trace import NetworkTrace
from napari_ran.models import Ablation, create_model
from napari_ran.steps import last
from napari_ran.synthetic import phantom_2d

SHAPES = {2: (30, 40), 3: (14, 12, 16)}


@torch.no_grad()
def traced(ndim: Any = 2, name: str = "RAN3", affine: np.ndarray | None = None, **changes: Any) -> NetworkTrace:
    """Return the pass of a network whose heads speak up, on an anisotropic grid whose array axes are turned."""
    model = create_model(RANConfig.preset(name, ndim).replace(**changes), seed=3).eval()
    for shared in model.shared:
        shared.heads_out.weight *= 60
    for aligner in model.aligners:
        aligner.field_join.weight[2:] *= 4
    shape = SHAPES[ndim]
    coarse = torch.rand(1, 1, *[6] * ndim, generator=torch.Generator().manual_seed(0))
    fixed = F.interpolate(coarse, size=shape, mode="bilinear" if ndim == 2 else "trilinear")
    moving = torch.roll(fixed, 1, dims=2)
    matrix = np.eye(ndim + 1)
    matrix[:2, :2] = [[0.0, 3.0], [-1.5, 0.0]]
    output = model(moving, fixed, keep_levels=True)
    return NetworkTrace(
        model, "test", Grid(shape, matrix), np.eye(ndim + 1) if affine is None else affine, fixed, moving, output
    )


def halves(trace: NetworkTrace, at: int) -> Labels:
    """Two labels that meet at a row of the network's grid."""
    labels = torch.ones(trace.grid.shape, dtype=torch.int32)
    labels[at:] = 2
    return Labels(labels, trace.grid)


def finished(study: Any) -> tuple[list[Any], AblationTable]:
    steps: list[Any] = []
    return steps, last(study, steps.append)


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_ablation_is_the_forward_pass_without_the_part(ndim: Any) -> None:
    trace = traced(ndim)
    off = Ablation(heads={(2, 1)}, feedback={3})
    found = ablate(trace, off, keep_levels=True, both=True)
    with torch.no_grad():
        expected = trace.model(trace.moving, trace.fixed, keep_levels=True, ablation=off)
    torch.testing.assert_close(found.output.field, expected.field, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.output.inverse_field, expected.inverse_field, atol=1e-4, rtol=1e-4)
    assert len(found.output.levels) == 5
    assert ablate(trace, off).output.levels == ()
    assert found.score.dice is found.score.tre_mm is None


def test_changes_are_lengths_in_millimetres_inside_the_foreground() -> None:
    trace = traced()
    found = ablate(trace, Ablation(levels={4}))
    change = (found.output.field - trace.output.field)[0].double()
    # voxels of 1.5 mm along the first array axis and of 3 mm along the second, whatever their direction
    length = ((1.5 * change[0]) ** 2 + (3.0 * change[1]) ** 2).sqrt()
    image = trace.fixed[0, 0]
    inside = image > image.min() + 0.1 * (image.max() - image.min())
    assert 0 < int((~inside).sum()) < inside.numel()
    assert found.mean_mm == pytest.approx(length[inside].mean().item(), rel=1e-4)
    assert found.max_mm == pytest.approx(length[inside].max().item(), rel=1e-4)
    assert found.mean_mm > 0.01


def test_nothing_off_changes_nothing() -> None:
    trace = traced()
    ablator = Ablator(trace, halves(trace, 12), halves(trace, 16))
    (_, found) = finished(ablator.run(Ablation()))
    assert found.max_mm < 1e-3
    assert found.score.similarity == pytest.approx(ablator.baseline.similarity, abs=1e-4)
    assert found.score.dice == pytest.approx(ablator.baseline.dice, abs=0.02)


def test_an_image_without_a_foreground_counts_everywhere() -> None:
    trace = traced()
    flat = replace(trace, fixed=torch.full_like(trace.fixed, 0.5))
    assert ablate(flat, Ablation(levels={4})).mean_mm > 0


def test_the_whole_network_scores_as_the_report_and_the_inspection_say() -> None:
    pair = phantom_2d(seed=1, shape=(64, 48))
    given = {
        "fixed_labels": pair.fixed_labels,
        "moving_labels": pair.moving_labels,
        "fixed_landmarks": pair.fixed_landmarks,
        "moving_landmarks": pair.moving_landmarks,
    }
    result = ran.register(pair.fixed, pair.moving, instance="none", keep_levels=True, affine="none", **given)
    assert result.trace.grid == pair.fixed.grid
    baseline = Ablator(result.trace, **given).baseline
    assert baseline.dice == pytest.approx(result.report.dice_after)
    assert baseline.tre_mm == pytest.approx(result.report.tre_after.mean, rel=1e-5)
    inspection = Inspection.from_registration(result)
    assert baseline.similarity == pytest.approx(inspection.metrics(len(inspection.stages) - 1).similarity, abs=1e-6)
    assert 0.3 < baseline.dice_mean < 1


def test_labels_and_landmarks_go_through_the_affine_in_their_own_worlds() -> None:
    shift = np.eye(3)
    shift[0, 2] = 30.0  # the moving image lies 30 mm further
    trace = traced(affine=shift)
    still = replace(trace, output=replace(trace.output, field=torch.zeros_like(trace.output.field)))
    fixed = halves(trace, 12)
    moving = Labels(fixed.tensor, Grid(trace.grid.shape, shift @ trace.grid.affine))
    points = trace.grid.to_world([[5, 6], [20, 30], [11, 3]])
    score = Ablator(still, fixed, moving, Landmarks(points), Landmarks(points + np.array([30.0, 4.0]))).baseline
    assert score.dice == {1: 1.0, 2: 1.0}
    assert score.tre_mm == pytest.approx(4.0, abs=1e-4)


def test_labels_on_another_grid_are_brought_to_the_networks() -> None:
    trace = traced()
    still = replace(trace, output=replace(trace.output, field=torch.zeros_like(trace.output.field)))
    fine = trace.grid.with_shape((60, 80))
    tensor = torch.ones(fine.shape, dtype=torch.int32)
    tensor[24:] = 2
    assert Ablator(still, Labels(tensor, fine), halves(trace, 12)).baseline.dice == {1: 1.0, 2: 1.0}


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_study_has_one_line_for_every_part(ndim: Any) -> None:
    trace = traced(ndim)
    labels = {"fixed_labels": halves(trace, 8), "moving_labels": halves(trace, 10)}
    steps, table = finished(ablation_study(trace, ("level", "previous confidence", "feedback", "output"), **labels))
    assert [(row.part, row.level, row.head) for row in table.rows] == [
        *[("level", level, None) for level in range(5)],
        *[("previous confidence", level, None) for level in range(1, 5)],
        *[("feedback", level, None) for level in range(5)],
        ("output", None, None),
    ]
    assert table.complete
    assert table.note == ""
    assert steps[0].row is None
    assert (steps[0].step, steps[-1].step, steps[-1].total) == (0, 15, 15)
    assert steps[-1].table == table
    done = [step.row for step in steps if step.row is not None]
    assert done[0].part == "output"  # late parts first: they are cheap
    firsts = [row.level for row in done[1:]]
    assert firsts == sorted(firsts, reverse=True)
    row = table.rows[3]
    single = ablate(trace, Ablation(levels={3}), **labels)
    assert row.mean_mm == pytest.approx(single.mean_mm)
    assert row.similarity_change == pytest.approx(single.score.similarity - table.baseline.similarity)
    assert row.dice_change == pytest.approx(single.score.dice_mean - table.baseline.dice_mean)
    assert row.tre_mm is row.tre_change_mm is None


def test_a_study_of_heads_fills_a_matrix_and_a_file(tmp_path: Any) -> None:
    trace = traced(heads=3)
    _, table = finished(ablation_study(trace, ("head",)))
    matrix = table.heads()
    assert matrix.shape == (5, 3)
    assert (matrix > 0).all()
    assert matrix[2, 1] == pytest.approx(ablate(trace, Ablation(heads={(2, 1)})).mean_mm)
    assert np.isnan(table.heads("dice")).all()
    text = table.to_csv(tmp_path / "heads.csv")
    lines = list(csv.DictReader((tmp_path / "heads.csv").open(encoding="utf-8")))
    assert text.count("\n") == len(lines) + 1 == 16
    assert (lines[4]["part"], lines[4]["level"], lines[4]["head"]) == ("head", "1", "1")
    assert float(lines[7]["mean_mm"]) == pytest.approx(matrix[2, 1], rel=1e-4)
    assert lines[0]["tre_mm"] == ""
    assert AblationTable((), table.baseline, 0).heads().shape == (0, 0)


def test_a_closed_study_keeps_what_is_done() -> None:
    study = ablation_study(traced(), PARTS)
    for step in study:
        if step.step == 3:
            study.close()
    assert len(step.table.rows) == 3
    assert not step.table.complete
    assert step.table.total == 30 + 5 + 5 + 4 + 5 + 1


def test_between_the_lines_every_level_is_told() -> None:
    steps, _ = finished(ablation_study(traced(), ("level",)))
    messages = [step.message for step in steps if step.row is None]
    assert messages.count("level 0 off") == 5
    assert messages.count("level 4 off") == 1


def test_the_whole_network_and_the_callers_modes_stay_as_they_are() -> None:
    trace = traced()
    before = [value.clone() for value in (*trace.model.state_dict().values(), trace.output.field)]
    study = ablation_study(trace, ("head",))
    next(study)
    assert torch.is_grad_enabled()
    next(study)
    assert torch.is_grad_enabled()
    study.close()
    after = [*trace.model.state_dict().values(), trace.output.field]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_parts_that_a_network_lacks_give_no_line() -> None:
    plain = RANConfig.preset("RAN3", 2).replace(confidence=False, feedback=False)
    assert {part for part, _, _ in study_parts(plain)} == {"head", "level", "output"}
    assert len(study_parts(RANConfig.preset("RAN4+"))) == 50


def test_a_field_that_was_refined_is_pointed_out() -> None:
    trace = traced()
    refined = DisplacementField(trace.output.field[0] + 1, trace.grid)
    trace = replace(trace, refined=refined, refined_inverse=refined)
    _, table = finished(ablation_study(trace, ("output",)))
    assert "before the instance optimisation refined it" in table.note
    assert ablate(trace, Ablation(output=True)).max_mm < 1.5  # against the network's own field, not the refined one


def test_what_cannot_be_used_is_named() -> None:
    trace = traced()
    points = Landmarks(np.zeros((2, 2)))
    with pytest.raises(InputError, match="moving_labels: the labels of one image alone"):
        Ablator(trace, fixed_labels=halves(trace, 8))
    with pytest.raises(InputError, match="fixed_landmarks: the landmarks of one image alone"):
        ablation_study(trace, moving_landmarks=points)
    with pytest.raises(InputError, match="moving_landmarks: the points do not pair up: 2 and 3"):
        Ablator(trace, fixed_landmarks=points, moving_landmarks=Landmarks(np.zeros((3, 2))))
    volume = Labels(torch.zeros((4, 4, 4), dtype=torch.int32), Grid.from_spacing((4, 4, 4)))
    with pytest.raises(InputError, match="moving_labels: expected 2 dimensions like the pair, got 3"):
        Ablator(trace, halves(trace, 8), volume)
    in_space = Landmarks(np.zeros((2, 3)))
    with pytest.raises(InputError, match="fixed_landmarks: expected 2 dimensions like the pair, got 3"):
        Ablator(trace, fixed_landmarks=in_space, moving_landmarks=in_space)
    with pytest.raises(InputError, match=r"which: there are no parts called 'heads'. Choose among head, level"):
        ablation_study(trace, ("heads",))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="ablation: level 1 has no head 9"):
        ablate(trace, Ablation(heads={(1, 9)}))
