"""How the network looks at a pair: from coarse to fine, each time at what is left."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

import napari_ran as ran
from napari_ran import functional as F
from napari_ran.config import RegistrationConfig
from napari_ran.data import Grid
from napari_ran.io.checkpoints import TrainedRAN, load_network
from napari_ran.models import create_model
from napari_ran.passes import Found, look_at_whole, look_grids
from napari_ran.steps import last
from napari_ran.synthetic import PairConfig, generate_batch
from napari_ran.working import looks_coarsely

SHAPE = (40, 48, 32)


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


def test_whether_it_looks_coarsely_is_up_to_the_weights_unless_asked(network: TrainedRAN) -> None:
    special = load_network("hippocampus")
    auto, on, off = (RegistrationConfig(coarse_looks=word) for word in ("auto", "on", "off"))
    assert looks_coarsely(network, auto)
    assert not looks_coarsely(special, auto)
    assert not looks_coarsely(create_model("RAN0"), auto)
    assert looks_coarsely(special, on)
    assert not looks_coarsely(network, off)
    assert RegistrationConfig(coarse_looks=True).coarse_looks == "on"  # type: ignore[arg-type]  # as YAML reads it


def test_a_run_tells_of_its_looks() -> None:
    pair = ran.sliding_phantom(shape=SHAPE)
    for coarse, number in (("on", 2), ("off", 1)):
        run = ran.start(pair.fixed, pair.moving, affine="none", instance="none", coarse_looks=coarse)  # type: ignore[arg-type]
        events = [event for event in run if event.stage == "network"]
        assert [event.step for event in events] == list(range(1, 5 * number + 1))
        assert {event.total for event in events} == {5 * number}
        said = [text for text in run.result().report.messages if "each time at what was left" in text]
        assert len(said) == number - 1
