"""The figures of an ablation study as records: one line for each part that was switched off."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Part = Literal["head", "level", "confidence", "previous confidence", "feedback", "output"]
"""Kinds of parts that a study switches off one by one."""

PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Score:
    """How well a forward field of the network aligns the pair, on the grid of the network's images.

    Attributes
    ----------
    similarity : float or None
        Mean squared local normalised cross correlation, 0 to 1, over the voxels that are looked up inside the moving
        image; None where there are none.
    dice : dict of int to float, or None
        Overlap per label that both images have, 0 to 1; None without labels.
    tre_mm : float or None
        Mean distance of corresponding landmarks; None without landmarks.
    """

    similarity: float | None
    dice: dict[int, float] | None = None
    tre_mm: float | None = None

    @property
    def dice_mean(self) -> float | None:
        """Mean overlap over the labels."""
        return sum(self.dice.values()) / len(self.dice) if self.dice else None


@dataclass(frozen=True)
class AblationRow:
    """One line of a study: what switching one part off changes.

    Attributes
    ----------
    part : str
        Its kind, one of `PARTS`.
    level, head : int or None
        Which one, counted from 0; None where it does not apply.
    mean_mm, max_mm : float
        As in `Ablated`.
    similarity, dice, tre_mm : float or None
        Without the part; Dice is the mean over the labels.
    similarity_change, dice_change, tre_change_mm : float or None
        The same minus that of the whole network. A part that helps has a negative change of similarity and Dice and a
        positive one of the TRE.
    """

    part: Part
    level: int | None
    head: int | None
    mean_mm: float
    max_mm: float
    similarity: float | None
    similarity_change: float | None
    dice: float | None
    dice_change: float | None
    tre_mm: float | None
    tre_change_mm: float | None


@dataclass(frozen=True)
class AblationTable:
    """The lines of a study that are done.

    Attributes
    ----------
    rows : tuple of AblationRow
        By kind, level and head.
    baseline : Score
        Of the whole network.
    total : int
        Number of lines when the study is complete.
    note : str
        What to bear in mind, a sentence; may be empty.
    """

    rows: tuple[AblationRow, ...]
    baseline: Score
    total: int
    note: str = ""

    def with_row(self, row: AblationRow) -> AblationTable:
        """Return the table with one more line in its place.

        Parameters
        ----------
        row : AblationRow
            The line.
        """
        rows = sorted((*self.rows, row), key=lambda r: (PARTS.index(r.part), r.level or 0, r.head or 0))
        return replace(self, rows=tuple(rows))

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return len(self.rows) == self.total

    def heads(self, measure: str = "mean_mm") -> NDArray[np.float64]:
        """Return one measure of the heads as a matrix, levels along the rows; NaN where it is not known.

        Parameters
        ----------
        measure : str
            Name of a number of `AblationRow`.
        """
        values = {
            (row.level, row.head): getattr(row, measure)
            for row in self.rows
            if row.level is not None and row.head is not None
        }
        shape = tuple(1 + max((place[axis] for place in values), default=-1) for axis in (0, 1))
        matrix = np.full(shape, math.nan)
        for place, value in values.items():
            matrix[place] = math.nan if value is None else value
        return matrix

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return the table as CSV text, and write it to a file if one is named; empty cells are not known.

        Parameters
        ----------
        path : path, optional
            File to write.
        """
        text = io.StringIO()
        names = list(AblationRow.__dataclass_fields__)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        for row in self.rows:
            values = [getattr(row, name) for name in names]
            writer.writerow("" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in values)
        if path is not None:
            Path(path).write_text(text.getvalue(), encoding="utf-8")
        return text.getvalue()
