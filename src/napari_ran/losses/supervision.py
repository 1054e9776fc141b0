"""Terms that know something of the truth: the field, the labels of both images, or corresponding landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from napari_ran.errors import InputError
from napari_ran.functional import sample, voxel_grid, warp
from napari_ran.losses.regularity import released_smoothness
from napari_ran.losses.similarity import mse

_SOFT = 0.1
"""Voxels; a length is softened below it, so that its gradient stays finite at zero."""


def field_error(field: Tensor, truth: Tensor, squared: bool = False) -> Tensor:
    """Return the error of a field (B, D, *S) against the true one, both in voxels.

    The mean length of the difference, softened below a tenth of a voxel; or, `squared`, the mean over components and
    voxels of its square.
    """
    difference = field - truth
    return difference.square().mean() if squared else _soft_length(difference, dim=1).mean()


def dice_loss(fixed: Tensor, moving: Tensor, field: Tensor, labels: Sequence[int] | None = None) -> Tensor:
    """Return one minus the mean soft Dice overlap of fixed and warped moving labels.

    Each label's region is warped linearly, so that the overlap ``2 sum(a b) / (sum(a) + sum(b))`` has a gradient.

    Parameters
    ----------
    fixed, moving : (B, 1, *S) tensor
        Label maps; 0 is the background.
    field : (B, D, *S) tensor
        Pull-back displacement in voxels.
    labels : sequence of int, optional
        The labels that count; all above zero when left out. A label that is missing in one of a pair's images does not
        count for this pair, and a pair without any common label counts as if it were matched, with no gradient.
    """
    if labels is None:
        labels = torch.unique(torch.cat([fixed.flatten(), moving.flatten()])).tolist()
    wanted = [int(value) for value in labels if int(value) > 0]
    lost = [_pair_dice_loss(fixed[i, 0], moving[i, 0], field[i], wanted) for i in range(len(fixed))]
    return torch.stack(lost).mean()


def _pair_dice_loss(fixed: Tensor, moving: Tensor, field: Tensor, labels: Sequence[int]) -> Tensor:
    """One minus the mean overlap of the common labels of two maps (*S), with a field (D, *S)."""
    common = [value for value in labels if bool((fixed == value).any()) and bool((moving == value).any())]
    if not common:
        return 0 * field.sum()
    known = torch.tensor(sorted(common), device=fixed.device)
    target = _numbered(fixed, known).flatten()
    warped, overlap = _soft_sizes(_numbered(moving, known), target, field, len(known) + 1)
    sizes = torch.bincount(target, minlength=len(known) + 1).to(field.dtype)
    return 1 - (2 * overlap / (warped + sizes))[1:].mean()


def _numbered(labels: Tensor, known: Tensor) -> Tensor:
    """Return 1, 2, ... for the known labels (sorted) in their order, 0 for all others."""
    place = torch.searchsorted(known, labels.long()).clamp_max(len(known) - 1)
    return torch.where(known[place] == labels, place + 1, 0)


def _soft_sizes(moving: Tensor, target: Tensor, field: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the size of each warped label in voxels and the part of it that meets the same label of the target.

    Each voxel shares its unit among the labels at the 2**D voxels around the point that it reads, by the weights of the
    linear interpolation. So the cost does not grow with the number of labels, as it would by warping each region.
    """
    shape = moving.shape
    points = (voxel_grid(shape, field)[0] + field).flatten(1)
    low = points.detach().floor()
    above = points - low
    sizes, overlap = field.new_zeros(count), field.new_zeros(count)
    values = moving.flatten()
    for corner in product((0, 1), repeat=len(shape)):
        weight = torch.ones_like(above[0])
        index = torch.zeros_like(target)
        inside = torch.ones_like(target, dtype=torch.bool)
        for axis, (side, n) in enumerate(zip(corner, shape, strict=True)):
            weight = weight * (above[axis] if side else 1 - above[axis])
            place = low[axis].long() + side
            inside &= (place >= 0) & (place < n)
            index = index * n + place.clamp(0, n - 1)
        label = torch.where(inside, values[index], 0)
        sizes = sizes.index_add(0, label, weight)
        overlap = overlap.index_add(0, torch.where(label == target, label, 0), weight)
    return sizes, overlap


def landmark_loss(
    field: Tensor, fixed_points: Sequence[Tensor], moving_points: Sequence[Tensor], spacing: Sequence[float]
) -> Tensor:
    """Return the mean distance of mapped fixed landmarks from the moving ones, in mm.

    Parameters
    ----------
    field : (B, D, *S) tensor
        Pull-back displacement in voxels; a fixed point ``x`` belongs to ``x + u(x)`` in the moving image.
    fixed_points, moving_points : sequences of B tensors (N, D)
        Corresponding positions in voxels; N may differ from pair to pair, and may be 0.
    spacing : sequence of D floats
        Voxel size in mm.

    Raises
    ------
    InputError
        A pair has more landmarks in one image than in the other.
    """
    ndim = field.shape[1]
    size = field.new_tensor([float(s) for s in spacing])
    lost = []
    for i, (fixed, moving) in enumerate(zip(fixed_points, moving_points, strict=True)):
        if fixed.shape != moving.shape:
            problem = f"pair {i} has {len(fixed)} points in the fixed and {len(moving)} in the moving image"
            raise InputError("moving_points", problem, "Give corresponding points in the same order")
        if len(fixed) == 0:
            continue
        places = fixed.to(field).T.reshape(1, ndim, len(fixed), *[1] * (ndim - 1))
        shift = sample(field[i : i + 1], places, padding="border").reshape(ndim, len(fixed)).T
        lost.append(_soft_length((fixed.to(field) + shift - moving.to(field)) * size, dim=1).mean())
    return torch.stack(lost).mean() if lost else 0 * field.sum()


def stage_one(field: Tensor, truth: Tensor, fixed: Tensor, moving: Tensor, scale: float = 25.0) -> Tensor:
    """Return the published loss of the training on synthetic deformations, with the released code's weights.

    The mean squared error of the field (weight 1), the released smoothness with 80 times a penalty on a field that
    leaves the image at its centre (weight 1), and the mean squared difference of the images (weight 0.1).

    Parameters
    ----------
    field, truth : (B, D, *S) tensor
        Predicted and true pull-back displacement in voxels.
    fixed, moving : (B, 1, *S) tensor
        Images with intensities in [0, 1].
    scale : float
        Strength of the edge weight, see `released_smoothness`.
    """
    regular = released_smoothness(field, fixed, scale) + 80 * _beyond_at_centre(field)
    return field_error(field, truth, squared=True) + regular + 0.1 * mse(warp(moving, field, padding="border"), fixed)


def _beyond_at_centre(field: Tensor) -> Tensor:
    """Return by how many voxels the displacement of the middle voxel exceeds the size of the image."""
    middle = field
    for size in field.shape[2:]:
        middle = middle.select(2, size // 2)
    return torch.relu(middle.abs() - middle.new_tensor(field.shape[2:])).mean()


def _soft_length(vectors: Tensor, dim: int) -> Tensor:
    return (vectors.square().sum(dim=dim) + _SOFT**2).sqrt()
