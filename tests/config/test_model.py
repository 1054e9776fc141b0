from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_ran.config import PRESETS, RANConfig
from napari_ran.errors import InputError


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", PRESETS)
def test_presets_round_trip(name: str, ndim: Any, tmp_path: Path) -> None:
    config = RANConfig.preset(name, ndim)
    assert config.ndim == ndim
    assert RANConfig(**config.to_dict()) == config
    config.to_yaml(tmp_path / "model.yaml")
    assert RANConfig.from_yaml(tmp_path / "model.yaml") == config


def test_text_presets_count_levels_from_one() -> None:
    assert RANConfig.preset("RAN0").pools == (16, 8, 4, 2, 1)
    assert RANConfig.preset("RAN3").pools == (4, 4, 4, 2, 1)
    assert RANConfig.preset("RAN4").pools == RANConfig.preset("RAN4+").pools == (2, 2, 2, 2, 1)
    assert RANConfig.preset("RAN4").dilations == (8, 4, 2, 1, 1)
    assert RANConfig.preset("RAN4-appendix").pools == (1, 1, 1, 1, 1)
    assert RANConfig.preset("RAN0-appendix") == RANConfig.preset("RAN0")
    assert RANConfig() == RANConfig.preset("RAN3")


def test_released_graph_has_two_skips_at_level_0_and_sixteen_channels() -> None:
    config = RANConfig.preset("released")
    assert (config.pools, config.dilations) == ((2, 2, 2, 2, 1), (8, 4, 2, 1, 1))
    assert (config.skips[0], config.skip_channels) == ((3, 4), 16)


def test_a_config_is_frozen_and_replaced() -> None:
    config = RANConfig()
    with pytest.raises(Exception, match="frozen"):
        config.heads = 3  # type: ignore[misc]
    assert config.replace(heads=3).heads == 3
    assert config.heads == 6
    assert (config.levels, config.multiple) == (5, 16)


@pytest.mark.parametrize(
    ("name", "message"),
    [("ran3", "Did you mean 'RAN3'"), ("RAN5", "Did you mean"), ("unet", "Known presets are RAN0, RAN3")],
)
def test_unknown_preset(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RANConfig.preset(name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head": 3}, "head: unknown key of RANConfig. Did you mean 'heads'"),
        ({"ndim": 4}, "ndim: "),
        ({"heads": 0}, "heads: "),
        ({"regressor_width": 1}, "regressor_width: "),
        ({"normalisation": "batch"}, "normalisation: "),
        ({"encoder_slope": -0.1}, "encoder_slope: "),
        ({"pools": ()}, "pools: "),
        ({"dilations": (1, 1)}, r"dilations: must have one entry per level \(5, as pools\), got 2"),
        ({"decoder_channels": (8,) * 6}, "decoder_channels: must have one entry per level"),
        ({"skips": ((4,), (4,))}, "skips: must have one entry per level"),
        ({"pools": (4, 4, 1, 1, 1)}, "pools: must stay or halve"),
        ({"pools": (1, 2, 2, 2, 1)}, "pools: must stay or halve"),
        ({"pools": (4, 4, 4, 2, 2)}, "pools: must end at full resolution"),
        ({"skips": ((), (4,), (3,), (2,), (1,))}, "skips: level 0 has no input"),
        ({"skips": ((5,), (4,), (3,), (2,), (1,))}, "skips: level 0 reads stage 5 of 4"),
        (
            {"skips": ((1, 4), (4,), (3,), (2,), (1,))},
            r"skips: level 0 reads stage 1 \(voxel size 2\) on a coarser grid",
        ),
    ],
)
def test_bad_structures_are_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RANConfig(**values)
