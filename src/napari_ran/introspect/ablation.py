"""What a network finds without one of its parts: the causal counterpart of the attribution.

A part is switched off in the forward pass (see `Ablation`), everything behind it is computed again, and the result is
compared with the whole network's. The encoder's work and the levels before the part are used again, so that late levels
cost little. Where the instance optimisation refined the field afterwards, only the network's own field is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.config import RANConfig
from napari_ran.data import DisplacementField, Labels, Landmarks
from napari_ran.errors import InputError
from napari_ran.evaluate import dice, target_registration_error
from napari_ran.introspect.ablation_table import PARTS, AblationRow, AblationTable, Part, Score
from napari_ran.introspect.metrics import similarity
from napari_ran.introspect.separability import correct_points
from napari_ran.introspect.trace import NetworkTrace
from napari_ran.models import Ablation, Encoded, LevelStep, ModelOutput
from napari_ran.steps import last, relay
from napari_ran.transform import compose_to, resample, warp_labels

PairT = TypeVar("PairT", Labels, Landmarks)

Place = tuple[Part, int | None, int | None]
"""Which part: its kind, level and head; None where it does not apply."""

REFINED = "The ablation concerns the network's own field, before the instance optimisation refined it"


@dataclass(frozen=True, eq=False)
class Ablated:
    """What the network finds without some of its parts.

    Attributes
    ----------
    ablation : Ablation
        What was off.
    output : ModelOutput
        The fields, and the levels where they were kept.
    mean_mm, max_mm : float
        Change of the final forward field against the whole network's: mean and largest length inside the foreground of
        the fixed image (above a tenth of its range of intensities).
    score : Score
        How well the remaining network aligns the pair.
    """

    ablation: Ablation
    output: ModelOutput
    mean_mm: float
    max_mm: float
    score: Score


@dataclass(frozen=True)
class AblationStep:
    """Progress of a study.

    Attributes
    ----------
    step, total : int
        Lines done, and in all.
    message : str
        What is being done, in words.
    row : AblationRow or None
        The line that has just been done.
    table : AblationTable
        All lines so far.
    """

    step: int
    total: int
    message: str
    row: AblationRow | None
    table: AblationTable


class Ablator:
    """Switches parts of one pass off, as often as wanted; what does not change is computed once.

    Parameters
    ----------
    trace : NetworkTrace
        The whole network's pass.
    fixed_labels, moving_labels : Labels, optional
        On any grids, in their images' worlds; both or none. Overlap is measured on the grid of the network's images.
    fixed_landmarks, moving_landmarks : Landmarks, optional
        Corresponding points in mm; both or none.

    Raises
    ------
    InputError
        Labels or landmarks of one image only, or of another dimension or number.
    """

    def __init__(
        self,
        trace: NetworkTrace,
        fixed_labels: Labels | None = None,
        moving_labels: Labels | None = None,
        fixed_landmarks: Landmarks | None = None,
        moving_landmarks: Landmarks | None = None,
    ) -> None:
        self.trace = trace
        ndim = trace.grid.ndim
        self._labels = _both(fixed_labels, moving_labels, "labels", ndim, lambda labels: labels.grid.ndim)
        self._landmarks = _both(fixed_landmarks, moving_landmarks, "landmarks", ndim, lambda one: one.points.shape[1])
        if self._labels is not None:
            fixed, moving = self._labels
            self._ids = fixed.common_ids(moving)
            self._labels = resample(fixed, trace.grid), moving
        if self._landmarks is not None and len({len(points) for points in self._landmarks}) > 1:
            counts = " and ".join(str(len(points)) for points in self._landmarks)
            raise InputError("moving_landmarks", f"the points do not pair up: {counts}", "Give corresponding points")

    @cached_property
    def baseline(self) -> Score:
        """How well the whole network aligns the pair."""
        return self._score(self.trace.output.field)

    @property
    def note(self) -> str:
        """What to bear in mind when reading the figures; may be empty."""
        return REFINED if self.trace.refined is not None else ""

    @torch.no_grad()
    def run(
        self, ablation: Ablation, keep_levels: bool = False, both: bool = False
    ) -> Generator[LevelStep, None, Ablated]:
        """Run the network without some parts, yielding after each level; closing the generator cancels.

        Parameters
        ----------
        ablation : Ablation
            What is off.
        keep_levels : bool
            Keep what the levels computed, also those that do not change.
        both : bool
            Compute the inverse field too.

        Raises
        ------
        InputError
            A part is named that is not there.
        """
        ablation.check(self.trace.aligners.config)
        levels = self.trace.levels
        output = yield from self.trace.aligners.decode(self._encoded, keep_levels, both, ablation, levels)
        change = self._lengths(output.field - self.trace.output.field)[self._foreground]
        return Ablated(ablation, output, float(change.mean()), float(change.max()), self._score(output.field))

    @cached_property
    def _encoded(self) -> Encoded:
        with torch.no_grad():
            return self.trace.aligners.encode(self.trace.seen, self.trace.fixed)

    @cached_property
    def _foreground(self) -> Tensor:
        """The voxels (*S) of the fixed image that show something; all of them where none stands out."""
        try:
            return correct_points(image=self.trace.fixed[0, 0])
        except InputError:
            return torch.ones(self.trace.grid.shape, dtype=torch.bool)

    def _lengths(self, field: Tensor) -> Tensor:
        """Return the length in mm (*S) of displacements (1, D, *S) in voxels of the network's grid."""
        matrix = torch.from_numpy(np.array(self.trace.grid.affine[:-1, :-1])).to(field.dtype)
        length: Tensor = torch.linalg.vector_norm(torch.einsum("ij,j...->i...", matrix, field[0]), dim=0)
        return length

    @torch.no_grad()
    def _score(self, field: Tensor) -> Score:
        """Score a field (1, D, *S) of the network's look, in voxels of its grid, with what coarser looks found."""
        trace, grid = self.trace, self.trace.grid
        field = trace.on_start(field)
        reached = F.voxel_grid(grid.shape, field) + field
        inside = F.within(reached[0], grid.shape)
        alike = similarity(trace.fixed[0], F.sample(trace.moving, reached)[0], inside)
        if self._labels is None and self._landmarks is None:
            return Score(alike)
        whole = compose_to(DisplacementField(field[0], grid), trace.affine, grid)
        overlap, distance = None, None
        if self._labels is not None:
            overlap = dice(self._labels[0], warp_labels(self._labels[1], whole), self._ids) or None
        if self._landmarks is not None:
            distance = float(target_registration_error(*self._landmarks, whole).mean())
        return Score(alike, overlap, distance)


