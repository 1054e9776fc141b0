"""Smooth random volumes and displacement fields, in 2-D and 3-D, with torch only.

Everything is a cubic B-spline through random control points, so that volumes are twice differentiable, cheap (one small
matrix product per axis), and reproduced exactly by the generator's seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def spline_noise(shape: Sequence[int], spacing: float, channels: int, generator: torch.Generator) -> Tensor:
    """Return a smooth random volume (1, channels, *S) with mean about 0 and standard deviation about 1.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape ``S``.
    spacing : float
        Distance of the control points in voxels, along every axis; structures are about twice as large.
    channels : int
        Number of independent volumes.
    generator : torch.Generator
        Source of the control points (on the CPU).
    """
    bases = [_spline_basis(n, spacing, float(torch.rand((), generator=generator))) for n in shape]
    volume = torch.randn((channels, *(basis.shape[1] for basis in bases)), generator=generator)
    gain = 1.0
    for axis, basis in enumerate(bases, start=1):
        volume = torch.tensordot(volume, basis, dims=([axis], [1])).movedim(-1, axis)
        gain *= float(basis.square().sum(dim=1).mean())
    return (volume / math.sqrt(gain))[None].contiguous()


def _spline_basis(n: int, spacing: float, phase: float) -> Tensor:
    """Weights (n, control points) of the cubic B-spline at each of `n` voxels; each row sums to one."""
    position = torch.arange(n, dtype=torch.float64) / spacing + phase
    cell = position.floor()
    t = position - cell
    weights = torch.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], dim=1) / 6
    basis = torch.zeros(n, int(cell[-1]) + 4, dtype=torch.float64)
    columns = cell.long()[:, None] + torch.arange(4)
    return basis.scatter_(1, columns, weights).float()


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """Draw a number between two others."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def rotation_matrix(angles: Sequence[float]) -> Tensor:
    """Return the rotation (D, D) by one angle in 2-D or by three angles about the axes in turn in 3-D, in radians."""
    if len(angles) == 1:
        c, s = math.cos(angles[0]), math.sin(angles[0])
        return torch.tensor([[c, -s], [s, c]], dtype=torch.float32)
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = torch.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return matrix


def centred_grid(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return voxel positions relative to the grid's middle, (1, D, *S), in voxels."""
    axes = [torch.arange(n, dtype=dtype) - (n - 1) / 2 for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def column(values: Sequence[float]) -> Tensor:
    """Return one number per axis as a float32 tensor (1, D, 1, ...), which goes with fields (1, D, *S)."""
    return torch.tensor(values, dtype=torch.float32).view(1, -1, *[1] * len(values))


def length(vectors: Tensor) -> Tensor:
    """Return the lengths of vectors (B, D, *S), (B, 1, *S).

    Equal to `torch.linalg.vector_norm` over axis 1 in every bit, as older seeds' pairs rest on it, and several times
    as fast on a CPU: that too adds squares in the vectors' precision and takes the root in double precision.
    """
    first, *others = vectors.unbind(1)
    squared = first * first
    for component in others:
        squared = squared + component * component
    return torch.sqrt(squared.double()).to(vectors.dtype)[:, None]


def scaled_to(field: Tensor, peak: float) -> Tensor:
    """Return a field (1, D, *S) scaled so that its largest displacement is `peak`."""
    return field * (peak / max(float(length(field).max()), 1e-6))


def smooth_field(
    shape: Sequence[int],
    peak: float,
    spacing: float,
    generator: torch.Generator,
    angles: Sequence[float] = (),
    translation: Sequence[float] = (),
) -> Tensor:
    """Return a smooth random displacement field (1, D, *S) in voxels whose largest displacement is exactly `peak`.

    Parameters
    ----------
    shape : sequence of int
        Spatial shape ``S``.
    peak : float
        Largest length of a displacement, in voxels; 0 gives the zero field.
    spacing : float
        Distance of the spline's control points in voxels. The field does not fold while `peak` stays below about 0.4
        times this.
    generator : torch.Generator
        Source of the control points.
    angles : sequence of float
        Rotation about the middle in radians that is added (1 angle in 2-D, 3 in 3-D) before the field is rescaled.
    translation : sequence of float
        Translation in voxels, one per axis, that is added before the field is rescaled.
    """
    ndim = len(shape)
    field = scaled_to(spline_noise(shape, spacing, ndim, generator), peak)
    if angles:
        turn = rotation_matrix(angles) - torch.eye(ndim)
        field = field + torch.einsum("ij,bj...->bi...", turn, centred_grid(shape))
    if translation:
        field = field + column(translation)
    return scaled_to(field, peak)
