"""What is looked up in a box is what the whole array holds there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import napari_ran as ran
from napari_ran import functional
from napari_ran.config import RANConfig
from napari_ran.errors import InputError
from napari_ran.introspect import Inspection, NetworkTrace
from napari_ran.introspect.lookup import Lookup, between, everywhere, picked

SHAPES = {2: (30, 21), 3: (14, 16, 11)}


def boxes(shape: tuple[int, ...]) -> list[tuple[range, ...]]:
    """A slice across each axis (the first, the last, one within), a box with steps, and everything."""
    found = [everywhere(shape)]
    for axis, n in enumerate(shape):
        for index in (0, n // 2, n - 1):
            found.append(tuple(range(index, index + 1) if a == axis else range(m) for a, m in enumerate(shape)))
    found.append(tuple(range(n // 4, n - n // 4, 2) for n in shape))
    return found


def assert_same(inspection: Inspection) -> int:
    """Compare every quantity of every stage in both directions; return how many there were."""
    count = 0
    for direction in inspection.directions:
        for stage in inspection.stages:
            for name in inspection.available(stage.index, direction):
                whole = inspection.get(name, stage.index, direction)
                lookup = Lookup(inspection, name, stage.index, direction)
                assert (lookup.grid, lookup.channels) == (whole.grid, whole.data.shape[0])
                for where in boxes(whole.grid.shape):
                    expected = picked(whole.data, where)
                    torch.testing.assert_close(lookup.at(where), expected, atol=2e-5, rtol=1e-4)
                last = slice(whole.data.shape[0] - 1, None)
                torch.testing.assert_close(
                    lookup.at(boxes(whole.grid.shape)[2], last)[0], lookup.at(boxes(whole.grid.shape)[2])[-1]
                )
                count += 1
    return count


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_every_quantity_in_every_box(ndim: Any, started: bool, make_trace: Callable[..., NetworkTrace]) -> None:
    grid = ran.Grid.from_spacing(SHAPES[ndim], (1.2, 0.8, 2.5)[:ndim])
    assert assert_same(Inspection.from_trace(make_trace(RANConfig.preset("RAN4+", ndim), grid, started=started))) > 80


def test_a_refinement_and_a_field_alone(registered: Callable[..., ran.Registration], phantom: Any) -> None:
    assert assert_same(Inspection.from_registration(registered("field"))) > 80
    field = registered("field").field
    inspection = Inspection.from_field(field, phantom.fixed, phantom.moving)
    assert assert_same(inspection) == 4
    assert not Lookup(inspection, "warped", 0).local
    assert Lookup(inspection, "jacobian", 0).local


@pytest.mark.parametrize("started", [False, True])
def test_a_refinement_on_a_finer_grid(started: bool, make_trace: Callable[..., NetworkTrace]) -> None:
    grid = ran.Grid.from_spacing((14, 16, 12), 2.0)
    trace = make_trace(RANConfig.preset("RAN4+", 3), grid, started=started)
    finer = grid.with_spacing(1.0)
    forward = functional.resize_field(trace.field, finer.shape)[0] + 0.1
    inverse = functional.resize_field(trace.output.inverse_field, finer.shape)[0] - 0.1
    refined = replace(
        trace,
        refined=ran.DisplacementField(forward, finer),
        refined_inverse=ran.DisplacementField(inverse, finer),
    )
    assert assert_same(Inspection.from_trace(refined)) > 80


def test_what_is_not_there_is_refused_with_the_reason(make_trace: Callable[..., NetworkTrace]) -> None:
    inspection = Inspection.from_trace(make_trace(RANConfig.preset("RAN4+", 2), ran.Grid.from_spacing((30, 21), 1.0)))
    with pytest.raises(InputError, match="no field to start from"):
        Lookup(inspection, "previous_confidence", 0)


def test_interpolation_axis_by_axis_is_linear_sampling() -> None:
    values = torch.rand(2, 5, 6, 4, generator=torch.Generator().manual_seed(1))
    positions = [torch.linspace(-1, 6, 9), torch.linspace(1.2, 3.9, 4), torch.tensor([2.5])]
    everything = torch.stack(torch.meshgrid(*positions, indexing="ij"))[None]
    expected = functional.sample(values[None], everything, padding="border")[0]
    torch.testing.assert_close(between(values, positions), expected)
