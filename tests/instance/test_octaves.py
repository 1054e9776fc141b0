"""Large grids are refined at half the resolution first."""

from __future__ import annotations

import math

import pytest
import torch

import napari_ran as ran
from napari_ran import functional as F
from napari_ran.config import InstanceConfig
from napari_ran.data import DisplacementField
from napari_ran.instance import LandmarkGuide, octaves, optimise_field
from napari_ran.instance.field import optimise_at_once
from napari_ran.instance.octaves import LARGEST_SIDE, TICKS
from napari_ran.steps import last
from napari_ran.synthetic.phantom import PhantomPair


def slices(shape: tuple[int, int], seed: int = 0) -> tuple[PhantomPair, float]:
    spacing = 168 / shape[0]
    return ran.phantom_2d(seed=seed, shape=shape, spacing=(spacing, spacing)), spacing


def test_a_large_slice_is_as_well_registered_as_a_small_one() -> None:
    """The organs of seed 0 move by 4 pixels in the small one, and by 17 in the large one."""
    errors = []
    for shape in ((112, 80), (448, 320)):
        pair, spacing = slices(shape)
        fixed, moving = pair.fixed.tensor[None], pair.moving.tensor[None]
        result = last(optimise_field(fixed, moving, None, InstanceConfig(), (spacing, spacing)))
        found = DisplacementField(result.field[0], pair.fixed.grid)
        errors.append(pair.slip(found).epe_voxels)
        assert ("first" in result.messages[0]) == (shape == (448, 320))
    assert errors[0] < 1
    assert errors[1] < 2  # pixels of a quarter of the size


def test_small_grids_are_refined_at_once() -> None:
    pair, spacing = slices((64, 48))
    given = (pair.fixed.tensor[None], pair.moving.tensor[None], None, InstanceConfig(steps=5), (spacing, spacing))
    assert torch.equal(last(optimise_field(*given)).field, last(optimise_at_once(*given)).field)


def test_events_tell_of_one_course_and_of_fields_on_the_whole_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(octaves, "LARGEST_SIDE", 30)
    pair, spacing = slices((112, 80))
    fixed, moving = pair.fixed.tensor[None], pair.moving.tensor[None]
    start = torch.zeros(1, 2, 112, 80)
    events = list(optimise_field(fixed, moving, start, InstanceConfig(steps=10), (spacing, spacing)))
    steps = [event.step for event in events]
    assert steps == sorted(steps)
    assert {event.total for event in events} == {TICKS}
    assert steps[-1] == TICKS
    assert not [event for event in events if event.message.count("coarser") > 1]
    coarse = [event for event in events if event.message.startswith("coarser: ")]
    assert 0 < len(coarse) < len(events)
    assert not [event for event in coarse if math.isfinite(event.loss) or math.isfinite(event.similarity)]
    losses = [event.loss for event in events if math.isfinite(event.loss)]
    assert losses == sorted(losses, reverse=True)
    for event in (coarse[0], coarse[-1], events[-1]):
        assert event.best_field().shape == (1, 2, 112, 80)
    # what a stop would leave at the end of the coarse course is nearly the whole way already
    lengths = [float(event.best_field().norm(dim=1).mean()) for event in (coarse[0], coarse[-1], events[-1])]
    assert lengths[0] == 0
    assert lengths[1] == pytest.approx(lengths[2], rel=0.3)


def test_a_good_start_is_kept_and_a_bad_one_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(octaves, "LARGEST_SIDE", 60)
    pair, spacing = slices((112, 80))
    fixed, moving = pair.fixed.tensor[None], pair.moving.tensor[None]
    truth = pair.truth.tensor[None]

    def error(start: torch.Tensor | None) -> float:
        config = InstanceConfig(steps=2, search=0)  # little can be found from nothing
        found = last(optimise_field(fixed, moving, start, config, (spacing, spacing))).field
        return pair.slip(DisplacementField(found[0], pair.fixed.grid)).epe_voxels

    plain = error(None)
    assert error(truth) < 0.5 * plain
    assert error(-3 * truth) < 1.5 * plain


def test_masks_and_guides_count_there_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(octaves, "LARGEST_SIDE", 30)
    generator = torch.Generator().manual_seed(0)
    moving = F.gaussian_smooth(torch.rand(1, 1, 64, 64, generator=generator), 1.5)
    field = torch.zeros(1, 2, 64, 64)
    field[:, 0, :, :32], field[:, 0, :, 32:] = 4, -4
    fixed = F.warp(moving, field, padding="border")
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :28] = 1
    config = InstanceConfig(similarity="mse", steps=30)
    seen = last(optimise_field(fixed, moving, None, config, (1.0, 1.0), (), (mask, None))).field
    inside, outside = seen[0, 0, 10:-10, 6:24], seen[0, 0, 10:-10, 40:-6]
    assert float((inside - 4).abs().mean()) < 0.5
    assert float((outside + 4).abs().mean()) > 2  # nothing says so where nothing is compared

    points = torch.tensor([[20.0, 45.0], [40.0, 50.0], [30.0, 55.0]])
    guide = LandmarkGuide(points, torch.tensor([-4.0, 0.0]).expand(3, 2), (64, 64), (1.0, 1.0), 1.0)
    led = last(optimise_field(fixed, moving, None, config, (1.0, 1.0), (guide,), (mask, None))).field
    at = led[0, 0][points[:, 0].long(), points[:, 1].long()]
    assert float((at + 4).abs().mean()) < 1.5


def test_usual_working_grids_are_refined_at_once() -> None:
    """Of four million voxels and a fifth more at most; slices of a phone's camera are not."""
    assert LARGEST_SIDE**3 > 1.2 * 4_000_000
    assert LARGEST_SIDE**2 < 512 * 512


def test_what_a_coarser_grid_proposes_is_left_where_a_search_from_zero_finds_better() -> None:
    pair, spacing = slices((112, 80))
    fixed, moving = pair.fixed.tensor[None], pair.moving.tensor[None]
    wrong = -3 * pair.truth.tensor[None]

    def error(proposal: torch.Tensor) -> float:
        given = (fixed, moving, None, InstanceConfig(steps=20), (spacing, spacing))
        field = last(optimise_at_once(*given, proposal=proposal)).field
        return pair.slip(DisplacementField(field[0], pair.fixed.grid)).epe_voxels

    assert pair.slip(DisplacementField(wrong[0], pair.fixed.grid)).epe_voxels > 10
    assert error(wrong) < 1
    assert error(0.9 * pair.truth.tensor[None]) < 1
