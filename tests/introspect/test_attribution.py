"""Contributions to a displacement: they sum to it, and each is what the network makes of its input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from napari_ran.config import PRESETS, RANConfig
from napari_ran.data import Grid
from napari_ran.errors import InputError
from napari_ran.introspect.attribution import attribute, attribute_output, attribution_map
from napari_ran.introspect.trace import NetworkTrace
from napari_ran.io.checkpoints import load_weights
from napari_ran.models import RAN, create_model

SHAPES = {2: (33, 42), 3: (14, 18, 13)}


def randomised(name: str, ndim: Any, **changes: Any) -> RAN:
    """Return a network with random weights everywhere: no term is zero, or one because of the residual start."""
    model = create_model(RANConfig.preset(name, ndim).replace(**changes), seed=4)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for shared in model.shared:
            shared.heads_out.weight *= 60
            shared.field.weight.copy_(0.08 * torch.randn(shared.field.weight.shape, generator=generator))
            shared.field.bias.fill_(0.03)
        for aligner in model.aligners:
            join = aligner.field_join
            join.weight.copy_(0.15 * torch.randn(join.weight.shape, generator=generator))
            join.bias.copy_(0.3 * torch.randn(join.bias.shape, generator=generator))
        final = model.displacement
        final.weight += 0.02 * torch.randn(final.weight.shape, generator=generator)
        final.bias.copy_(0.1 * torch.randn(final.bias.shape, generator=generator))
    return model


@torch.no_grad()
def traced(model: RAN, shape: tuple[int, ...], both: bool = True, seed: int = 0) -> NetworkTrace:
    ndim = len(shape)
    coarse = torch.rand(1, 1, *[6] * ndim, generator=torch.Generator().manual_seed(seed))
    fixed = F.interpolate(coarse, size=shape, mode="bilinear" if ndim == 2 else "trilinear")
    moving = torch.roll(fixed, 2, dims=2)
    output = model(moving, fixed, keep_levels=True, both=both)
    return NetworkTrace(model, "test", Grid.from_spacing(shape), np.eye(ndim + 1), fixed, moving, output)


def some_voxels(shape: tuple[int, ...], count: int = 12) -> torch.Tensor:
    """Random voxels, after the two opposite corners and one on a face."""
    generator = torch.Generator().manual_seed(1)
    voxels = torch.stack([torch.randint(0, n, (count,), generator=generator) for n in shape], dim=1)
    voxels[0], voxels[1], voxels[2, 0] = 0, torch.tensor(shape) - 1, 0
    return voxels


def check_completeness(trace: NetworkTrace, direction: str) -> None:
    for level in trace.levels:
        found = level.forward if direction == "forward" else level.inverse
        voxels = some_voxels(level.shape)
        parts = attribute(trace, level.level, voxels, direction)
        kept = found.field[0][(slice(None), *voxels.T)].T.double()
        assert torch.equal(parts.field, kept)
        size = kept.abs().max()
        assert (parts.total - kept).abs().max() <= 1e-4 * size
        total = parts.residual.sum(1) + parts.residual_mean + parts.bias + parts.clamp
        if level.level:
            total = total + parts.carried.sum(1) + parts.carried_mean
        torch.testing.assert_close(total, parts.total)
        assert (parts.carried is None) == (parts.carried_mean is None) == (level.level == 0)
    voxels = some_voxels(tuple(trace.output.field.shape[2:]))
    final = attribute_output(trace, voxels, direction)
    field = trace.output.field if direction == "forward" else trace.output.inverse_field
    kept = field[0][(slice(None), *voxels.T)].T.double()
    assert torch.equal(final.field, kept)
    assert (final.total - kept).abs().max() <= 1e-4 * kept.abs().max()
    torch.testing.assert_close(final.features + final.carried + final.bias, final.total)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", PRESETS)
def test_contributions_sum_to_the_field_in_every_preset(name: str, ndim: Any, direction: str) -> None:
    check_completeness(traced(randomised(name, ndim), SHAPES[ndim]), direction)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize(("name", "shape"), [("general-3d", (30, 33, 36)), ("general-2d", (60, 50))])
def test_contributions_sum_to_the_field_with_trained_weights(name: str, shape: Any, direction: str) -> None:
    trace = traced(load_weights(name), shape)
    assert trace.output.field.abs().max() > 0.5
    check_completeness(trace, direction)


@pytest.mark.parametrize(
    "changes",
    [{"confidence": False, "feedback": False}, {"shared": False}, {"heads": 1}, {"aligner_slope": 0.0}],
)
def test_contributions_sum_to_the_field_in_other_structures(changes: dict[str, Any]) -> None:
    check_completeness(traced(randomised("RAN3", 2, **changes), SHAPES[2]), "forward")


def test_every_contribution_is_what_the_gradient_says() -> None:
    """With the gates frozen the field is linear in its inputs, so each term is the gradient times the input."""
    trace = traced(randomised("RAN3", 2), SHAPES[2])
    level, found = 3, trace.levels[3].forward
    aligner, shared = trace.model.aligner_at(level)
    voxels = some_voxels(trace.levels[level].shape, 5)
    parts = attribute(trace, level, voxels)
    weights = found.masks * found.confidence
    heads = (weights[:, :, None] * found.residual_heads).detach().requires_grad_()
    mean = found.residual_heads.mean(1, keepdim=True).detach().requires_grad_()
    carried = F.interpolate(trace.levels[2].forward.field, scale_factor=2.0, mode="nearest") * 2
    carried_heads = ((found.masks * found.previous_confidence)[:, :, None] * carried[:, None]).detach()
    inputs = [heads, mean, carried_heads.requires_grad_(), carried[:, None].detach().requires_grad_()]
    field = torch.cat([aligner._component([part[:, :, axis] for part in inputs], shared) for axis in range(2)], dim=1)
    for row, voxel in enumerate(voxels):
        for component in range(2):
            value = field[(0, component, *voxel)]
            gradients = torch.autograd.grad(value, inputs, retain_graph=True)
            terms = [(g * x).sum(dim=(0, 2, 3, 4)).double() for g, x in zip(gradients, inputs, strict=True)]
            for found_terms, expected in zip(
                (parts.residual, parts.residual_mean[:, None], parts.carried, parts.carried_mean[:, None]),
                terms,
                strict=True,
            ):
                torch.testing.assert_close(found_terms[row, :, component], expected, atol=1e-5, rtol=1e-4)


def test_a_silent_head_contributes_nothing() -> None:
    model = randomised("RAN3", 2)
    with torch.no_grad():  # head 2 proposes nothing at any level
        model.shared[0].heads_out.weight[4:6] = 0
        model.shared[0].heads_out.bias[4:6] = 0
    parts = attribute(traced(model, SHAPES[2]), 4, some_voxels((48, 48)))
    assert parts.residual[:, 2].abs().max() == 0
    assert parts.residual[:, 1].abs().max() > 0
    assert parts.carried[:, 2].abs().max() > 0  # its mask still carries


def test_what_the_clamp_took_is_told() -> None:
    model = randomised("RAN3", 2)
    with torch.no_grad():
        model.shared[0].field.bias.fill_(1e3)
    trace = traced(model, SHAPES[2])
    voxels = some_voxels(trace.levels[0].shape)
    parts = attribute(trace, 0, voxels)
    bound = torch.tensor([2 * n - 1 for n in trace.levels[0].shape]).double()
    assert torch.equal(parts.field, bound.expand_as(parts.field))
    torch.testing.assert_close(parts.total, parts.field)
    assert parts.clamp.max() < -500
    whole = attribution_map(trace, 0)
    torch.testing.assert_close(whole.sum(0), trace.levels[0].forward.field[0], atol=1e-3, rtol=0)
    assert whole[-1].max() < bound.max() + 100  # the last map holds bias and clamp together


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", ["RAN0", "RAN3"])
def test_whole_maps_are_the_same_contributions(
    name: str, ndim: Any, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_ran.introspect.attribution.MAP_VALUES", 40_000)  # several slabs
    trace = traced(randomised(name, ndim), SHAPES[ndim])
    for level in (0, 3, 4):
        found = trace.levels[level].forward if direction == "forward" else trace.levels[level].inverse
        whole = attribution_map(trace, level, direction)
        assert whole.shape == (15 if level else 8, ndim, *trace.levels[level].shape)
        torch.testing.assert_close(whole.sum(0), found.field[0], atol=1e-4 * float(found.field.abs().max()), rtol=1e-4)
        voxels = some_voxels(trace.levels[level].shape)
        parts = attribute(trace, level, voxels, direction)
        terms = [parts.residual, parts.residual_mean[:, None]]
        if level:
            terms += [parts.carried, parts.carried_mean[:, None]]
        expected = torch.cat([*terms, (parts.bias + parts.clamp)[:, None]], dim=1)
        at_voxels = whole[(slice(None), slice(None), *voxels.T)].permute(2, 0, 1).double()
        torch.testing.assert_close(at_voxels, expected, atol=1e-5, rtol=1e-4)


def test_nothing_is_changed_by_looking() -> None:
    trace = traced(randomised("RAN3", 2), SHAPES[2])
    before = [value.clone() for value in (*trace.model.state_dict().values(), trace.output.field)]
    attribute(trace, 2, some_voxels(trace.levels[2].shape))
    attribution_map(trace, 2)
    after = [*trace.model.state_dict().values(), trace.output.field]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in trace.model.parameters())


def test_the_pass_before_the_fit_is_explained_by_the_weights_before_it() -> None:
    earlier, later = traced(randomised("RAN3", 2), SHAPES[2]), traced(randomised("RAN3", 2, heads=4), SHAPES[2])
    trace = NetworkTrace(
        later.model, "test", later.grid, later.affine, later.fixed, later.moving, later.output,
        before=earlier.output, before_model=earlier.model,
    )  # fmt: skip
    voxels = some_voxels(earlier.levels[3].shape)
    assert torch.equal(attribute(trace, 3, voxels, before=True).total, attribute(earlier, 3, voxels).total)
    assert attribute(trace, 3, voxels).residual.shape == (12, 4, 2)
    with pytest.raises(InputError, match="before: the network was not fitted to this pair"):
        attribute(later, 3, voxels, before=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, torch.zeros(1, 2, dtype=torch.int64)), "level: there is no level 5"),
        ((0, torch.zeros(1, 3, dtype=torch.int64)), r"voxels: expected integers of shape \(N, 2\)"),
        ((0, torch.zeros(1, 2)), "voxels: expected integers"),
        ((0, torch.tensor([[0, 99]])), "voxels: one lies outside"),
        ((0, torch.tensor([[-1, 0]])), "voxels: one lies outside"),
        ((0, torch.zeros(1, 2, dtype=torch.int64), "back"), "direction: expected 'forward' or 'inverse', got 'back'"),
        ((4, torch.zeros(1, 2, dtype=torch.int64), "inverse"), "direction: level 4 was not kept in this direction"),
    ],
)
def test_what_is_not_there_is_named(arguments: tuple[Any, ...], message: str) -> None:
    trace = traced(create_model("RAN3", 2), SHAPES[2], both=False)
    with pytest.raises(InputError, match=message):
        attribute(trace, *arguments)


def test_no_voxels_give_no_contributions() -> None:
    trace = traced(create_model("RAN3", 2), SHAPES[2])
    assert attribute(trace, 4, torch.zeros(0, 2, dtype=torch.int64)).residual.shape == (0, 6, 2)
