"""What a network sees of a pair: from coarse to fine, each time what is left."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from napari_ran import functional as F
from napari_ran.data import Grid
from napari_ran.io.checkpoints import TrainedRAN, load_network
from napari_ran.looks import Found, Start, look_at_whole, look_grids, network_grid
from napari_ran.models import ModelOutput
from napari_ran.steps import last
from napari_ran.synthetic import PairConfig, generate_batch

MILLION = 1_000_000
SHAPE = (40, 48, 32)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((96, 80, 64), (96, 80, 64)),  # as it is
        ((95, 80, 60), (95, 80, 60)),  # padded by a little
        ((34, 53, 36), (32, 48, 32)),
        ((41, 42, 23), (48, 48, 16)),
        ((5, 90, 90), (16, 96, 96)),
        ((37, 51), (32, 48)),
    ],
)
def test_much_padding_is_avoided_by_the_nearest_multiples(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert network_grid(Grid(shape, np.eye(len(shape) + 1)), MILLION, 16).shape == expected


@pytest.mark.parametrize("shape", [(160, 128, 160), (512, 512, 300), (300, 40, 20), (101, 99, 102), (4000, 3000)])
def test_many_voxels_are_coarsened_and_the_box_stays(shape: tuple[int, ...]) -> None:
    grid = Grid(shape, np.diag([1.5] * len(shape) + [1]))
    found = network_grid(grid, MILLION, 16)
    assert 0.4 * min(MILLION, np.prod(shape)) <= np.prod(found.shape) <= 1.1 * MILLION
    extents = np.asarray(found.shape) * found.spacing
    np.testing.assert_allclose(extents, np.asarray(grid.shape) * grid.spacing)


def test_no_axis_vanishes() -> None:
    assert network_grid(Grid((20, 20, 4), np.eye(4)), MILLION, 16).shape == (16, 16, 16)


@pytest.mark.parametrize("shape", [(160, 128, 160), (70, 60, 50), (35, 51, 35), (20, 20, 20), (300, 40), (7, 90)])
def test_grids_go_from_coarse_to_fine_over_one_box(shape: tuple[int, ...]) -> None:
    working = Grid.from_spacing(shape, 1.5)
    grids = look_grids(working, 262_144, 16, coarse=True)
    assert grids[-1] == look_grids(working, 262_144, 16, coarse=False)[0]
    voxels = [math.prod(grid.shape) for grid in grids]
    assert voxels == sorted(set(voxels))
    assert all(coarser < 0.8 * finer for coarser, finer in itertools.pairwise(voxels))
    for grid in grids:
        assert abs(grid.extent / working.extent - 1).max() < 0.02


def test_large_pairs_are_looked_at_three_times_and_tiny_ones_once() -> None:
    assert len(look_grids(Grid.from_spacing((160, 128, 160)), 262_144, 16, coarse=True)) == 3
    assert len(look_grids(Grid.from_spacing((35, 51, 35)), 262_144, 16, coarse=True)) == 2
    assert len(look_grids(Grid.from_spacing((20, 20, 20)), 262_144, 16, coarse=True)) == 1


@pytest.fixture(scope="module")
def network() -> TrainedRAN:
    network = load_network("general-3d").eval()
    assert isinstance(network, TrainedRAN)
    return network


def looks(network: TrainedRAN, fixed: torch.Tensor, moving: torch.Tensor, coarse: bool, keep: bool = False) -> Found:
    grids = look_grids(Grid.from_spacing(fixed.shape[2:]), fixed[0].numel(), 16, coarse)
    with torch.no_grad():
        return last(look_at_whole(network, fixed, moving, grids, keep))


def test_one_look_is_the_plain_pass(network: TrainedRAN) -> None:
    moving, fixed = torch.rand(2, 1, 1, *SHAPE, generator=torch.Generator().manual_seed(0))
    found = looks(network, fixed, moving, coarse=False)
    with torch.no_grad():
        plain = network(moving, fixed)
    assert found.start is None
    assert torch.equal(found.forward, plain.field)
    assert torch.equal(found.backward, plain.inverse_field)  # type: ignore[arg-type]


def test_coarser_looks_find_large_motion(network: TrainedRAN) -> None:
    """Three generated development pairs whose parts move by up to a quarter of the image."""
    config = PairConfig(shapes=(SHAPE,), peak=(0.2, 0.25), sliding=0.0, still=0.0)
    errors = torch.zeros(2)
    for seed in (77, 78, 79):
        made = generate_batch(config, seed, 0)
        for number, coarse in enumerate((False, True)):
            found = looks(network, made.fixed, made.moving, coarse)
            errors[number] += float(torch.linalg.vector_norm(found.forward - made.truth, dim=1).mean())
    assert len(look_grids(Grid.from_spacing(SHAPE), math.prod(SHAPE), 16, coarse=True)) > 1
    assert errors[1] < 0.9 * errors[0]


def test_the_field_is_that_of_all_looks_and_its_other_direction_leads_back(network: TrainedRAN) -> None:
    made = generate_batch(PairConfig(shapes=(SHAPE,), peak=(0.1, 0.12), sliding=0.0, still=0.0), 77, 0)
    found, kept = (looks(network, made.fixed, made.moving, coarse=True, keep=keep) for keep in (False, True))
    assert torch.equal(found.forward, kept.forward)  # keeping levels changes nothing
    assert not found.output.levels
    assert len(kept.output.levels) == 5
    assert found.start is not None
    torch.testing.assert_close(found.forward, F.compose(found.start, found.output.field))
    assert found.backward is not None
    there_and_back = torch.linalg.vector_norm(F.compose(found.backward, found.forward), dim=1).mean()
    assert float(there_and_back) < 0.5 * float(torch.linalg.vector_norm(found.forward, dim=1).mean())


def test_one_direction_alone_is_the_same(network: TrainedRAN) -> None:
    made = generate_batch(PairConfig(shapes=(SHAPE,), still=0.0), 78, 0)
    grids = look_grids(Grid.from_spacing(SHAPE), math.prod(SHAPE), 16, coarse=True)
    with torch.no_grad():
        both, one = (last(look_at_whole(network, made.fixed, made.moving, grids, both=both)) for both in (True, False))
    assert one.backward is None
    torch.testing.assert_close(one.forward, both.forward)


def test_a_start_and_what_is_left_lead_where_both_lead_one_after_the_other() -> None:
    """Translations add up, on any grid, and lead back."""
    shape, fine = (12, 10), (24, 30)
    ones = torch.ones(1, 2, *shape)
    start = Start(2 * ones, -2 * ones).on(fine)
    torch.testing.assert_close(start.forward[0, :, 0, 0], torch.tensor([4.0, 6.0]))
    whole = start.with_rest(ModelOutput(torch.ones(1, 2, *fine), -torch.ones(1, 2, *fine)))
    torch.testing.assert_close(whole.forward[0, :, 0, 0], torch.tensor([5.0, 7.0]))
    assert whole.backward is not None
    torch.testing.assert_close(whole.backward, -whole.forward)
    image = torch.arange(24.0).view(1, 1, 24, 1).expand(1, 1, *fine)
    torch.testing.assert_close(start.seen(image)[0, 0, 3], torch.full((30,), 7.0))
    assert start.with_rest(ModelOutput(torch.ones(1, 2, *fine))).backward is None
