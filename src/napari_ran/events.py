"""What a registration says while it is under way."""

from __future__ import annotations

from dataclasses import dataclass, field

STAGES = ("preprocess", "affine", "network", "instance", "transform", "evaluate")
"""The stages of a run in their order; an event names one of them."""


@dataclass(frozen=True)
class Event:
    """Progress of a run.

    Attributes
    ----------
    stage : str
        One of `STAGES`.
    step, total : int
        How far the stage is; ``step == total`` when it is done.
    message : str
        What is being done, or was chosen, in words; may be empty.
    metrics : dict of str to float
        Live measures of the stage, such as the similarity.
    """

    stage: str
    step: int
    total: int
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
