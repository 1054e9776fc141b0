"""Where quantities come from when the network looked at coarser grids first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran import functional as F
from napari_ran.config import RANConfig
from napari_ran.errors import InputError
from napari_ran.introspect import Inspection, NetworkTrace, total_of_increments
from napari_ran.introspect.ablation import ablate
from napari_ran.models import Ablation, ModelOutput

Looked = Callable[..., ran.Registration]


def by_kind(inspection: Inspection, kind: str) -> int:
    """Return the last stage of a kind."""
    return max(stage.index for stage in inspection.stages if stage.kind == kind)


def test_what_coarser_looks_found_comes_first(looked: Looked) -> None:
    inspection = Inspection.from_registration(looked("none"))
    trace = inspection.trace
    assert trace is not None
    assert trace.start is not None
    assert [stage.kind for stage in inspection.stages] == ["start", *["level"] * 5, "output"]
    assert torch.equal(inspection.get("field", 0).data, trace.start[0])
    torch.testing.assert_close(inspection.get("warped", 0).data[:, 2:-2], F.warp(trace.moving, trace.start)[0, :, 2:-2])
    for ask in (inspection.get, inspection.metrics):
        with pytest.raises(InputError, match="as the coarser looks had warped it"):
            ask(*("field", 0, "inverse")[ask == inspection.metrics :])
    scores = [inspection.metrics(index) for index in (0, by_kind(inspection, "output"))]
    nothing = Inspection.from_trace(replace(trace, start=torch.zeros_like(trace.start))).metrics(0)
    assert nothing.similarity < scores[0].similarity < scores[1].similarity  # type: ignore[operator]


def test_the_networks_levels_are_those_of_what_it_saw(looked: Looked) -> None:
    trace = looked("none").trace
    assert trace is not None
    with torch.no_grad():
        again = trace.model(trace.seen, trace.fixed, keep_levels=True)
    torch.testing.assert_close(again.field, trace.output.field, atol=1e-3, rtol=0)
    torch.testing.assert_close(again.levels[4].forward.field, trace.levels[4].forward.field, atol=1e-3, rtol=0)


@pytest.mark.parametrize("mode", ["none", "field"])
def test_the_last_stage_is_the_result(mode: str, looked: Looked) -> None:
    result = looked(mode)
    inspection = Inspection.from_registration(result)
    last, report = inspection.stages[-1], result.report
    whole = F.resize_field(inspection.get("field", last.index).data[None], result.fixed.grid.shape)[0]
    torch.testing.assert_close(whole, result.field.tensor, atol=1e-4, rtol=0)
    metrics = inspection.metrics(last.index)
    assert metrics.tre_mm == pytest.approx(report.tre_after.mean, abs=0.05)
    assert metrics.dice_mean == pytest.approx(report.dice_mean_after, abs=0.03)  # on another grid
    assert metrics.similarity == pytest.approx(report.similarity_after, abs=0.05)


def test_the_refinement_is_measured_against_all_looks(looked: Looked) -> None:
    inspection = Inspection.from_registration(looked("field"))
    output, last = by_kind(inspection, "output"), inspection.stages[-1].index
    for direction in ("forward", "inverse"):
        before, after = (inspection.get("field", index, direction) for index in (output, last))
        added = inspection.get("increment", last, direction).data
        resized = F.resize_field(before.data[None], after.grid.shape)[0]
        torch.testing.assert_close(resized + added, after.data, atol=1e-5, rtol=0)


def test_increments_sum_to_the_last_look_alone(make_trace: Callable[..., NetworkTrace]) -> None:
    trace = make_trace(RANConfig.preset("RAN4+", 2), ran.Grid.from_spacing((30, 21), 1.0), started=True)
    torch.testing.assert_close(total_of_increments(Inspection.from_trace(trace)), trace.output.field[0])


def test_both_directions_bring_labels_and_landmarks_home(make_trace: Any) -> None:
    """An affine, a shift by the coarser looks and one by the last look, which lead home together."""
    affine = np.eye(4)
    affine[:3, 3] = (40, -10, 5)
    grid = ran.Grid.from_spacing((20, 18, 16), (1.0, 1.5, 2.0))
    trace = make_trace(RANConfig.preset("RAN3", 3), grid, affine=affine)
    shift, start = torch.zeros(1, 3, *grid.shape), torch.zeros(1, 3, *grid.shape)
    shift[:, 0], start[:, 1] = 2, 3
    trace = replace(trace, output=ModelOutput(shift, -shift, trace.levels), start=start)
    fixed = ran.Landmarks(grid.to_world([[5, 6, 4], [7, 8, 5]]))
    moving = ran.Landmarks(grid.to_world([[7, 9, 4], [9, 11, 5]]) + affine[:3, 3])
    labels = torch.zeros(grid.shape, dtype=torch.int32)
    labels[4:8, 5:9, 3:8] = 2
    there = ran.Labels(labels.roll((2, 3), (0, 1)), ran.Grid(grid.shape, affine @ grid.affine), "moving labels")
    inspection = Inspection.from_trace(trace, labels=(ran.Labels(labels, grid), there), landmarks=(fixed, moving))
    for direction in ("forward", "inverse"):
        metrics = inspection.metrics(by_kind(inspection, "output"), direction)
        assert metrics.tre_mm == pytest.approx(0, abs=1e-3)
        assert metrics.dice == {2: 1.0}
    seen = inspection.source.own_labels(there, "inverse")
    assert (seen.grid, seen.name) == (grid, "moving labels")
    assert torch.equal(seen.tensor, labels.roll(2, 0))


def test_an_ablation_is_scored_with_what_coarser_looks_found(looked: Looked) -> None:
    inspection = Inspection.from_registration(looked("none"))
    whole = ablate(inspection.trace, Ablation())  # type: ignore[arg-type]
    assert whole.max_mm == pytest.approx(0, abs=1e-2)
    assert whole.score.similarity == pytest.approx(
        inspection.metrics(by_kind(inspection, "output")).similarity, abs=1e-3
    )
    nothing = ablate(inspection.trace, Ablation(levels=frozenset(range(5)), output=True))  # type: ignore[arg-type]
    assert nothing.score.similarity == pytest.approx(inspection.metrics(0).similarity, abs=1e-3)
