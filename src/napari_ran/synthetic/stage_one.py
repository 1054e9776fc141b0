"""Deformations of the paper's first training stage: a rotation about any axis, a thin-plate spline, Gaussian bumps.

The parts are composed, ``y = R (x + plate(x) + bumps(x) - c) + c + t``, so that the rotation keeps the elastic part's
lengths. Every amplitude is the largest displacement of its part in voxels. (In the released code the bumps, put on
single voxels before they are smoothed, hardly move anything.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as nnf

from napari_ran import functional as F
from napari_ran.config.generated import StageOneConfig
from napari_ran.synthetic.deformations import centred_grid, column, rotation_matrix, scaled_to, uniform

_CHUNK = 1 << 16
"""Voxels at which a thin-plate spline is evaluated at a time."""

_LATTICE = 3
"""Control points of the thin-plate spline along each axis."""

Vectors = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class StageOneRecord:
    """What was drawn for one deformation; lengths in voxels, positions relative to the grid's middle.

    Attributes
    ----------
    axis : tuple of float
        Unit vector of the rotation's axis; empty in 2-D.
    angle : float
        Rotation in radians.
    translation : tuple of D floats
        Translation.
    plate_points, plate_shifts : tuples of tuples of D floats
        Control points of the thin-plate spline and their displacements before the amplitude is set.
    plate, bumps : float
        Largest displacement of either part.
    bump_centres, bump_vectors : tuples of tuples of D floats
        Middle and displacement of each bump before the amplitude is set.
    width : float
        Standard deviation of the bumps.
    beyond : float
        How far outside the image a point may come to lie.
    """

    axis: tuple[float, ...]
    angle: float
    translation: tuple[float, ...]
    plate_points: Vectors
    plate_shifts: Vectors
    plate: float
    bump_centres: Vectors
    bump_vectors: Vectors
    bumps: float
    width: float
    beyond: float


def draw_stage_one(config: StageOneConfig, shape: Sequence[int], generator: torch.Generator) -> StageOneRecord:
    """Draw a deformation for images of `shape`."""
    ndim, side = len(shape), math.prod(shape) ** (1 / len(shape))
    size = torch.tensor([float(n) for n in shape])
    between = partial(uniform, generator)

    def direction() -> Tensor:
        return nnf.normalize(torch.randn(ndim, generator=generator), dim=0)

    steps = [torch.linspace(-0.5, 0.5, _LATTICE)] * ndim
    lattice = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1).reshape(-1, ndim)
    jitter = (torch.rand(lattice.shape, generator=generator) - 0.5) / (2 * _LATTICE)
    bumps = side * between(*config.bumps)
    return StageOneRecord(
        axis=tuple(direction().tolist()) if ndim == 3 else (),
        angle=between(-config.rotation, config.rotation),
        translation=tuple((direction() * side * between(*config.translation)).tolist()),
        plate_points=_vectors((lattice + jitter) * size),
        plate_shifts=_vectors(torch.randn(lattice.shape, generator=generator)),
        plate=side * between(*config.plate),
        bump_centres=_vectors((torch.rand(config.seeds, ndim, generator=generator) - 0.5) * size),
        bump_vectors=_vectors(torch.randn(config.seeds, ndim, generator=generator)),
        bumps=bumps,
        width=max(side * between(*config.width), 1.5 * bumps),
        beyond=config.beyond,
    )


def stage_one_field(record: StageOneRecord, shape: Sequence[int]) -> Tensor:
    """Return the displacement field (1, D, *S) of a record in voxels."""
    here = centred_grid(shape)
    plate = thin_plate(here, record.plate_points, record.plate_shifts)
    bumps = gaussian_bumps(shape, record.bump_centres, record.bump_vectors, record.width)
    elastic = scaled_to(plate, record.plate) + scaled_to(bumps, record.bumps)
    turn = rotation_about(record.axis, record.angle) - torch.eye(len(shape))
    turned = torch.einsum("ij,bj...->bi...", turn, here + elastic)
    return held_near(elastic + turned + column(record.translation), record.beyond)


def rotation_about(axis: Sequence[float], angle: float) -> Tensor:
    """Return the rotation (D, D) by `angle` in radians about a unit vector (3 numbers), or in the plane (none)."""
    if not axis:
        return rotation_matrix((angle,))
    x, y, z = axis
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return torch.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)


def thin_plate(where: Tensor, points: Vectors, shifts: Vectors) -> Tensor:
    """Evaluate the thin-plate spline that moves control points by given displacements exactly.

    Parameters
    ----------
    where : (1, D, *S) tensor
        Positions.
    points, shifts : N tuples of D floats
        Control points, in the units of `where`, and their displacements. They must not lie in one (hyper)plane.

    Returns
    -------
    (1, D, *S) tensor
        Of least bending energy: kernel r^2 log r in 2-D and r in 3-D, plus an affine part.
    """
    ndim = where.shape[1]
    control = torch.tensor(points, dtype=torch.float64)
    count = len(control)
    system = torch.zeros(count + ndim + 1, count + ndim + 1, dtype=torch.float64)
    system[:count, :count] = _kernel(control, control)
    system[:count, count:] = system[count:, :count].T.copy_(torch.cat([torch.ones(count, 1), control], dim=1))
    system[count:, :count] = system[:count, count:].T
    target = torch.zeros(count + ndim + 1, ndim, dtype=torch.float64)
    target[:count] = torch.tensor(shifts, dtype=torch.float64)
    weights = torch.linalg.solve(system, target).to(where.dtype)

    flat, control = where.flatten(2)[0].T, control.to(where.dtype)
    result = torch.empty_like(flat)
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        kernel = _kernel(part, control)
        result[start : start + _CHUNK] = kernel @ weights[:count] + weights[count] + part @ weights[count + 1 :]
    return result.T.reshape(where.shape)


def _kernel(where: Tensor, control: Tensor) -> Tensor:
    """Radial functions (N, K) of the points (N, D) about the control points (K, D)."""
    # the default goes by matrix products, which lose the digits of short distances
    distance: Tensor = torch.cdist(where, control, compute_mode="donot_use_mm_for_euclid_dist")
    return distance if control.shape[1] == 3 else torch.special.xlogy(distance**2, distance)


def gaussian_bumps(shape: Sequence[int], centres: Vectors, vectors: Vectors, width: float) -> Tensor:
    """Return the sum of Gaussian bumps, ``sum_k v_k exp(-|x - c_k|**2 / (2 width**2))``, (1, D, *S).

    Positions are relative to the grid's middle, all lengths in voxels.
    """
    middle = torch.tensor(centres)
    profiles = []
    for axis, n in enumerate(shape):
        offset = torch.arange(n) - (n - 1) / 2 - middle[:, axis, None]
        profiles.append(torch.exp(-0.5 * (offset / width) ** 2))
    axes = "abc"[: len(shape)]
    equation = f"kd,{','.join(f'k{name}' for name in axes)}->d{axes}"
    return torch.einsum(equation, torch.tensor(vectors), *profiles)[None]


def held_near(field: Tensor, beyond: float) -> Tensor:
    """Return the field (1, D, *S) whose points are at most `beyond` voxels outside the grid."""
    here = F.voxel_grid(field.shape[2:], field)
    last = column([n - 1 for n in field.shape[2:]])
    return torch.minimum((here + field).clamp_min(-beyond), last + beyond) - here


def _vectors(values: Tensor) -> Vectors:
    return tuple(tuple(row) for row in values.tolist())
