from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from napari_ran import InputError
from napari_ran import functional as F
from napari_ran.synthetic import PairConfig, PairRecord, draw_pair, generate_batch, render_pair
from napari_ran.synthetic.anatomy import placed, without
from napari_ran.synthetic.appearance import thickened
from napari_ran.synthetic.deformations import length
from napari_ran.synthetic.generator import GeneratedPair, without_motion
from napari_ran.synthetic.records import PlacingRecord

CLEAN = {"bias": (0.0, 0.0), "noise": (0.0, 0.0), "still": 0.0, "texture": (0.01, 0.02)}
"""Nothing that differs between the images, and no texture strong enough to be cut at the ends of the range."""

SHAPES = {2: (40, 33), 3: (20, 26, 22)}
by_dimension = pytest.mark.parametrize("ndim", [2, 3])


def organs(ndim: int) -> torch.Tensor:
    """A map of three organs with sparse numbers."""
    labels = torch.zeros(1, 1, *(60, 70, 50)[:ndim], dtype=torch.int32)
    labels[0, 0, 10:30, 12:40], labels[0, 0, 35:52, 10:30], labels[0, 0, 33:50, 40:60] = 3, 17, 2035
    if ndim == 3:
        labels[..., :8] = labels[..., -8:] = 0
    return labels


def config(ndim: int, **changes: object) -> PairConfig:
    return PairConfig(shapes=(SHAPES[ndim],), **changes)


def drawn(ndim: int, seed: int = 0, **changes: object) -> PairRecord:
    return draw_pair(config(ndim, **changes), torch.Generator().manual_seed(seed), label_maps=[organs(ndim)])


def same(a: GeneratedPair, b: GeneratedPair) -> bool:
    return all(torch.equal(value, vars(b)[name]) for name, value in vars(a).items())


@by_dimension
@pytest.mark.parametrize("along", [0.0, 1.0])
def test_pairs_from_a_label_map_are_exact_and_keep_its_labels(ndim: int, along: float) -> None:
    settings = {"along": along, "sliding": 1.0, "objects": (3, 3), "slip": (0.08, 0.08), "blur": (0.5, 0.5)}
    record = drawn(ndim, 1, **CLEAN, **settings)
    pair = render_pair(record, [organs(ndim)])
    assert len(record.organs) == 3
    assert set(pair.fixed_labels.unique().tolist()) == {0, 3, 17, 2035}
    warped = F.warp(pair.moving_labels.float(), pair.truth, "nearest", "border").long()
    assert float((warped == pair.fixed_labels)[pair.visible].float().mean()) > 0.995
    error = (F.warp(pair.moving, pair.truth, padding="border") - pair.fixed).abs()[pair.visible]
    if along:
        assert float(error.max()) < 1e-4  # nothing is hidden and nothing laid over
    assert float(error.median()) < 3e-3
    jump = length(torch.diff(pair.truth, dim=2)).max()
    assert float(jump) > 0.03 * 33


@by_dimension
def test_a_record_reproduces_its_pair_and_leaves_the_random_state(ndim: int) -> None:
    record = drawn(ndim, 2, thickness=(1.0, 3.0), deformation="paper", still=0.0, cavities=(1, 1))
    assert record == drawn(ndim, 2, thickness=(1.0, 3.0), deformation="paper", still=0.0, cavities=(1, 1))
    state = torch.get_rng_state()
    first = render_pair(record, [organs(ndim)])
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    assert same(first, render_pair(record, [organs(ndim)]))
    torch.set_rng_state(state)
    again = generate_batch(config(ndim), 3, 1, 2, [organs(ndim), organs(ndim)])
    assert same(again, generate_batch(config(ndim), 3, 1, 2, [organs(ndim), organs(ndim)]))
    assert not render_pair(without_motion(record), [organs(ndim)]).truth.any()


@by_dimension
def test_the_paper_deformation_and_cavities_are_exact(ndim: int) -> None:
    settings = config(ndim, deformation="paper", cavities=(1, 1), along=1.0, sliding=1.0, **CLEAN)
    for seed in range(3):
        record = draw_pair(settings, torch.Generator().manual_seed(seed))
        assert record.stage_one is not None
        assert record.objects[-1].hollow
        pair = render_pair(record)
        error = (F.warp(pair.moving, pair.truth, padding="border") - pair.fixed).abs()[pair.visible]
        assert float(error.max()) < 2e-4
        without_slip = replace(
            record, objects=tuple(replace(item, motion=(0.0,) * ndim, along=False) for item in record.objects)
        )
        slipped = length(pair.truth - render_pair(without_slip).truth)
        assert float((slipped == 0).float().mean()) > 0.15
        assert float(slipped.max()) > 0.5


def test_groups_move_together_and_labels_that_are_missing_do_not_matter() -> None:
    settings = {"groups": ((3, 17), (99,)), "sliding": 1.0, "objects": (5, 5), **CLEAN}
    record = drawn(2, 0, **settings)
    assert [item.labels for item in record.organs] == [(3, 17)]
    assert drawn(2, 0, sliding=0.0).organs == ()


