"""Views are made slice by slice: each slice must be what the whole volume holds there, and the quantity says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran import functional
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.lookup import Lookup, Where, everywhere
from napari_ran.io.layers import deformed_grid_layer
from napari_ran.widgets._round import round_above
from napari_ran.widgets.inspection.limits import PERCENTILE, Limits, Shares, lengths_mm, sampled
from napari_ran.widgets.inspection.session import Session
from napari_ran.widgets.inspection.values import Resampled, Vectors
from napari_ran.widgets.inspection.views import LINES, STYLES_OF_KIND, Choice, make_picture, thumbnail
from napari_ran.widgets.inspection.volume import Volume

Results = dict[int, ran.Registration]


@pytest.fixture(scope="module", params=[2, 3])
def inspection(request: Any, results: Results) -> Inspection:
    return Inspection.from_registration(results[request.param])


def picture(inspection: Inspection, choice: Choice) -> Any:
    return make_picture(inspection, choice, Limits(inspection), Shares(inspection))


def fine_field(inspection: Inspection, stage: int) -> ran.DisplacementField:
    """A stage's field on the image's grid, every voxel looked up on its own."""
    there, target = inspection.get("field", stage), inspection.trace.grid
    matrix = torch.from_numpy(target.voxel_map_to(there.grid)).float()
    where = functional.voxel_grid(target.shape, torch.zeros(1))[0]
    offset = matrix[:-1, -1].view(-1, *[1] * target.ndim)
    places = torch.einsum("ij,j...->i...", matrix[:-1, :-1], where) + offset
    found = functional.sample(there.data[None], places[None], padding="border")[0]
    back = torch.linalg.inv(matrix[:-1, :-1])
    return ran.DisplacementField(torch.einsum("ij,j...->i...", back, found), target)


# ---------------------------------------------------------------- volumes


def numbers(where: Where) -> torch.Tensor:
    """10000 x + 100 y + z."""
    x, y, z = torch.meshgrid(*(torch.tensor(r) for r in where), indexing="ij")
    return (10_000 * x + 100 * y + z).float()


KEYS = (
    3,
    -1,
    (slice(None), 2),
    (slice(None), slice(None), 4),
    (slice(1, 5, 2), slice(None, None, -2), 1),
    (slice(4, 1), slice(None)),
    (np.int64(2), slice(0, 3), slice(None)),
    Ellipsis,
    (..., 2),
    np.array([1, 3]),
)


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_volume_reads_like_an_array(key: Any) -> None:
    shape = (6, 5, 7)
    whole = numbers(everywhere(shape)).numpy().T
    lazy = Volume(shape, numbers)
    assert (lazy.shape, lazy.ndim, lazy.size, lazy.nbytes) == (whole.shape, 3, whole.size, whole.nbytes)
    np.testing.assert_array_equal(lazy[key], whole[key])
    np.testing.assert_array_equal(np.asarray(lazy), whole)
    np.testing.assert_array_equal(lazy[key], whole[key])


def test_a_volume_makes_no_more_than_is_read() -> None:
    made = []

    def make(where: Where) -> torch.Tensor:
        made.append(where)
        return numbers(where)

    lazy = Volume((6, 5, 7), make)
    assert lazy[2].flags["C_CONTIGUOUS"]
    assert made == [(range(6), range(5), range(2, 3))]
    with pytest.raises(IndexError):
        lazy[7]
    assert not hasattr(lazy, "compute")
    assert lazy.kept == 0
    assert lazy.max() == 50_406
    assert np.greater(lazy, 50_000).sum() == 5 * 7 - 1
    assert made[1:] == [everywhere((6, 5, 7))]
    assert lazy.kept == lazy.nbytes


def test_a_volume_of_colours() -> None:
    lazy = Volume((4, 3, 5), lambda where: torch.stack([numbers(where)] * 3).to(torch.uint8), np.uint8, 3)
    assert lazy.shape == (5, 3, 4, 3)
    np.testing.assert_array_equal(lazy[1, :, ::2, 0], lazy.whole()[1, :, ::2, 0])


# ---------------------------------------------------------------- views


def test_every_view_is_the_same_in_slices_and_whole(inspection: Inspection) -> None:
    limits, shares = Limits(inspection), Shares(inspection)
    count = 0
    for quantity in inspection.quantities:
        for stage in (0, 1, len(inspection.stages) - 1):
            if quantity.name not in inspection.available(stage):
                continue
            for style in STYLES_OF_KIND[quantity.kind]:
                planes = ((-2, -1), (-3, -1)) if inspection.get("field", 0).grid.ndim == 3 else ((-2, -1),)
                for plane in planes:
                    choice = Choice(
                        quantity.name, stage, "forward", style, 1 if quantity.kind == "heads" else -1, plane
                    )
                    found = make_picture(inspection, choice, limits, shares)
                    if found.slot == "arrows":
                        continue
                    again = make_picture(inspection, choice, limits, shares).data.whole()
                    middle = tuple(n // 2 for n in again.shape)
                    for axis in range(inspection.get("field", 0).grid.ndim):
                        key = tuple(middle[axis] if a == axis else slice(None) for a in range(axis + 1))
                        np.testing.assert_allclose(
                            found.data[key].astype(float), again[key], atol=1.01 if found.slot == "colour" else 1e-4
                        )
                        assert found.kept == 0
                        count += 1
    assert count > 60


def test_a_levels_field_between_its_voxels(inspection: Inspection) -> None:
    for stage in (0, 3):
        vectors = Vectors(Lookup(inspection, "field", stage))
        fine = Resampled(vectors, inspection.trace.grid)
        expected = fine_field(inspection, stage).tensor
        torch.testing.assert_close(fine.at(everywhere(fine.grid.shape)), expected, atol=1e-5, rtol=1e-5)


def test_grid_lines_are_those_of_the_whole_field(inspection: Inspection) -> None:
    field = fine_field(inspection, 1)
    found = picture(inspection, Choice("field", 1, style="grid")).data
    step = max(float(field.grid.extent.max()) / LINES, 4 * float(field.grid.spacing.max()))
    axes = (0, 1)  # the viewer shows the first axis to the right, the second downwards
    expected = deformed_grid_layer(field, step, axes)[0]
    np.testing.assert_allclose(found.whole(), expected, atol=1e-4)
    if field.grid.ndim == 3:
        np.testing.assert_allclose(found[5], expected[5], atol=1e-4)


def test_contour_lines_separate_the_bands(inspection: Inspection) -> None:
    found = picture(inspection, Choice("field", 4, style="contours"))
    low, high = found.legend.limits
    lengths = fine_field(inspection, 4).magnitude.numpy().T
    band = np.floor(lengths / round_above((high - low) / 10))
    line = np.zeros(lengths.shape, bool)
    line[..., :-1] |= band[..., :-1] != band[..., 1:]
    line[..., :-1, :] |= band[..., :-1, :] != band[..., 1:, :]
    shown = found.data.whole() >= low
    assert line.any()
    assert (shown != line).mean() < 1e-3  # rounding may move a voxel that lies on a contour
    np.testing.assert_allclose(found.data.whole()[shown & line], lengths[shown & line], atol=1e-4)
    assert (found.data.whole()[~shown] < low).all()


def test_directions_and_lengths_are_those_of_the_field(inspection: Inspection) -> None:
    field = inspection.get("field", 4)
    lengths = picture(inspection, Choice("field", 4, style="magnitude")).data.whole()
    np.testing.assert_allclose(lengths, field.magnitude[0].numpy().T, atol=1e-4)
    colours = picture(inspection, Choice("field", 4, style="colour"))
    flat = lengths_mm(field.data[None], field.grid, (-2, -1))[0].numpy().T
    largest = colours.legend.limits[1]
    np.testing.assert_allclose(colours.data.whole()[..., 3] / 255, np.clip(flat / largest, 0, 1), atol=0.01)


def test_one_head_and_the_mean_of_all(inspection: Inspection) -> None:
    heads = inspection.get("residual_heads", 2).heads
    lookup = Lookup(inspection, "residual_heads", 2)
    where = everywhere(lookup.grid.shape)
    torch.testing.assert_close(Vectors(lookup, 1).at(where), heads[1])
    torch.testing.assert_close(Vectors(lookup).at(where), heads.mean(0))
    vectors, lengths = Vectors(lookup, 1).arrows(tuple(range(0, n, 2) for n in lookup.grid.shape))
    assert vectors.shape == (lookup.grid.ndim, *lengths.shape)


def test_heads_are_blended_in_their_colours(inspection: Inspection) -> None:
    masks = inspection.get("masks", 3).data
    found = picture(inspection, Choice("masks", 3, style="blend"))
    expected = torch.einsum("mc,m...->c...", torch.tensor(found.legend.colours), masks).numpy().T
    np.testing.assert_allclose(found.data.whole() / 255, expected, atol=0.01)
    np.testing.assert_allclose(found.legend.shares, masks.flatten(1).mean(1), rtol=1e-4)
    relative = picture(inspection, Choice("masks", 3, style="relative"))
    assert relative.data.whole().std() > found.data.whole().std()


# ---------------------------------------------------------------- what is common to the stages


def test_limits_hold_for_all_stages(inspection: Inspection) -> None:
    limits = Limits(inspection)
    stages = range(len(inspection.stages))
    lengths = [inspection.get("increment", stage).magnitude.numpy() for stage in stages]
    expected = max(np.percentile(values, PERCENTILE) for values in lengths)
    assert limits.lengths("increment", "forward")[1] == pytest.approx(expected, rel=1e-4)
    low, high = limits.of("difference", "forward")
    assert low == -high


def test_samples_are_spread_over_the_volume(monkeypatch: pytest.MonkeyPatch, inspection: Inspection) -> None:
    monkeypatch.setattr("napari_ran.widgets.inspection.limits.SAMPLES", 100)
    lookup = Lookup(inspection, "warped", 4)
    values = sampled(lookup, "value")
    assert 20 <= values.numel() <= 150
    assert float(values.mean()) == pytest.approx(float(inspection.get("warped", 4).data.mean()), abs=0.1)


def test_thumbnails_show_the_middle(inspection: Inspection) -> None:
    for quantity in inspection.available(2):
        small = thumbnail(inspection, Choice(quantity, 2), Limits(inspection))
        assert small.dtype == np.uint8
        assert max(small.shape[:2]) == 56
        assert small.shape[2] == 3


def test_what_is_known_once_serves_all_stages(inspection: Inspection) -> None:
    session = Session(inspection)
    magnitude, blend = Choice("field", 1, style="magnitude"), Choice("masks", 1, style="blend")
    assert not session.ready(magnitude)
    session.picture(magnitude)
    assert session.ready(Choice("field", 3, style="contours"))
    assert not session.ready(Choice("field", 3, style="colour"))
    assert not session.ready(magnitude, whole=True)
    assert session.picture(magnitude, whole=True).kept > 0
    assert session.ready(magnitude, whole=True)
    assert session.picture(magnitude) is session.picture(magnitude, whole=True)
    session.picture(blend)
    assert session.ready(blend)
    assert not session.ready(Choice("masks", 2, style="blend"))


def test_what_needs_no_limits_makes_nothing_ready_that_does(inspection: Inspection) -> None:
    session = Session(inspection)
    session.picture(Choice("increment", 1, style="grid"))
    assert session.ready(Choice("increment", 3, style="grid"))
    assert not session.ready(Choice("increment", 1, style="magnitude"))
    session.picture(Choice("masks", 1, style="single"))
    assert session.ready(Choice("masks", 1, style="single", part=2))
    assert not session.ready(Choice("masks", 1, style="blend"))


def test_the_whole_views_seen_last_are_kept(inspection: Inspection) -> None:
    session = Session(inspection)
    choices = [Choice("field", stage, style="contours") for stage in (1, 2, 3)]
    first = session.picture(choices[0], whole=True)
    session.shelf.budget = 2 * first.kept
    session.picture(choices[1], whole=True)
    assert session.picture(choices[0], whole=True) is first
    session.picture(choices[2], whole=True)
    assert [session.ready(choice, whole=True) for choice in choices] == [True, False, True]


def test_no_step_makes_a_whole_volume_for_a_slice(inspect_in: Callable[..., Any], results: Results) -> None:
    viewer, widget = inspect_in(results[3])
    for quantity, style in (("field", "contours"), ("masks", "blend"), ("warped", "map"), ("jacobian", "map")):
        widget.levels.choose(quantity=quantity, stage=2)
        widget.levels.choose(style=style)
        widget.seen()
        for stage in (3, 4):
            widget.levels.choose(stage=stage)
            widget.seen()
            viewer.dims.set_current_step(0, 2)
            layer = widget.layers.find(widget.layers.picture.slot)
            assert isinstance(layer.data, Volume)
            assert layer.data.kept == 0
    expected = widget.session.inspection.get("jacobian", 4).data[0]
    index = round(layer._data_slice.point[0])
    np.testing.assert_allclose(layer._data_view, expected[..., index].numpy().T, atol=1e-4)


def test_the_volume_is_shown_as_a_whole(inspect_in: Callable[..., Any], results: Results) -> None:
    viewer, widget = inspect_in(results[3])
    widget.levels.choose(quantity="confidence", stage=2)
    widget.seen()
    viewer.dims.ndisplay = 3
    widget.levels.choose(stage=3)
    widget.seen()
    expected = widget.session.inspection.get("confidence", 3).data[0].numpy().T
    np.testing.assert_allclose(widget.layers.find("map")._data_view, expected, atol=1e-6)
