"""What a registration is given beside its images, as what leads the refinement on the working grid."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from napari_ran.config import RegistrationConfig
from napari_ran.data import Labels
from napari_ran.data.grid import apply_affine
from napari_ran.errors import InputError
from napari_ran.inputs import Inputs
from napari_ran.instance import Guide, LabelGuide, LandmarkGuide, RigidGuide
from napari_ran.preprocess import PreparedPair
from napari_ran.transform import resample


def check_guidance(config: RegistrationConfig, inputs: Inputs) -> None:
    """Refuse what should lead where it would be ignored.

    Raises
    ------
    InputError
        A weight is set without what it weighs, or something is given that the settings make no use of.
    """
    settings = config.instance
    aligned = config.affine in ("auto", "rigid", "affine") and settings.mode == "none"
    for name in ("fixed_mask", "moving_mask"):
        if getattr(inputs, name) is not None and settings.mode != "field" and not aligned:
            problem = (
                f"masks are used by the affine alignment and the refinement of the field; instance.mode is "
                f"'{settings.mode}'"
            )
            raise InputError(name, problem, "Set instance.mode=field, or give no mask")
    if inputs.rigid_regions is not None and settings.mode != "field":
        problem = f"they are used by the refinement of the field only; instance.mode is '{settings.mode}'"
        raise InputError("rigid_regions", problem, "Set instance.mode=field, or give none")
    for name in ("landmarks", "labels"):
        if not getattr(settings, name):
            continue
        if any(getattr(inputs, f"{side}_{name}") is None for side in ("fixed", "moving")):
            problem = f"there are no {name} of both images"
            raise InputError(f"instance.{name}", problem, "Give them, or set it to 0")
        if settings.mode != "field":
            raise InputError(f"instance.{name}", f"{name} lead the mode 'field' only", "Set instance.mode=field, or 0")
    maps = inputs.fixed_labels, inputs.moving_labels
    if settings.labels and maps[0] is not None and maps[1] is not None and not maps[0].common_ids(maps[1]):
        raise InputError("instance.labels", "the two label maps have no label in common", "Give others, or set 0")
    if inputs.initial is None:
        return
    if config.affine == "centre":
        problem = "affine='centre' and an initial transform both say where to start"
        raise InputError("initial", problem, "Set affine='auto' or 'none', or give no initial transform")
    if inputs.initial.field is not None and settings.mode == "network":
        problem = "a network cannot be fitted from a displacement field"
        raise InputError("initial", problem, "Set instance.mode=field, or give an affine transform")


def guides_for(
    pair: PreparedPair, inputs: Inputs, config: RegistrationConfig, device: torch.device
) -> tuple[tuple[Guide, ...], tuple[str, ...]]:
    """Return what leads the refinement, and what is to be said about it."""
    found = [
        _landmarks(pair, inputs, config.instance.landmarks, device),
        _labels(pair, inputs, config.instance.labels, device),
        _rigid(pair, inputs, device),
    ]
    there = [one for one in found if one is not None]
    return tuple(guide for guide, _ in there), tuple(message for _, message in there)


def masks_for(pair: PreparedPair, inputs: Inputs, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
    """Return both masks (1, 1, *S) on the working grid, the moving one aligned as its image is."""
    fixed, moving = inputs.fixed_mask, inputs.moving_mask
    return (
        None if fixed is None else (_here(fixed, pair, False, device) > 0).float(),
        None if moving is None else (_here(moving, pair, True, device) > 0).float(),
    )


def rigid_messages(guides: tuple[Guide, ...], field: Tensor) -> tuple[str, ...]:
    """Return what the rigid regions did under a field (1, D, *S) in voxels of the working grid, in sentences."""
    said = []
    for guide in guides:
        if isinstance(guide, RigidGuide):
            for motion in guide.motions(field):
                trace = float(torch.trace(motion.rotation))
                cosine = trace / 2 if len(motion.shift) == 2 else (trace - 1) / 2
                angle = math.degrees(math.acos(min(1.0, max(-1.0, cosine))))
                said.append(
                    f"Region {motion.region} moved rigidly, turned by {angle:.2f} degrees (within {motion.away:.2g} mm)"
                )
    return tuple(said)


def _landmarks(
    pair: PreparedPair, inputs: Inputs, weight: float, device: torch.device
) -> tuple[LandmarkGuide, str] | None:
    first, second = inputs.fixed_landmarks, inputs.moving_landmarks
    if not weight or first is None or second is None:
        return None
    aligned = apply_affine(np.linalg.inv(pair.affine), second.points)
    start, end = (torch.from_numpy(pair.grid.to_voxel(one)).float() for one in (first.points, aligned))
    spacing = tuple(float(s) for s in pair.grid.spacing)
    target = (end - start) * torch.tensor(spacing)
    guide = LandmarkGuide(start.to(device), target.to(device), pair.grid.shape, spacing, weight)
    return guide, (
        f"{len(first)} landmarks lead the fit with weight {weight:g}: their error is no measure of its accuracy"
    )


def _labels(pair: PreparedPair, inputs: Inputs, weight: float, device: torch.device) -> tuple[LabelGuide, str] | None:
    first, second = inputs.fixed_labels, inputs.moving_labels
    if not weight or first is None or second is None:
        return None
    maps = _here(first, pair, False, device), _here(second, pair, True, device)
    guide = LabelGuide(*maps, [float(s) for s in pair.grid.spacing], weight)
    return guide, (
        f"{len(guide.common)} labels lead the fit with weight {weight:g}: their Dice is no measure of its accuracy"
    )


def _rigid(pair: PreparedPair, inputs: Inputs, device: torch.device) -> tuple[RigidGuide, str] | None:
    if inputs.rigid_regions is None:
        return None
    regions = _here(inputs.rigid_regions, pair, False, device)
    matrices = torch.from_numpy(pair.grid.affine.copy()), torch.from_numpy(pair.affine)
    guide = RigidGuide(regions, *matrices, [float(s) for s in pair.grid.spacing])
    lost = len(inputs.rigid_regions.ids) - len(guide.ids)
    small = f"; {lost} are too small for the working grid and deform" if lost else ""
    return guide, f"{len(guide.ids)} regions move rigidly{small}"


def _here(labels: Labels, pair: PreparedPair, aligned: bool, device: torch.device) -> Tensor:
    """Return labels (1, 1, *S) on the working grid, aligned as the moving image is where asked for."""
    return resample(labels, pair.grid, pair.affine if aligned else None).tensor[None, None].to(device)
