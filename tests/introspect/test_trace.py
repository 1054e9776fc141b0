"""What is kept of a run: nothing changes by keeping it, and it is what the network saw and did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran import functional
from napari_ran.introspect import Inspection, NetworkTrace, level_grid
from napari_ran.models import DirectionOutput, ModelOutput


def tensors_of(output: ModelOutput) -> Iterator[torch.Tensor]:
    found: list[torch.Tensor] = []
    output.map(lambda tensor: (found.append(tensor), tensor)[1])
    yield from found


@pytest.mark.parametrize("mode", ["none", "field", "network"])
def test_keeping_the_levels_changes_nothing(mode: str, registered: Callable[..., ran.Registration]) -> None:
    # one after the other: equality to the last bit holds for one number of threads
    kept, plain = registered(mode, anew=True), registered(mode, keep_levels=False)
    assert torch.equal(kept.field.tensor, plain.field.tensor)
    assert torch.equal(kept.inverse_field.tensor, plain.inverse_field.tensor)
    assert plain.trace is None
    assert plain.levels == ()
    assert kept.trace is not None
    assert kept.levels is kept.trace.output.levels
    assert len(kept.levels) == kept.trace.model.config.levels


@pytest.mark.parametrize("mode", ["none", "network"])
def test_the_trace_is_what_its_network_computes_for_its_images(
    mode: str, registered: Callable[..., ran.Registration]
) -> None:
    trace = registered(mode).trace
    with torch.no_grad():
        again = trace.model(trace.moving, trace.fixed, keep_levels=True)
    assert not trace.model.training
    for one, other in zip(tensors_of(again), tensors_of(trace.output), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        assert other.device.type == "cpu"
        assert not other.requires_grad


def test_a_fitted_network_is_kept_with_what_it_was_before(registered: Callable[..., ran.Registration]) -> None:
    trace, unfitted = registered("network").trace, registered("none").trace
    torch.testing.assert_close(trace.before.field, unfitted.output.field, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(trace.output.field, trace.before.field, atol=1e-2)
    earlier = trace.as_it_was
    assert earlier.output is trace.before
    assert earlier.card_name == unfitted.card_name
    assert trace.card_name == f"{unfitted.card_name}, fitted to this pair"
    for name, value in unfitted.model.state_dict().items():
        assert torch.equal(earlier.model.state_dict()[name], value)
    assert not any(tensor.requires_grad for tensor in tensors_of(trace.before))
    assert unfitted.as_it_was is None


def test_a_preset_without_weights_can_be_fitted_and_kept(phantom: Any) -> None:
    result = ran.register(
        phantom.fixed,
        phantom.moving,
        affine="none",
        weights="none",
        preset="RAN0",
        instance={"mode": "network", "network_steps": 1},
        keep_levels=True,
    )
    assert result.trace.card_name == "untrained weights, fitted to this pair"
    assert result.trace.before.levels


def test_the_refined_field_is_kept_beside_the_networks(registered: Callable[..., ran.Registration]) -> None:
    result = registered("field")
    assert result.trace.refined.grid == result.fixed.grid
    assert torch.allclose(result.trace.refined.tensor, result.field.tensor, atol=1e-4)
    assert torch.equal(result.trace.output.field, registered("none").trace.output.field)
    assert registered("none").trace.refined is None


def test_folds_smoothed_after_a_fit_are_a_stage_of_their_own(monkeypatch: pytest.MonkeyPatch, phantom: Any) -> None:
    monkeypatch.setattr("napari_ran.instance.network.unfold", lambda field: field + 0.25)
    result = ran.register(
        phantom.fixed,
        phantom.moving,
        affine="none",
        instance={"mode": "network", "network_steps": 1},
        keep_levels=True,
    )
    inspection = Inspection.from_registration(result)
    assert inspection.stages[-1].title == "Folds smoothed"
    increment = inspection.get("increment", inspection.stages[-1].index).data
    assert torch.allclose(increment, torch.full_like(increment, 0.25), atol=1e-5)
    assert inspection.why_not("field", inspection.stages[-1].index, "inverse")
    assert inspection.available(inspection.stages[-1].index, "inverse") == ()


def test_a_large_pair_is_traced_on_the_networks_coarser_grid() -> None:
    pair = ran.sliding_phantom(shape=(40, 32, 32))
    result = ran.register(
        pair.fixed, pair.moving, affine="none", instance="none", network_voxels=10_000, tiles="off", keep_levels=True
    )
    trace, fixed = result.trace, result.fixed.grid
    assert np.prod(trace.grid.shape) <= 12_000 < np.prod(fixed.shape)
    low, high = np.full(3, -0.5), np.array(trace.grid.shape) - 0.5
    assert np.allclose(trace.grid.to_world(low), fixed.to_world(np.full(3, -0.5)))
    assert np.allclose(trace.grid.to_world(high), fixed.to_world(np.array(fixed.shape) - 0.5))
    assert trace.refined is None, "resizing the network's field to the working grid is no refinement"


def test_an_affine_is_kept_and_the_moving_image_is_the_aligned_one(phantom: Any) -> None:
    shifted = ran.Grid(phantom.moving.grid.shape, _moved_by(phantom.moving.grid.affine, (30.0, -20.0, 10.0)))
    moving = ran.Image(phantom.moving.tensor, shifted)
    result = ran.register(phantom.fixed, moving, affine="rigid", instance="none", keep_levels=True)
    trace = result.trace
    assert np.allclose(trace.affine[:3, 3], (30, -20, 10), atol=4)
    # read through the affine, the original moving image is what the network saw
    world = trace.grid.to_world(np.stack(np.meshgrid(*map(np.arange, trace.grid.shape), indexing="ij"), -1))
    voxels = moving.grid.to_voxel(world @ trace.affine[:3, :3].T + trace.affine[:3, 3])
    coordinates = torch.from_numpy(np.moveaxis(voxels, -1, 0)).float()[None]
    read = functional.sample(moving.tensor[None], coordinates)[0, 0, 4:-4, 4:-4, 4:-4]
    correlation = np.corrcoef(read.flatten(), trace.moving[0, 0, 4:-4, 4:-4, 4:-4].flatten())[0, 1]
    assert correlation > 0.99


def _moved_by(affine: np.ndarray, offset: tuple[float, ...]) -> np.ndarray:
    moved = np.array(affine)
    moved[:-1, -1] += offset
    return moved


def test_a_run_stopped_while_refining_keeps_the_networks_levels(phantom: Any) -> None:
    run = ran.start(
        phantom.fixed, phantom.moving, affine="none", instance={"mode": "field", "search": 0}, keep_levels=True
    )
    for event in run:
        if event.stage == "instance" and event.step > 10:
            run.cancel()
    result = run.result()
    assert not result.report.complete
    assert result.trace.refined is not None
    assert torch.allclose(result.trace.refined.tensor, result.field.tensor, atol=1e-4)


def test_a_fit_stopped_early_has_no_levels_and_says_so(phantom: Any) -> None:
    run = ran.start(phantom.fixed, phantom.moving, affine="none", instance={"mode": "network"}, keep_levels=True)
    for event in run:
        if event.stage == "instance" and event.step >= 1:
            run.cancel()
    inspection = Inspection.from_registration(run.result())
    assert inspection.trace is None
    assert "No network finished its pass" in inspection.note
    assert "field" in inspection.available(0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_blob_is_at_the_same_place_on_every_level_grid(
    ndim: int, oblique_grids: dict[int, tuple[ran.Grid, ran.Grid]]
) -> None:
    grid = ran.Grid((37, 42, 38)[:ndim], oblique_grids[ndim][0].affine)
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    middle = np.array(grid.shape) * 0.48 + 0.3
    image = torch.from_numpy(np.exp(-0.5 * ((voxels - middle) ** 2).sum(-1) / 4**2))[None, None]
    pool = {2: torch.nn.functional.avg_pool2d, 3: torch.nn.functional.avg_pool3d}[ndim]
    for size in (1, 2, 4):
        coarse = level_grid(grid, size)
        ends = [p for n in reversed(grid.shape) for p in (0, -n % size)]
        seen = pool(torch.nn.functional.pad(image, ends), size)[0, 0].numpy()
        assert seen.shape == coarse.shape, "a level's grid is cropped to what overlaps the image"
        centres = coarse.to_world(np.stack(np.meshgrid(*map(np.arange, coarse.shape), indexing="ij"), -1))
        centre = (centres * seen[..., None]).sum(axis=tuple(range(ndim))) / seen.sum()
        assert np.allclose(centre, grid.to_world(middle), atol=2e-3)


def test_a_trace_refuses_what_does_not_fit(registered: Callable[..., ran.Registration]) -> None:
    trace = registered("none").trace
    other = ran.Grid.from_spacing((5, 5, 5))
    with pytest.raises(ran.InputError, match="fixed: expected a tensor of shape"):
        NetworkTrace(trace.model, "", other, np.eye(4), trace.fixed, trace.moving, trace.output)
    without = ModelOutput(trace.output.field)
    with pytest.raises(ran.InputError, match="it holds no levels"):
        NetworkTrace(trace.model, "", trace.grid, np.eye(4), trace.fixed, trace.moving, without)


def test_every_tensor_of_a_direction_is_mapped() -> None:
    one = torch.ones(1)
    found = DirectionOutput(one, one, one, one, one, None, one, one, one).map(lambda tensor: tensor * 2)
    assert found.previous_confidence is None
    assert {float(found.field), float(found.refined), float(found.attributes)} == {2.0}
