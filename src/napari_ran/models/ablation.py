"""What is switched off in a forward pass, as a value: heads, levels, confidences, feedback, the last convolution.

Nothing is edited in the network. The parts that are off are replaced while it runs, so that the same weights answer
"what would have come out without this".
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from napari_ran.config import RANConfig
from napari_ran.errors import InputError


class LevelAblation(NamedTuple):
    """What is off in one level's aligner: some heads, the confidences, the feedback."""

    heads: tuple[int, ...]
    confidence: bool
    previous_confidence: bool
    feedback: bool

    def without_heads(self, values: Tensor) -> Tensor:
        """Return values (B, M, ...), one per head, with zeros for the heads that are off."""
        if not self.heads:
            return values
        return values.index_fill(1, torch.tensor(self.heads, device=values.device), 0)

    def confidences(self, new: Tensor | None, previous: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return both confidences (B, 1, *S), 1 everywhere where they are off."""
        if self.confidence and new is not None:
            new = torch.ones_like(new)
        if self.previous_confidence and previous is not None:
            previous = torch.ones_like(previous)
        return new, previous


@dataclass(frozen=True)
class Ablation:
    """Parts of a network that are replaced in its forward pass; the weights are not touched.

    Attributes
    ----------
    heads : frozenset of (int, int)
        (level, head): the head's residual and its mask are zero at that level. It neither proposes a displacement nor
        carries the field of the level before; the masks of the others stay as they are, and the mean over the heads
        counts it as zero.
    levels : frozenset of int
        The level's aligner is passed over: field, logits (zeros at level 0) and features go on unchanged.
    confidences : frozenset of int
        The confidence of the level's residual is 1 everywhere.
    previous_confidences : frozenset of int
        The confidence of the field carried into the level is 1 everywhere.
    feedback : frozenset of int
        The level's features go on unrefined.
    output : bool
        The last convolution is left out: the field of the last level is the result.
    """

    heads: frozenset[tuple[int, int]] = frozenset()
    levels: frozenset[int] = frozenset()
    confidences: frozenset[int] = frozenset()
    previous_confidences: frozenset[int] = frozenset()
    feedback: frozenset[int] = frozenset()
    output: bool = False

    def __post_init__(self) -> None:
        for name in ("heads", "levels", "confidences", "previous_confidences", "feedback"):
            object.__setattr__(self, name, frozenset(getattr(self, name)))  # any collection may be given

    def __bool__(self) -> bool:
        """Whether anything is off."""
        return self.output or bool(self._touched)

    def __or__(self, other: Ablation) -> Ablation:
        """Return what is off in either."""
        return Ablation(
            self.heads | other.heads,
            self.levels | other.levels,
            self.confidences | other.confidences,
            self.previous_confidences | other.previous_confidences,
            self.feedback | other.feedback,
            self.output or other.output,
        )

    @property
    def first_level(self) -> int:
        """The first level that computes something else; beyond any level (`sys.maxsize`) where none does."""
        return min(self._touched, default=sys.maxsize)

    def levels_left(self, levels: int) -> int:
        """Return how many of so many levels count for the final field: all, unless they are off to the very end.

        Parameters
        ----------
        levels : int
            Number of levels of the network.
        """
        if not self.output:
            return levels
        return 1 + max((level for level in range(levels) if level not in self.levels), default=-1)

    @classmethod
    def after(cls, first: int, levels: int) -> Ablation:
        """Return the one that leaves the `first` of so many levels, and the field of the last of them as the result.

        Parameters
        ----------
        first : int
            How many levels stay.
        levels : int
            Number of levels of the network.
        """
        return cls(levels=frozenset(range(first, levels)), output=True)

    def at(self, level: int) -> LevelAblation | None:
        """Return what is off in a level's aligner; None where all of it runs as it is.

        Parameters
        ----------
        level : int
            Which level, from 0.
        """
        off = LevelAblation(
            tuple(sorted(head for at, head in self.heads if at == level)),
            level in self.confidences,
            level in self.previous_confidences,
            level in self.feedback,
        )
        return off if any(off) else None

    def describe(self) -> str:
        """Return what is off in words, such as ``head 2 of level 3 off``; levels and heads count from 0."""
        parts = [f"head {head} of level {level}" for level, head in sorted(self.heads)]
        parts += [f"level {level}" for level in sorted(self.levels)]
        parts += [f"confidence of level {level}" for level in sorted(self.confidences)]
        parts += [f"previous confidence of level {level}" for level in sorted(self.previous_confidences)]
        parts += [f"feedback of level {level}" for level in sorted(self.feedback)]
        parts += ["last convolution"] if self.output else []
        return f"{', '.join(parts)} off" if parts else "nothing off"

    def check(self, config: RANConfig) -> None:
        """Raise `InputError` where a part is named that a network of this structure does not have.

        Parameters
        ----------
        config : RANConfig
            Structure of the network.
        """
        last = config.levels - 1
        for level in sorted(self._touched):
            if not 0 <= level <= last:
                raise InputError("ablation", f"there is no level {level}", f"Levels are counted from 0 to {last}")
        for level, head in sorted(self.heads):
            if not 0 <= head < config.heads:
                cure = f"Heads are counted from 0 to {config.heads - 1}"
                raise InputError("ablation", f"level {level} has no head {head}", cure)
        if 0 in self.previous_confidences:
            cure = "Name levels from 1 on for the confidence of the carried field"
            raise InputError("ablation", "level 0 carries no field", cure)
        for wanted, has, what in (
            (self.confidences | self.previous_confidences, config.confidence, "confidences"),
            (self.feedback, config.feedback, "feedback"),
        ):
            if wanted and not has:
                raise InputError("ablation", f"this network was built without {what}", "Ablate something else")

    @property
    def _touched(self) -> frozenset[int]:
        """The levels that are named."""
        whole = self.levels | self.confidences | self.previous_confidences | self.feedback
        return whole | {level for level, _ in self.heads}
