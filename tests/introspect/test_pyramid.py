"""The levels of a pyramid network are inspected like those of a Residual Aligner Network, but for what it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran.errors import InputError
from napari_ran.introspect import Inspection, attribute
from napari_ran.introspect.ablation import ablate, ablation_study
from napari_ran.introspect.probe import probe
from napari_ran.io.checkpoints import ModelCard, save_weights
from napari_ran.models import Ablation, create_system
from napari_ran.webpage import write_report


@pytest.fixture(scope="module", params=["DPRn", "CA/P"])
def registered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ran.Registration:
    """A registration by a pyramid whose levels all move something."""
    network = create_system(request.param, 2, seed=1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("leave.weight"):
                parameter *= 2e3
    folder = tmp_path_factory.mktemp("pyramid")
    path = save_weights(network, folder / "p.safetensors", ModelCard(name="p", preset=request.param, ndim=2))
    pair = ran.phantom_2d()
    return ran.register(
        pair.fixed, pair.moving, fixed_labels=pair.fixed_labels, moving_labels=pair.moving_labels,
        weights=str(path), affine="none", instance="none", keep_levels=True,
    )  # fmt: skip


def test_every_level_shows_what_it_found(registered: ran.Registration) -> None:
    inspection = Inspection.from_registration(registered)
    assert [stage.kind for stage in inspection.stages] == ["level"] * 5 + ["output"]
    assert inspection.stages[-1].title == "Output"
    for stage in inspection.stages[:5]:
        names = inspection.available(stage.index)
        assert {"field", "increment", "residual_heads", "masks", "features", "warped", "jacobian"} <= set(names)
        assert not {"confidence", "previous_confidence", "attributes"} & set(names)
        assert inspection.get("residual_heads", stage.index).data.shape[0] == 2
        assert float(inspection.get("masks", stage.index).data.min()) == 1
        assert float(inspection.get("increment", stage.index).data.abs().max()) > 0.01
        assert inspection.metrics(stage.index).max_mm > 0
    last = inspection.get("field", 4).data
    torch.testing.assert_close(inspection.get("field", 5).data, last)
    assert "has no confidences" in inspection.why_not("confidence", 2)


def test_a_point_is_followed_by_what_each_level_changes(registered: ran.Registration) -> None:
    inspection = Inspection.from_registration(registered)
    found = probe(inspection, registered.fixed.grid.to_world(np.array([20.0, 22.0])))
    assert found is not None
    assert [[part.kind for part in stage.contributions] for stage in found.stages] == [["carried", "change"]] * 6
    for stage in found.stages:
        np.testing.assert_allclose(sum(part.mm for part in stage.contributions), stage.displacement, atol=1e-6)


def test_it_is_saved_and_read_again(registered: ran.Registration, tmp_path: Path) -> None:
    live = Inspection.from_registration(registered)
    loaded = Inspection.load(registered.save(tmp_path / "result"))
    assert loaded.stages == live.stages
    for stage in live.stages:
        for name in ("field", "warped"):
            torch.testing.assert_close(loaded.get(name, stage.index).data, live.get(name, stage.index).data)


def test_it_is_reported(registered: ran.Registration, tmp_path: Path, quick_report: None) -> None:
    inspection = Inspection.from_registration(registered)
    page = write_report(inspection, tmp_path / "report").read_text(encoding="utf-8")
    assert "Level 4" in page
    with pytest.raises(InputError, match="has no parts to switch off"):
        write_report(inspection, tmp_path / "other", ablation=True)
    assert not (tmp_path / "other").exists()


def test_what_only_residual_aligners_have_is_refused(registered: ran.Registration) -> None:
    trace = registered.trace
    assert trace is not None
    for ask in (
        lambda: attribute(trace, 1, torch.tensor([[1, 1]])),
        lambda: ablate(trace, Ablation(levels=frozenset({1}))),
        lambda: ablation_study(trace),
    ):
        with pytest.raises(InputError, match=r"its network is a (DPRn|CA/P)\. Use one of a Residual Aligner Network"):
            ask()


def test_a_network_without_levels_is_refused(tmp_path: Path) -> None:
    path = save_weights(create_system("VM1", 2), tmp_path / "v.safetensors", ModelCard(name="v", preset="VM1", ndim=2))
    pair = ran.phantom_2d()
    with pytest.raises(InputError, match="is a VM1, which has no levels to look into"):
        ran.register(pair.fixed, pair.moving, weights=str(path), keep_levels=True)
