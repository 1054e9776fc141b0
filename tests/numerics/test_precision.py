"""Half precision, GPUs and the processor agree within the bounds of ``docs/numerics.md``."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

BUNDLED = ["general-2d", "general-3d", "hippocampus"]
DEVICES = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}


@pytest.fixture(params=list(DEVICES))
def device(request: pytest.FixtureRequest) -> str:
    if not DEVICES[request.param]():
        pytest.skip(f"this machine has no {request.param} device")
    return str(request.param)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", BUNDLED)
def test_bfloat16_is_near_single_precision(name: str, seed: int, numerics: ModuleType) -> None:
    """Measured over three pairs: at most 0.013 voxels in the mean, 0.27 anywhere, and 0.0013 of a label's Dice."""
    apart = numerics.half_against_single(name, seed)
    assert 0 < apart.mean < 0.03  # not 0: bfloat16 was really used
    assert apart.largest < 0.5
    assert apart.dice < 0.005


@pytest.mark.parametrize("name", BUNDLED)
def test_a_gpu_in_single_precision_is_near_the_processor(name: str, device: str, numerics: ModuleType) -> None:
    apart = numerics.device_against_processor(name, device)
    assert apart.mean < 0.01
    assert apart.largest < 0.2
    assert apart.dice < 0.002


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", BUNDLED)
def test_a_gpu_in_half_precision_is_near_the_processor_in_single(
    name: str, precision: torch.dtype, device: str, numerics: ModuleType
) -> None:
    apart = numerics.device_against_processor(name, device, precision)
    assert apart.mean < 0.03
    assert apart.largest < 0.5
    assert apart.dice < 0.005


def test_a_gpu_finds_a_refinement_as_good_as_the_processors(device: str, numerics: ModuleType) -> None:
    pair = numerics.phantom(2)
    wrong = []
    for place in ("cpu", device):
        images = (image.tensor[None].to(place) for image in (pair.fixed, pair.moving))
        found = numerics.refined(*images)[0].cpu()
        wrong.append(float((found - pair.truth.tensor).norm(dim=0).mean()))
    assert abs(wrong[0] - wrong[1]) < 0.05


def test_a_gpu_gives_the_same_bits_twice(device: str, numerics: ModuleType) -> None:
    pair = numerics.phantom(2)
    first, second = (numerics.predicted("general-2d", pair, device) for _ in range(2))
    assert numerics.Apart.of(first, second).largest < 1e-5
