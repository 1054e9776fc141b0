"""A network and settings that take a step in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from napari_ran.config import RANConfig, TrainConfig

TINY = RANConfig.preset("RAN3", 2).replace(
    encoder_channels=(4, 4, 4, 4), decoder_channels=(4, 4, 4, 4, 4), skip_channels=4, heads=2
)


def tiny_config(**sections: Any) -> TrainConfig:
    """Settings for a small 2-D network on generated pairs; each section may change some of its values."""
    config = TrainConfig(
        model={"structure": TINY.to_dict(), "hold": ()},
        data={"generated": {"shapes": [[16, 32]]}},
        objective={"window": 5, "smooth": 0.1, "field": 1.0, "levels": 0.5, "both": False},
        optimiser={"method": "adam", "rate": 5e-4, "warmup": 2},
        validation={"every": 3, "pairs": 2},
        budget={"steps": 6},
    )
    return config.replace(**sections)


@pytest.fixture(name="settings")
def _settings() -> Callable[..., TrainConfig]:
    return tiny_config
