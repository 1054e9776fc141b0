"""What leads the fit of one pair beside its images: pairs of points, and what every such guide can do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from napari_ran import functional
from napari_ran.instance.terms import at_points

MOST = 48
"""Largest number of voxels along an axis of the grid on which a first guess is drawn."""

PASSES = 4


class Guide(Protocol):
    """Something known of a pair that a field should obey."""

    name: str
    """Key of its measure in the events, with the unit."""

    def __call__(self, control: Tensor) -> Tensor:
        """Return the weighted term of a field (1, D, *K) in mm that covers the working grid's box."""

    def measure(self, control: Tensor) -> float:
        """Return how well the field obeys, in the unit of `name`."""

    def drawn(self, control: Tensor) -> Tensor:
        """Return a field near `control` that obeys better, as a first guess."""

    def settled(self, field: Tensor) -> Tensor:
        """Return a final field (1, D, *S) in voxels of the working grid that obeys exactly, where that can be."""


class LandmarkGuide:
    """Where points of the fixed image should go, and how much that counts.

    Parameters
    ----------
    points : (N, D) tensor
        Positions on the fixed image, in voxels of the working grid.
    target : (N, D) tensor
        Their displacement in mm along the array axes.
    shape : tuple of int
        Shape of the working grid.
    spacing : sequence of D floats
        Its voxel size in mm.
    weight : float
        Weight of the term against the logarithm of the dissimilarity.
    """

    name = "landmarks (mm)"

    def __init__(
        self, points: Tensor, target: Tensor, shape: tuple[int, ...], spacing: Sequence[float], weight: float
    ) -> None:
        self.shape, self.spacing, self.weight = shape, tuple(spacing), weight
        self._voxels = points
        ndim = len(shape)
        self._points = points.T.reshape(1, ndim, -1, *[1] * (ndim - 1))
        self._target = target.T.reshape(1, ndim, -1, *[1] * (ndim - 1))
        self._unit = sum(spacing) / len(spacing)

    def away(self, control: Tensor) -> Tensor:
        """Return how far from their targets a field (1, D, *K) in mm brings the points, in mm, (N,)."""
        distances: Tensor = torch.linalg.vector_norm(self._missing(control), dim=1)
        return distances.flatten()

    def __call__(self, control: Tensor) -> Tensor:
        """Return the term: the mean of a pseudo-Huber function of the distances in voxels, weighted."""
        squared = self._missing(control).square().sum(dim=1) / self._unit**2
        value: Tensor = self.weight * (torch.sqrt(1 + squared) - 1).mean()
        return value

    def measure(self, control: Tensor) -> float:
        """Return the mean distance in mm."""
        return float(self.away(control).mean())

    def settled(self, field: Tensor) -> Tensor:
        """Return the field as it is: points may be wrong by a voxel, and the images know better."""
        return field

    def drawn(self, control: Tensor) -> Tensor:
        """Return a field that comes close to meeting the points: each draws its neighbourhood along, as a Gaussian.

        The Gaussians are half as wide as the points are apart on average. What overlaps is drawn several times.
        """
        extent = [n * s for n, s in zip(self.shape, self.spacing, strict=True)]
        width = 0.5 * (math.prod(extent) / len(self._voxels)) ** (1 / len(extent))
        shape = [min(n, MOST) for n in control.shape[2:]]
        size = torch.tensor([e / k for e, k in zip(extent, shape, strict=True)]).to(control)
        tail = (-1, *[1] * len(extent))
        places = (functional.voxel_grid(shape, control)[0] + 0.5) * size.view(tail)  # mm from the grid's corner
        corners = (self._voxels + 0.5) * torch.tensor(self.spacing).to(control)
        for _ in range(PASSES):
            total, change = torch.full_like(places[:1], 1e-3), torch.zeros_like(places)
            for place, missing in zip(corners, -self._missing(control)[0].flatten(1).T, strict=True):
                near = torch.exp(-(places - place.view(tail)).square().sum(dim=0, keepdim=True) / (2 * width**2))
                total += near
                change += near * missing.view(tail)
            # where no point is near, nothing is changed
            control = control + functional.resize((change / total.clamp_min(1))[None], control.shape[2:])
        return control

    def _missing(self, control: Tensor) -> Tensor:
        return at_points(control, self._points, self.shape) - self._target
