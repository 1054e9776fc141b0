"""A point's path and what makes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran.config import RANConfig
from napari_ran.errors import InputError
from napari_ran.introspect import Inspection, NetworkTrace, level_grid
from napari_ran.introspect.probe import probe
from napari_ran.models import ModelOutput


def turned(shape: tuple[int, ...]) -> ran.Grid:
    ndim = len(shape)
    affine = np.eye(ndim + 1)
    affine[:2, :2] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
    affine[:-1, :-1] *= np.array([1.5, 0.7, 3.0])[:ndim]
    affine[:-1, -1] = np.array([20, -5, 7])[:ndim]
    return ran.Grid(shape, affine)


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_path_is_made_of_the_fields(
    ndim: int, direction: str, started: bool, make_trace: Callable[..., NetworkTrace]
) -> None:
    affine = np.eye(ndim + 1)
    affine[0, 1], affine[:-1, -1] = 0.1, 30
    trace = make_trace(RANConfig.preset("RAN0", ndim), turned((30, 22, 13)[:ndim]), affine=affine, started=started)
    inspection = Inspection.from_trace(trace)
    point = trace.grid.to_world(np.array([17.3, 9.6, 6.2])[:ndim])
    found = probe(inspection, point, direction)
    assert found is not None
    stages = [stage for stage in inspection.stages if not inspection.why_not("field", stage.index, direction)]
    assert len(stages) == 6 + (started and direction == "forward")
    assert len(found.path) == len(found.moving) == len(stages) + 1
    assert np.array_equal(found.path[0], point)
    for stage, probed, place in zip(stages, found.stages, found.path[1:], strict=True):
        array = inspection.get("field", stage.index, direction)
        voxel = tuple(np.round(array.grid.to_voxel(point)).astype(int))
        moved = array.grid.to_world(array.grid.to_voxel(point) + array.data[(slice(None), *voxel)].numpy())
        assert np.allclose(place, moved, atol=1e-4)
        assert (probed.stage, probed.voxel) == (stage, voxel)
    other = found.path @ affine[:-1, :-1].T + affine[:-1, -1] if direction == "forward" else found.path
    assert np.allclose(found.moving, other)


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_contributions_sum_to_the_displacement(
    ndim: int, started: bool, make_trace: Callable[..., NetworkTrace]
) -> None:
    trace = make_trace(RANConfig.preset("RAN3", ndim), turned((30, 22, 13)[:ndim]), started=started)
    inspection = Inspection.from_trace(trace)
    rng = np.random.default_rng(0)
    for voxel in rng.uniform(-0.5, np.array(trace.grid.shape) - 0.51, (6, ndim)):
        found = probe(inspection, trace.grid.to_world(voxel))
        for stage in found.stages:
            assert stage.incompleteness <= 1e-4 * max(np.linalg.norm(stage.displacement), 1e-2)
            kinds = {part.kind for part in stage.contributions}
            assert ("start" in kinds) == started
            kinds -= {"start"}
            if stage.stage.kind == "output":
                assert kinds == {"features", "carried", "bias"}
            elif stage.stage.kind == "start":
                assert not kinds
            else:
                expected = {"residual", "residual mean", "bias"} | (
                    {"carried", "carried mean"} if stage.stage.level else set()
                )
                assert kinds - {"clamp"} == expected


def test_masks_heads_and_confidences_are_those_of_the_voxel(make_trace: Callable[..., NetworkTrace]) -> None:
    trace = make_trace(RANConfig.preset("RAN3", 3), turned((14, 16, 11)))
    inspection = Inspection.from_trace(trace)
    found = probe(inspection, trace.grid.to_world([9, 4, 7]))
    at = found.stages[3]
    grid = level_grid(trace.grid, 2)
    assert at.voxel == (4, 2, 3)
    level = trace.levels[3].forward
    assert np.allclose(at.masks, level.masks[0, :, 4, 2, 3])
    assert at.masks.sum() == pytest.approx(1, abs=1e-5)
    assert np.allclose(at.heads, level.residual_heads[0, :, :, 4, 2, 3].double().numpy() @ grid.affine[:3, :3].T)
    assert at.confidence == pytest.approx(float(level.confidence[0, 0, 4, 2, 3]))
    assert at.previous_confidence == pytest.approx(float(level.previous_confidence[0, 0, 4, 2, 3]))
    assert found.stages[0].previous_confidence is None
    assert np.allclose(at.capture_range, trace.model.level_info[3].capture_range * trace.grid.spacing)
    assert np.allclose(found.box_axes, trace.grid.direction)
    assert found.stages[-1].masks is found.stages[-1].capture_range is None


def test_the_refinement_is_the_end_of_the_path(registered: Callable[..., ran.Registration], phantom: Any) -> None:
    result = registered("field")
    inspection = Inspection.from_registration(result)
    point = phantom.fixed.grid.to_world([8, 7, 5])
    for direction, field in (("forward", result.field), ("inverse", result.inverse_field)):
        found = probe(inspection, point, direction)
        assert found.stages[-1].stage.kind == "instance"
        assert [part.kind for part in found.stages[-1].contributions] == ["carried", "change"]
        assert np.allclose(found.path[-1], field.map_points(point[None])[0], atol=1e-3)
        assert found.stages[-1].incompleteness < 1e-9


def test_outside_the_image_there_is_nothing(make_trace: Callable[..., NetworkTrace]) -> None:
    trace = make_trace(RANConfig.preset("RAN3", 2), turned((21, 18)))
    inspection = Inspection.from_trace(trace)
    for inside in ((-0.49, -0.49), (20.49, 17.49)):
        assert probe(inspection, trace.grid.to_world(inside)) is not None
    # in the padding of the levels there is a field, but no image
    for outside in ((-0.51, 0), (20.51, 3), (3, 17.51)):
        assert probe(inspection, trace.grid.to_world(outside)) is None
    with pytest.raises(InputError, match="point_mm: expected 2 finite coordinates"):
        probe(inspection, [1, 2, 3])
    with pytest.raises(InputError, match="point_mm: expected 2 finite coordinates"):
        probe(inspection, [1, np.nan])
    one_way = Inspection.from_trace(replace(trace, output=ModelOutput(trace.output.field, None, trace.levels)))
    with pytest.raises(InputError, match="direction: only the forward direction was computed"):
        probe(one_way, trace.grid.centre, "inverse")


def test_a_plain_field_has_a_path_of_one_step(phantom: Any) -> None:
    found = probe(Inspection.from_field(phantom.truth), phantom.fixed.grid.to_world([5, 6, 7]))
    assert np.allclose(found.path[1], phantom.truth.map_points(phantom.fixed.grid.to_world([[5, 6, 7]]))[0], atol=1e-4)
    assert np.array_equal(found.path, found.moving)
    assert found.stages[0].contributions == ()


def test_a_probe_is_exported_as_plain_values(make_trace: Callable[..., NetworkTrace]) -> None:
    trace = make_trace(RANConfig.preset("RAN3", 2), turned((21, 18)))
    found = probe(Inspection.from_trace(trace), trace.grid.centre)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["path_mm"] == found.path.tolist()
    assert len(values["stages"]) == 6
    level = values["stages"][1]
    assert list(level["contributions_mm"])[:2] == ["residual, head 0", "residual, head 1"]
    assert np.allclose(sum(map(np.array, level["contributions_mm"].values())), level["displacement_mm"], atol=1e-4)


def test_it_leaves_no_gradients(make_trace: Callable[..., NetworkTrace]) -> None:
    trace = make_trace(RANConfig.preset("RAN3", 2), turned((21, 18)))
    probe(Inspection.from_trace(trace), trace.grid.centre)
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in trace.model.parameters())
