"""The network on overlapping tiles, around what it found on the whole."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import napari_ran as ran
from napari_ran import functional as F
from napari_ran.introspect import Inspection
from napari_ran.io.checkpoints import default_weights, load_network
from napari_ran.looks import network_grid
from napari_ran.models import create_system
from napari_ran.steps import last
from napari_ran.synthetic import PairConfig, generate_batch
from napari_ran.tiling import overlap_of, refine_in_tiles, tile_boxes, tile_shape, window

SHAPES = [
    ((160, 128, 160), 262_144),
    ((512, 512, 20), 262_144),
    ((300, 40), 4_096),
    ((64, 64, 64), 10**6),
    ((7, 90), 600),
]


@pytest.mark.parametrize(("shape", "voxels"), SHAPES)
def test_tiles_cover_everything_and_overlap(shape: tuple[int, ...], voxels: int) -> None:
    tile = tile_shape(shape, voxels, 16)
    assert all(length == n or length % 16 == 0 for n, length in zip(shape, tile, strict=True))
    assert math.prod(tile) <= max(voxels, 32 ** len(shape))
    total = torch.zeros((1, 1, *shape))
    boxes = tile_boxes(shape, tile)
    for box in boxes:
        total[(slice(None), slice(None), *box)] += window(box, shape, total)
    assert float(total.min()) > 0.3
    assert float(total.max()) < 1.7 ** len(shape)
    for axis, length in enumerate(tile):
        starts = sorted({box[axis].start for box in boxes})
        ends = [start + length for start in starts]
        assert (starts[0], ends[-1]) == (0, shape[axis])
        assert all(end - start >= overlap_of(length) for end, start in zip(ends, starts[1:], strict=False))


def test_weights_fall_smoothly_to_nothing_where_another_tile_goes_on() -> None:
    like = torch.zeros(1)
    weight = window((slice(0, 32),), (96,), like)[0, 0]
    assert float(weight[0]) == 1
    assert float(weight[-1]) == 0
    assert float(weight.diff().abs().max()) < 0.5
    assert torch.equal(window((slice(64, 96),), (96,), like)[0, 0], weight.flip(0))
    assert bool((window((slice(0, 96),), (96,), like) == 1).all())


@pytest.fixture(scope="module")
def network() -> object:
    return load_network(str(default_weights(2))).eval()


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor, Tensor]:
    """A generated development pair of 160 x 144 pixels: moving, fixed, the true field."""
    made = generate_batch(PairConfig(shapes=((160, 144),), peak=(0.02, 0.05), sliding=0.0, still=0.0), 77, 0)
    return made.moving, made.fixed, made.truth


def found(
    network: object, moving: Tensor, fixed: Tensor, coarse: tuple[int, ...], tile: tuple[int, ...]
) -> list[Tensor]:
    """The field of the whole at a coarser grid, and that after the tiles, in both directions."""
    shape = fixed.shape[2:]
    with torch.no_grad():
        whole = network(F.resize(moving, coarse), F.resize(fixed, coarse))  # type: ignore[operator]
        fields = F.resize_field(whole.field, shape), F.resize_field(whole.inverse_field, shape)
        refined = last(refine_in_tiles(network, moving, fixed, *fields, tile))  # type: ignore[arg-type]
    return [*fields, *refined]


def error(field: Tensor, truth: Tensor) -> float:
    return float(torch.linalg.vector_norm(field - truth, dim=1).mean())


def test_one_tile_from_nothing_is_the_plain_pass(network: object, pair: tuple[Tensor, ...]) -> None:
    moving, fixed, _ = pair
    zero = torch.zeros((1, 2, *fixed.shape[2:]))
    with torch.no_grad():
        plain = network(moving, fixed)  # type: ignore[operator]
        tiled = last(refine_in_tiles(network, moving, fixed, zero, zero, fixed.shape[2:]))  # type: ignore[arg-type]
    torch.testing.assert_close(tiled[0], plain.field, atol=1e-3, rtol=0)
    torch.testing.assert_close(tiled[1], plain.inverse_field, atol=1e-3, rtol=0)


def test_tiles_improve_what_the_whole_gave_over_several_pairs(network: object) -> None:
    config = PairConfig(shapes=((160, 144),), peak=(0.02, 0.05), sliding=0.0, still=0.0)
    before = after = 0.0
    for seed in (77, 78, 79):
        made = generate_batch(config, seed, 0)
        coarse, _, tiled, back = found(network, made.moving, made.fixed, (80, 80), (80, 80))
        before, after = before + error(coarse, made.truth), after + error(tiled, made.truth)
        there_and_back = float(torch.linalg.vector_norm(F.compose(back, tiled), dim=1).mean())
        assert there_and_back < float(torch.linalg.vector_norm(tiled, dim=1).mean())
    assert after < 0.97 * before


def test_a_motion_of_most_of_the_overlap_is_not_lost(network: object, pair: tuple[Tensor, ...]) -> None:
    fixed = pair[1]
    shape = fixed.shape[2:]
    shift = torch.tensor([10.0, -7.0]).view(1, 2, 1, 1).expand(1, 2, *shape)
    shifted = F.warp(fixed, shift, padding="border")
    inner = (slice(None), slice(None), slice(24, -24), slice(24, -24))
    coarse, _, tiled, _ = found(network, shifted, fixed, (80, 72), (64, 64))
    with torch.no_grad():
        zero = torch.zeros_like(coarse)
        alone = last(refine_in_tiles(network, shifted, fixed, zero, None, (64, 64)))[0]  # type: ignore[arg-type]
    errors = [error(field[inner], -shift[inner]) for field in (coarse, tiled, alone)]
    assert errors[1] < errors[0] < 0.6 * math.hypot(10, 7)
    assert errors[2] > 2 * errors[1]  # tiles that do not know of the whole lose it


def test_there_are_no_seams(network: object, pair: tuple[Tensor, ...]) -> None:
    moving, fixed, _ = pair
    tile = (80, 80)
    tiled = found(network, moving, fixed, (80, 80), tile)[2]
    second = (
        tiled.diff(n=2, dim=2).abs().mean(dim=(0, 1, 3))
    )  # a seam is a jump of the slope, at the same row everywhere
    starts = sorted({box[0].start for box in tile_boxes(fixed.shape[2:], tile)})
    ends = [start + tile[0] for start in starts[:-1]] + starts[1:]
    at_ends = torch.stack([second[max(0, end - 3) : end + 1].max() for end in ends])
    assert float(at_ends.max()) < 1.5 * float(second[2:-2].quantile(0.95))


def test_it_can_be_left_between_tiles(network: object, pair: tuple[Tensor, ...]) -> None:
    moving, fixed, _ = pair
    zero = torch.zeros((1, 2, *fixed.shape[2:]))
    steps = refine_in_tiles(network, moving, fixed, zero, None, (80, 80))  # type: ignore[arg-type]
    with torch.no_grad():
        first = next(steps)
    assert (first.tile, first.level) == (0, 0)
    assert first.tiles == len(tile_boxes(fixed.shape[2:], (80, 80))) > 1
    steps.close()


def test_any_system_looks_at_tiles(pair: tuple[Tensor, ...]) -> None:
    moving, fixed, _ = pair
    fields = found(create_system("VM1", 2).eval(), moving, fixed, (80, 80), (80, 80))
    assert all(bool(torch.isfinite(field).all()) for field in fields)


def test_a_run_in_tiles_says_so_and_keeps_the_levels_of_the_whole() -> None:
    made = ran.phantom_2d()
    settings = {"affine": "none", "instance": "none", "network_voxels": 4_096, "keep_levels": True}
    run = ran.start(made.fixed, made.moving, **settings)  # type: ignore[arg-type]
    assert run.plan.tile
    assert "then on tiles of" in run.plan.line
    events = [event for event in run if event.stage == "network"]
    assert [event.step for event in events] == list(range(1, len(events) + 1))
    assert all(event.total == len(events) for event in events)
    result = run.result()
    assert any("levels kept are those of the look at the whole" in text for text in result.report.messages)
    assert result.trace is not None
    assert result.trace.grid == network_grid(made.fixed.grid, 4_096, 16)
    inspection = Inspection.from_registration(result)
    assert inspection.stages[-1].title == "Tiles"
    for direction, field in (("forward", result.field), ("inverse", result.inverse_field)):
        made_by_tiles = inspection.get("field", inspection.stages[-1].index, direction).data
        if direction == "forward" or result.trace.start is None:  # else on the image that the last look saw
            torch.testing.assert_close(made_by_tiles, field.tensor, atol=1e-4, rtol=0)
    off = ran.register(made.fixed, made.moving, **settings, tiles="off")  # type: ignore[arg-type]
    assert not any("overlapping tiles" in text for text in off.report.messages)
    assert result.report.similarity_after > off.report.similarity_after  # type: ignore[operator]


def test_a_run_can_be_cancelled_between_tiles() -> None:
    made = ran.phantom_2d()
    run = ran.start(made.fixed, made.moving, affine="none", instance="none", network_voxels=4_096)
    for event in run:
        if event.message.startswith("tile 2"):
            run.cancel()
    assert not run.result().report.complete
