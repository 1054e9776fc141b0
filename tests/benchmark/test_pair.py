from __future__ import annotations

import importlib.util

import numpy as np
import psutil
import pytest
import torch

import napari_ran as ran
from napari_ran.benchmark import Candidate, PairStep, candidates_for, compare_pair, disagreement
from napari_ran.benchmark.rows import PeerSolver
from napari_ran.cases import Registering
from napari_ran.config import PeerEntry
from napari_ran.inputs import load_inputs
from napari_ran.peers import PEERS

SETTINGS = ran.RegistrationConfig(weights="none", affine="none", instance={"steps": 4, "search": 2})


def test_systems_on_one_pair_and_one_that_fails() -> None:
    made = ran.phantom_2d()
    inputs = load_inputs(made.fixed, made.moving, fixed_labels=made.fixed_labels, moving_labels=made.moving_labels)
    crashing = PeerSolver(PeerEntry(tool="demons", options={"sigmas": 1}), SETTINGS, 60)
    candidates = [
        Candidate("still", Registering(SETTINGS.replace(instance={"mode": "none"}))),
        Candidate("crashing", crashing),
        Candidate("field", Registering(SETTINGS)),
    ]
    steps = list(compare_pair(inputs, candidates))
    assert all(isinstance(step, PairStep) for step in steps)
    still, failed, field = (step.found for step in steps if step.found is not None)
    assert failed.failure is not None
    assert "sigmas" in failed.failure
    assert failed.score is failed.field is None
    assert field.score.mean("dice") > still.score.mean("dice")
    assert field.similarity > still.similarity
    assert field.warped.grid == made.fixed.grid
    assert torch.allclose(still.warped.tensor, made.moving.tensor, atol=1e-4)


def test_what_can_be_compared_here() -> None:
    names = [candidate.name for candidate in candidates_for(2)]
    assert names[:4] == ["start", "general-2d", "general-2d + field", "no network + field"]
    assert "demons" in names
    assert "convexadam" not in names  # it has three axes only
    installed = [name for name, peer in PEERS.items() if importlib.util.find_spec(peer.module) is not None]
    assert [candidate.name for candidate in candidates_for(3)][-len(installed) :] == installed


def test_disagreement_is_the_distance_of_two_fields() -> None:
    grid = ran.Grid.from_spacing((4, 5), (2.0, 1.0))
    shifts = [(1.0, 0.0), (-1.0, 0.0), (0.0, 3.0)]
    fields = [ran.DisplacementField(torch.tensor(s).view(2, 1, 1).expand(2, 4, 5).clone(), grid) for s in shifts]
    assert np.allclose(disagreement(fields[:2]).array, 4.0)  # two voxels of two mm
    # from the mean, (0, 1) voxel, the first two are two mm along the first axis and one along the second away
    assert np.allclose(disagreement(fields).array, 2 * np.hypot(2, 1))
    with pytest.raises(ran.InputError, match="at least two fields"):
        disagreement(fields[:1])
    other = ran.DisplacementField.identity(ran.Grid.from_spacing((4, 5), (1.0, 1.0)))
    with pytest.raises(ran.InputError, match="on one grid"):
        disagreement([fields[0], other])


def test_closing_ends_a_tool_at_work() -> None:
    made = ran.phantom_2d()
    endless = PeerSolver(PeerEntry(tool="demons", options={"iterations": 100_000}), SETTINGS, 60)
    before = set(psutil.Process().children())
    steps = compare_pair(load_inputs(made.fixed, made.moving), [Candidate("endless", endless)])
    assert any("at work for 1 s" in step.message for step in steps)
    (tool,) = set(psutil.Process().children()) - before
    steps.close()
    assert not tool.is_running()
