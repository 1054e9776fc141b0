"""Every quantity of every stage: there, on its own grid, of the declared shape, and true."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran import functional
from napari_ran.cache import Cache
from napari_ran.config import PRESETS, RANConfig
from napari_ran.errors import InputError
from napari_ran.introspect import QUANTITIES, Inspection, NetworkTrace, total_of_increments
from napari_ran.models import ModelOutput

SHAPES = {2: (30, 21), 3: (14, 16, 11)}
EVERY = {"field", "increment", "warped", "difference", "jacobian"}
LEVEL = EVERY | {"residual_heads", "masks", "logits", "confidence", "attributes", "features", "refined"}


def oblique(shape: tuple[int, ...]) -> ran.Grid:
    ndim = len(shape)
    affine = np.eye(ndim + 1)
    affine[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    affine[:-1, :-1] *= np.array([1.2, 0.8, 2.5])[:ndim]
    affine[:-1, -1] = np.array([-7, 12, 90])[:ndim]
    return ran.Grid(shape, affine)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_quantity_of_every_preset(preset: str, ndim: Any, make_trace: Callable[..., NetworkTrace]) -> None:
    trace = make_trace(RANConfig.preset(preset, ndim), oblique(SHAPES[ndim]))
    inspection = Inspection.from_trace(trace)
    heads = trace.model.config.heads
    assert inspection.directions == ("forward", "inverse")
    assert [stage.kind for stage in inspection.stages] == ["level"] * trace.model.config.levels + ["output"]
    assert [quantity.name for quantity in inspection.quantities] == list(QUANTITIES)
    for direction in inspection.directions:
        for stage in inspection.stages:
            names = set(inspection.available(stage.index, direction))
            if stage.level is None:
                assert names == EVERY
                shape, spacing = trace.grid.shape, trace.grid.spacing
            else:
                info = trace.model.level_info[stage.level]
                assert names == LEVEL | ({"previous_confidence"} if stage.level else set())
                assert (stage.pool_size, stage.capture_range) == (info.pool_size, info.capture_range)
                declared = info.shape_for(trace.grid.shape)
                assert trace.levels[stage.level].shape == declared
                shape = tuple(-(-n // info.pool_size) for n in trace.grid.shape)
                assert all(n <= whole for n, whole in zip(shape, declared, strict=True))
                spacing = trace.grid.spacing * info.pool_size
            channels = {"field": ndim, "increment": ndim, "residual_heads": heads * ndim, "masks": heads}
            channels |= {"logits": heads, "attributes": heads}
            for name in names:
                array = inspection.get(name, stage.index, direction)
                if name in ("warped", "difference"):
                    assert array.grid == trace.grid
                else:
                    assert array.grid.shape == shape
                    assert np.allclose(array.grid.spacing, spacing)
                wide = trace.model.level_info[stage.index].channels if name in ("features", "refined") else 1
                assert array.data.shape == (channels.get(name, wide), *array.grid.shape)
                assert array.data.dtype == torch.float32
                assert bool(torch.isfinite(array.data).all())
                assert array.numpy().shape == array.data.shape
            if stage.level is not None:
                masks = inspection.get("masks", stage.index, direction).data
                assert torch.allclose(masks.sum(0), torch.ones(shape), atol=1e-5)
        final = trace.output.field if direction == "forward" else trace.output.inverse_field
        total = total_of_increments(inspection, direction)
        assert float((total - final[0]).abs().max()) <= 1e-5 * float(final.abs().max())


def test_the_increment_is_what_a_level_added(make_trace: Callable[..., NetworkTrace]) -> None:
    trace = make_trace(RANConfig.preset("RAN0", 2), oblique((32, 16)))
    inspection = Inspection.from_trace(trace)
    coarse, fine = (inspection.get("field", stage).data for stage in (1, 2))
    repeated = 2 * coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(inspection.get("increment", 2).data, fine - repeated)
    assert torch.equal(inspection.get("increment", 0).data, inspection.get("field", 0).data)


def test_heads_and_their_millimetres(make_trace: Callable[..., NetworkTrace]) -> None:
    trace = make_trace(RANConfig.preset("RAN3", 3), oblique(SHAPES[3]))
    inspection = Inspection.from_trace(trace)
    array = inspection.get("residual_heads", 3)
    found = trace.levels[3].forward.residual_heads[0]
    assert torch.equal(array.heads, found[:, :, : array.grid.shape[0], : array.grid.shape[1], : array.grid.shape[2]])
    assert torch.allclose(array.mm[5], array.heads[1, 2] * float(array.grid.spacing[2]))
    field = inspection.get("field", 3)
    whole = ran.DisplacementField(field.data, field.grid)
    assert torch.allclose(field.magnitude[0], whole.magnitude, atol=1e-4)
    with pytest.raises(InputError, match="'masks' holds no displacements"):
        _ = inspection.get("masks", 3).mm


def test_a_field_that_is_linear_in_the_world_is_so_after_every_level(make_trace: Callable[..., NetworkTrace]) -> None:
    """A displacement by world position, put on each level's grid, comes back as such on the image's grid."""
    grid = oblique((32, 48))
    trace = make_trace(RANConfig.preset("RAN0", 2), grid)
    inspection = Inspection.from_trace(trace)

    def displacement(there: ran.Grid) -> torch.Tensor:
        world = there.to_world(np.stack(np.meshgrid(*map(np.arange, there.shape), indexing="ij"), -1))
        mm = 0.1 * (world - grid.centre)[..., ::-1] + 1
        return torch.from_numpy(np.moveaxis(mm @ np.linalg.inv(there.affine[:-1, :-1]).T, -1, 0).copy()).float()

    levels = tuple(
        replace(level, forward=replace(level.forward, field=displacement(inspection.get("field", i).grid)[None]))
        for i, level in enumerate(trace.levels)
    )
    made = replace(trace, output=ModelOutput(displacement(grid)[None], None, levels))
    inspection = Inspection.from_trace(made)
    expected = functional.warp(made.moving, made.output.field)[0]
    for stage in inspection.stages:
        edge = stage.pool_size  # beyond the outermost centres the border's displacement continues
        inner = (slice(None), slice(edge, 32 - edge), slice(edge, 48 - edge))
        field = inspection.source.image_field(stage, "forward")
        assert torch.allclose(field[inner], made.output.field[0][inner], atol=1e-4)
        warped = inspection.get("warped", stage.index).data
        assert torch.allclose(warped[inner], expected[inner], atol=1e-4)
        difference = inspection.get("difference", stage.index).data
        assert torch.equal(difference, warped - made.fixed[0])
        determinant = inspection.get("jacobian", stage.index).data
        assert determinant.allclose(torch.tensor(1 - 0.01), atol=1e-3)  # det [[1, .1], [.1, 1]] in the world
        roughness = inspection.metrics(stage.index).smoothness
        assert roughness == pytest.approx(0.02, rel=1e-3)


@pytest.mark.parametrize("mode", ["none", "field", "network"])
def test_the_last_stage_is_the_result(mode: str, registered: Callable[..., ran.Registration], phantom: Any) -> None:
    result = registered(mode)
    inspection = Inspection.from_registration(result)
    last = inspection.stages[-1].index
    assert inspection.note == ""
    assert inspection.name == "phantom moving to phantom fixed"
    field = inspection.get("field", last)
    assert field.grid == result.fixed.grid
    assert torch.allclose(field.data, result.field.tensor, atol=1e-4)
    warped = inspection.get("warped", last).data[:, 2:-2, 2:-2, 2:-2]
    expected = result.warped.tensor[:, 2:-2, 2:-2, 2:-2]
    assert np.corrcoef(warped.flatten(), expected.flatten())[0, 1] > 0.9999
    metrics, report = inspection.metrics(last), result.report
    assert metrics.tre_mm == pytest.approx(report.tre_after.mean, abs=1e-3)
    assert metrics.dice == pytest.approx(report.dice_after, abs=0.02)
    assert metrics.dice_mean == pytest.approx(report.dice_mean_after, abs=0.02)
    assert metrics.similarity == pytest.approx(report.similarity_after, abs=0.02)
    assert metrics.folding_percent == pytest.approx(report.folding_percent, abs=0.1)
    assert metrics.mean_mm == pytest.approx(report.displacement_mm.mean, abs=1e-3)
    assert metrics.max_mm == pytest.approx(report.displacement_mm.max, abs=1e-2)


def test_the_refinement_is_one_more_stage(registered: Callable[..., ran.Registration]) -> None:
    result = registered("field")
    inspection = Inspection.from_registration(result)
    *_, output, last = inspection.stages
    assert (output.kind, last.kind) == ("output", "instance")
    for direction in ("forward", "inverse"):
        added = inspection.get("increment", last.index, direction).data
        before, after = (inspection.get("field", stage.index, direction).data for stage in (output, last))
        assert torch.allclose(before + added, after, atol=1e-5)
    assert float(inspection.get("increment", last.index).data.abs().max()) > 0.1
    assert torch.allclose(inspection.get("field", last.index, "inverse").data, result.inverse_field.tensor, atol=1e-4)


def test_the_levels_before_a_fit_can_be_inspected_too(registered: Callable[..., ran.Registration]) -> None:
    inspection = Inspection.from_registration(registered("network"))
    earlier = inspection.before
    assert earlier is inspection.before
    plain = Inspection.from_registration(registered("none"))
    assert plain.before is None
    for stage in plain.stages:
        one, other = (found.get("field", stage.index).data for found in (earlier, plain))
        assert torch.allclose(one, other, atol=1e-4)
    assert earlier.metrics(5).tre_mm == pytest.approx(plain.metrics(5).tre_mm, abs=1e-3)
    assert not torch.allclose(earlier.get("field", 5).data, inspection.get("field", 5).data, atol=1e-2)


def test_the_inverse_direction_is_measured_on_the_aligned_moving_image(make_trace: Any) -> None:
    """Landmarks and labels that the inverse field brings home exactly, behind an affine."""
    affine = np.eye(4)
    affine[:3, 3] = (40, -10, 5)
    trace = make_trace(RANConfig.preset("RAN3", 3), oblique(SHAPES[3]), affine=affine)
    grid = trace.grid
    shift = torch.zeros(1, 3, *grid.shape)
    shift[:, 0] = 2
    trace = replace(trace, output=ModelOutput(shift, -shift, trace.levels))
    fixed = ran.Landmarks(grid.to_world([[5, 6, 4], [7, 8, 5]]))
    moving = ran.Landmarks(grid.to_world([[7, 6, 4], [9, 8, 5]]) + affine[:3, 3])
    there = ran.Grid(grid.shape, affine @ grid.affine)
    labels = torch.zeros(grid.shape, dtype=torch.int32)
    labels[4:8, 5:9, 3:8] = 2
    pair = ran.Labels(labels, grid), ran.Labels(labels.roll(2, 0), there)
    inspection = Inspection.from_trace(trace, labels=pair, landmarks=(fixed, moving))
    for direction in ("forward", "inverse"):
        metrics = inspection.metrics(inspection.stages[-1].index, direction)
        assert metrics.tre_mm == pytest.approx(0, abs=1e-4)
        assert metrics.dice == {2: 1.0}
        assert metrics.smoothness == 0
    assert inspection.image("inverse").grid == grid
    assert metrics.to_dict()["dice"] == {2: 1.0}


def test_what_is_missing_is_explained(make_trace: Callable[..., NetworkTrace]) -> None:
    config = RANConfig.preset("RAN3", 2)
    whole = Inspection.from_trace(make_trace(config, oblique(SHAPES[2])))
    assert whole.why_not("masks", 0) == ""
    assert "no field to start from" in whole.why_not("previous_confidence", 0)
    assert "this stage is no level" in whole.why_not("masks", len(whole.stages) - 1)
    bare = Inspection.from_trace(make_trace(config.replace(confidence=False, feedback=False), oblique(SHAPES[2])))
    assert "no confidences" in bare.why_not("confidence", 1)
    assert "no confidences" in bare.why_not("previous_confidence", 0)
    assert "no feedback" in bare.why_not("attributes", 1)
    assert "refined" in bare.available(1)
    assert {quantity.name for quantity in bare.quantities} == set(QUANTITIES) - {
        "confidence", "previous_confidence", "attributes",
    }  # fmt: skip
    one_way = Inspection.from_trace(make_trace(config, oblique(SHAPES[2]), both=False))
    assert one_way.directions == ("forward",)
    assert "Only the forward direction" in one_way.why_not("field", 0, "inverse")
    with pytest.raises(InputError, match="attributes: this network has no feedback"):
        bare.get("attributes", 1)
    with pytest.raises(InputError, match="quantity: there is none called 'mask'"):
        whole.get("mask", 0)
    with pytest.raises(InputError, match="stage: there are stages 0 to 5, got 6"):
        whole.get("field", 6)
    with pytest.raises(InputError, match="direction: there is none called 'backward'"):
        whole.get("field", 0, "backward")


def test_a_result_without_levels_offers_its_field(registered: Callable[..., ran.Registration]) -> None:
    result = registered("field", keep_levels=False)
    inspection = Inspection.from_registration(result)
    assert "keep_levels=True" in inspection.note
    assert [stage.kind for stage in inspection.stages] == ["field"]
    assert inspection.trace is None
    assert (
        inspection.available(0) == inspection.available(0, "inverse") == ("field", "warped", "difference", "jacobian")
    )
    assert inspection.get("field", 0).data is result.field.tensor
    assert inspection.get("field", 0, "inverse").grid == result.moving.grid
    metrics, report = inspection.metrics(0), result.report
    assert metrics.dice == pytest.approx(report.dice_after)
    assert metrics.tre_mm == pytest.approx(report.tre_after.mean)
    assert metrics.similarity == pytest.approx(report.similarity_after, abs=0.01)
    assert inspection.metrics(0, "inverse").tre_mm < report.tre_before.mean
    with pytest.raises(InputError, match="no levels to sum"):
        total_of_increments(inspection)


def test_any_tools_field_can_be_inspected(phantom: Any) -> None:
    inspection = Inspection.from_field(phantom.truth, phantom.fixed, phantom.moving)
    assert "without the levels" in inspection.note
    assert inspection.directions == ("forward",)
    plain = Inspection.from_field(ran.DisplacementField.identity(phantom.fixed.grid), phantom.fixed, phantom.moving)
    assert inspection.metrics(0).similarity > plain.metrics(0).similarity
    errors = [found.get("difference", 0).data.abs().mean() for found in (inspection, plain)]
    assert errors[0] < 0.6 * errors[1]
    assert "needs the levels" in inspection.why_not("masks", 0)
    alone = Inspection.from_field(phantom.truth)
    assert alone.available(0) == ("field", "jacobian")
    assert alone.why_not("warped", 0) == "The image that is pulled is not known"
    assert alone.image() is None
    assert alone.metrics(0).similarity is None
    with pytest.raises(InputError, match="fixed: the image has 2 dimensions, the field 3"):
        Inspection.from_field(phantom.truth, ran.phantom_2d().fixed)


def test_a_field_on_another_grid_than_its_image(phantom: Any) -> None:
    grid = phantom.fixed.grid.with_shape((9, 8, 7))
    small = functional.resize_field(phantom.truth.tensor[None], grid.shape)[0]
    inspection = Inspection.from_field(ran.DisplacementField(small, grid), phantom.fixed, phantom.moving)
    assert inspection.image().grid == grid
    assert inspection.get("difference", 0).grid == grid


def test_arrays_are_kept_within_the_budget(registered: Callable[..., ran.Registration]) -> None:
    inspection = Inspection.from_trace(registered("none").trace, cache_bytes=60_000)
    first = inspection.get("warped", 0)
    assert inspection.get("warped", 0) is first
    for stage in inspection.stages:
        for name in inspection.available(stage.index):
            inspection.get(name, stage.index)
            assert inspection._cache.bytes <= 60_000
    again = inspection.get("warped", 0)
    assert again is not first
    assert torch.equal(again.data, first.data)


def test_the_cache_counts_and_forgets_the_oldest() -> None:
    cache = Cache(10)
    for key in "abc":
        cache.get(key, lambda key=key: key * 2, lambda _: 4)  # type: ignore[misc]
    assert cache.bytes == 8
    made: list[str] = []
    assert cache.get("c", lambda: made.append("c"), lambda _: 4) == "cc"
    assert cache.get("a", lambda: made.append("a") or "new", lambda _: 4) == "new"  # type: ignore[func-returns-value]
    assert made == ["a"]
    assert cache.get("huge", lambda: "huge", lambda _: 11) == "huge"
    assert cache.bytes == 8
    assert not cache._making  # a value that was there leaves nothing behind
    cache.clear()
    assert cache.bytes == 0


def test_images_that_a_trace_does_not_hold_are_counted(
    phantom: Any, registered: Callable[..., ran.Registration]
) -> None:
    foreign = Inspection.from_field(phantom.truth, phantom.fixed, phantom.moving)
    image = foreign.image()
    assert image is not None
    assert foreign._cache.bytes == image.tensor.nbytes
    traced = Inspection.from_trace(registered("none").trace)
    assert traced.image("inverse") is not None
    assert traced._cache.bytes == 0


def test_threads_share_the_work_and_an_error_blocks_nobody() -> None:
    cache, made = Cache(100), []

    def make() -> str:
        time.sleep(0.05)
        made.append(1)
        if len(made) == 1:
            raise ValueError("first")
        return "value"

    results: list[str] = []

    def ask() -> None:
        try:
            results.append(cache.get("key", make, lambda _: 1))
        except ValueError as error:
            results.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=5)
    assert sorted(results) == ["first", "value", "value", "value"]
    assert len(made) == 2


def test_many_threads_get_the_same_arrays(registered: Callable[..., ran.Registration]) -> None:
    inspection = Inspection.from_trace(registered("none").trace)
    expected = Inspection.from_trace(registered("none").trace)
    wanted = [(name, stage.index) for stage in inspection.stages for name in inspection.available(stage.index)]

    def walk(start: int) -> list[str]:
        found = wanted[start:] + wanted[:start]
        return [
            name
            for name, stage in found
            if not torch.equal(inspection.get(name, stage).data, expected.get(name, stage).data)
        ]

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(walk, (0, 17, 34), timeout=60)) == [[], [], []]
