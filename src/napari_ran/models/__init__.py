"""Registration networks and the typed record of what they compute."""

from napari_ran.models.ablation import Ablation
from napari_ran.models.outputs import DirectionOutput, Encoded, LevelInfo, LevelOutput, LevelStep, ModelOutput
from napari_ran.models.pairwise import PairNetwork
from napari_ran.models.ran import RAN, create_model
from napari_ran.models.systems import SYSTEMS, Levelled, Network, System, create_system
from napari_ran.models.voxelmorph import VoxelMorph

__all__ = [
    "RAN",
    "SYSTEMS",
    "Ablation",
    "DirectionOutput",
    "Encoded",
    "LevelInfo",
    "LevelOutput",
    "LevelStep",
    "Levelled",
    "ModelOutput",
    "Network",
    "PairNetwork",
    "System",
    "VoxelMorph",
    "create_model",
    "create_system",
]
