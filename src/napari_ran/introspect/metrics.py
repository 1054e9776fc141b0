"""How good the field is after one stage."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from napari_ran import losses
from napari_ran.data import Labels, Landmarks
from napari_ran.evaluate import dice
from napari_ran.introspect.quantities import QuantityArray, Stage, StageMetrics
from napari_ran.introspect.sources import Source
from napari_ran.transform import warp_labels


def similarity(own: Tensor, warped: Tensor, inside: Tensor) -> float | None:
    """Return the mean squared local NCC of two images (1, *S) over the voxels `inside` (*S); None where there are none.

    0 to 1, higher is better; the measure of `evaluate.similarity`.
    """
    if not bool(inside.any()):
        return None
    with torch.no_grad():
        return 1 - float(losses.local_ncc(own[None], warped[None], mask=inside[None, None].float()))


def roughness(field: QuantityArray) -> float:
    """Return the mean of ``|grad u|**2`` of a field, mm per mm, by forward differences along the grid's axes.

    The squares are summed over components and axes. A sheared grid counts as if its axes stood at right angles.
    """
    ndim = field.grid.ndim
    spacing = [float(s) for s in field.grid.spacing]
    # the loss averages over components and axes
    return ndim**2 * float(losses.smoothness(field.mm[None], spacing=spacing))


def stage_metrics(
    source: Source,
    stage: Stage,
    direction: str,
    arrays: dict[str, QuantityArray],
    labels: tuple[Labels, Labels] | None,
    landmarks: tuple[Landmarks, Landmarks] | None,
) -> StageMetrics:
    """Measure a stage.

    Parameters
    ----------
    source : Source
        Where its transform comes from.
    stage, direction
        Which one.
    arrays : dict
        The stage's "field" and "jacobian", and "warped" where it exists.
    labels, landmarks : (own, other), optional
        Of the image that the direction's field lives on, and of the other one, in their original places.
    """
    length = arrays["field"].magnitude
    own = source.own_image(direction)
    score = None
    if own is not None and "warped" in arrays:
        score = similarity(own.tensor, arrays["warped"].data, source.inside(stage, direction))
    overlap, distance = None, None
    if labels is not None or landmarks is not None:
        transform = source.transform(stage, direction)
        if labels is not None:
            ids = labels[0].common_ids(labels[1])
            overlap = dice(source.own_labels(labels[0], direction), warp_labels(labels[1], transform), ids)
        if landmarks is not None:
            start = source.own_points(landmarks[0].points, direction)
            distance = float(np.linalg.norm(transform.map_points(start) - landmarks[1].points, axis=1).mean())
    return StageMetrics(
        similarity=score,
        smoothness=roughness(arrays["field"]),
        folding_percent=100 * float((arrays["jacobian"].data <= 0).float().mean()),
        mean_mm=float(length.mean()),
        max_mm=float(length.max()),
        dice=overlap or None,
        tre_mm=distance,
    )
