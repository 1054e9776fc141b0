"""Analytic against numerical gradients in double precision, for every differentiable operation not checked elsewhere.

The others are checked beside their other tests: `warp`, `compose`, `jacobian`, `resize_field`, ... in
``tests/test_functional.py``, the losses with respect to the field in ``tests/losses``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from napari_ran import functional as F
from napari_ran import losses
from napari_ran.config import RANConfig
from napari_ran.instance.terms import at_points
from napari_ran.models.aligner import Carried, Regressor, ResidualAligner, SharedConvolutions
from napari_ran.models.attention import CrossAttention
from napari_ran.models.blocks import Decoder, Encoder, Norm, ResidualBlock, Skip, doubling, initialise, repeat
from napari_ran.models.pyramid import Estimator
from napari_ran.models.ran import RAN

NDIMS = pytest.mark.parametrize("ndim", [2, 3])
SHAPES = {2: (4, 5), 3: (3, 4, 3)}


def gradcheck(operation: Callable[..., Any], inputs: tuple[Tensor, ...]) -> bool:
    """Compare both along random directions, which takes a hundredth of the time of whole Jacobian matrices."""
    return bool(torch.autograd.gradcheck(operation, inputs, fast_mode=True))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def picture(ndim: int, seed: int = 0) -> Tensor:
    """An image with intensities strictly inside [0, 1]."""
    return (0.5 + 0.4 * random(1, 1, *SHAPES[ndim], seed=seed).tanh()).detach().requires_grad_()


def off_the_kinks(ndim: int, seed: int = 1) -> Tensor:
    """A field whose points lie away from voxel centres, where linear interpolation has no derivative."""
    return (0.4 + 0.2 * random(1, ndim, *SHAPES[ndim], seed=seed).tanh()).detach().requires_grad_()


@NDIMS
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_sampling(ndim: int, padding: Any) -> None:
    image = random(2, 2, *SHAPES[ndim])
    where = (1.4 + 0.25 * random(2, ndim, *[2] * ndim, seed=1).tanh()).detach().requires_grad_()
    assert gradcheck(lambda i, c: F.sample(i, c, padding=padding), (image, where))


@NDIMS
def test_resizing_and_repeating(ndim: int) -> None:
    image, field = random(1, 2, *SHAPES[ndim]), random(1, ndim, *SHAPES[ndim])
    larger, smaller = ([n + step for n in SHAPES[ndim]] for step in (3, -1))
    assert gradcheck(lambda i: F.resize(i, larger), (image,))
    assert gradcheck(lambda i: F.resize(i, smaller), (image,))
    assert gradcheck(F.upsample_field, (field,))
    assert gradcheck(lambda i: repeat(i, 2), (image,))


@NDIMS
def test_determinants(ndim: int) -> None:
    assert gradcheck(F.determinant, (random(1, ndim, ndim, *SHAPES[ndim]),))


@NDIMS
def test_inversion_through_its_iterations(ndim: int) -> None:
    """As many iterations as are asked for, each of which is differentiable in the field and in the start."""
    field, start = off_the_kinks(ndim), (-off_the_kinks(ndim, 2)).detach().requires_grad_()
    assert gradcheck(lambda u: F.invert(u, iterations=2, tolerance=0.0)[0], (field,))
    assert gradcheck(lambda u, v: F.invert(u, v, iterations=1, tolerance=0.0)[0], (field, start))


@NDIMS
def test_interpolation_at_points(ndim: int) -> None:
    control = random(1, ndim, *SHAPES[ndim])
    points = (1.3 + 0.15 * random(1, ndim, 4, *[1] * (ndim - 1), seed=3).tanh()).detach().requires_grad_()
    assert gradcheck(lambda c, p: at_points(c, p, SHAPES[ndim]), (control, points))


@NDIMS
@pytest.mark.parametrize("window", [1, 2, 3, 7])
def test_box_means(ndim: int, window: int) -> None:
    """Small windows are summed in one way, large ones in another; an even one is not symmetric."""
    image = random(1, 2, *SHAPES[ndim])
    assert gradcheck(lambda i: losses.box_mean(i, window), (image,))


@NDIMS
def test_similarities(ndim: int) -> None:
    a, b, mask = picture(ndim), picture(ndim, 1), picture(ndim, 2).detach()
    assert gradcheck(lambda p, q: losses.local_ncc_map(p, q, 3), (a, b))
    assert gradcheck(lambda p: losses.mind_ssc(p, radius=1, dilation=1), (a,))
    assert gradcheck(lambda p, q: losses.mind_loss(p, q, mask), (a, b))
    assert gradcheck(lambda p, q: losses.mse(p, q), (a, b))


@NDIMS
def test_weights_of_edges_and_powers(ndim: int) -> None:
    field, image = random(1, ndim, *SHAPES[ndim]), picture(ndim)
    assert gradcheck(lambda i: losses.edge_weight(i, 3.0), (image,))
    assert gradcheck(lambda u, i: losses.released_smoothness(u, i, 9.0), (field, image))
    assert gradcheck(lambda u, w: losses.smoothness(u, w, 3), (field, picture(ndim, 3)))
    assert gradcheck(lambda u: losses.smoothness(u, None, 1), (field,))


@NDIMS
def test_supervised_terms(ndim: int) -> None:
    field, truth = random(1, ndim, *SHAPES[ndim]), random(1, ndim, *SHAPES[ndim], seed=1)
    assert gradcheck(lambda u, t: losses.field_error(u, t, squared=True), (field, truth))
    moving, fixed = picture(ndim), picture(ndim, 1)
    assert gradcheck(lambda m, f: losses.stage_one(off_the_kinks(ndim), truth.detach(), f, m), (moving, fixed))


# ---------------------------------------------------------------- parts of the networks


def config_of(ndim: int, **changes: Any) -> RANConfig:
    widths = {"encoder_channels": (2, 2, 2, 2), "decoder_channels": (2, 2, 2, 2, 2), "skip_channels": 2, "heads": 2}
    narrow = {"regressor_width": 2, "head_width": 2}
    return RANConfig.preset("RAN3", ndim).replace(**widths | narrow | changes)  # type: ignore[arg-type]


def made(module: nn.Module, seed: int = 0) -> nn.Module:
    """In double precision with weights large enough to matter, biases included."""
    initialise(module, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for value in module.parameters():
            if value.ndim == 1:
                value += 0.3 * torch.randn(value.shape, generator=generator)
    return module.double()


def check(module: nn.Module, call: Callable[..., Any], *inputs: Tensor) -> None:
    """Check the gradients with respect to the inputs and to every value of the module."""
    names = [name for name, _ in module.named_parameters()]
    values = [value.detach().clone().requires_grad_() for value in module.parameters()]

    def run(*given: Tensor) -> Any:
        weights = dict(zip(names, given[len(inputs) :], strict=True))
        return call(lambda *a, **k: functional_call(module, weights, a, k), *given[: len(inputs)])

    assert gradcheck(run, (*inputs, *values))


@NDIMS
@pytest.mark.parametrize("normalisation", ["all axes", "per channel"])
def test_norms(ndim: int, normalisation: str) -> None:
    norm = made(Norm(config_of(ndim, normalisation=normalisation), 2))
    check(norm, lambda f, x: f(x), random(2, 2, *SHAPES[ndim]))


@NDIMS
def test_blocks(ndim: int) -> None:
    config, x = config_of(ndim), random(1, 2, *[4] * ndim)
    check(made(ResidualBlock(config, 2, 3)), lambda f, x: f(x), x)
    check(made(Skip(config, 2, 3)), lambda f, x: f(x), x)
    check(made(doubling(ndim, 2, 3)), lambda f, x: f(x), x)
    for doubled in (False, True):
        check(made(Decoder(config, 3, 2, doubled)), lambda f, a, b: f([a, b]), x, random(1, 1, *[4] * ndim, seed=1))


@NDIMS
def test_the_encoder(ndim: int) -> None:
    shape = (16, 32) if ndim == 2 else (16, 16, 16)
    check(made(Encoder(config_of(ndim))), lambda f, x: f(x)[-1], random(1, 1, *shape))


@NDIMS
def test_the_regressor(ndim: int) -> None:
    check(
        made(Regressor(config_of(ndim), 2, 2)),
        lambda f, a, b: f(a, b),
        random(1, 2, *SHAPES[ndim]),
        random(1, 2, *SHAPES[ndim], seed=1),
    )


class Level(nn.Module):
    """An aligner with the convolutions that it shares: in, tensors; out, its field, logits and refined features."""

    def __init__(self, config: RANConfig, level: int) -> None:
        super().__init__()
        self.aligner, self.shared = ResidualAligner(config, level), SharedConvolutions(config)

    def forward(self, own: Tensor, other: Tensor, *carried: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.aligner(own, other, Carried(*carried) if carried else None, self.shared)
        return found.field, found.logits, found.refined


@NDIMS
@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("parts", [True, False])
def test_an_aligner(ndim: int, level: int, parts: bool) -> None:
    """The first one and one that carries on; with confidence and feedback, and without them."""
    module = made(Level(config_of(ndim, confidence=parts, feedback=parts), level), seed=3)
    with torch.no_grad():
        module.shared.field.weight *= 0.1  # displacements below a voxel: on this grid nothing is clamped
    features = random(1, 2, *SHAPES[ndim]), random(1, 2, *SHAPES[ndim], seed=1)
    carried = (off_the_kinks(ndim), random(1, 2, *SHAPES[ndim], seed=4)) if level else ()
    check(module, lambda f, *x: f(*x), *features, *carried)


@NDIMS
def test_estimators_of_the_other_systems(ndim: int) -> None:
    inputs = random(1, 2, *SHAPES[ndim]), random(1, 2, *SHAPES[ndim], seed=1)
    for module in (Estimator(ndim, 2), CrossAttention(ndim, 2)):
        check(made(module), lambda f, a, b: f(a, b), *inputs)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_whole_network(ndim: int) -> None:
    """Both fields with respect to both images."""
    model = RAN(config_of(ndim), seed=1).double()
    shape = (16, 16) if ndim == 2 else (16, 16, 16)
    images = [random(1, 1, *shape, seed=seed).sigmoid().detach().requires_grad_() for seed in (0, 1)]

    def fields(moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        output = model(moving, fixed)
        assert output.inverse_field is not None
        return output.field, output.inverse_field

    assert gradcheck(fields, tuple(images))
