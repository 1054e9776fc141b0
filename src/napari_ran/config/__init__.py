"""Frozen, validated settings; see `RegistrationConfig` for a whole registration."""

from napari_ran.config.base import FrozenConfig
from napari_ran.config.benchmark import BenchmarkConfig, PeerEntry, SystemEntry
from napari_ran.config.generated import PairConfig
from napari_ran.config.instance import InstanceConfig
from napari_ran.config.model import PRESETS, RANConfig
from napari_ran.config.registration import RegistrationConfig
from napari_ran.config.training import TrainConfig

__all__ = [
    "PRESETS",
    "BenchmarkConfig",
    "FrozenConfig",
    "InstanceConfig",
    "PairConfig",
    "PeerEntry",
    "RANConfig",
    "RegistrationConfig",
    "SystemEntry",
    "TrainConfig",
]
