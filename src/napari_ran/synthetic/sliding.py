"""Motion of a region that slips along its border and leaves the border where it is."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ran import functional as F

REACH = 14
"""Voxels around a border in which distances are exact; further away they are this large."""

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
    distance: Tensor = torch.sqrt(squared)
    return distance


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
    own = torch.tensor(motion).view(1, ndim, *[1] * ndim)
    gradient = torch.cat([torch.gradient(distance, dim=axis)[0] for axis in range(2, ndim + 2)], dim=1)
    normal = gradient / torch.linalg.vector_norm(gradient, dim=1, keepdim=True).clamp_min(1e-3)
    near = (1 - distance.abs() / width).clamp(0, 1)
    near = near * near * (3 - 2 * near)
    return own - near * (normal * own).sum(dim=1, keepdim=True) * normal


def slip(points: Tensor, mask: Tensor, motion: tuple[float, ...]) -> tuple[Tensor, Tensor]:
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
        Where the points get to.
    inside : (1, 1, *T) bool tensor
        Which points lie in the region.
    """
    length = sum(m * m for m in motion) ** 0.5
    distance = F.gaussian_smooth(border_distance(mask), 1.0)
    velocity = slip_velocity(distance, motion, min(max(3.0, 2 * length), REACH - 2.0))
    inside = F.sample(distance, points, padding="border") < 0
    moved = points
    for _ in range(_STEPS):
        moved = moved + F.sample(velocity, moved, padding="border") / _STEPS
    return torch.where(inside, moved, points), inside
