"""How plausible a field is: smooth, invertible, consistent in both directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_ran.functional import compose, jacobian_determinant


def edge_weight(fixed: Tensor, scale: float) -> Tensor:
    """Return ``exp(-scale * |grad I|**2)``: the smoothness is let go across edges of the fixed image (Eq. 13).

    Parameters
    ----------
    fixed : (B, 1, *S) tensor
        Fixed image, intensities in [0, 1].
    scale : float
        Strength, in squared voxels per squared intensity; 0 gives ones, 1 is the text's formula.

    Returns
    -------
    (B, 1, *S) tensor in (0, 1]
    """
    squared = torch.zeros_like(fixed)
    for axis in range(2, fixed.ndim):
        if fixed.shape[axis] > 1:
            squared = squared + torch.gradient(fixed, dim=axis)[0] ** 2
    return torch.exp(-scale * squared)


def smoothness(
    field: Tensor, weight: Tensor | None = None, power: float = 2, spacing: Sequence[float] | None = None
) -> Tensor:
    """Return the mean of ``weight * |forward difference|**power`` over axes, components and voxels.

    Parameters
    ----------
    field : (B, D, *S) tensor
        Displacement in voxels, or in mm together with `spacing`.
    weight : (B, 1, *S) tensor, optional
        Such as `edge_weight`; a difference between two voxels takes the smaller of their weights.
    power : float
        2 for diffusion, 1 for total variation.
    spacing : sequence of D floats, optional
        Voxel size along each axis in the unit of `field`, so that differences become slopes; 1 when left out.
    """
    ndim = field.ndim - 2
    total = field.new_zeros(())
    for axis in range(2, field.ndim):
        if field.shape[axis] < 2:
            continue
        difference = torch.diff(field, dim=axis)
        if spacing is not None:
            difference = difference / float(spacing[axis - 2])
        term = difference**2 if power == 2 else difference.abs() ** power
        if weight is not None:
            length = field.shape[axis] - 1
            term = term * torch.minimum(weight.narrow(axis, 0, length), weight.narrow(axis, 1, length))
        total = total + term.mean()
    return total / ndim


def released_smoothness(field: Tensor, fixed: Tensor, scale: float = 25.0) -> Tensor:
    """Return the edge-aware smoothness of the released code: absolute differences, edges relative to the intensity.

    The mean over axes, components and voxels of ``|d_i u| exp(-s sum_j (d_j I)**2 / (0.2 + I)**2)``, with backward
    differences that are zero in the first voxel of their axis.

    Parameters
    ----------
    field : (B, D, *S) tensor
        Displacement in voxels.
    fixed : (B, 1, *S) tensor
        Fixed image, intensities in [0, 1].
    scale : float
        The factor s: 25 for the abdomen and 9 for the lung in the released code.
    """
    axes = range(2, field.ndim)
    edges = sum((_backward_difference(fixed, axis) ** 2 for axis in axes), torch.zeros_like(fixed))
    weight = torch.exp(-scale * edges / (0.2 + fixed) ** 2)
    return torch.stack([(_backward_difference(field, axis).abs() * weight).mean() for axis in axes]).mean()


def _backward_difference(values: Tensor, axis: int) -> Tensor:
    first = values.narrow(axis, 0, 1)
    return torch.diff(values, dim=axis, prepend=first)


def folding_penalty(field: Tensor) -> Tensor:
    """Return the mean of ``relu(-det J)`` over a field (B, D, *S) in voxels: 0 where nothing folds."""
    return torch.relu(-jacobian_determinant(field)).mean()


def inverse_consistency(forward: Tensor, inverse: Tensor) -> Tensor:
    """Return how far two fields (B, D, *S) in voxels are from undoing each other, in squared voxels.

    The mean squared length of both compositions; points that leave the grid read the other field at its border.
    """
    there = compose(inverse, forward).square().sum(dim=1).mean()
    back = compose(forward, inverse).square().sum(dim=1).mean()
    return (there + back) / 2
