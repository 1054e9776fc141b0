from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.errors import InputError
from napari_ran.introspect.inspection import Inspection
from napari_ran.introspect.separability import on_image_grid, separability
from napari_ran.introspect.study import level_information, stage_labels, stage_separability
from napari_ran.introspect.trace import NetworkTrace
from napari_ran.models import create_model
from napari_ran.synthetic import phantom_2d
from napari_ran.theory import separability_curve

PAIR = phantom_2d(0, (40, 36), (1.5, 1.5))


@pytest.fixture(scope="module")
def inspection() -> Inspection:
    """An untrained network whose fields are no longer zero, aligned by a shift of one voxel."""
    model = create_model("RAN3", 2, seed=0)
    with torch.no_grad():
        model.shared[0].heads_out.weight *= 300
        images = [image.tensor[None] for image in (PAIR.moving, PAIR.fixed)]
        output = model(*images, keep_levels=True)
    affine = np.eye(3)
    affine[0, 2] = 1.5
    trace = NetworkTrace(model, "test", PAIR.fixed.grid, affine, images[1], images[0], output)
    return Inspection.from_trace(trace, labels=(PAIR.fixed_labels, PAIR.moving_labels))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_a_stage_is_measured_where_its_labels_agree(inspection: Inspection, direction: Any) -> None:
    for stage in (0, 3, 5):
        found = stage_separability(inspection, stage, direction, pairs=2000, max_distance=12)
        own = stage_labels(inspection, direction)
        points = np.unique(found.points)
        assert (own.tensor.flatten()[points] > 0).all()
        assert found.bound == pytest.approx(separability_curve(inspection.trace.model.config, found.distances))
    assert own.grid == inspection.trace.grid
    moved = PAIR.fixed_labels if direction == "forward" else PAIR.moving_labels
    if direction == "forward":
        assert torch.equal(own.tensor, moved.tensor)
    else:  # the aligned moving image lies one voxel lower
        assert torch.equal(own.tensor[1:-1], moved.tensor[2:])


def test_a_level_moves_all_voxels_inside_one_of_its_own_alike(inspection: Inspection) -> None:
    mask = torch.ones(PAIR.fixed.grid.shape, dtype=torch.bool)
    found = stage_separability(inspection.__class__.from_trace(inspection.trace), 0, mask=mask, pairs=5000, seed=2)
    level = inspection.get("field", 0)
    direct = separability(on_image_grid(level.data, 4, mask.shape), mask, pairs=5000, seed=2)
    assert np.array_equal(found.counts, direct.counts)


def test_a_field_of_another_tool_needs_a_mask_or_an_image() -> None:
    field = DisplacementField(torch.zeros((2, *PAIR.fixed.grid.shape)), PAIR.fixed.grid)
    with pytest.raises(InputError, match="mask: there are no labels and no image"):
        stage_separability(Inspection.from_field(field), 0)
    found = stage_separability(Inspection.from_field(field, PAIR.fixed, PAIR.moving), 0, pairs=500)
    assert found.bound is None
    assert found.probability[:, 0].sum() > 0.5
    with pytest.raises(InputError, match="inspection: it has no levels"):
        level_information(Inspection.from_field(field))
    with pytest.raises(InputError, match="labels: the registration had no labels"):
        stage_labels(Inspection.from_field(field))


def test_a_pair_without_a_correct_pair_says_so(inspection: Inspection) -> None:
    far = Image(PAIR.moving.tensor, PAIR.moving.grid)
    nowhere = np.eye(3)
    nowhere[0, 2] = 1000.0
    trace = inspection.trace
    lost = NetworkTrace(trace.model, "test", trace.grid, nowhere, trace.fixed, far.tensor[None], trace.output)
    with pytest.raises(InputError, match="no two points have the label that the warped moving image has there"):
        stage_separability(Inspection.from_trace(lost, labels=(PAIR.fixed_labels, PAIR.moving_labels)), 5)


def test_every_level_has_its_information(inspection: Inspection) -> None:
    found = level_information(inspection, shuffles=5)
    assert list(found) == [0, 1, 2, 3, 4]
    for level in found.values():
        assert level.joint.shape == (6, len(level.labels))
        assert len(level.control) == 5
    assert level_information(inspection, labels=PAIR.fixed_labels.tensor, shuffles=5)[2].joint == pytest.approx(
        found[2].joint
    )
    inverse = level_information(inspection, "inverse", shuffles=1)
    assert not np.allclose(inverse[2].joint, found[2].joint)


def test_grids_that_are_no_multiple_of_the_levels(inspection: Inspection) -> None:
    assert inspection.trace.grid.shape == (40, 36)
    grid = Grid.from_spacing((21, 19))
    model = create_model("RAN0", 2)
    with torch.no_grad():
        images = torch.rand((2, 1, 1, *grid.shape), generator=torch.Generator().manual_seed(0))
        trace = NetworkTrace(model, "t", grid, np.eye(3), images[0], images[1], model(images[1], images[0], True))
    mask = torch.ones(grid.shape, dtype=torch.bool)
    assert stage_separability(Inspection.from_trace(trace), 0, mask=mask, pairs=100).shape == grid.shape
    labels = torch.arange(19).expand(21, 19) // 7
    assert level_information(Inspection.from_trace(trace), labels=labels, shuffles=1)[0].joint.shape == (6, 3)
