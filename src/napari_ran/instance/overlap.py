"""Label maps of both images that lead the fit of one pair."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_ran import functional, losses

MOST_VOXELS = 250_000
"""Largest number of voxels on which the overlap is computed: a finer grid costs more than it tells."""


class LabelGuide:
    """Regions of the moving image that should come to lie on those of the fixed image.

    Parameters
    ----------
    fixed, moving : (1, 1, *S) tensor of whole numbers
        Label maps on the working grid, the moving one aligned as its image is; 0 is the background.
    spacing : sequence of D floats
        Voxel size of the working grid in mm.
    weight : float
        Weight of one minus the mean Dice against the logarithm of the dissimilarity.
    """

    name = "labels (Dice)"

    def __init__(self, fixed: Tensor, moving: Tensor, spacing: Sequence[float], weight: float) -> None:
        self._maps, self._spacing, self._weight = (fixed, moving), tuple(spacing), weight
        ids = [set(torch.unique(labels).tolist()) - {0} for labels in (fixed, moving)]
        self.common = sorted(int(value) for value in ids[0] & ids[1])
        self._resized: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def __call__(self, control: Tensor) -> Tensor:
        """Return one minus the mean soft Dice of the common labels, weighted."""
        return self._weight * self._lost(control)

    def measure(self, control: Tensor) -> float:
        """Return the mean soft Dice of the common labels."""
        with torch.no_grad():
            return 1 - float(self._lost(control))

    def drawn(self, control: Tensor) -> Tensor:
        """Return the field as it is."""
        return control

    def settled(self, field: Tensor) -> Tensor:
        """Return the field as it is: borders of labels are drawn by hand."""
        return field

    def _lost(self, control: Tensor) -> Tensor:
        whole = self._maps[0].shape[2:]
        shape = tuple(control.shape[2:])
        factor = (control[0, 0].numel() / MOST_VOXELS) ** (1 / len(shape))
        if factor > 1:
            shape = tuple(max(2, int(n / factor)) for n in shape)
        fixed, moving = self._at(shape)
        voxel = [s * n / k for s, n, k in zip(self._spacing, whole, shape, strict=True)]
        scale = torch.tensor(voxel).to(control).view(1, -1, *[1] * len(shape))
        return losses.dice_loss(fixed, moving, functional.resize(control, shape) / scale, self.common)

    def _at(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Return both maps on another grid over the same box, by the nearest voxel."""
        if shape not in self._resized:
            first, second = (functional.resize_labels(one, shape).long() for one in self._maps)
            self._resized[shape] = (first, second)
        return self._resized[shape]
