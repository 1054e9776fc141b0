"""Apply and compose spatial transforms on images and labels.

Everything is read from the original once, whatever grid it lies on, and in slabs, so that the memory needed beside the
input and the result stays bounded. Outside the original, voxels take its background: for an image its smallest value
(air in CT, zero in most other images; zero would be soft tissue in Hounsfield units), for labels 0. A point counts as
inside up to the faces, half a voxel beyond the outermost centres, as in ITK.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as nnf

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid, Image, Labels
from napari_ran.errors import InputError
from napari_ran.types import Interpolation

_FACE = 1e-3
"""Slack in voxels at the outer faces, so that rounding does not blank the outermost voxels."""

_PSF = 1 / (2 * np.sqrt(2 * np.log(2)))
"""Standard deviation of a Gaussian whose full width at half maximum is one voxel."""

VolumeT = TypeVar("VolumeT", Image, Labels)


def resample(
    volume: VolumeT,
    grid: Grid,
    world: ArrayLike | None = None,
    antialias: bool = False,
) -> VolumeT:
    """Resample an image or a label map onto another grid.

    Parameters
    ----------
    volume : Image or Labels
        What is read: an image linearly, labels by the nearest voxel.
    grid : Grid
        Where the result lies.
    world : (D + 1, D + 1) array, optional
        Maps world positions of the result to world positions of `volume`, in mm; the identity when left out.
    antialias : bool
        Smooth an image first where the new voxels are larger than the old ones, such that the point spread functions
        match (Cardoso et al., Scale factor point spread function matching, MICCAI 2015).

    Returns
    -------
    Image or Labels
        Of the same type, on `grid`.
    """
    check_dimension(volume.name, volume.grid.ndim, grid.ndim)
    if isinstance(volume, Labels):
        tensor = pull(volume.tensor[None], volume.grid, grid, world, None, "nearest", 0)[0]
        return Labels(tensor, grid, volume.name, volume.names)
    background = float(volume.tensor.min())
    read = _matched(volume, grid, world) if antialias else volume
    tensor = pull(read.tensor, read.grid, grid, world, None, "linear", background)
    return Image(tensor, grid, volume.name, volume.metadata)


def warp_image(image: Image, field: DisplacementField, background: float | None = None) -> Image:
    """Warp an image onto the field's grid by one linear interpolation of the original.

    Parameters
    ----------
    image : Image
        The moving image, on any grid.
    field : DisplacementField
        Maps points of its grid to points of the image's world.
    background : float, optional
        Value outside the image; its smallest value when left out.

    Returns
    -------
    Image
        On ``field.grid``.
    """
    check_dimension(image.name, image.grid.ndim, field.grid.ndim)
    outside = float(image.tensor.min()) if background is None else background
    tensor = pull(image.tensor, image.grid, field.grid, None, field.tensor, "linear", outside)
    return Image(tensor, field.grid, f"{image.name} warped", image.metadata)


def warp_labels(
    labels: Labels, field: DisplacementField, method: Literal["nearest", "gaussian"] = "nearest", sigma: float = 0.7
) -> Labels:
    """Warp a label map onto the field's grid; outside the original it is background.

    Parameters
    ----------
    labels : Labels
        The moving labels, on any grid.
    field : DisplacementField
        Maps points of its grid to points of the labels' world.
    method : {"nearest", "gaussian"}
        Take the nearest voxel; or the label whose share, smoothed by a Gaussian and interpolated, is largest, which
        leaves borders smooth.
    sigma : float
        Width of that Gaussian in voxels of the labels.
    """
    check_dimension(labels.name, labels.grid.ndim, field.grid.ndim)
    if method == "nearest":
        tensor = pull(labels.tensor[None], labels.grid, field.grid, None, field.tensor, "nearest", 0)[0]
        return Labels(tensor, field.grid, f"{labels.name} warped", labels.names)
    if method != "gaussian":
        raise InputError("method", f"unknown: '{method}'", "Use 'nearest' or 'gaussian'")
    best = torch.full(field.grid.shape, -1.0)
    found = torch.zeros(field.grid.shape, dtype=torch.int32)
    for label in [0, *labels.ids]:
        share = F.gaussian_smooth((labels.tensor == label).float()[None, None], [sigma] * labels.grid.ndim)[0]
        here = pull(share, labels.grid, field.grid, None, field.tensor, "linear", float(label == 0))[0]
        larger = here > best
        best, found = torch.where(larger, here, best), torch.where(larger, label, found)
    return Labels(found, field.grid, f"{labels.name} warped", labels.names)


def compose_to(working: DisplacementField, affine: ArrayLike, grid: Grid) -> DisplacementField:
    """Return the whole transform, ``x -> affine(x + u(x))`` in world coordinates, on another grid.

    Parameters
    ----------
    working : DisplacementField
        The deformable part ``u``, on the working grid (between the fixed image and the affinely aligned moving one).
        Beyond its outermost voxel centres the border's displacement continues.
    affine : (D + 1, D + 1) array
        World positions of the fixed image to world positions of the moving image, in mm.
    grid : Grid
        Where the result lives: the fixed image's own grid.
    """
    return _compose(working, np.eye(grid.ndim + 1), np.asarray(affine, float), grid)


def compose_inverse(working_inverse: DisplacementField, affine: ArrayLike, moving_grid: Grid) -> DisplacementField:
    """Return the whole inverse transform, ``y -> z + v(z)`` with ``z = affine^-1(y)``, on the moving image's grid.

    Parameters
    ----------
    working_inverse : DisplacementField
        The deformable part ``v`` of the other direction, on the working grid.
    affine : (D + 1, D + 1) array
        The same matrix as in `compose_to`: fixed world to moving world, in mm.
    moving_grid : Grid
        Where the result lives.
    """
    return _compose(
        working_inverse, np.linalg.inv(np.asarray(affine, float)), np.eye(moving_grid.ndim + 1), moving_grid
    )


def _compose(
    working: DisplacementField, before: NDArray[np.float64], after: NDArray[np.float64], grid: Grid
) -> DisplacementField:
    """Return ``x -> after(y + u(y))`` with ``y = before(x)`` on `grid`; the matrices act in world coordinates."""
    check_dimension("grid", grid.ndim, working.grid.ndim)
    into = as_double(grid.voxel_map_to(working.grid, before))
    back = as_double(working.grid.voxel_map_to(grid, after))
    source = working.tensor.cpu()[None]
    result = torch.empty((grid.ndim, *grid.shape))
    for rows, voxels in voxel_slabs(grid):
        inside = F.mapped(into, voxels)
        displacement = F.sample(source, inside.float()[None], padding="border")[0]
        result[:, rows] = (F.mapped(back, inside + displacement) - voxels).float()
    return DisplacementField(result, grid, working.source, working.target)


def pull(
    values: Tensor,
    source: Grid,
    target: Grid,
    world: ArrayLike | None,
    displacement: Tensor | None,
    interpolation: Interpolation,
    outside: float,
) -> Tensor:
    """Read ``values`` (C, *S) on `source` at the points of `target`, displaced by (D, *T) target voxels.

    `world` maps world positions of the target to those of the source; beyond the source's faces is `outside`.
    """
    matrix = as_double(target.voxel_map_to(source, world))
    values = values.cpu()
    result = torch.empty((values.shape[0], *target.shape), dtype=values.dtype)
    for rows, voxels in voxel_slabs(target):
        moved = voxels if displacement is None else voxels + displacement[:, rows].cpu()
        coordinates = F.mapped(matrix, moved)
        result[:, rows] = _read(values, coordinates, interpolation, outside)
    return result


def _read(values: Tensor, coordinates: Tensor, interpolation: Interpolation, outside: float) -> Tensor:
    """Read (C, *S) at voxel coordinates (D, *T), with `outside` beyond the outer faces."""
    shape = values.shape[1:]
    inside = torch.ones(coordinates.shape[1:], dtype=torch.bool)
    for axis, n in enumerate(shape):
        inside &= (coordinates[axis] >= -0.5 - _FACE) & (coordinates[axis] <= n - 0.5 + _FACE)
    if interpolation == "nearest":  # by index, so that any label survives exactly
        index = torch.zeros(coordinates.shape[1:], dtype=torch.long)
        for axis, n in enumerate(shape):
            index = index * n + (coordinates[axis] + 0.5).floor().long().clamp_(0, n - 1)
        found = values.flatten(1)[:, index.flatten()].view(-1, *index.shape)
    else:
        found = F.sample(values[None], coordinates[None].to(values.dtype), padding="border")[0]
    return torch.where(inside, found, torch.tensor(outside, dtype=values.dtype))


def _matched(image: Image, grid: Grid, world: ArrayLike | None) -> Image:
    """Smooth an image so that voxels of the size of `grid` represent it.

    Whole multiples are averaged away first, which is cheap on large images; a Gaussian does the rest.
    """
    ratio = _size_ratio(image.grid, grid, world)
    factors = [max(1, min(int(r + 1e-3), n)) for r, n in zip(ratio, image.grid.shape, strict=True)]
    if max(factors) > 1:
        image = _averaged(image, factors)
        ratio = _size_ratio(image.grid, grid, world)
    sigma = _PSF * np.sqrt(np.clip(ratio**2 - 1, 0, None))
    return Image(
        F.gaussian_smooth(image.tensor[None], np.where(ratio > 1.01, sigma, 0).tolist())[0], image.grid, image.name
    )


def _averaged(image: Image, factors: list[int]) -> Image:
    """Average blocks of voxels; a last incomplete block repeats the border."""
    grid = image.grid
    missing = [-n % factor for n, factor in zip(grid.shape, factors, strict=True)]
    padding = [p for extra in reversed(missing) for p in (0, extra)]
    padded = nnf.pad(image.tensor[None], padding, mode="replicate")
    pool = nnf.avg_pool2d if grid.ndim == 2 else nnf.avg_pool3d
    shape = tuple((n + extra) // factor for n, extra, factor in zip(grid.shape, missing, factors, strict=True))
    whole = Grid(tuple(n * factor for n, factor in zip(shape, factors, strict=True)), grid.affine)
    return Image(pool(padded, factors)[0], whole.with_shape(shape), image.name)


def _size_ratio(source: Grid, target: Grid, world: ArrayLike | None) -> NDArray[np.float64]:
    """Return the width of a target voxel in source voxels, along each source axis, (D,)."""
    linear = target.voxel_map_to(source, world)[:-1, :-1]
    return np.asarray(np.sqrt((linear**2).sum(axis=1)))


def voxel_slabs(grid: Grid) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices along the first axis and the voxel coordinates (D, *T) in them, float64."""
    for rows in F.slabs(grid.shape, F.SLAB // 2):  # of twice the bytes
        yield rows, F.voxel_grid(grid.shape, torch.zeros(1, dtype=torch.float64), rows)[0]


def as_double(matrix: NDArray[np.float64]) -> Tensor:
    """Return an array as a tensor of its own."""
    return torch.tensor(matrix, dtype=torch.float64)


def check_dimension(name: str, got: int, wanted: int) -> None:
    """Refuse something of another number of axes."""
    if got != wanted:
        raise InputError(
            name, f"expected {wanted} dimensions, got {got}", "Use images and a transform of the same dimension"
        )
