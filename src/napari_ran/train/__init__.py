"""Training on generated pairs: a generator of typed events that resumes exactly where it stopped."""

from napari_ran.train.engine import TrainConfig, TrainStep, fit
from napari_ran.train.evaluation import HeldOut, evaluate_model

__all__ = ["HeldOut", "TrainConfig", "TrainStep", "evaluate_model", "fit"]
