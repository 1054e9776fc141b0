"""How good a registration is: similarity, overlap, landmark error, folding, inverse consistency.

Every measure is taken on the fixed grid, in millimetres or percent, and none of them enters the registration itself.
"Before" always means the two images as they lie in the world, with no transform at all (not even the affine one).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ran import functional as F
from napari_ran import losses
from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks
from napari_ran.errors import InputError
from napari_ran.report import JacobianSummary, Report, Spread
from napari_ran.transform import resample, warp_labels

SIMILARITY_VOXELS = 2**21
"""Larger images are reduced to about this many voxels before their similarity is measured."""

CONSISTENCY_VOXELS = 2**23
"""On larger grids the inverse consistency is measured at every second voxel along each axis (or third, ...)."""


def evaluate(
    fixed: Image,
    moving: Image,
    warped: Image,
    field: DisplacementField,
    inverse_field: DisplacementField | None = None,
    *,
    fixed_labels: Labels | None = None,
    moving_labels: Labels | None = None,
    warped_labels: Labels | None = None,
    fixed_landmarks: Landmarks | None = None,
    moving_landmarks: Landmarks | None = None,
    **details: Any,
) -> Report:
    """Measure a registration.

    Parameters
    ----------
    fixed, moving : Image
        The pair as it was given.
    warped : Image
        The moving image on the fixed grid.
    field : DisplacementField
        The whole transform on the fixed grid (fixed point to moving point).
    inverse_field : DisplacementField, optional
        The other direction, on the moving grid; needed for the inverse consistency.
    fixed_labels, moving_labels : Labels, optional
        For Dice; each on its image's grid.
    warped_labels : Labels, optional
        The moving labels on the fixed grid, if they have been made already.
    fixed_landmarks, moving_landmarks : Landmarks, optional
        For the TRE; point by point.
    **details
        Further values of the `Report`: stages, messages, settings, device, version, complete.

    Raises
    ------
    InputError
        Labels on another grid, or landmarks that differ in number or lie outside.
    """
    values: dict[str, Any] = dict(details)
    values["similarity_before"], values["similarity_after"] = similarity(fixed, moving, warped, field)
    values["displacement_mm"] = Spread.of(field.magnitude.cpu().numpy())
    values["jacobian"] = jacobian_summary(field)
    if inverse_field is not None:
        error, inside = inverse_consistency(_thinned(field, CONSISTENCY_VOXELS), inverse_field)
        values["inverse_outside_percent"] = 100 * (1 - float(inside.float().mean()))
        if bool(inside.any()):
            values["inverse_consistency_mm"] = Spread.of(error.tensor[0][inside].numpy())
    if fixed_labels is not None and moving_labels is not None:
        check_labels("fixed_labels", fixed_labels, fixed)
        check_labels("moving_labels", moving_labels, moving)
        ids = fixed_labels.common_ids(moving_labels)
        if warped_labels is None:
            warped_labels = warp_labels(moving_labels, field)
        values["dice_before"] = dice(fixed_labels, resample(moving_labels, fixed.grid), ids)
        values["dice_after"] = dice(fixed_labels, warped_labels, ids)
        names = moving_labels.names | fixed_labels.names
        values["label_names"] = {i: names[i] for i in ids if i in names}
    if fixed_landmarks is not None and moving_landmarks is not None:
        check_landmarks(fixed_landmarks, moving_landmarks, fixed.grid, moving.grid)
        before = np.linalg.norm(fixed_landmarks.points - moving_landmarks.points, axis=1)
        values["tre_before"] = Spread.of(before)
        values["tre_after"] = Spread.of(target_registration_error(fixed_landmarks, moving_landmarks, field))
        values["landmarks"] = len(before)
    return Report(**values)


def dice(fixed: Labels, warped: Labels, ids: Iterable[int] | None = None) -> dict[int, float]:
    """Return the Dice overlap 2|A and B| / (|A| + |B|) per label, 0 to 1.

    Parameters
    ----------
    fixed, warped : Labels
        On one grid.
    ids : iterable of int, optional
        The labels to score (0 for one that vanished); by default those that occur in both.

    Raises
    ------
    InputError
        The two lie on different grids.
    """
    wanted = compared_ids(fixed, warped, ids)
    if not wanted:
        return {}
    n = len(wanted)
    values = torch.tensor(wanted, dtype=torch.int32)
    joint = torch.zeros((n + 1) ** 2, dtype=torch.int64)
    for slab in F.slabs(fixed.grid.shape):
        pairs = _rank(fixed.tensor[slab].cpu(), values) * (n + 1) + _rank(warped.tensor[slab].cpu(), values)
        joint += torch.bincount(pairs.flatten(), minlength=(n + 1) ** 2)
    counts = joint.view(n + 1, n + 1)
    both, total = counts.diagonal()[:n], counts.sum(0)[:n] + counts.sum(1)[:n]
    return {label: float(2 * both[i] / total[i]) if total[i] else 0.0 for i, label in enumerate(wanted)}


def target_registration_error(fixed: Landmarks, moving: Landmarks, field: DisplacementField) -> NDArray[np.float64]:
    """Return the distance in mm, (N,), between each mapped fixed landmark and its moving counterpart.

    Parameters
    ----------
    fixed, moving : Landmarks
        Corresponding points, in the same order.
    field : DisplacementField
        From fixed to moving.

    Raises
    ------
    InputError
        The two lists differ in length or dimension.
    """
    _check_counts(fixed, moving)
    return np.asarray(np.linalg.norm(field.map_points(fixed.points) - moving.points, axis=1))


def end_point_error(field: DisplacementField, truth: DisplacementField) -> Tensor:
    """Return the length in mm, (*S), of the difference between a field and the exact one on the same grid.

    Parameters
    ----------
    field, truth : DisplacementField
        Found and exact, on one grid.
    """
    if field.grid != truth.grid:
        raise InputError("truth", "the exact field lies on another grid", "Give the truth on the field's grid")
    return DisplacementField(field.tensor.cpu() - truth.tensor.cpu(), field.grid).magnitude


def jacobian_summary(field: DisplacementField, mask: NDArray[np.bool_] | None = None) -> JacobianSummary:
    """Summarise the Jacobian determinant of a field; SDlogJ inside a mask (*S) where one is given.

    Parameters
    ----------
    field : DisplacementField
        On any grid.
    mask : (*S) array of bool, optional
        SDlogJ is taken inside it; everywhere when left out, a margin of two voxels excepted either way.
    """
    values = field.jacobian_determinant.cpu()
    crop = (slice(2, -2),) * values.ndim
    inner = values[crop] if mask is None else values[crop][torch.from_numpy(mask[crop])]
    low, high = torch.aminmax(values)
    logarithms = torch.log((inner + 3.0).clamp_(1e-9, 1e9)).numpy()
    return JacobianSummary(
        min=float(low),
        mean=float(values.numpy().mean(dtype=np.float64)),
        max=float(high),
        folding_percent=100 * float((values <= 0).numpy().mean()),
        sdlogj=float(np.std(logarithms, dtype=np.float64)) if logarithms.size else None,
    )


def _thinned(field: DisplacementField, voxels: int) -> DisplacementField:
    """Return a field at every second (third, ...) of its voxels along each axis, so that about `voxels` stay."""
    every = math.ceil((math.prod(field.grid.shape) / voxels) ** (1 / field.grid.ndim) - 1e-9)
    if every <= 1:
        return field
    tensor = field.tensor[(slice(None), *[slice(None, None, every)] * field.grid.ndim)] / every
    affine = field.grid.affine @ np.diag([every] * field.grid.ndim + [1])
    return DisplacementField(tensor, Grid(tuple(tensor.shape[1:]), affine), field.source, field.target)


def inverse_consistency(field: DisplacementField, inverse: DisplacementField) -> tuple[Image, Tensor]:
    """Map every fixed voxel to the other image and back, and measure how far from its start it ends.

    Parameters
    ----------
    field : DisplacementField
        On the fixed grid.
    inverse : DisplacementField
        The other direction, on the moving grid.

    Returns
    -------
    error : Image
        The distance in mm on the fixed grid; 0 where `inside` is false, because there is no way back from there.
    inside : (*S) bool tensor
        The fixed voxels that map into the moving grid.
    """
    grid = field.grid
    error, inside = torch.zeros(grid.shape), torch.zeros(grid.shape, dtype=torch.bool)
    back = inverse.tensor[None].cpu()
    there, home = (torch.from_numpy(a.voxel_map_to(b)).float() for a, b in ((grid, inverse.grid), (inverse.grid, grid)))
    world = torch.from_numpy(np.array(grid.affine[:-1, :-1])).float()
    for slab in F.slabs(grid.shape):
        start = F.voxel_grid(grid.shape, error, slab)[0]
        reached = F.mapped(there, start + field.tensor[:, slab].cpu())
        inside[slab] = F.within(reached, inverse.grid.shape)
        returned = F.mapped(home, reached + F.sample(back, reached[None], padding="border")[0])
        offset = torch.einsum("ij,j...->i...", world, returned - start)
        error[slab] = F.lengths(offset) * inside[slab]
    metadata = {"unit": "mm", "outside_percent": 100 * (1 - float(inside.float().mean()))}
    return Image(error, grid, "inverse-consistency error", metadata), inside


def similarity(
    fixed: Image, moving: Image, warped: Image, field: DisplacementField
) -> tuple[float | None, float | None]:
    """Return the mean squared local NCC of the pair before and after registration (0 to 1, higher is better).

    Both are taken over the same voxels: those that the field maps into the moving image. Images of more than
    `SIMILARITY_VOXELS` are reduced first. (None, None) when the field maps nothing into the moving image.

    Parameters
    ----------
    fixed, moving : Image
        The pair as it is.
    warped : Image
        The moving image on the fixed grid.
    field : DisplacementField
        From fixed to moving, on the fixed grid.
    """
    factor = min(1.0, (SIMILARITY_VOXELS / math.prod(fixed.grid.shape)) ** (1 / fixed.grid.ndim))
    shape = tuple(max(1, round(n * factor)) for n in fixed.grid.shape)
    grid = fixed.grid.with_shape(shape)
    small = F.resize_field(field.tensor[None].cpu(), shape)[0]
    there = torch.from_numpy(grid.voxel_map_to(moving.grid)).float()
    mask = F.within(F.mapped(there, F.voxel_grid(shape, small)[0] + small), moving.grid.shape)[None, None].float()
    if not bool(mask.any()):
        return None, None
    if factor < 1:  # reduced once, without a whole image in between
        fixed, moving, warped = (resample(image, grid) for image in (fixed, moving, warped))
    else:
        moving = resample(moving, grid)
    reference = _comparable(fixed)
    scores = [1 - float(losses.local_ncc(reference, _comparable(image), mask=mask)) for image in (moving, warped)]
    return scores[0], scores[1]


def compared_ids(fixed: Labels, warped: Labels, ids: Iterable[int] | None = None) -> list[int]:
    """Return the labels to compare, sorted: `ids`, or those in both maps; raise `InputError` if the grids differ."""
    if fixed.grid != warped.grid:
        raise InputError(
            "warped", "the labels lie on another grid than the fixed ones", "Warp them onto the fixed grid first"
        )
    return fixed.common_ids(warped) if ids is None else sorted(set(ids))


def check_labels(argument: str, labels: Labels, image: Image) -> None:
    """Raise `InputError` unless the labels lie on the image's grid."""
    if labels.grid != image.grid:
        raise InputError(
            argument,
            f"the labels lie on a grid of {labels.grid.shape} voxels of {_mm(labels.grid)}, "
            f"but '{image.name}' has {image.grid.shape} of {_mm(image.grid)}, or the two are placed differently",
            "Give labels that were drawn on this image, or resample them onto its grid",
        )


