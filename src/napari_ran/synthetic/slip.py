"""How much of the sliding between two parts a displacement field reproduces."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_ran.data import DisplacementField


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

    def measured_jump(self, found: DisplacementField) -> NDArray[np.float64]:
        """Return the tangential jump (N, D) of a field in mm across the boundary at each point."""
        return tangential(jump_across(found, self.points, self.normals, self.offset), self.normals)


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


def zero_crossings(level: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Voxel positions (N, D) where a level function (*S) changes its sign along an axis."""
    first = np.moveaxis(level, axis, 0)
    before, after = first[:-1], first[1:]
    index = np.argwhere((before > 0) != (after > 0)).astype(float)
    low, high = before[tuple(index.astype(int).T)], after[tuple(index.astype(int).T)]
    index[:, 0] += low / (low - high)
    order = [*range(1, axis + 1), 0, *range(axis + 1, level.ndim)]
    return index[:, order]


def tangential(vectors: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of `vectors` (N, D) at a right angle to the unit `normals` (N, D)."""
    along = (vectors * normals).sum(axis=1, keepdims=True)
    return np.asarray(vectors - along * normals)


def _share(measured: NDArray[np.float64], exact: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    return 100 * float((measured[chosen] * exact[chosen]).sum() / (exact[chosen] ** 2).sum())
