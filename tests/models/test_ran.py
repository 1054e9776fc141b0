"""The network, from its parameters to its errors; long, as all of it is one class with the same small images."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch

from napari_ran.config import PRESETS, RANConfig
from napari_ran.errors import InputError
from napari_ran.functional import upsample_field, warp
from napari_ran.models import RAN, DirectionOutput, LevelStep, create_model
from napari_ran.models.aligner import ResidualAligner
from napari_ran.models.blocks import is_large, slabs_of
from napari_ran.steps import last
from napari_ran.theory import capture_ranges

SHAPES = {2: (33, 40), 3: (14, 16, 20)}
SMALL = {
    "encoder_channels": (4, 4),
    "decoder_channels": (6, 5, 4),
    "pools": (2, 2, 1),
    "dilations": (2, 1, 1),
    "skips": ((1, 2), (2,), (1,)),
    "skip_channels": 4,
    "heads": 3,
    "regressor_width": 5,
    "head_width": 7,
}


def pair(*shape: int, batch: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    moving, fixed = torch.rand(2, batch, 1, *shape, generator=generator)
    return moving, fixed


def count(model: RAN) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def tensors(found: DirectionOutput) -> list[torch.Tensor]:
    return [value for value in vars(found).values() if value is not None]


def small(ndim: Any = 2, **changes: Any) -> RAN:
    return create_model(RANConfig(ndim=ndim, **(SMALL | changes)))


def test_released_graph_has_exactly_the_parameters_of_the_checkpoint() -> None:
    config = RANConfig.preset("released")
    assert count(create_model(config)) == 738_065
    assert count(create_model(config.replace(confidence=False))) == 738_030
    assert len(list(create_model(config.replace(confidence=False)).parameters())) == 254


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_starts_near_the_identity_and_learns_everywhere(name: str, ndim: Any) -> None:
    model, (moving, fixed) = create_model(name, ndim), pair(*SHAPES[ndim])
    output = model(moving, fixed)
    assert output.field.shape == output.inverse_field.shape == (1, ndim, *SHAPES[ndim])
    assert output.levels == ()
    assert 1e-4 < output.field.abs().max().item() < 0.2
    (output.field.square().mean() + warp(moving, output.field).square().mean()).backward()
    groups: dict[str, float] = {}
    for key, value in model.named_parameters():
        assert value.grad is not None, key
        assert bool(torch.isfinite(value.grad).all()), key
        group = key.rsplit(".", 1)[0]
        groups[group] = groups.get(group, 0) + value.grad.abs().sum().item()
    assert [group for group, size in groups.items() if size == 0] == []


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", ["RAN0", "RAN3", "RAN4-appendix"])
def test_every_level_starts_as_a_residual_one(name: str, ndim: Any) -> None:
    model = create_model(name, ndim, seed=3)
    with torch.no_grad():
        levels = model(*pair(*SHAPES[ndim]), keep_levels=True).levels
    carried = None
    for level in levels:
        found = level.forward
        expected = found.residual_heads.mean(dim=1)
        if carried is not None:
            expected = expected + (carried if carried.shape == expected.shape else upsample_field(carried))
        error = (found.field - expected).abs().max().item()
        assert error < 0.05 * expected.abs().max().item()
        carried = found.field


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", ["RAN0", "RAN3", "RAN4"])
def test_levels_are_as_declared(name: str, ndim: Any) -> None:
    model, shape = create_model(name, ndim), SHAPES[ndim]
    with torch.no_grad():
        levels = model(*pair(*shape, batch=2), keep_levels=True).levels
    assert len(levels) == len(model.level_info) == 5
    for info, level in zip(model.level_info, levels, strict=True):
        grid = info.shape_for(shape)
        assert (level.level, level.pool_size, level.shape, level.image_shape) == (
            info.level,
            info.pool_size,
            grid,
            shape,
        )
        for found in (level.forward, level.inverse):
            assert found.field.shape == (2, ndim, *grid)
            assert found.residual_heads.shape == (2, info.heads, ndim, *grid)
            assert found.logits.shape == found.masks.shape == found.attributes.shape == (2, info.heads, *grid)
            assert found.features.shape == found.refined.shape == (2, info.channels, *grid)
            assert found.confidence.shape == (2, 1, *grid)
            assert (found.previous_confidence is None) == (info.level == 0)
            torch.testing.assert_close(found.masks.sum(dim=1), torch.ones(2, *grid))
    assert tuple(info.capture_range for info in model.level_info) == capture_ranges(model.config)
    assert tuple(info.dilation for info in model.level_info) == model.config.dilations


def test_level_shapes_include_the_padding() -> None:
    info = create_model("RAN3").level_info
    assert [i.pool_size for i in info] == [4, 4, 4, 2, 1]
    assert info[0].shape_for((17, 16, 2)) == (8, 4, 4)
    assert info[4].shape_for((17, 16, 2)) == (32, 16, 16)


@pytest.mark.parametrize("ndim", [2, 3])
def test_keeping_levels_changes_nothing(ndim: Any) -> None:
    model, images = create_model("RAN3", ndim), pair(*SHAPES[ndim])
    with torch.no_grad():
        kept, plain = model(*images, keep_levels=True), model(*images)
    assert torch.equal(kept.field, plain.field)
    assert torch.equal(kept.inverse_field, plain.inverse_field)


def test_levels_that_are_not_kept_leave_nothing_behind() -> None:
    model, alive = small(), []
    for part in model.modules():
        if isinstance(part, ResidualAligner):
            part.register_forward_hook(lambda _, __, found: alive.extend(map(weakref.ref, tensors(found))))
    with torch.no_grad():
        output = model(*pair(16, 16))
    gc.collect()
    assert len(alive) == 26  # nine a level, but nothing is carried into the first
    assert [ref for ref in alive if ref() is not None] == []
    with torch.no_grad():
        output = model(*pair(16, 16), keep_levels=True)
    assert len(output.levels) == 3


@pytest.mark.parametrize("name", ["RAN0", "RAN3", "RAN4+"])
def test_one_direction_is_the_same_field_for_less(name: str) -> None:
    model, images = create_model(name), pair(16, 20, 24, batch=2)
    with torch.no_grad():
        both, one = model(*images, keep_levels=True), model(*images, keep_levels=True, both=False)
    torch.testing.assert_close(one.field, both.field, atol=1e-5, rtol=0)
    assert one.inverse_field is None
    assert one.levels[-1].inverse is None
    assert one.levels[-2].inverse is not None
    torch.testing.assert_close(one.levels[-1].forward.masks, both.levels[-1].forward.masks, atol=1e-5, rtol=0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_exchanging_the_images_exchanges_the_directions(ndim: Any) -> None:
    model, (a, b) = trained(ndim), pair(*SHAPES[ndim])
    with torch.no_grad():
        forward, backward = model(a, b, keep_levels=True), model(b, a, keep_levels=True)
    assert forward.field.abs().max().item() > 0.3
    assert not torch.allclose(forward.field, forward.inverse_field, atol=1e-2)
    torch.testing.assert_close(forward.field, backward.inverse_field, atol=1e-6, rtol=0)
    torch.testing.assert_close(forward.inverse_field, backward.field, atol=1e-6, rtol=0)
    for there, back in zip(forward.levels, backward.levels, strict=True):
        torch.testing.assert_close(there.forward.logits, back.inverse.logits, atol=1e-5, rtol=0)


def test_pairs_of_a_batch_do_not_meet() -> None:
    model, (moving, fixed) = trained(2), pair(33, 40, batch=3)
    with torch.no_grad():
        batch = model(moving, fixed)
        single = model(moving[1:2], fixed[1:2])
    torch.testing.assert_close(batch.field[1:2], single.field, atol=1e-5, rtol=0)
    torch.testing.assert_close(batch.inverse_field[1:2], single.inverse_field, atol=1e-5, rtol=0)


def trained(ndim: Any) -> RAN:
    """Return a network whose heads speak up."""
    model = create_model("RAN3", ndim)
    with torch.no_grad():
        model.shared[0].heads_out.weight *= 50
    return model


@pytest.mark.parametrize("shape", [(2, 2), (7, 33), (64, 16), (5, 3, 2), (17, 9, 33), (16, 16, 16)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    model = create_model("RAN0", len(shape))  # type: ignore[arg-type]
    with torch.no_grad():
        output = model(*pair(*shape))
    assert output.field.shape == output.inverse_field.shape == (1, len(shape), *shape)
    assert bool(torch.isfinite(output.field).all())
    assert output.field.is_contiguous()


def test_padding_is_zeros_at_the_end() -> None:
    model, (moving, fixed) = trained(2), pair(21, 30)
    padded = [torch.nn.functional.pad(image, (0, 2, 0, 11)) for image in (moving, fixed)]
    with torch.no_grad():
        torch.testing.assert_close(model(moving, fixed).field, model(*padded).field[..., :21, :30])


def test_constant_images_give_finite_fields() -> None:
    model, image = create_model("RAN3"), torch.full((1, 1, 16, 16, 16), 0.5)
    output = model(image, image)
    output.field.square().sum().backward()
    assert bool(torch.isfinite(output.field).all())
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"confidence": False, "feedback": False, "shared": False},
        {"normalisation": "per channel", "skip_channels": None},
        {"heads": 1, "pools": (1, 1, 1), "dilations": (4, 2, 1)},
        {"skips": ((2,), (1, 2), (1,)), "pools": (2, 1, 1)},
        {"pools": (4, 2, 1), "skips": ((2,), (2,), ())},
    ],
)
def test_other_structures_run(changes: dict[str, Any], ndim: Any) -> None:
    model = small(ndim, **changes)
    output = model(*pair(*[13] * ndim), keep_levels=True)
    assert output.field.shape == (1, ndim, *[13] * ndim)
    assert output.field.abs().max().item() < 0.3
    output.field.square().mean().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []
    for info, level in zip(model.level_info, output.levels, strict=True):
        assert level.shape == info.shape_for([13] * ndim)


def test_a_single_level_is_a_network_too() -> None:
    config = RANConfig(ndim=2, pools=(1,), dilations=(2,), encoder_channels=(4,), decoder_channels=(6,), skips=((1,),))
    with torch.no_grad():
        both, one = create_model(config)(*pair(9, 8)), create_model(config)(*pair(9, 8), both=False)
    torch.testing.assert_close(one.field, both.field, atol=1e-5, rtol=0)


def test_levels_share_their_convolutions_unless_told_otherwise() -> None:
    shared, own = small(shared=True), small(shared=False)
    copies = count(own) - count(shared)
    assert copies == 2 * sum(p.numel() for p in shared.shared.parameters())
    assert len(shared.state_dict()) == len(list(shared.parameters()))


def test_iterating_tells_each_level_and_returns_the_output() -> None:
    model, images = small(), pair(16, 16)
    steps: list[LevelStep] = []
    with torch.no_grad():
        output = last(model.iterate(*images), steps.append)
        expected = model(*images)
    assert steps == [LevelStep(0, 3), LevelStep(1, 3), LevelStep(2, 3)]
    assert torch.equal(output.field, expected.field)


def test_iterating_can_be_cancelled() -> None:
    model, calls = small(), []
    model.aligners[2].register_forward_hook(lambda *_: calls.append(1))
    work = model.iterate(*pair(16, 16))
    assert next(work).level == 0
    work.close()
    assert calls == []


def test_a_seed_says_everything_and_the_global_state_stays() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, again, other = create_model("RAN3", seed=1), create_model("RAN3", seed=1), create_model("RAN3", seed=2)
    first(*pair(16, 16, 16))
    assert torch.equal(torch.get_rng_state(), before)
    for (key, a), b in zip(first.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    assert not torch.equal(first.displacement.weight, other.displacement.weight)
    assert all(bool(torch.isfinite(p).all()) for p in first.parameters())


def test_bfloat16_autocast_is_close_and_its_gradients_finite() -> None:
    model, (moving, fixed) = create_model("RAN3"), pair(16, 16, 32)
    reference = model(moving, fixed).field
    with torch.autocast("cpu", torch.bfloat16):
        output = model(moving, fixed, keep_levels=True)
    assert output.field.dtype == output.levels[2].forward.masks.dtype == torch.float32
    torch.testing.assert_close(output.field, reference, atol=0.05, rtol=0)
    warp(moving, output.field).square().mean().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_gradient_matches_finite_differences() -> None:
    model, (moving, fixed) = small().double(), pair(12, 12)
    moving, fixed = moving.double(), fixed.double()

    def loss() -> torch.Tensor:
        output = model(moving, fixed)
        return output.field.pow(2).sum() + output.inverse_field.sum()

    loss().backward()
    for weight in (model.encoder.stages[0].enter.weight, model.shared[0].logits.weight, model.displacement.weight):
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        values = []
        for step in (1e-6, -2e-6):
            with torch.no_grad():
                weight += step * direction
                values.append(loss().item())
        with torch.no_grad():
            weight += 1e-6 * direction
        numeric = (values[0] - values[1]) / 2e-6
        assert numeric == pytest.approx((weight.grad * direction).sum().item(), rel=1e-3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_pair_can_be_fitted(ndim: Any) -> None:
    axes = torch.meshgrid(*[torch.arange(16.0)] * ndim, indexing="ij")
    images = [
        torch.exp(-sum((axis - c) ** 2 for axis, c in zip(axes, (centre, 8, 7), strict=False)) / 18)[None, None]
        for centre in (6.5, 8.5)
    ]
    model = create_model("RAN3", ndim)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(9):
        loss = (warp(images[0], model(*images, both=False).field) - images[1]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("moving", "fixed", "message"),
    [
        (torch.rand(1, 1, 16, 16), None, r"moving: must have shape \(B, 1, X, Y, Z\), got \(1, 1, 16, 16\)"),
        (torch.rand(16, 16, 16), None, "moving: must have shape"),
        (torch.rand(1, 3, 16, 16, 16), None, "moving: must have shape .* Give one channel"),
        (torch.rand(0, 1, 16, 16, 16), None, "moving: must have shape"),
        (torch.rand(1, 1, 16, 1, 16), None, "moving: must have at least two voxels along every axis"),
        (torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 17), "moving: must have the shape of fixed"),
        (torch.rand(2, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 16), "moving: must have the shape of fixed"),
        (torch.zeros(1, 1, 16, 16, 16, dtype=torch.int16), None, "moving: must be floating point"),
        (torch.rand(1, 1, 16, 16, 16), torch.full((1, 1, 16, 16, 16), float("nan")), "fixed: holds NaN or infinite"),
        (torch.full((1, 1, 16, 16, 16), float("inf")), None, "moving: holds NaN or infinite"),
        (torch.full((1, 1, 16, 16, 16), 1e30), None, r"moving: reaches 1e\+30, .* Scale intensities to \[0, 1\]"),
        (torch.rand(1, 1, 16, 16, 16, device="meta"), None, "moving: is on meta, the network on cpu"),
        ([[1.0]], None, "moving: must be a tensor, got list"),
    ],
)
def test_bad_input_is_refused(moving: Any, fixed: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model("RAN3")(moving, moving if fixed is None else fixed)


def test_two_dimensional_networks_name_their_axes() -> None:
    with pytest.raises(InputError, match=r"\(B, 1, X, Y\), got \(1, 1, 8, 8, 8\)"):
        create_model("RAN3", 2)(*pair(8, 8, 8))


def test_half_precision_weights_are_refused_with_the_cure() -> None:
    with pytest.raises(InputError, match=r"Keep them float32 and use torch\.autocast"):
        small().bfloat16()(*pair(16, 16))


def test_input_of_another_float_type_is_converted() -> None:
    model, (moving, fixed) = small(), pair(16, 16)
    with torch.no_grad():
        assert torch.equal(model(moving.double(), fixed.double()).field, model(moving, fixed).field)


def test_unknown_networks_are_refused() -> None:
    with pytest.raises(InputError, match="there is no preset 'UNet'"):
        create_model("UNet")
    with pytest.raises(InputError, match="ndim"):
        create_model("RAN3", 4)  # type: ignore[arg-type]


def test_small_grids_are_computed_in_single_precision() -> None:
    network = RAN(RANConfig.preset("RAN0", 2))
    kinds: dict[int, torch.dtype] = {}
    for level, decoder in enumerate(network.decoders):
        decoder.register_forward_hook(lambda module, given, found, k=level: kinds.update({k: found.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        network(*torch.rand(2, 1, 1, 32, 32))
    assert kinds[0] == kinds[1] == torch.float32  # voxels sixteen and eight times as large
    assert kinds[4] == torch.bfloat16


def test_a_large_image_gives_the_same_field_in_slabs_as_with_gradients() -> None:
    # in double precision, as such weights blow every rounding up
    model, (moving, fixed) = small().double(), [image.double() for image in pair(160, 132)]
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for part in model.parameters():  # away from where the network starts
            part.add_(0.2 * torch.randn(part.shape, generator=generator, dtype=part.dtype))
    whole = model(moving, fixed).field.detach()
    with torch.no_grad(), slabs_of(moving.numel() // 2):
        assert is_large(moving)
        torch.testing.assert_close(model(moving, fixed).field, whole, atol=1e-8, rtol=1e-8)
    assert whole.std() > 0.1


def test_a_large_pass_gives_its_holes_back_before_what_takes_most(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, calls = create_model("RAN0", 2), pair(32, 32), []
    monkeypatch.setattr("napari_ran.models.blocks.give_back_holes", lambda: calls.append(1))
    model(*images)  # with gradients
    with torch.no_grad():
        small = model(*images).field
        with slabs_of(images[0].numel()):
            model(*images)
        assert not calls
        with slabs_of(images[0].numel() // 2):
            large = model(*images).field
            assert len(calls) == 3  # each direction of the last level, and the last convolution
            model(*images, both=False)
    assert len(calls) == 5
    torch.testing.assert_close(large, small, rtol=0, atol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("pairs", [1, 2])
def test_one_direction_at_a_time_gives_the_same_fields(ndim: int, pairs: int) -> None:
    model = RAN(RANConfig.preset("RAN3", ndim)).eval()  # type: ignore[arg-type]
    images = torch.rand((2, pairs, 1, *(16, 32, 16)[:ndim]), generator=torch.Generator().manual_seed(3))
    batches: list[int] = []
    model.aligners[-1].register_forward_hook(lambda module, given, found: batches.append(len(found.field)))
    with torch.no_grad():
        usual = model(*images)
        with slabs_of(images[0, 0].numel()):
            parts, alone = model(*images), model(*images, both=False)
            kept = model(*images, keep_levels=True)
    assert batches == [2 * pairs] + [1] * 2 * pairs + [1] * pairs + [2 * pairs]
    for found in (parts, kept):
        torch.testing.assert_close(found.field, usual.field, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.inverse_field, usual.inverse_field, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.field, usual.field, atol=1e-5, rtol=1e-5)
