"""Regions that move rigidly, such as bones, while what is around them deforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_ran import functional
from napari_ran.losses import box_mean

WEIGHT = 10.0
"""Weight of the mean squared deviation, in squared voxels, against the logarithm of the dissimilarity."""

REACH = 3
"""Radius in voxels of the boxes by which the last correction fades out around a region."""

FADES = 2
"""How often it is averaged over such boxes."""


@dataclass(frozen=True)
class RigidMotion:
    """What a region did: world positions ``y = rotation @ x + shift``, in mm.

    Attributes
    ----------
    region : int
        The label.
    rotation : (D, D) tensor
        Proper rotation.
    shift : (D,) tensor
        In mm.
    away : float
        Root mean squared distance in mm of the field from this motion within the region.
    """

    region: int
    rotation: Tensor
    shift: Tensor
    away: float


class RigidGuide:
    """Regions of the fixed image within which the whole transform, the affine included, should be rigid.

    The rigid motion that is closest to the field in the least squares' sense (Kabsch, Acta Cryst. A 1976) is found anew
    at every step, and the field is drawn to it.

    Parameters
    ----------
    regions : (1, 1, *S) tensor of whole numbers
        Labels on the working grid; each above 0 is a region.
    grid : (D + 1, D + 1) tensor
        Voxels of the working grid to world positions, in mm.
    affine : (D + 1, D + 1) tensor
        World positions of the affinely aligned moving image to those of the moving image, in mm: it follows the field.
    spacing : sequence of D floats
        Voxel size of the working grid in mm.
    """

    name = "rigid regions (mm)"

    def __init__(self, regions: Tensor, grid: Tensor, affine: Tensor, spacing: Sequence[float]) -> None:
        self._regions, self._spacing = regions, torch.tensor(list(spacing), dtype=torch.float64)
        self._to_world, self._affine = grid.double().cpu(), affine.double().cpu()
        self._unit = float(self._spacing.mean())
        self.ids = [int(value) for value in torch.unique(regions).tolist() if value > 0]
        self._places: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}

    def __call__(self, control: Tensor) -> Tensor:
        """Return the mean squared distance from rigid motion in squared voxels, over all regions, weighted."""
        return WEIGHT * self._squared(control) / self._unit**2

    def measure(self, control: Tensor) -> float:
        """Return the root mean squared distance from rigid motion in mm, over all regions."""
        with torch.no_grad():
            return float(self._squared(control).sqrt())

    def drawn(self, control: Tensor) -> Tensor:
        """Return the field as it is."""
        return control

    @torch.no_grad()
    def settled(self, field: Tensor) -> Tensor:
        """Return the field with rigid motion in every region; the correction fades out around them."""
        size = self._spacing.to(field).view(1, -1, *[1] * (field.ndim - 2))
        change, inside = torch.zeros_like(field), torch.zeros_like(field[:, :1])
        flat, marked = change.view(field.shape[1], -1), inside.view(-1)
        for (where, _), gap in zip(self._at(tuple(field.shape[2:])), self._gaps(field * size), strict=True):
            flat[:, where] = -gap.to(flat)
            marked[where] = 1
        change = change / size
        near, weight = change, inside
        for _ in range(FADES):
            near, weight = box_mean(near, 2 * REACH + 1), box_mean(weight, 2 * REACH + 1)
        around = near / weight.clamp_min(1e-6) * (2 * weight).clamp_max(1)
        return field + torch.where(inside > 0, change, around)

    def motions(self, field: Tensor) -> list[RigidMotion]:
        """Return what each region does under a field (1, D, *S) in voxels of the working grid."""
        control = field.detach() * self._spacing.to(field).view(1, -1, *[1] * (field.ndim - 2))
        found = []
        for region, (where, voxels) in zip(self.ids, self._at(tuple(control.shape[2:])), strict=True):
            moved = self._moved(control, where, voxels)
            rotation, shift = self._fit(voxels, moved)
            gap = (moved - self._back(rotation, shift, voxels)).double().cpu()
            away = (gap * self._spacing[:, None]).square().sum(0).mean().sqrt()
            found.append(RigidMotion(region, rotation, shift, float(away)))
        return found

    def _squared(self, control: Tensor) -> Tensor:
        """Return the mean squared distance from rigid motion in squared mm, over the voxels of all regions."""
        squares = torch.cat([gap.square().sum(0) for gap in self._gaps(control)])
        return squares.sum() / max(len(squares), 1)

    def _gaps(self, control: Tensor) -> list[Tensor]:
        """Return for each region how far each voxel is from where the region's rigid motion has it, (D, N) in mm."""
        found = []
        for where, voxels in self._at(tuple(control.shape[2:])):
            if not len(where):
                found.append(control.new_zeros((control.shape[1], 0)))
                continue
            moved = self._moved(control, where, voxels)
            goal = self._back(*self._fit(voxels, moved), voxels).to(moved)
            found.append((moved - goal) * self._spacing[:, None].to(moved))
        return found

    def _moved(self, control: Tensor, where: Tensor, voxels: Tensor) -> Tensor:
        """Return where voxels (D, N) of the working grid go, in its voxels."""
        displacement = control[0].flatten(1)[:, where]
        return voxels.to(displacement) + displacement / self._spacing[:, None].to(displacement)

    def _fit(self, voxels: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rotation and the shift, in world positions, that come closest to what the points did."""
        start = self._world(voxels.cpu(), self._to_world)
        end = self._world(moved.detach().double().cpu(), self._affine @ self._to_world)
        here, there = start.mean(1, keepdim=True), end.mean(1, keepdim=True)
        left, _, right = torch.linalg.svd((end - there) @ (start - here).T)
        flip = torch.ones(len(start), dtype=torch.float64)
        flip[-1] = torch.sign(torch.linalg.det(left @ right))  # a rotation and no reflection
        rotation = left @ torch.diag(flip) @ right
        return rotation, (there - rotation @ here)[:, 0]

    def _back(self, rotation: Tensor, shift: Tensor, voxels: Tensor) -> Tensor:
        """Return where a rigid motion takes voxels, as what the field would have to do, in voxels."""
        end = rotation @ self._world(voxels.cpu(), self._to_world) + shift[:, None]
        return self._world(end, torch.linalg.inv(self._affine @ self._to_world)).to(voxels.device)

    @staticmethod
    def _world(points: Tensor, matrix: Tensor) -> Tensor:
        return matrix[:-1, :-1] @ points + matrix[:-1, -1:]

    def _at(self, shape: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
        """Return for each region its voxels on a grid of `shape`: their numbers, and their place on the working grid.

        A region that a coarse grid has no voxel of has none there.
        """
        if shape not in self._places:
            whole = self._regions.shape[2:]
            small = functional.resize_labels(self._regions, shape).long().flatten()
            ratio = torch.tensor([n / k for n, k in zip(whole, shape, strict=True)], dtype=torch.float64)
            grid = functional.voxel_grid(shape, torch.zeros((), dtype=torch.float64))[0].flatten(1)
            places = (grid + 0.5) * ratio[:, None] - 0.5
            found = []
            for region in self.ids:
                where = (small == region).nonzero().flatten()
                found.append((where, places.to(small.device)[:, where]))
            self._places[shape] = found
        return self._places[shape]
