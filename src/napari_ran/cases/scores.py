"""What is measured of one case."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

import numpy as np
from pydantic import Field

from napari_ran.config import FrozenConfig
from napari_ran.data import DisplacementField, Labels
from napari_ran.evaluate import (
    check_labels,
    check_landmarks,
    dice,
    end_point_error,
    jacobian_summary,
    paper_folding,
    paper_score,
    surface_distances,
    target_registration_error,
)
from napari_ran.inputs import Inputs
from napari_ran.report import Spread
from napari_ran.synthetic import interface_of
from napari_ran.transform import resample, warp_labels


class LabelScore(FrozenConfig):
    """One label of one case.

    Attributes
    ----------
    dice_before, dice : float
        Overlap of the images as they lie in the world, and after registration, 0 to 1.
    hd, hd95, asd : float, optional
        Surface distances after registration in mm; None if the label has vanished from the warped map.
    paper_dice, paper_hd, paper_asd : float, optional
        As the paper's released code has them, see `napari_ran.evaluate.paper`; distances in voxels.
    """

    dice_before: float
    dice: float
    hd: float | None = None
    hd95: float | None = None
    asd: float | None = None
    paper_dice: float | None = None
    paper_hd: float | None = None
    paper_asd: float | None = None


class CaseScore(FrozenConfig):
    """What was measured of one case; what does not apply is None or empty.

    Attributes
    ----------
    name : str
        The case.
    labels : dict of int to LabelScore
        The labels that both maps have.
    label_names : dict of int to str
        Names of the structures, where known.
    unmatched : tuple of int
        Labels that one map alone has: they are not scored.
    tre_before, tre : Spread, optional
        Target registration error in mm.
    epe_before, epe : float, optional
        Mean end-point error in mm against the exact field: in the fixed labels where there are some, else everywhere.
    slip_percent : float, optional
        Share of the exact slip along the borders of the fixed labels that the field reproduces.
    folding_percent : float
        Share of voxels of the fixed grid with a Jacobian determinant at or below zero.
    negative_in_tissue : int, optional
        Number of voxels with a negative determinant inside the fixed labels (the paper's detJ).
    paper_detj : int, optional
        The same number as the paper's released code has it.
    sdlogj : float, optional
        Learn2Reg's SDlogJ: see `napari_ran.report.JacobianSummary`.
    seconds : float, optional
        Time of the registration, where it was made here.
    peak_bytes : int, optional
        Its highest memory use.
    """

    name: str
    labels: dict[int, LabelScore] = Field(default_factory=dict)
    label_names: dict[int, str] = Field(default_factory=dict)
    unmatched: tuple[int, ...] = ()
    tre_before: Spread | None = None
    tre: Spread | None = None
    epe_before: float | None = None
    epe: float | None = None
    slip_percent: float | None = None
    folding_percent: float = 0.0
    negative_in_tissue: int | None = None
    paper_detj: int | None = None
    sdlogj: float | None = None
    seconds: float | None = None
    peak_bytes: int | None = None

    def mean(self, measure: str) -> float | None:
        """Return the mean of a measure of `LabelScore` over the labels that have it.

        Parameters
        ----------
        measure : str
            Name of a number of `LabelScore`.
        """
        values = [value for score in self.labels.values() if (value := getattr(score, measure)) is not None]
        return float(np.mean(values)) if values else None


def score_case(
    name: str,
    inputs: Inputs,
    field: DisplacementField,
    *,
    truth: DisplacementField | None = None,
    mask: Labels | None = None,
    only: Collection[int] = (),
    paper: bool = False,
    seconds: float | None = None,
    peak_bytes: int | None = None,
) -> CaseScore:
    """Score a displacement field.

    Parameters
    ----------
    name : str
        What to call the case.
    inputs : Inputs
        The pair with its labels and landmarks.
    field : DisplacementField
        On the fixed image's grid, from fixed to moving points.
    truth : DisplacementField, optional
        The exact field, on the fixed image's grid.
    mask : Labels, optional
        On the fixed image's grid: SDlogJ is taken where it is not zero.
    only : collection of int
        The labels to score, of those that both maps have; all when empty.
    paper : bool
        Measure also as the paper's released code does.
    seconds, peak_bytes : optional
        What finding the field took.

    Raises
    ------
    InputError
        Labels, landmarks or the mask do not fit their image.
    """
    fixed, fixed_labels, moving_labels = inputs.fixed, inputs.fixed_labels, inputs.moving_labels
    if mask is not None:
        check_labels("mask", mask, fixed)
    jacobian = jacobian_summary(field, None if mask is None else mask.array > 0)
    found: dict[str, Any] = {"folding_percent": jacobian.folding_percent, "sdlogj": jacobian.sdlogj}
    if fixed_labels is not None:
        check_labels("fixed_labels", fixed_labels, fixed)
        tissue = fixed_labels.array > 0
        negative = field.jacobian_determinant.cpu().numpy() < 0
        found["negative_in_tissue"] = int((negative & tissue).sum())
        found["paper_detj"] = paper_folding(field, tissue) if paper else None
    if fixed_labels is not None and moving_labels is not None:
        check_labels("moving_labels", moving_labels, inputs.moving)
        found |= _overlaps(fixed_labels, moving_labels, field, only, paper)
    first, second = inputs.fixed_landmarks, inputs.moving_landmarks
    if first is not None and second is not None:
        check_landmarks(first, second, fixed.grid, inputs.moving.grid)
        found["tre_before"] = Spread.of(np.linalg.norm(first.points - second.points, axis=1))
        found["tre"] = Spread.of(target_registration_error(first, second, field))
    if truth is not None:
        found |= _against(truth, field, fixed_labels)
    return CaseScore(name=name, seconds=seconds, peak_bytes=peak_bytes, **found)


def _against(truth: DisplacementField, field: DisplacementField, labels: Labels | None) -> dict[str, float]:
    inside = np.ones(truth.grid.shape, bool) if labels is None else np.asarray(labels.array > 0)
    still = DisplacementField.identity(truth.grid)
    found = {
        name: float(end_point_error(one, truth).numpy()[inside].mean())
        for name, one in (("epe_before", still), ("epe", field))
    }
    interface = None if labels is None else interface_of(labels, truth)
    return found if interface is None else found | {"slip_percent": interface.recovered_percent(field)}


def _overlaps(
    fixed: Labels, moving: Labels, field: DisplacementField, only: Collection[int], paper: bool
) -> dict[str, object]:
    wanted = set(only) or set(fixed.ids) | set(moving.ids)
    ids = sorted(wanted.intersection(fixed.common_ids(moving)))
    warped = warp_labels(moving, field)
    before, after = dice(fixed, resample(moving, fixed.grid), ids), dice(fixed, warped, ids)
    surfaces = surface_distances(fixed, warped, ids)
    labels = {}
    for label in ids:
        found = surfaces[label]
        distances = {} if found is None else {"hd": found.hd, "hd95": found.hd95, "asd": found.asd}
        if paper:
            as_released = paper_score(fixed.array == label, warped.array == label)
            distances |= {f"paper_{name}": value for name, value in asdict(as_released).items() if value is not None}
        labels[label] = LabelScore(dice_before=before[label], dice=after[label], **distances)
    names = moving.names | fixed.names
    return {
        "labels": labels,
        "label_names": {label: names[label] for label in ids if label in names},
        "unmatched": tuple(sorted((set(fixed.ids) ^ set(moving.ids)) & wanted)),
    }
