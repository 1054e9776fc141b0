from __future__ import annotations

import pytest
import torch

from napari_ran.config import RANConfig
from napari_ran.models.blocks import (
    SLAB,
    Encoder,
    Norm,
    ResidualBlock,
    convolution,
    doubling,
    in_slabs,
    initialise,
    is_large,
    joined,
    rectified,
    repeat,
    set_centre_tap,
    slabs_of,
    widened,
)

SHAPES = {2: (8, 12), 3: (8, 12, 4)}


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("ndim", [2, 3])
def test_norm_over_all_axes_has_scalar_gain_and_one_mean(ndim: int) -> None:
    norm = Norm(RANConfig(ndim=ndim), 5)
    x = random(2, 5, *SHAPES[ndim]) * 3 + torch.arange(5.0).view(1, 5, *[1] * ndim)
    y = norm(x)
    assert sum(p.numel() for p in norm.parameters()) == 2
    torch.testing.assert_close(y.flatten(1).mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.flatten(1).std(1, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    assert y[:, 4].mean() > y[:, 0].mean() + 0.3  # channels keep their differences


@pytest.mark.parametrize("ndim", [2, 3])
def test_norm_per_channel_removes_the_channels_differences(ndim: int) -> None:
    norm = Norm(RANConfig(ndim=ndim, normalisation="per channel"), 5)
    x = random(2, 5, *SHAPES[ndim]) + torch.arange(5.0).view(1, 5, *[1] * ndim)
    assert sum(p.numel() for p in norm.parameters()) == 10
    torch.testing.assert_close(norm(x).flatten(2).mean(2), torch.zeros(2, 5), atol=1e-5, rtol=0)


def test_norm_of_a_constant_is_finite() -> None:
    y = Norm(RANConfig(), 3)(torch.full((1, 3, 4, 4, 4), 7.0))
    torch.testing.assert_close(y, torch.zeros_like(y), atol=1e-3, rtol=0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_initialise_draws_every_value_by_the_rules(ndim: int) -> None:
    layer = convolution(ndim, 40, 60)
    up = doubling(ndim, 40, 60)
    for module in (layer, up):
        with torch.no_grad():
            module.weight.fill_(float("nan"))
            module.bias.fill_(float("nan"))
        initialise(module, torch.Generator().manual_seed(0))
        assert module.bias.abs().max().item() == 0
    expected = (2 / (40 * 3**ndim)) ** 0.5
    assert layer.weight.std().item() == pytest.approx(expected, rel=0.03)
    assert layer.weight.abs().max().item() <= 2 * expected / 0.8796
    limit = (6 / (100 * 2**ndim)) ** 0.5
    assert 0.98 * limit < up.weight.abs().max().item() <= limit


@pytest.mark.parametrize("ndim", [2, 3])
def test_encoder_halves_at_every_stage(ndim: int) -> None:
    config = RANConfig(ndim=ndim)
    encoder = Encoder(config)
    initialise(encoder, torch.Generator().manual_seed(0))
    stages = encoder(random(2, 1, *[32] * ndim))
    assert [tuple(s.shape) for s in stages] == [
        (2, c, *[n] * ndim) for c, n in zip((8, 8, 16, 32), (16, 8, 4, 2), strict=True)
    ]


def test_residual_block_is_the_rectified_sum_of_both_paths() -> None:
    block = ResidualBlock(RANConfig(ndim=2), 3, 4)
    initialise(block, torch.Generator().manual_seed(0))
    x = random(1, 3, 9, 9)
    with torch.no_grad():
        block.norms[2].weight.zero_()  # silences the long path
        short = torch.nn.functional.leaky_relu(block.norms[0](block.enter(x)), 0.2)
        torch.testing.assert_close(block(x), torch.nn.functional.leaky_relu(short, 0.2))
    assert block.leave.dilation == (3, 3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_centre_tap_copies_one_channel(ndim: int) -> None:
    layer = convolution(ndim, 3, 2)
    initialise(layer, torch.Generator().manual_seed(0))
    with torch.no_grad():
        layer.weight[1] = 0
    set_centre_tap(layer, 1, 2, -0.5)
    x = random(1, 3, *SHAPES[ndim])
    torch.testing.assert_close(layer(x)[:, 1], -0.5 * x[:, 2])


def test_repeat_copies_voxels() -> None:
    x = torch.arange(4.0).view(1, 1, 2, 2)
    assert repeat(x, 2)[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert repeat(x, 1) is x


def test_only_half_precision_is_widened() -> None:
    assert widened(torch.zeros(1, dtype=torch.bfloat16)).dtype == torch.float32
    assert widened(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("gradients", [False, True])
def test_joined_is_the_concatenation_laid_out_for_convolutions(ndim: int, gradients: bool) -> None:
    parts = [random(2, channels, *SHAPES[ndim]) for channels in (3, 1, 4)]
    with torch.set_grad_enabled(gradients):
        whole = joined(parts)
    assert torch.equal(whole, torch.cat(parts, dim=1))
    assert whole.is_contiguous(memory_format={2: torch.channels_last, 3: torch.channels_last_3d}[ndim])


def test_what_is_large_is_so_without_gradients_alone() -> None:
    image = torch.empty(1, 1, SLAB)
    with torch.no_grad():
        assert is_large(image)
        assert not is_large(image[..., 1:])
    assert not is_large(image)


def test_rectified_works_in_place_and_lets_gradients_through() -> None:
    x = random(4, 5).requires_grad_()
    fresh = x * 2
    found = rectified(fresh, 0.1)
    assert found.data_ptr() == fresh.data_ptr()
    found.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(x > 0, 2.0, 0.2))


@pytest.mark.parametrize("ndim", [2, 3])
def test_slab_by_slab_is_the_same_as_all_at_once(ndim: int) -> None:
    layers = [convolution(ndim, 3, 4), convolution(ndim, 4, 2)]
    for layer in layers:
        initialise(layer, torch.Generator().manual_seed(1))
        torch.nn.init.ones_(layer.bias)
    x, factor = random(2, 3, 29, *SHAPES[ndim][1:]), random(2, 29, *SHAPES[ndim][1:])
    sizes = []

    def twice(x: torch.Tensor, factor: torch.Tensor, missing: None) -> torch.Tensor:
        assert missing is None
        sizes.append(x.shape[2])
        return layers[1](layers[0](x * factor[:, None]))

    with torch.no_grad(), slabs_of(x[0, 0].numel() // 3):
        expected = twice(x, factor, None)
        found = in_slabs(twice, [x, factor, None], ndim, reach=2)
    assert sizes[1:] == [9 + 2, 10 + 4, 10 + 2]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    with slabs_of(x[0, 0].numel() // 3):
        twice_with_gradients = in_slabs(twice, [x, factor, None], ndim, reach=2)
    assert sizes[-1] == 29
    assert twice_with_gradients.requires_grad
