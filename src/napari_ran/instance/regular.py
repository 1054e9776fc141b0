"""How smooth a control grid's field is and how far from folding, with the gradient in the same pass."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from napari_ran import functional
from napari_ran.instance.known import known

LEAST_DETERMINANT = 0.1
"""Determinants below this are penalised while the field is optimised."""


class Regulariser:
    """The weighted roughness and the weighted folds of fields on one control grid.

    The value is ``smoothness * losses.smoothness(field, edges, 2, spacing)``, and ``fold_penalty`` times the mean of
    ``relu(0.1 - det J)``.

    Parameters
    ----------
    smoothness, fold_penalty : float
        Weights.
    edges : (1, 1, *K) tensor or None
        Weight of Eq. 13.
    spacing : sequence of D floats
        Voxel size of the control grid in mm.
    """

    def __init__(self, smoothness: float, fold_penalty: float, edges: Tensor | None, spacing: Sequence[float]) -> None:
        self._smoothness, self._fold_penalty, self._spacing = smoothness, fold_penalty, tuple(spacing)
        self._edges = [] if edges is None else [_between(edges, axis) for axis in range(len(self._spacing))]

    def __call__(self, control: Tensor) -> Tensor:
        """Return the value for a field (1, D, *K) in mm."""
        return known(control, self._compute)

    def _compute(self, control: Tensor, wanted: bool) -> tuple[Tensor, Tensor | None]:
        field = control[0]
        gradient = torch.zeros_like(field) if wanted else None
        value = field.new_zeros(())
        if self._smoothness:
            value += self._roughness(field, gradient)
        if self._fold_penalty:
            value += self._folds(field, gradient)
        return value, None if gradient is None else gradient[None]

    def _roughness(self, field: Tensor, gradient: Tensor | None) -> Tensor:
        """Return the weighted roughness of (D, *K), and add its gradient."""
        ndim = len(field)
        total = field.new_zeros(())
        for axis, spacing in enumerate(self._spacing, 1):
            if field.shape[axis] < 2:
                continue
            difference = torch.diff(field, dim=axis)
            weighted = difference * self._edges[axis - 1] if self._edges else difference
            scale = self._smoothness / (ndim * difference.numel() * spacing**2)
            total += scale * torch.dot(difference.flatten(), weighted.flatten())
            if gradient is not None:
                length = field.shape[axis] - 1
                gradient.narrow(axis, 1, length).add_(weighted, alpha=2 * scale)
                gradient.narrow(axis, 0, length).sub_(weighted, alpha=2 * scale)
        return total

    def _folds(self, field: Tensor, gradient: Tensor | None) -> Tensor:
        """Return the penalty of (D, *K), and add its gradient, which is zero away from the few voxels that count."""
        # the determinants of all rows times their spacing, so that the field need not be divided by it
        columns = [functional.slopes(field, axis) for axis in range(len(field))]
        for axis, spacing in enumerate(self._spacing):
            columns[axis][axis] += spacing
        unit = math.prod(self._spacing)
        lack = LEAST_DETERMINANT * unit - functional.determinant_of(columns).flatten()
        scale = self._fold_penalty / (lack.numel() * unit)
        where = (lack > 0).nonzero().flatten()
        if len(where) == 0:
            return field.new_zeros(())
        if gradient is not None:
            matrix = torch.stack([column.flatten(1)[:, where] for column in columns], 1)
            _add_slopes(gradient, where, _cofactors(matrix) * -scale)
        return scale * lack[where].sum()


def _between(weight: Tensor, axis: int) -> Tensor:
    """Return the smaller weight of every two neighbours along an axis: (1, *K) with one less along it."""
    length = weight.shape[axis + 2] - 1
    return torch.minimum(weight.narrow(axis + 2, 0, length), weight.narrow(axis + 2, 1, length))[0]


def _cofactors(m: Tensor) -> Tensor:
    """Return the derivative of the determinants of matrices (D, D, N) by their entries, (D, D, N)."""
    if len(m) == 2:
        return torch.stack([torch.stack([m[1, 1], -m[1, 0]]), torch.stack([-m[0, 1], m[0, 0]])])
    return torch.stack([torch.linalg.cross(m[(i + 1) % 3], m[(i + 2) % 3], dim=0) for i in range(3)])


def _add_slopes(gradient: Tensor, where: Tensor, slopes: Tensor) -> None:
    """Add to (D, *K) the gradient by the field, given that by its slopes (D, D, N) at voxels `where`."""
    shape = gradient.shape[1:]
    flat = gradient.view(len(gradient), -1)
    stride = 1
    for axis in range(len(shape) - 1, -1, -1):
        size = shape[axis]
        if size > 1:  # a slope is half the difference of the neighbours, and that to the only one at the faces
            place = where.div(stride, rounding_mode="floor") % size
            above, below = (place < size - 1).long(), (place > 0).long()
            change = slopes[:, axis] / (above + below)
            for component, values in enumerate(change):
                flat[component].index_add_(0, where + stride * above, values)
                flat[component].index_add_(0, where - stride * below, -values)
        stride *= size
