from __future__ import annotations

import numpy as np
import pytest

import napari_ran as ran
from napari_ran.cases import score_case
from napari_ran.data import DisplacementField, Labels
from napari_ran.evaluate import dice, surface_distances, target_registration_error
from napari_ran.inputs import load_inputs
from napari_ran.results import GIVEN
from napari_ran.transform import warp_labels


def test_scores_are_the_single_measures() -> None:
    made = ran.phantom_2d()
    score = score_case(
        "one",
        load_inputs(made.fixed, made.moving, **{name: getattr(made, name) for name in GIVEN}),
        made.truth,
        seconds=2.0,
    )
    warped = warp_labels(made.moving_labels, made.truth)
    assert {label: one.dice for label, one in score.labels.items()} == dice(made.fixed_labels, warped)
    surfaces = surface_distances(made.fixed_labels, warped)
    for label, one in score.labels.items():
        found = surfaces[label]
        assert found is not None
        assert (one.hd, one.hd95, one.asd) == (found.hd, found.hd95, found.asd)
        assert one.dice > one.dice_before
    errors = target_registration_error(made.fixed_landmarks, made.moving_landmarks, made.truth)
    assert score.tre is not None
    assert score.tre.mean == pytest.approx(errors.mean())
    assert score.mean("dice") == pytest.approx(np.mean([one.dice for one in score.labels.values()]))
    assert (score.unmatched, score.seconds) == ((), 2.0)


def test_folds_count_in_the_tissue_only() -> None:
    made = ran.phantom_2d()
    field = np.zeros((2, *made.fixed.grid.shape), np.float32)
    tissue = np.zeros(made.fixed.grid.shape, np.int32)
    tissue[20:30, 20:30] = 1
    field[0, 24, 24] = -3.0  # within the labels
    field[0, 4, 4] = -3.0  # outside
    score = score_case(
        "one",
        load_inputs(made.fixed, made.moving, fixed_labels=Labels(tissue, made.fixed.grid)),
        DisplacementField(field, made.fixed.grid),
    )
    both = score.folding_percent / 100 * tissue.size
    assert score.negative_in_tissue == 1
    assert both == pytest.approx(2)
    assert score.labels == {}


def test_labels_that_one_map_alone_has_are_named() -> None:
    made = ran.phantom_2d()
    changed = made.moving_labels.tensor.numpy().copy()
    known = made.moving_labels.ids
    changed[changed == known[-1]] = 77
    score = score_case(
        "one",
        load_inputs(
            made.fixed,
            made.moving,
            fixed_labels=made.fixed_labels,
            moving_labels=Labels(changed, made.moving.grid),
        ),
        made.truth,
    )
    assert set(score.unmatched) == {known[-1], 77}
    assert set(score.labels) == set(known) - {known[-1]}
