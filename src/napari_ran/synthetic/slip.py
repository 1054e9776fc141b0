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
        step = self.offset * self.normals
        beyond, before = self.points + step, self.points - step
        jump = (found.map_points(beyond) - beyond) - (found.map_points(before) - before)
        return tangential(jump, self.normals)


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


def tangential(vectors: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the part of `vectors` (N, D) at a right angle to the unit `normals` (N, D)."""
    along = (vectors * normals).sum(axis=1, keepdims=True)
    return np.asarray(vectors - along * normals)


def _share(measured: NDArray[np.float64], exact: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    return 100 * float((measured[chosen] * exact[chosen]).sum() / (exact[chosen] ** 2).sum())
