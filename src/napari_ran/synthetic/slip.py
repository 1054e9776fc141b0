"""How much of the sliding between two parts a displacement field reproduces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_ran.data import DisplacementField, Labels

_SMOOTHING = 1.5
"""Width (standard deviation, voxels) of the filter that turns the staircase of a label's border into a surface."""


@dataclass(frozen=True, eq=False)
class Interface:
    """Points on the boundaries along which parts slide, on the fixed image's side.

    Attributes
    ----------
    points : (N, D) array
        World positions in mm.
    normals : (N, D) array
        Unit normals in world axes.
    jump : (N, D) array
        Exact jump of the displacement in mm, tangential: beyond the boundary minus before it, along the normal.
    offset : float
        Distance from the boundary, in mm, at which a field is read on either side.
    names : tuple of str
        Which boundary each point lies on.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    jump: NDArray[np.float64]
    offset: float
    names: tuple[str, ...]

    @classmethod
    def joined(cls, parts: Sequence[Interface]) -> Interface:
        """Return the points of several boundaries (at least one) as those of one; all have one offset."""
        points, normals, jump = (np.concatenate([getattr(p, n) for p in parts]) for n in ("points", "normals", "jump"))
        return cls(points, normals, jump, parts[0].offset, tuple(name for part in parts for name in part.names))

    def measured_jump(self, found: DisplacementField) -> NDArray[np.float64]:
        """Return the tangential jump (N, D) of a field in mm across the boundary at each point."""
        return tangential(jump_across(found, self.points, self.normals, self.offset), self.normals)

    def recovered_percent(self, found: DisplacementField) -> float:
        """Return the share of the exact jump that a field reproduces; see `SlipReport`."""
        return _share(self.measured_jump(found), self.jump, np.ones(len(self.names), bool))


@dataclass(frozen=True)
class SlipReport:
    """How well a field reproduces a phantom's motion.

    Attributes
    ----------
    recovered_percent : float
        Share of the exact tangential jump that is reproduced, in percent: 100 all, 0 none (as any smooth field has it
        in the limit). Projection on the exact jump, averaged with its square as weight.
    by_interface : dict
        The same for each boundary.
    epe_voxels, epe_mm : float
        Mean end-point error inside the organs.
    identity_epe_voxels : float
        That of doing nothing.
    points : int
        Number of boundary points.
    """

    recovered_percent: float
    epe_voxels: float
    epe_mm: float
    identity_epe_voxels: float
    points: int
    by_interface: dict[str, float] = field(default_factory=dict)


def interface_of(labels: Labels, truth: DisplacementField) -> Interface | None:
    """Find the borders of labels along which an exact field slips; None where it slips nowhere.

    Parameters
    ----------
    labels : Labels
        Parts on the fixed grid; 0 is a part too.
    truth : DisplacementField
        The exact field on the same grid.

    Returns
    -------
    Interface or None
        Where a label's border crosses the grid's lines and the field jumps along it by more than a voxel, and by more
        than 0.3 of the largest jump of that border, over three voxels.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    grid = truth.grid
    offset, voxel = 1.5 * float(grid.spacing.mean()), float(grid.spacing.mean())
    parts: list[Interface] = []
    for label in labels.ids:
        level = gaussian_filter((labels.array == label).astype(np.float64), _SMOOTHING) - 0.5
        voxels = zero_crossings(level)
        if not len(voxels):
            continue
        gradient = np.stack([map_coordinates(g, voxels.T, order=1) for g in np.gradient(level)], axis=1)
        normals = gradient @ np.linalg.inv(grid.affine[:-1, :-1])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-12)
        points = grid.to_world(voxels)
        jump = tangential(jump_across(truth, points, normals, offset), normals)
        length = np.linalg.norm(jump, axis=1)
        keep = length > max(voxel, 0.3 * length.max())
        if keep.any():
            names = (labels.names.get(label, str(label)),) * int(keep.sum())
            parts.append(Interface(points[keep], normals[keep], jump[keep], offset, names))
    return Interface.joined(parts) if parts else None


def measure_slip(
    found: DisplacementField, truth: DisplacementField, interface: Interface, organs: NDArray[np.bool_]
) -> SlipReport:
    """Compare a field with the exact one; both on one grid, `organs` (*S) says where the error is averaged."""
    measured = interface.measured_jump(found)
    names = np.asarray(interface.names)
    shares = {str(name): _share(measured, interface.jump, names == name) for name in dict.fromkeys(interface.names)}
    difference = (found.tensor.cpu() - truth.tensor).numpy()[:, organs]
    exact = truth.tensor.numpy()[:, organs]
    world = truth.grid.affine[:-1, :-1] @ difference
    return SlipReport(
        recovered_percent=_share(measured, interface.jump, np.ones(len(names), bool)),
        epe_voxels=float(np.linalg.norm(difference, axis=0).mean()),
        epe_mm=float(np.linalg.norm(world, axis=0).mean()),
        identity_epe_voxels=float(np.linalg.norm(exact, axis=0).mean()),
        points=len(names),
        by_interface=shares,
    )


def jump_across(
    found: DisplacementField, points: NDArray[np.float64], normals: NDArray[np.float64], offset: float
) -> NDArray[np.float64]:
    """Return the jump of a field across a surface (N, D) in mm, in world axes: beyond it minus before it.

    Parameters
    ----------
    found : DisplacementField
        Any field.
    points, normals : (N, D) array
        World positions in mm on the surface, and unit normals in world axes.
    offset : float
        Distance from the surface in mm at which the field is read on either side. A voxel and a half keeps the linear
        interpolation from mixing the sides; what the field strains over that distance counts as jump.
    """
    step = offset * normals
    beyond, before = points + step, points - step
    return np.asarray((found.map_points(beyond) - beyond) - (found.map_points(before) - before))


def zero_crossings(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the voxel positions (N, D) where a level function (*S) changes its sign, axis by axis."""
    found = []
    for axis in range(level.ndim):
        first = np.moveaxis(level, axis, 0)
        before, after = first[:-1], first[1:]
        index = np.argwhere((before > 0) != (after > 0)).astype(float)
        low, high = before[tuple(index.astype(int).T)], after[tuple(index.astype(int).T)]
        index[:, 0] += low / (low - high)
        found.append(index[:, [*range(1, axis + 1), 0, *range(axis + 1, level.ndim)]])
    return np.concatenate(found)


def tangential(vectors: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of `vectors` (N, D) at a right angle to the unit `normals` (N, D)."""
    along = (vectors * normals).sum(axis=1, keepdims=True)
    return np.asarray(vectors - along * normals)


def _share(measured: NDArray[np.float64], exact: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    return 100 * float((measured[chosen] * exact[chosen]).sum() / (exact[chosen] ** 2).sum())
