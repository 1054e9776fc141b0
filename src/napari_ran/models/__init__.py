"""Registration networks and the typed record of what they compute."""

from napari_ran.models.outputs import DirectionOutput, LevelInfo, LevelOutput, LevelStep, ModelOutput
from napari_ran.models.ran import RAN, create_model

__all__ = ["RAN", "DirectionOutput", "LevelInfo", "LevelOutput", "LevelStep", "ModelOutput", "create_model"]
