"""Parts that are switched off in the forward pass: each kind means exactly what is written, and nothing else moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_ran.config import PRESETS, RANConfig
from napari_ran.errors import InputError
from napari_ran.functional import upsample_field
from napari_ran.models import RAN, Ablation, DirectionOutput, ModelOutput, create_model
from napari_ran.models.aligner import Carried, Proposal
from napari_ran.steps import last

SHAPES = {2: (33, 40), 3: (9, 16, 12)}


def pair(*shape: int, batch: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    moving, fixed = torch.rand(2, batch, 1, *shape, generator=generator)
    return moving, fixed


def loud(name: str = "RAN3", ndim: Any = 2, **changes: Any) -> RAN:
    """Return a network whose heads speak up and whose small weights count."""
    model = create_model(RANConfig.preset(name, ndim).replace(**changes), seed=5)
    with torch.no_grad():
        for shared in model.shared:
            shared.heads_out.weight *= 60
            shared.field.weight[:, 2:] *= 4
        for aligner in model.aligners:
            aligner.field_join.weight[2:] *= 2
            if aligner.confidence is not None:
                aligner.confidence.weight *= 5
        model.displacement.weight += 0.02 * torch.sin(torch.arange(model.displacement.weight.numel())).view_as(
            model.displacement.weight
        )
    return model


@torch.no_grad()
def run(model: RAN, images: tuple[torch.Tensor, torch.Tensor], **options: Any) -> ModelOutput:
    output: ModelOutput = model(*images, keep_levels=True, **options)
    return output


def carried_into(model: RAN, output: ModelOutput, level: int) -> Carried:
    before = output.levels[level - 1].forward
    carried = Carried(before.field, before.logits)
    return carried.doubled() if model.doubles(level) else carried


def same(one: DirectionOutput, two: DirectionOutput) -> None:
    for name, value in vars(one).items():
        assert (value is None) == (vars(two)[name] is None), name
        if value is not None:
            torch.testing.assert_close(value, vars(two)[name], atol=2e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", PRESETS)
def test_nothing_off_is_the_same_in_every_preset(name: str, ndim: Any) -> None:
    model, images = loud(name, ndim), pair(*SHAPES[ndim])
    plain, nothing = run(model, images), run(model, images, ablation=Ablation())
    assert plain.field.abs().max().item() > 0.3
    assert torch.equal(plain.field, nothing.field)
    assert torch.equal(plain.inverse_field, nothing.inverse_field)
    with torch.no_grad():
        encoded = model.encode(*images)
        separate = [last(model.decode(encoded)), last(model.decode(encoded, ablation=None))]
    for output in separate:  # the encoder's stages are not used up
        assert torch.equal(plain.field, output.field)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", PRESETS)
def test_every_kind_of_part_matters_in_every_preset(name: str, ndim: Any) -> None:
    model, images = loud(name, ndim), pair(*SHAPES[ndim])
    plain = run(model, images)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    for off in (
        Ablation(heads={(3, 2)}),
        Ablation(levels={1}),
        Ablation(confidences={4}),
        Ablation(previous_confidences={4}),
        Ablation(feedback={4}),
        Ablation(output=True),
    ):
        ablated = run(model, images, ablation=off)
        assert bool(torch.isfinite(ablated.field).all())
        assert (ablated.field - plain.field).abs().max().item() > 1e-5, off.describe()
        for level in range(min(off.first_level, 5)):
            assert torch.equal(ablated.levels[level].forward.field, plain.levels[level].forward.field)
        with torch.no_grad():
            continued = last(model.decode(model.encode(*images), True, ablation=off, after=plain.levels))
        torch.testing.assert_close(continued.field, ablated.field, atol=2e-5, rtol=1e-5)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert torch.equal(run(model, images).field, plain.field)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("level", [0, 1, 3, 4])
def test_a_head_that_is_off_neither_proposes_nor_carries(level: int, ndim: Any) -> None:
    model, images = loud("RAN3", ndim), pair(*SHAPES[ndim])
    plain = run(model, images)
    ablated = run(model, images, ablation=Ablation(heads={(level, 1), (level, 4)}))
    before, after = plain.levels[level].forward, ablated.levels[level].forward
    for name in ("residual_heads", "masks"):
        values = getattr(before, name).clone()
        values[:, [1, 4]] = 0
        assert torch.equal(getattr(after, name), values), name
    assert torch.equal(after.logits, before.logits)
    assert torch.equal(after.attributes, before.attributes)
    carried = carried_into(model, plain, level) if level else None
    aligner, shared = model.aligner_at(level)
    with torch.no_grad():
        parts = aligner.weighted(Proposal.of(after), None if carried is None else carried.field)
        expected = torch.cat(
            [aligner._component([part[:, :, axis] for part in parts], shared) for axis in range(ndim)], dim=1
        )
    torch.testing.assert_close(parts[1][:, 0], after.residual_heads.sum(dim=1) / 6)  # the mean counts it as zero
    torch.testing.assert_close(after.field, expected, atol=1e-6, rtol=1e-6)
    assert (after.field - before.field).abs().max().item() > 1e-3


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_level_that_is_off_is_passed_over(ndim: Any) -> None:
    model, images = loud("RAN3", ndim), pair(*SHAPES[ndim])
    plain = run(model, images)
    for level in (1, 3, 4):
        found = run(model, images, ablation=Ablation(levels={level})).levels[level].forward
        carried = carried_into(model, plain, level)
        assert torch.equal(found.field, carried.field)
        assert torch.equal(found.logits, carried.logits)
        assert torch.equal(found.features, plain.levels[level].forward.features)
        assert found.refined is found.features or torch.equal(found.refined, found.features)
        assert found.residual_heads.count_nonzero() == found.masks.count_nonzero() == 0
        assert found.confidence is found.previous_confidence is found.attributes is None
    first = run(model, images, ablation=Ablation(levels={0})).levels[0].forward
    assert first.field.count_nonzero() == first.logits.count_nonzero() == 0
    assert first.field.shape == plain.levels[0].forward.field.shape


def test_all_levels_off_leaves_the_last_convolution_on_the_features_alone() -> None:
    model, images = loud(), pair(33, 40)
    everything = Ablation(levels=range(5), output=True)  # type: ignore[arg-type]
    assert run(model, images, ablation=everything).field.count_nonzero() == 0
    assert run(model, images, ablation=Ablation(levels=set(range(5)))).field.count_nonzero() > 0  # type: ignore[arg-type]


@pytest.mark.parametrize("level", [1, 4])
def test_a_confidence_that_is_off_is_one(level: int) -> None:
    model, images = loud(), pair(33, 40)
    plain = run(model, images)
    for kind, name, other in (
        ("confidences", "confidence", "previous_confidence"),
        ("previous_confidences", "previous_confidence", "confidence"),
    ):
        found = run(model, images, ablation=Ablation(**{kind: {level}})).levels[level].forward
        assert torch.equal(getattr(found, name), torch.ones_like(getattr(found, name)))
        assert torch.equal(getattr(found, other), getattr(plain.levels[level].forward, other))
        assert not torch.equal(found.field, plain.levels[level].forward.field)


def test_a_feedback_that_is_off_leaves_the_features_and_the_levels_field() -> None:
    model, images = loud(), pair(33, 40)
    plain, ablated = run(model, images), run(model, images, ablation=Ablation(feedback={2}))
    found = ablated.levels[2].forward
    assert torch.equal(found.field, plain.levels[2].forward.field)
    assert torch.equal(found.refined, plain.levels[2].forward.features)
    assert found.attributes is None
    assert not torch.equal(ablated.levels[3].forward.features, plain.levels[3].forward.features)


@pytest.mark.parametrize("both", [True, False])
def test_without_the_last_convolution_the_last_level_is_the_result(both: bool) -> None:
    model, images = loud(), pair(33, 40)
    output = run(model, images, both=both, ablation=Ablation(output=True))
    assert torch.equal(output.field, output.levels[-1].forward.field[..., :33, :40])
    if both:
        assert torch.equal(output.inverse_field, output.levels[-1].inverse.field[..., :33, :40])


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("first", [1, 3, 4, 5])
def test_the_first_levels_alone_give_the_field_of_the_last_of_them(first: int, both: bool) -> None:
    model, images = loud(), pair(33, 40, batch=2)
    off = Ablation.after(first, 5)
    kept = run(model, images, both=both, ablation=off)
    level = run(model, images).levels[first - 1]
    expected = upsample_field(level.forward.field, level.pool_size)[..., :33, :40]
    torch.testing.assert_close(kept.field, expected, atol=1e-5, rtol=1e-5)
    steps: list[int] = []
    with torch.no_grad():
        output = last(model.iterate(*images, both=both, ablation=off), lambda step: steps.append(step.level))
    assert steps == list(range(first))  # the levels that are off did not run
    assert torch.equal(output.field, kept.field)
    assert (output.inverse_field is None) == (not both)
    if both:
        assert torch.equal(output.inverse_field, kept.inverse_field)


def test_keeping_levels_changes_nothing_in_an_ablated_pass() -> None:
    model, images = loud(), pair(33, 40)
    off = Ablation(heads={(2, 0)}, confidences={3})
    with torch.no_grad():
        assert torch.equal(model(*images, ablation=off).field, run(model, images, ablation=off).field)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", ["RAN0", "RAN3", "RAN4+"])
@pytest.mark.parametrize("both", [True, False])
def test_continuing_after_kept_levels_is_the_whole_run(name: str, ndim: Any, both: bool) -> None:
    model, images = loud(name, ndim), pair(*SHAPES[ndim], batch=2)
    whole, expected = run(model, images), run(model, images, both=both)
    with torch.no_grad():
        encoded = model.encode(*images)
        for count in range(6):
            told: list[int] = []
            work = model.decode(encoded, True, both, after=whole.levels[:count])
            output = last(work, lambda step, told=told: told.append(step.level))  # type: ignore[misc]
            assert told == list(range(count, 5))
            torch.testing.assert_close(output.field, expected.field, atol=2e-5, rtol=1e-5)
            assert (output.inverse_field is None) == (not both)
            assert [level.level for level in output.levels] == list(range(5))
            same(output.levels[-1].forward, expected.levels[-1].forward)


def test_continuing_uses_only_what_the_ablation_leaves() -> None:
    """All levels may be given: those behind the first ablated one are computed anew."""
    model, images = loud("RAN4", 2), pair(33, 40)
    plain = run(model, images)
    for off in (
        Ablation(heads={(2, 3)}),
        Ablation(levels={2}),
        Ablation(feedback={0}),
        Ablation(confidences={4}),
        Ablation(previous_confidences={1}, output=True),
    ):
        for both in (True, False):
            expected = run(model, images, both=both, ablation=off)
            with torch.no_grad():
                found = last(model.decode(model.encode(*images), True, both, off, plain.levels))
            torch.testing.assert_close(found.field, expected.field, atol=2e-5, rtol=1e-5)
            for one, two in zip(found.levels, expected.levels, strict=True):
                same(one.forward, two.forward)


def test_levels_of_one_direction_serve_as_far_as_they_go() -> None:
    model, images = loud(), pair(33, 40)
    one = run(model, images, both=False)
    with torch.no_grad():
        encoded = model.encode(*images)
        again = last(model.decode(encoded, both=False, after=one.levels))
        ablated = last(model.decode(encoded, both=False, ablation=Ablation(heads={(4, 0)}), after=one.levels))
        with pytest.raises(InputError, match="after: level 4 was kept for one direction only"):
            last(model.decode(encoded, after=one.levels))
    torch.testing.assert_close(again.field, one.field)
    expected = run(model, images, both=False, ablation=Ablation(heads={(4, 0)}))
    torch.testing.assert_close(ablated.field, expected.field, atol=2e-5, rtol=1e-5)


def test_kept_levels_that_do_not_fit_are_refused() -> None:
    model, images = loud(), pair(33, 40)
    levels = run(model, images).levels
    with torch.no_grad():
        for after, encoded in (
            (levels[1:], model.encode(*images)),
            (levels, model.encode(*pair(33, 24))),
            (levels, model.encode(*pair(33, 40, batch=2))),
        ):
            with pytest.raises(InputError, match=r"after: .*Give the first levels of this pair"):
                last(model.decode(encoded, after=after))


@pytest.mark.parametrize(
    ("off", "message"),
    [
        (Ablation(levels={5}), "there is no level 5. Levels are counted from 0 to 4"),
        (Ablation(feedback={-1}), "there is no level -1"),
        (Ablation(heads={(2, 6)}), "level 2 has no head 6. Heads are counted from 0 to 5"),
        (Ablation(heads={(7, 0)}), "there is no level 7"),
        (Ablation(previous_confidences={0}), "level 0 carries no field"),
    ],
)
def test_parts_that_are_not_there_are_named(off: Ablation, message: str) -> None:
    model = loud()
    with pytest.raises(InputError, match=message):
        model(*pair(33, 40), ablation=off)


def test_a_network_without_confidence_or_feedback_has_none_to_switch_off() -> None:
    model = loud(confidence=False, feedback=False)
    for off, what in (
        (Ablation(confidences={1}), "confidences"),
        (Ablation(previous_confidences={1}), "confidences"),
        (Ablation(feedback={1}), "feedback"),
    ):
        with pytest.raises(InputError, match=f"built without {what}"):
            off.check(model.config)
    plain, ablated = run(model, pair(33, 40)), run(model, pair(33, 40), ablation=Ablation(heads={(1, 1)}))
    assert not torch.equal(plain.field, ablated.field)


def test_unshared_convolutions_are_followed() -> None:
    model, images = loud(shared=False), pair(33, 40)
    plain, off = run(model, images), Ablation(heads={(3, 1)})
    with torch.no_grad():
        found = last(model.decode(model.encode(*images), ablation=off, after=plain.levels))
    torch.testing.assert_close(found.field, run(model, images, ablation=off).field, atol=2e-5, rtol=1e-5)


def test_an_ablation_is_a_value() -> None:
    one, two = Ablation(heads={(3, 2)}), Ablation(levels=[1], output=True)  # type: ignore[arg-type]
    assert one == Ablation(heads=frozenset({(3, 2)}))
    assert hash(one) == hash(Ablation(heads={(3, 2)}))
    assert not Ablation()
    assert one
    assert Ablation(output=True)
    assert (one | two) == Ablation(heads={(3, 2)}, levels={1}, output=True)
    assert (one | two).first_level == 1
    assert one.first_level == 3
    assert Ablation(output=True).first_level > 100
    assert Ablation().describe() == "nothing off"
    assert (one | two).describe() == "head 2 of level 3, level 1, last convolution off"
    assert one.at(2) is None
    assert one.at(3).heads == (2,)


def test_ablated_passes_have_gradients() -> None:
    model, images = loud(), pair(33, 40)
    model(*images, ablation=Ablation(heads={(2, 0)}, levels={1}, confidences={3})).field.square().mean().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
    assert model.aligners[1].resample.weight.grad is None