def ablate(
    trace: NetworkTrace,
    ablation: Ablation,
    *,
    fixed_labels: Labels | None = None,
    moving_labels: Labels | None = None,
    fixed_landmarks: Landmarks | None = None,
    moving_landmarks: Landmarks | None = None,
    keep_levels: bool = False,
    both: bool = False,
) -> Ablated:
    """Return what the network finds without some of its parts; see `Ablator` for the errors.

    Parameters
    ----------
    trace : NetworkTrace
        The whole network's pass.
    ablation : Ablation
        What is switched off.
    fixed_labels, moving_labels : Labels, optional
        To measure overlap with; both or none.
    fixed_landmarks, moving_landmarks : Landmarks, optional
        Corresponding points in mm; both or none.
    keep_levels : bool
        Keep what every level computed.
    both : bool
        Also find the other direction.
    """
    ablator = Ablator(trace, fixed_labels, moving_labels, fixed_landmarks, moving_landmarks)
    return last(ablator.run(ablation, keep_levels, both))


def ablation_study(
    trace: NetworkTrace,
    which: Collection[Part] = PARTS,
    *,
    fixed_labels: Labels | None = None,
    moving_labels: Labels | None = None,
    fixed_landmarks: Landmarks | None = None,
    moving_landmarks: Landmarks | None = None,
) -> Generator[AblationStep, None, AblationTable]:
    """Switch every part of some kinds off, one at a time, the late and therefore cheap ones first.

    Parameters
    ----------
    trace : NetworkTrace
        The whole network's pass.
    which : collection of str
        Kinds of parts, of `PARTS`. A kind that the network does not have gives no line.
    fixed_labels, moving_labels, fixed_landmarks, moving_landmarks
        As in `Ablator`.

    Yields
    ------
    AblationStep
        After each level that was computed and after each line. Closing the generator cancels; the last event's table
        holds what has been done.

    Returns
    -------
    AblationTable

    Raises
    ------
    InputError
        A kind is not known, or labels or landmarks cannot be used.
    """
    ablator = Ablator(trace, fixed_labels, moving_labels, fixed_landmarks, moving_landmarks)
    return _study(ablator, study_parts(trace.aligners.config, which))


