"""The operations that are spelt out for processors, against PyTorch's own in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ran.config import RANConfig
from napari_ran.models import processor
from napari_ran.models.blocks import Conv2d, Conv3d, Norm, added, channels_last, convolution

SHAPES = {2: (96, 120), 3: (24, 20, 28)}
CONVOLVE = {2: F.conv2d, 3: F.conv3d}
LAYERS = {2: Conv2d, 3: Conv3d}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return channels_last(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dilation", [1, 3])
def test_thin_convolution_is_the_convolution(ndim: int, outputs: int, dilation: int) -> None:
    x, weight = drawn(2, 5, *SHAPES[ndim]), drawn(outputs, 5, *[3] * ndim, seed=1)
    bias = torch.linspace(-1, 1, outputs)

    found = processor.thin_convolution(x, weight, bias, dilation)

    expected = CONVOLVE[ndim](x.double(), weight.double(), bias.double(), padding=dilation, dilation=dilation)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_thin_convolution_of_less_than_the_dilation() -> None:
    x, weight = drawn(1, 4, 2, 30, 30), drawn(2, 4, 3, 3, 3, seed=1)
    expected = F.conv3d(x, weight, padding=3, dilation=3)
    torch.testing.assert_close(processor.thin_convolution(x, weight, torch.zeros(2), 3), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("outputs", [1, 8, 18])
def test_layers_and_their_gradients_are_those_of_torch(ndim: int, outputs: int) -> None:
    layer = LAYERS[ndim](6, outputs, 3, padding=2, dilation=2)
    x = drawn(2, 6, *SHAPES[ndim]).requires_grad_()
    assert processor.suits(x)
    assert (processor.leftover(outputs, 3) > 0) == (outputs != 8)
    own = x.detach().clone().requires_grad_()
    expected = CONVOLVE[ndim](own, layer.weight, layer.bias, padding=2, dilation=2)

    found = layer(x)

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    ours = torch.autograd.grad((found * weights).sum(), (x, *layer.parameters()))
    theirs = torch.autograd.grad((expected * weights).sum(), (own, *layer.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_only_few_outputs_beyond_whole_blocks_are_computed_apart() -> None:
    counts = {1: 1, 3: 3, 5: 5, 6: 0, 16: 0, 18: 2, 22: 0, 32: 0, 33: 1}
    assert {channels: processor.leftover(channels, 3) for channels in counts} == counts
    assert processor.leftover(18, 1) == 0


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(24, 20, 28), (23, 21, 31), (64, 150)])
def test_normalised_has_the_moments_of_double_precision(precision: torch.dtype, shape: tuple[int, ...]) -> None:
    x = channels_last((0.3 * drawn(2, 5, *shape) + 4).to(precision))  # a mean of many deviations
    gain, offset = torch.tensor([1.5]), torch.tensor([-0.2])

    found = processor.normalised(x, gain, offset, 1e-6)

    expected = F.group_norm(x.double(), 1, gain.double().expand(5), offset.double().expand(5), 1e-6)
    assert found.dtype == precision
    assert found.is_contiguous(memory_format=torch.channels_last if len(shape) == 2 else torch.channels_last_3d)
    atol = 1e-4 if precision == torch.float32 else 0.04  # half of the last bit of a number up to 8
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=atol)


def test_normalised_of_a_constant_is_the_offset() -> None:
    for precision in (torch.float32, torch.bfloat16):
        x = channels_last(torch.full((1, 3, 24, 20, 28), 0.7, dtype=precision))
        found = processor.normalised(x, torch.tensor([2.0]), torch.tensor([0.25]), 1e-6)
        torch.testing.assert_close(found.float(), torch.full(x.shape, 0.25), rtol=0, atol=0.02)


def test_norm_is_the_same_with_and_without_gradients() -> None:
    norm = Norm(RANConfig(), 4)
    with torch.no_grad():
        norm.weight.fill_(1.2)
        norm.bias.fill_(0.1)
    x = drawn(2, 4, 24, 20, 28)
    with torch.no_grad():
        without = norm(x)
    torch.testing.assert_close(without, norm(x), rtol=0, atol=1e-4)


def test_small_or_differently_laid_out_tensors_are_left_to_torch() -> None:
    assert processor.suits(drawn(1, 4, 24, 20, 28))
    assert not processor.suits(drawn(1, 4, 8, 8, 8))
    assert not processor.suits(torch.zeros(1, 4, 24, 20, 28))


def test_memory_of_ones_own_tensors_is_used_and_that_of_others_left() -> None:
    x, gain, offset = drawn(1, 18, 8, 6, 5), torch.tensor([1.5]), torch.tensor([0.2])
    kept = x.clone()
    with torch.no_grad():
        expected = processor.normalised(x, gain, offset, 1e-6)
        assert torch.equal(x, kept)
        found = processor.normalised(x, gain, offset, 1e-6, in_place=True)
    assert found.data_ptr() == x.data_ptr()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("outputs", [16, 18])
@pytest.mark.parametrize("grad", [False, True])
def test_a_convolution_is_added_to_a_tensor(outputs: int, grad: bool) -> None:
    layer = convolution(3, 18, outputs)
    torch.nn.init.normal_(layer.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    torch.nn.init.zeros_(layer.bias)
    x, start = drawn(1, 18, 9, 8, 7), drawn(1, outputs, 9, 8, 7, seed=1)
    expected = F.conv3d(x, layer.weight, layer.bias, padding=1) + start
    with torch.set_grad_enabled(grad):
        found = added(start, layer, x)
    assert (found.data_ptr() == start.data_ptr()) is not grad
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
