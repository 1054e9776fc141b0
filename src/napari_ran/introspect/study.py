"""The motion-separability PDF and the heads' information, taken from the stages of an inspection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from napari_ran import functional as F
from napari_ran.data import Labels
from napari_ran.errors import InputError
from napari_ran.introspect.heads import HeadInformation, head_organ_information
from napari_ran.introspect.quantities import own_and_other
from napari_ran.introspect.separability import Separability, correct_points, on_image_grid, separability
from napari_ran.transform import warp_labels

if TYPE_CHECKING:
    from napari_ran.introspect.inspection import Inspection


def stage_labels(inspection: Inspection, direction: str = "forward") -> Labels:
    """Return the labels of the image that a direction's field lives on, on the grid of the network's images.

    Raises
    ------
    InputError
        The registration had no labels.
    """
    own, _ = _labels(inspection, direction)
    return inspection.source.own_labels(own, direction)


def stage_separability(
    inspection: Inspection,
    stage: int,
    direction: str = "forward",
    mask: Tensor | None = None,
    **options: Any,
) -> Separability:
    """Measure the motion-separability PDF of the field after one stage.

    Points are correct where the label equals the other image's, warped by the field after this stage; without labels
    those of the mask, else the foreground. A level's field counts as its aligner made it, one displacement for all
    voxels of the image inside a voxel of the level. What the network had found on coarser grids is part of it, the
    pre-alignment is not.

    Parameters
    ----------
    inspection : Inspection
        Whose stages.
    stage : int
        Which one.
    direction : {"forward", "inverse"}
        Which field.
    mask : (*S) tensor, optional
        Points that count, on the grid of the network's images (or of the field, where there is no network).
    **options
        Further arguments of `separability`. The bound is that of one look of the network.

    Raises
    ------
    InputError
        There is no such stage, or no pair of correct points in it.
    """
    field = _field(inspection, stage, direction)
    shape = tuple(field.shape[1:])
    if inspection.labels is not None:
        transform = inspection.source.transform(inspection.stages[stage], direction)
        warped = warp_labels(_labels(inspection, direction)[1], transform)
        correct = correct_points(stage_labels(inspection, direction).tensor, warped.tensor, mask)
    elif mask is not None:
        correct = correct_points(mask=mask)
    else:
        image = inspection.image(direction)
        if image is None:
            raise InputError("mask", "there are no labels and no image that say which points count", "Give a mask")
        correct = correct_points(image=image.tensor[0])
    if tuple(correct.shape) != shape:
        raise InputError("mask", f"must have shape {shape}, got {tuple(correct.shape)}", "Give it on the image's grid")
    if inspection.trace is not None:
        options.setdefault("layout", inspection.trace.model.config)
    return separability(field, correct, **options)


def level_information(
    inspection: Inspection, direction: str = "forward", labels: Tensor | None = None, **options: Any
) -> dict[int, HeadInformation]:
    """Measure at every level how much the head masks tell of the labels.

    Parameters
    ----------
    inspection : Inspection
        Of a network.
    direction : {"forward", "inverse"}
        Whose masks; they lie on the fixed image for the forward direction.
    labels : (*S) integer tensor, optional
        On the grid of the network's images; by default those of the registration.
    **options
        Further arguments of `head_organ_information`.

    Raises
    ------
    InputError
        There are no levels or no labels.
    """
    levels = {stage.level: stage for stage in inspection.stages if stage.level is not None}
    if not levels:
        raise InputError("inspection", "it has no levels, so there are no heads", "Register with keep_levels=True")
    there = stage_labels(inspection, direction).tensor if labels is None else labels
    return {
        level: head_organ_information(
            inspection.get("masks", stage.index, direction).data, there, stage.pool_size, **options
        )
        for level, stage in levels.items()
        if not inspection.why_not("masks", stage.index, direction)
    }


def _field(inspection: Inspection, stage: int, direction: str) -> Tensor:
    """Return the field (D, *S) after a stage in voxels of the network's images, or of its own grid without any."""
    found = inspection.get("field", stage, direction)
    trace = inspection.trace
    if trace is None:
        return found.data
    if found.stage.level is not None:
        return on_image_grid(found.data, found.stage.pool_size, trace.grid.shape)
    return F.resize_field(found.data[None], trace.grid.shape)[0]


def _labels(inspection: Inspection, direction: str) -> tuple[Labels, Labels]:
    """Return the labels of the own and of the other image."""
    if inspection.labels is None:
        raise InputError("labels", "the registration had no labels", "Register with fixed_labels and moving_labels")
    return own_and_other(inspection.labels, direction)