def check_landmarks(fixed: Landmarks, moving: Landmarks, fixed_grid: Grid, moving_grid: Grid) -> None:
    """Raise `InputError` unless the landmarks pair up and each lies inside its image."""
    _check_counts(fixed, moving)
    for argument, landmarks, grid in (
        ("fixed_landmarks", fixed, fixed_grid),
        ("moving_landmarks", moving, moving_grid),
    ):
        if landmarks.points.shape[1] != grid.ndim:
            raise InputError(
                argument, f"the points have {landmarks.points.shape[1]} coordinates, the image {grid.ndim} dimensions",
                "Give one coordinate per image axis, in mm",
            )  # fmt: skip
        outside = np.flatnonzero(~grid.contains(grid.to_voxel(landmarks.points)))
        if outside.size:
            some = ", ".join(str(row + 1) for row in outside[:5]) + (", ..." if outside.size > 5 else "")
            raise InputError(
                argument, f"{outside.size} of {len(landmarks)} points lie outside the image (counting from 1: {some})",
                "Give positions in mm, RAS+, of points inside the image, or remove these",
            )  # fmt: skip


def _check_counts(fixed: Landmarks, moving: Landmarks) -> None:
    if fixed.points.shape != moving.points.shape or not len(fixed):
        raise InputError(
            "moving_landmarks",
            f"expected as many points as fixed_landmarks (at least one), got {len(moving)} for {len(fixed)}",
            "Give corresponding points in the same order",
        )


def _mm(grid: Grid) -> str:
    return " x ".join(f"{s:g}" for s in np.round(grid.spacing, 3)) + " mm"


def _rank(values: Tensor, wanted: Tensor) -> Tensor:
    """Position of each value in the sorted `wanted`, or its length for any other value."""
    position = torch.searchsorted(wanted, values).clamp_(max=len(wanted) - 1)
    return torch.where(wanted[position] == values, position, len(wanted))


def _comparable(image: Image) -> Tensor:
    """Return the first channel (1, 1, *S) with its 0.5th to 99.5th percentile mapped to [0, 1]."""
    values = image.tensor[:1].cpu()
    stride = max(1, values.numel() // 1_000_000)
    low, high = np.percentile(values.flatten()[::stride].numpy(), [0.5, 99.5])
    scaled: Tensor = ((values - low) / max(float(high - low), 1e-12)).clamp(0, 1)
    return scaled[None]
