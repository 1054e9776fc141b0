"""What instance optimisation reaches on a run's validation pairs, measured as the network is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_ran.config import InstanceConfig, TrainConfig
from napari_ran.instance import optimise_field
from napari_ran.steps import last
from napari_ran.train.comparison import Compared, compare_with_instance, comparison_of
from napari_ran.train.sources import find_sources
from napari_ran.train.validation import validate

Settings = Callable[..., TrainConfig]


@pytest.mark.parametrize("inverse", [0.0, 0.1])
def test_instance_optimisation_is_measured_as_networks_are(tmp_path: Path, settings: Settings, inverse: float) -> None:
    config = settings(objective={"inverse": inverse, "compare": "mse"})
    config.to_yaml(tmp_path / "config.yaml")
    told: list[Compared] = []
    found = last(compare_with_instance(tmp_path), told.append)
    assert {event.pair for event in told} == {0, 1}
    assert all(isinstance(event, Compared) and event.pairs == 2 and 0 <= event.share <= 1 for event in told)

    pairs = find_sources(config, 2).validation
    identity = validate(None, pairs, config.objective, torch.device("cpu"))
    assert found.similarity is not None
    assert identity.similarity is not None
    assert found.similarity < 0.8 * identity.similarity
    expected = []
    for pair in pairs:
        field = last(
            optimise_field(pair.fixed, pair.moving, None, InstanceConfig(similarity="mse"), pair.spacing)
        ).field
        expected.append(float(torch.linalg.vector_norm(field - pair.truth, dim=1).mean()))
    assert found.epe == pytest.approx(sum(expected) / 2)

    assert comparison_of(tmp_path, config) == found
    assert comparison_of(tmp_path, config.replace(budget={"steps": 9})) == found
    assert comparison_of(tmp_path, config.replace(objective={"smooth": 7.0})) is None
    (tmp_path / "instance.json").write_text("{")
    assert comparison_of(tmp_path, config) is None