def study_parts(config: RANConfig, which: Collection[Part] = PARTS) -> dict[Place, Ablation]:
    """Return every single part of some kinds, by its place.

    Raises
    ------
    InputError
        A kind is not known.
    """
    for part in which:
        if part not in PARTS:
            raise InputError("which", f"there are no parts called {part!r}", f"Choose among {', '.join(PARTS)}")
    levels = range(config.levels)
    found: dict[Place, Ablation] = {}
    if "head" in which:
        heads = [(level, head) for level in levels for head in range(config.heads)]
        found |= {("head", *place): Ablation(heads=frozenset({place})) for place in heads}
    if "level" in which:
        found |= {("level", level, None): Ablation(levels=frozenset({level})) for level in levels}
    if "confidence" in which and config.confidence:
        found |= {("confidence", level, None): Ablation(confidences=frozenset({level})) for level in levels}
    if "previous confidence" in which and config.confidence:
        found |= {
            ("previous confidence", level, None): Ablation(previous_confidences=frozenset({level}))
            for level in levels[1:]
        }
    if "feedback" in which and config.feedback:
        found |= {("feedback", level, None): Ablation(feedback=frozenset({level})) for level in levels}
    if "output" in which:
        found["output", None, None] = Ablation(output=True)
    return found


def _study(ablator: Ablator, parts: dict[Place, Ablation]) -> Generator[AblationStep, None, AblationTable]:
    total = len(parts)
    table = AblationTable((), ablator.baseline, total, ablator.note)
    yield AblationStep(0, total, "measured the whole network", None, table)
    for place, ablation in sorted(parts.items(), key=lambda item: -item[1].first_level):
        message = ablation.describe()
        under_way = AblationStep(len(table.rows), total, message, None, table)
        found = yield from relay(ablator.run(ablation), lambda _, event=under_way: event)  # type: ignore[misc]
        row = _row(place, found, ablator.baseline)
        table = table.with_row(row)
        yield AblationStep(len(table.rows), total, message, row, table)
    return table


def _row(place: Place, found: Ablated, baseline: Score) -> AblationRow:
    score = found.score
    return AblationRow(
        *place,
        found.mean_mm,
        found.max_mm,
        score.similarity,
        _change(score.similarity, baseline.similarity),
        score.dice_mean,
        _change(score.dice_mean, baseline.dice_mean),
        score.tre_mm,
        _change(score.tre_mm, baseline.tre_mm),
    )


def _change(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def _both(
    fixed: PairT | None, moving: PairT | None, what: str, ndim: int, dimension: Callable[[PairT], int]
) -> tuple[PairT, PairT] | None:
    """Return both, each of `ndim` dimensions, or None where there are none."""
    if fixed is None and moving is None:
        return None
    if fixed is None or moving is None:
        missing = f"{'fixed' if fixed is None else 'moving'}_{what}"
        raise InputError(missing, f"the {what} of one image alone cannot be compared", "Give those of both images")
    for image, one in (("fixed", fixed), ("moving", moving)):
        if dimension(one) != ndim:
            problem = f"expected {ndim} dimensions like the pair, got {dimension(one)}"
            raise InputError(f"{image}_{what}", problem, f"Give {what} of this pair")
    return fixed, moving
