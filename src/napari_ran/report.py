"""The record of a registration: what it cost and how good it is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_ran.config.base import FrozenConfig
from napari_ran.errors import InputError
from napari_ran.measure import StageRecord
from napari_ran.parsing import parse_json


class Spread(FrozenConfig):
    """Mean, 95th percentile and maximum of a quantity.

    Attributes
    ----------
    mean, p95, max : float
        The mean, the value that 95 % do not exceed, and the largest, in the unit of the quantity.
    """

    MOST: ClassVar[int] = 1 << 23
    """Of more values, only every second, third, ... enters the percentile, so that no more than these are sorted."""

    mean: float
    p95: float
    max: float

    @classmethod
    def of(cls, values: NDArray[Any]) -> Self:
        """Summarise an array of any shape; it must not be empty.

        Parameters
        ----------
        values : array
            What to summarise, at least one value.
        """
        some = values.reshape(-1)[:: -(-values.size // cls.MOST)]
        return cls(mean=float(values.mean()), p95=float(np.percentile(some, 95)), max=float(values.max()))


class JacobianSummary(FrozenConfig):
    """Local volume change det(d(x + u)/dx) of a field: 1 keeps the volume, at or below 0 is a fold.

    Attributes
    ----------
    min, mean, max : float
        Over all voxels of the grid.
    folding_percent : float
        Share of all voxels whose determinant is at or below zero.
    sdlogj : float or None
        SDlogJ as the Learn2Reg challenge computes it: the standard deviation of ``log(clip(det + 3, 1e-9, 1e9))`` over
        the voxels at least two from every face. The offset 3 is the challenge's; None where no voxel is left.
    """

    min: float
    mean: float
    max: float
    folding_percent: float
    sdlogj: float | None


class Report(FrozenConfig):
    """The figures of one registration; values that do not apply are None or empty.

    Attributes
    ----------
    complete : bool
        False when the run was cancelled and the report describes the best field so far.
    similarity_before, similarity_after : float or None
        Mean squared local normalised cross correlation (0 to 1, higher is better); see `similarity`.
    displacement_mm : Spread or None
        Length of the whole displacement, affine part included.
    jacobian : JacobianSummary or None
        Volume change and folding.
    inverse_consistency_mm : Spread or None
        How far a fixed point ends from where it started after going there and back.
    inverse_outside_percent : float or None
        Share of fixed voxels left out of it because they map outside the moving image.
    dice_before, dice_after : dict of int to float
        Overlap per label that both images have, 0 to 1.
    label_names : dict of int to str
        Names of the structures, where known.
    tre_before, tre_after : Spread or None
        Distance of corresponding landmarks in mm.
    landmarks : int
        Number of landmark pairs.
    stages : tuple of StageRecord
        Time and memory per stage.
    messages : tuple of str
        What was chosen automatically and why, and what went less than well.
    settings : dict
        The configuration of the run.
    device : str
        What computed it.
    version : str
        Version of this package.
    """

    complete: bool = True
    similarity_before: float | None = None
    similarity_after: float | None = None
    displacement_mm: Spread | None = None
    jacobian: JacobianSummary | None = None
    inverse_consistency_mm: Spread | None = None
    inverse_outside_percent: float | None = None
    dice_before: dict[int, float] = Field(default_factory=dict)
    dice_after: dict[int, float] = Field(default_factory=dict)
    label_names: dict[int, str] = Field(default_factory=dict)
    tre_before: Spread | None = None
    tre_after: Spread | None = None
    landmarks: int = 0
    stages: tuple[StageRecord, ...] = ()
    messages: tuple[str, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    device: str = ""
    version: str = ""

    @property
    def dice_mean_before(self) -> float | None:
        """Mean Dice over the labels before registration."""
        return _mean(self.dice_before.values())

    @property
    def dice_mean_after(self) -> float | None:
        """Mean Dice over the labels after registration."""
        return _mean(self.dice_after.values())

    @property
    def folding_percent(self) -> float | None:
        """Share of voxels at which the field folds."""
        return None if self.jacobian is None else self.jacobian.folding_percent

    @property
    def seconds(self) -> float:
        """Time of all stages together."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def peak_bytes(self) -> int:
        """Largest memory of any stage."""
        return max((stage.peak_bytes for stage in self.stages), default=0)

    def to_json(self) -> str:
        """Return the report as JSON text, means included for the reader's convenience."""
        means = {
            "dice_mean_before": self.dice_mean_before,
            "dice_mean_after": self.dice_mean_after,
            "seconds": self.seconds,
        }
        return json.dumps(self.to_dict() | {"derived": means}, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, source: str | Path) -> Self:
        """Read a report from JSON text, or from a file when `source` is a path.

        Raises
        ------
        InputError
            The file is missing, or it does not hold a report.
        """
        cure = "Give a report.json that a registration saved"
        try:
            text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
            values = parse_json(text)
        except (OSError, ValueError) as error:
            raise InputError("report", f"cannot be read ({error})", cure) from None
        if not isinstance(values, dict):
            raise InputError("report", f"holds {type(values).__name__}, not a report", cure)
        values.pop("derived", None)
        return cls(**values)

    def table(self) -> list[tuple[str, float | None, float | None, str]]:
        """Return the rows to print: name, value before, value after, unit. None where a value does not apply."""
        rows: list[tuple[str, float | None, float | None, str]] = []
        if self.similarity_after is not None:
            rows.append(("Similarity (local NCC²)", self.similarity_before, self.similarity_after, ""))
        if self.dice_after:
            rows.append(("Dice, mean", self.dice_mean_before, self.dice_mean_after, ""))
            for label, value in self.dice_after.items():
                name = self.label_names.get(label, f"label {label}")
                rows.append((f"Dice, {name}", self.dice_before.get(label), value, ""))
        if self.tre_before is not None and self.tre_after is not None:
            rows.append((f"TRE, mean of {self.landmarks} landmarks", self.tre_before.mean, self.tre_after.mean, "mm"))
            rows.append(("TRE, 95th percentile", self.tre_before.p95, self.tre_after.p95, "mm"))
        if self.displacement_mm is not None:
            rows.append(("Displacement, mean", None, self.displacement_mm.mean, "mm"))
            rows.append(("Displacement, maximum", None, self.displacement_mm.max, "mm"))
        if self.jacobian is not None:
            rows.append(("Folding", None, self.jacobian.folding_percent, "%"))
            rows.append(("Jacobian determinant, minimum", None, self.jacobian.min, ""))
            rows.append(("SDlogJ (Learn2Reg)", None, self.jacobian.sdlogj, ""))
        if self.inverse_consistency_mm is not None:
            rows.append(("Inverse consistency, mean", None, self.inverse_consistency_mm.mean, "mm"))
            rows.append(("Inverse consistency, 95th percentile", None, self.inverse_consistency_mm.p95, "mm"))
        return rows


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
