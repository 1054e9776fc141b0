"""What a training tells while it runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_ran.config import TrainConfig


@dataclass(frozen=True)
class Validation:
    """Means over the validation pairs; what they have nothing for is None.

    Attributes
    ----------
    loss : float
        The objective.
    similarity : float or None
        Its dissimilarity, such as one minus local NCC.
    dice : float or None
        Mean overlap over the labels that both images of a pair have.
    tre_mm : float or None
        Mean distance of corresponding landmarks in mm.
    epe : float or None
        Mean end-point error in voxels, where the true field is known.
    folding_percent : float
        Share of voxels with a Jacobian determinant at or below zero, in percent.
    pairs : int
        Number of pairs.
    """

    loss: float
    similarity: float | None
    dice: float | None
    tre_mm: float | None
    epe: float | None
    folding_percent: float
    pairs: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values."""
        return asdict(self)


@dataclass(frozen=True)
class TrainStarted:
    """The run begins, or goes on after `steps_done` steps; `identity` is the measure of doing nothing.

    Attributes
    ----------
    config : TrainConfig
        The settings.
    steps_done : int
        Steps that were done before.
    identity : Validation
        What a network that does nothing reaches.
    """

    config: TrainConfig
    steps_done: int
    identity: Validation

    @property
    def step(self) -> int:
        """Steps done, as every event has them."""
        return self.steps_done


@dataclass(frozen=True)
class TrainStep:
    """One step is done.

    Attributes
    ----------
    step : int
        Steps done so far, skipped ones included.
    seconds : float
        Time spent training so far, over all parts of the run.
    loss : float
        Objective of the batch; NaN where the step was skipped.
    terms : dict
        Its terms without their weights, by the names of the weights.
    gradient : float
        Norm of the gradient before clipping.
    rate : float
        Learning rate.
    skipped : int
        Steps left out so far because loss or gradient was not finite.
    data_seconds : float
        Time that this step waited for its data.
    """

    step: int
    seconds: float
    loss: float
    terms: dict[str, float]
    gradient: float
    rate: float
    skipped: int
    data_seconds: float


@dataclass(frozen=True)
class Validated:
    """The averaged weights were measured.

    Attributes
    ----------
    step : int
        Steps done.
    seconds : float
        Time of the run so far.
    validation : Validation
        What was measured.
    best : bool
        Whether it is the best so far.
    checkpoint : Path
        File that has them: that of the best weights where they are the best, else the last checkpoint.
    """

    step: int
    seconds: float
    validation: Validation
    best: bool
    checkpoint: Path


@dataclass(frozen=True)
class TrainNote:
    """Something that people should know, in a sentence.

    Attributes
    ----------
    step : int
        Steps done.
    message : str
        The sentence.
    """

    step: int
    message: str


@dataclass(frozen=True)
class TrainFinished:
    """The run is over.

    Attributes
    ----------
    step, seconds : int, float
        How far it came.
    reason : str
        ``budget``, ``early stop`` or ``closed``.
    best, last : Path
        The best weights, and the checkpoint from which the run could go on.
    """

    step: int
    seconds: float
    reason: str
    best: Path
    last: Path


@dataclass(frozen=True)
class TrainFailed:
    """A training in another process is over because of a fault, which `message` tells; see `TrainingProcess`.

    Attributes
    ----------
    step : int
        Steps done.
    message : str
        What went wrong.
    """

    step: int
    message: str


TrainEvent = TrainStarted | TrainStep | Validated | TrainNote | TrainFinished | TrainFailed
