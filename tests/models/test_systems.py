"""Every system of the paper's tables: counts, contract, and that it learns."""

from __future__ import annotations

import itertools

import pytest
import torch

from napari_ran import InputError
from napari_ran import functional as F
from napari_ran.config.model import OTHER_SYSTEMS, PRESETS
from napari_ran.losses import mse
from napari_ran.models import SYSTEMS, create_system

TABLE_1 = ("VM1", "VM2", "CA/P", "Cn+Un", "RCn1", "RCn2", "DPRn", "RAN0", "RAN3", "RAN4", "RAN4+")
WITH_LEVELS = ("CA/P", "DPRn", "RAN0", "RAN3", "RAN4", "RAN4+")
by_name = pytest.mark.parametrize("name", SYSTEMS)


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    """Skip a system whose package is not there."""
    callspec = getattr(request.node, "callspec", None)
    name = "" if callspec is None else callspec.params.get("name", "")
    if name in SYSTEMS and SYSTEMS[name].requires:
        pytest.importorskip(SYSTEMS[name].requires)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    volume = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(seed))
    return F.gaussian_smooth(volume, 1.5) * 3 - 1


def test_the_systems_of_the_table_are_there_and_named_otherwise_refused() -> None:
    assert tuple(name for name, system in SYSTEMS.items() if system.published) == TABLE_1
    assert set(SYSTEMS) - set(PRESETS) == set(OTHER_SYSTEMS)  # what the settings of a training may name
    assert all((system.published is None) == (system.ablation or bool(system.requires)) for system in SYSTEMS.values())
    with pytest.raises(InputError, match=r"no system 'RCN1'.*Did you mean 'RCn1'"):
        create_system("RCN1")
    with pytest.raises(InputError, match="Known systems are VM1, VM2"):
        create_system("SyN")


@pytest.mark.parametrize("name", TABLE_1)
def test_parameters_are_the_paper_s_within_three_percent(name: str) -> None:
    millions = sum(p.numel() for p in create_system(name).parameters()) / 1e6
    assert millions == pytest.approx(SYSTEMS[name].published, rel=0.03)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_ran.models.packaged.PACKAGE", "voxelmorph_that_is_not_there")
    with pytest.raises(InputError, match=r"is not installed\. pip install 'napari-ran\[peers\]'"):
        create_system("voxelmorph")


@by_name
@pytest.mark.parametrize("shape", [(18, 33), (9, 18, 7)])
def test_the_contract(name: str, shape: tuple[int, ...]) -> None:
    network = create_system(name, 2 if len(shape) == 2 else 3, seed=1)
    moving, fixed = images(*shape), images(*shape, seed=1)
    before = torch.get_rng_state()
    with torch.no_grad():
        plain, kept = network(moving, fixed), network(moving, fixed, keep_levels=True)
        swapped = network(fixed, moving, keep_levels=True, both=False)
    assert torch.equal(before, torch.get_rng_state())
    assert plain.field.shape == plain.inverse_field.shape == (1, len(shape), *shape)
    assert float(plain.field.abs().max()) < 0.5  # starts at the identity, or near it
    torch.testing.assert_close(kept.field, plain.field)
    torch.testing.assert_close(swapped.field, plain.inverse_field, atol=1e-5, rtol=1e-4)
    assert swapped.inverse_field is None
    assert plain.levels == ()
    assert bool(kept.levels) == (name in WITH_LEVELS or SYSTEMS[name].ablation)
    for info, level in zip(getattr(network, "level_info", ()), kept.levels, strict=True):
        assert level.shape == info.shape_for(shape)
        assert level.pool_size == info.pool_size
        assert level.forward.residual_heads.shape == (1, info.heads, len(shape), *level.shape)
        assert level.forward.features.shape == (1, info.channels, *level.shape)
        assert level.inverse is not None
    if kept.levels:
        assert swapped.levels[-1].inverse is None


@by_name
def test_seeds_say_everything(name: str) -> None:
    one, same, other = (create_system(name, 2, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["VM1", "CA/P", "Cn+Un", "RCn1", "DPRn", "voxelmorph"])
def test_it_learns_a_pair(name: str) -> None:
    network = create_system(name, 2)
    moving = images(32, 32)
    fixed = torch.roll(moving, 2, dims=2)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    start = float(mse(moving, fixed))
    for _ in range(50):
        optimiser.zero_grad()
        lost = mse(F.warp(moving, network(moving, fixed, both=False).field, padding="border"), fixed)
        lost.backward()
        optimiser.step()
    assert float(lost.detach()) < 0.3 * start
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.mark.parametrize("name", ["VM1", "CA/P", "Cn+Un", "RCn1", "DPRn"])
def test_half_precision_stays_close(name: str) -> None:
    network = create_system(name, 2)
    moving, fixed = images(32, 32), images(32, 32, seed=1)
    with torch.no_grad():
        exact = network(moving, fixed).field
        with torch.autocast("cpu", torch.bfloat16):
            half = network(moving, fixed).field
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact, atol=0.01, rtol=0.1)


@pytest.mark.parametrize("name", ["VM1", "DPRn"])
def test_bad_input_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="two tensors"):
        create_system(name, 3)(images(16, 16, 16), images(16, 16, 18))


def test_a_pass_of_the_paper_s_network_needs_at_most_twice_the_memory_of_voxelmorph() -> None:
    most = {name: most_bytes(name) for name in ("VM1", "RAN3", "RAN4+")}
    assert most["RAN3"] < 2 * most["VM1"]
    assert most["RAN4+"] < 2 * most["VM1"]


def most_bytes(name: str) -> int:
    """Return how much the tensors of a forward pass in both directions take together at most."""
    network, images = create_system(name, 3), torch.rand(2, 1, 1, 32, 32, 32)
    with torch.no_grad(), torch.profiler.profile(profile_memory=True) as profile:
        network(*images)
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())))
