"""Motion of a region that slips along its border and leaves the border where it is."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.synthetic.deformations import column, length

REACH = 14
"""Voxels around a border in which distances are exact; further away they are this large."""

_ROUNDING = 1.2
"""Standard deviation in voxels by which a border's corners are rounded, so that directions along it are smooth."""

_STEPS = 8
"""Steps in which points follow a region's motion."""


def border_distance(mask: Tensor, reach: int = REACH) -> Tensor:
    """Return the distance from the border of a region in voxels, (1, 1, *S): below zero inside, at most `reach`.

    Parameters
    ----------
    mask : (1, 1, *S) bool tensor
        The region. Its border runs half way between the outermost voxels inside and the next ones outside.
    reach : int
        Largest distance that is told apart, in voxels.
    """
    outside, inside = _distance(mask, reach), _distance(~mask, reach)
    return torch.where(mask, 0.5 - inside, outside - 0.5)


def _distance(target: Tensor, reach: int) -> Tensor:
    """Euclidean distance to the nearest voxel of `target`, at most `reach`: one pass per axis of lower envelopes."""
    squared: Tensor = torch.where(target, 0.0, float(reach**2))
    for axis in range(2, target.ndim):
        size = squared.shape[axis]
        nearest = squared.clone()
        for step in range(1, min(reach, size)):
            near, far = nearest.narrow(axis, 0, size - step), nearest.narrow(axis, step, size - step)
            torch.minimum(near, squared.narrow(axis, step, size - step) + step**2, out=near)
            torch.minimum(far, squared.narrow(axis, 0, size - step) + step**2, out=far)
        squared = nearest
    return torch.sqrt(squared)


def slip_velocity(distance: Tensor, motion: tuple[float, ...], width: float) -> Tensor:
    """Return a motion whose part across the border vanishes at the border, (1, D, *S) in voxels.

    Parameters
    ----------
    distance : (1, 1, *S) tensor
        Distance from the border, smooth, see `border_distance`.
    motion : tuple of D floats
        The motion deep inside, in voxels.
    width : float
        Distance in voxels over which the part across the border comes in.
    """
    ndim = len(motion)
    own = column(motion)
    gradient = torch.cat([torch.gradient(distance, dim=axis)[0] for axis in range(2, ndim + 2)], dim=1)
    normal: Tensor = gradient / length(gradient).clamp_min(1e-3)
    near = (1 - distance.abs() / width).clamp(0, 1)
    near = near * near * (3 - 2 * near)
    return own - near * (normal * own).sum(dim=1, keepdim=True) * normal


def slip(points: Tensor, mask: Tensor, motion: tuple[float, ...]) -> Tensor:
    """Move the points inside a region along its motion; those outside stay.

    Points follow the motion in small steps, and it is tangential at the border: they neither leave the region nor
    meet, and the field jumps at the border along the border only.

    Parameters
    ----------
    points : (1, D, *T) tensor
        Positions in voxels of the mask's grid.
    mask : (1, 1, *S) bool tensor
        The region.
    motion : tuple of D floats
        Its motion deep inside, in voxels.

    Returns
    -------
    moved : (1, D, *T) tensor
        Where the points get to; equal to `points` outside the region.
    """
    amount = sum(m * m for m in motion) ** 0.5
    if not bool(mask.any()):
        return points
    width = min(max(4.0, 2 * amount), REACH - 2.0)
    box, corner = _around(mask, int(width) + 3)
    distance = F.gaussian_smooth(border_distance(box, int(width) + 2), _ROUNDING)
    velocity = slip_velocity(distance, motion, width)

    local = (points - column(corner)).flatten(2)
    inside = (F.sample(distance, _listed(local), padding="border") < 0).flatten()
    chosen = _listed(local[:, :, inside])
    moved = chosen
    for _ in range(_STEPS):
        moved = moved + F.sample(velocity, moved, padding="border") / _STEPS
    result = points.flatten(2).clone()
    result[:, :, inside] += (moved - chosen).flatten(2)
    return result.view_as(points)


def _around(mask: Tensor, pad: int) -> tuple[Tensor, list[float]]:
    """Cut a mask to its region and `pad` voxels around; also return the first corner. Borders repeat outwards."""
    corner = []
    for axis in range(2, mask.ndim):
        others = [a for a in range(mask.ndim) if a != axis]
        filled = mask.amax(others).nonzero()
        first = max(0, int(filled[0]) - pad)
        mask = mask.narrow(axis, first, min(mask.shape[axis], int(filled[-1]) + pad + 1) - first)
        corner.append(float(first))
    return mask, corner


def _listed(points: Tensor) -> Tensor:
    """Give a list of points (1, D, N) the D axes that sampling wants, (1, D, N, 1, ...)."""
    return points.reshape(1, points.shape[1], -1, *[1] * (points.shape[1] - 1))
