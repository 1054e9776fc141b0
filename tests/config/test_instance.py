from __future__ import annotations

import pytest

from napari_ran.config import InstanceConfig
from napari_ran.config.instance import DEFAULTS
from napari_ran.errors import InputError


def test_resolved_fills_what_was_left_out() -> None:
    config = InstanceConfig(smoothness=1.5).resolved("mri", "mind")
    assert config.similarity == "mind"
    assert config.smoothness == 1.5
    assert config.edge_scale == DEFAULTS["mind"]["edge_scale"]


def test_resolved_keeps_auto_until_the_images_have_decided() -> None:
    assert InstanceConfig().resolved("minmax").similarity == "auto"
    assert InstanceConfig().resolved("ct-lung").similarity == "mind"
    assert InstanceConfig(similarity="ncc").resolved("ct-lung", "mind").similarity == "ncc"


@pytest.mark.parametrize("intensity", ["ct-lung", "ct-soft", "mri", "minmax"])
def test_nothing_is_left_out_once_the_similarity_is_known(intensity: str) -> None:
    for similarity in ("ncc", "mse", "mind"):
        resolved = InstanceConfig().resolved(intensity, similarity)
        assert {key for key, value in resolved.to_dict().items() if value is None} == {"control", "steps"}
        assert resolved.resolved(intensity, similarity) == resolved


def test_round_trip_and_unknown_keys() -> None:
    config = InstanceConfig(levels=2, window=7)
    assert InstanceConfig(**config.to_dict()) == config
    with pytest.raises(InputError, match="smoothness"):
        InstanceConfig(smootness=1)
    with pytest.raises(InputError, match="window"):
        InstanceConfig(window=1)
