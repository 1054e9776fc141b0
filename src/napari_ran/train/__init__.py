"""Training: `fit` takes a `TrainConfig` and yields typed events; a run that was killed goes on where it was."""

from napari_ran.config import TrainConfig
from napari_ran.train.engine import fit
from napari_ran.train.evaluation import HeldOut, evaluate_model
from napari_ran.train.events import (
    TrainEvent,
    TrainFailed,
    TrainFinished,
    TrainNote,
    TrainStarted,
    TrainStep,
    Validated,
    Validation,
)
from napari_ran.train.subjects import TrainPair

__all__ = [
    "HeldOut",
    "TrainConfig",
    "TrainEvent",
    "TrainFailed",
    "TrainFinished",
    "TrainNote",
    "TrainPair",
    "TrainStarted",
    "TrainStep",
    "Validated",
    "Validation",
    "evaluate_model",
    "fit",
]
