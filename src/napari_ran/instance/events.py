"""What the instance optimisation reports while it runs, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from napari_ran.models.outputs import ModelOutput
from napari_ran.models.systems import Levelled


@dataclass(frozen=True, eq=False)
class InstanceStep:
    """Progress of the instance optimisation.

    Attributes
    ----------
    step, total : int
        How far it is; levels that end early are skipped over.
    level : int
        Level of the pyramid, 0 is the coarsest; -1 during the preparation and the discrete search.
    similarity : float
        One minus the dissimilarity of the best field so far, larger is better: the mean squared local NCC, or one minus
        the mean squared difference of intensities or MIND descriptors. NaN until it is decided what is compared.
    loss : float
        What is minimised, for the best field so far: the logarithm of the dissimilarity plus the weighted roughness.
        Infinite until then. The fit of the network tells of the last step instead.
    message : str
        What is being done.
    measures : dict of str to float
        How well that field obeys each guide.
    best_field : callable
        Returns the best field so far, (1, D, *S) in voxels of the working grid.
    """

    step: int
    total: int
    level: int
    similarity: float
    loss: float
    message: str
    best_field: Callable[[], Tensor]
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class InstanceResult:
    """The outcome of an instance optimisation.

    Attributes
    ----------
    field : (1, D, *S) tensor
        Displacement in voxels of the working grid.
    output : ModelOutput or None
        What the fitted network computed, for the mode "network".
    steps : int
        Number of optimisation steps taken.
    similarity_before, similarity_after : float
        As in `InstanceStep`, for the initial field and for `field`.
    stopped_early : bool
        Some level stopped gaining before its last step.
    messages : tuple of str
        What was chosen and why, in sentences.
    before : ModelOutput or None
        What the network computed before it was fitted, with its levels; for the mode "network" where they were wanted.
    model : RAN, PyramidNetwork or None
        The fitted network that computed `output`, likewise.
    """

    field: Tensor
    output: ModelOutput | None
    steps: int
    similarity_before: float
    similarity_after: float
    stopped_early: bool
    messages: tuple[str, ...] = ()
    before: ModelOutput | None = None
    model: Levelled | None = None