def test_contrasts_are_drawn_for_each_label() -> None:
    record = drawn(2, 0, other_contrast=1.0)
    assert record.fixed_levels != record.moving_levels
    assert len(record.fixed_levels) == record.regions + 2 + 3
    empty = render_pair(drawn(2, 0, surround=0.0, **CLEAN), [organs(2)])
    assert float(empty.moving[empty.moving_labels == 0].median()) == pytest.approx(0.02, abs=0.01)


def test_a_placed_map_is_cut_scaled_and_reflected() -> None:
    labels = torch.zeros(1, 1, 9, 9, dtype=torch.int32)
    labels[0, 0, 0:3, 4], labels[0, 0, 4, 4] = 7, 40
    placing = PlacingRecord(0, (7, 40), 1.0, (0.0, 0.0), (False, False), True)
    expected = torch.where(labels == 7, 1, torch.where(labels == 40, 2, 0)).long()
    assert torch.equal(placed(placing, labels, (9, 9)), expected)
    assert torch.equal(placed(replace(placing, mirror=(True, False)), labels, (9, 9)), expected.flip(2))
    assert torch.equal(placed(replace(placing, offset=(1.0, 0.0)), labels, (9, 9))[:, :, :8], expected[:, :, 1:])
    assert torch.equal(placed(replace(placing, scale=2.0), labels, (5, 5)), expected[:, :, ::2, ::2])
    assert int(placed(placing, labels, (13, 13))[:, :, :2].max()) == 0  # outside the map


def test_a_hole_is_filled_from_its_surroundings() -> None:
    labels = torch.ones(1, 1, 8, 8, dtype=torch.long)
    labels[..., 4:] = 2
    hole = torch.zeros_like(labels, dtype=torch.bool)
    hole[..., 2:6, 1:7] = True
    filled = without(torch.where(hole, 9, labels), hole)
    assert set(filled.unique().tolist()) == {1, 2}
    assert torch.equal(filled[~hole], labels[~hole])
    assert not without(labels, torch.ones_like(hole)).any()


def test_thick_slices_blur_one_axis_only() -> None:
    image = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    thick = thickened(image, 1, 4.0)
    assert thick.shape == image.shape
    assert float(thick.diff(dim=3).abs().mean()) < 0.25 * float(image.diff(dim=3).abs().mean())
    assert torch.equal(thickened(image, 0, 1.0), image)
    flat = torch.linspace(0, 1, 24).view(1, 1, 24, 1).expand(1, 1, 24, 24)
    assert torch.allclose(thickened(flat, 1, 4.0), flat, atol=1e-6)


def test_bad_label_maps_are_refused() -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(InputError, match="3 dimensions, and images of 2"):
        draw_pair(config(2), generator, label_maps=[organs(3)])
    with pytest.raises(InputError, match="no label above zero"):
        draw_pair(config(2), generator, label_maps=[torch.zeros(1, 1, 30, 30, dtype=torch.int32)])
    with pytest.raises(InputError, match="label map 0 is wanted, and 0 are given"):
        render_pair(drawn(2))


@by_dimension
def test_a_share_of_the_pairs_shows_label_maps(ndim: int) -> None:
    mapped = [drawn(ndim, seed, mapped=0.5).placing is not None for seed in range(40)]
    assert 10 < sum(mapped) < 30
    assert drawn(ndim, 3, mapped=1.0) == drawn(ndim, 3)  # what is certain changes no pair
    nothing = drawn(ndim, 3, mapped=0.0)
    assert nothing.placing is None
    assert nothing.objects


@by_dimension
def test_images_show_something_of_their_own_in_a_share_of_the_body(ndim: int) -> None:
    found: dict[str, list[float]] = {"fixed": [], "moving": []}
    for seed in range(4):
        plain = drawn(ndim, seed, mapped=0.0, body=1.0, **CLEAN)
        without, pair = render_pair(plain), render_pair(replace(plain, unlike=((0.2, 3.0), (0.4, 3.0))))
        assert torch.equal(pair.truth, without.truth)
        for name, shares in found.items():
            labels = vars(pair)[f"{name}_labels"]
            assert torch.equal(labels, vars(without)[f"{name}_labels"])
            changed = (vars(pair)[name] - vars(without)[name]).abs() > 0.03
            shares.append(float(changed[labels > 0].float().mean()))
            outside = F.gaussian_smooth((labels > 0).float(), 1.0) == 0  # farther away than the edges are soft
            assert not bool(changed[outside].any())
    assert 0.12 < sum(found["fixed"]) / 4 < 0.28
    assert 0.28 < sum(found["moving"]) / 4 < 0.52


def test_what_an_image_has_of_its_own_is_drawn_for_each_and_only_where_asked_for() -> None:
    record = drawn(3, 5, unlike=(0.1, 0.3))
    assert len(record.unlike) == 2
    assert record.unlike[0] != record.unlike[1]
    assert all(0.1 <= share <= 0.3 for share, _ in record.unlike)
    assert replace(record, unlike=()) == drawn(3, 5)  # older seeds keep their pairs
    assert same(render_pair(record, [organs(3)]), render_pair(record, [organs(3)]))
    assert without_motion(record).unlike == ()
