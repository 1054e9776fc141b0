"""Affine pre-alignment of two images by mutual information, coarse to fine.

SimpleITK does the optimisation. Its images are given our world coordinates (RAS, mm) as they are: nothing here depends
on how the axes are called, and the matrix that comes out maps fixed world positions to moving world positions.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from napari_ran.data import Grid, Image
from napari_ran.preprocess.grids import at_least, coarsened, overlap
from napari_ran.transform import resample

LEVEL_VOXELS = (8_000, 40_000, 160_000)
"""Largest number of voxels of the fixed image at each level of the pyramid, coarse to fine."""

ITERATIONS = (100, 80, 50)
MOST_SAMPLES = 40_000
BINS = 32
SEED = 121212

LEAST_OVERLAP = 0.3
"""Share of the smaller image that must lie inside the other one for a position to be considered."""

LEAST_GAIN = 0.01
"""Relative gain in mutual information below which ``auto`` keeps the headers' alignment."""

VOLUME_CHANGE = (0.4, 2.5)
"""Determinants between which an affine transform is believed."""

Matrix = NDArray[np.float64]
Pair = tuple[Image, Image]


@dataclass(frozen=True)
class AffineStep:
    """One step is done; `metric` is the mutual information at the finest level (nats, larger is better)."""

    step: int
    total: int
    metric: float
    message: str


@dataclass(frozen=True, eq=False)
class AffineResult:
    """The alignment that was found.

    Attributes
    ----------
    matrix : (D + 1, D + 1) float64 array
        Fixed world positions to moving world positions, in mm.
    before, after : float
        Mutual information (nats) by the headers alone and with the matrix.
    message : str
        What was done and why, in one sentence.
    """

    matrix: Matrix
    before: float
    after: float
    message: str


def align(
    fixed: Image, moving: Image, mode: Literal["auto", "rigid", "affine"]
) -> Generator[AffineStep, None, AffineResult]:
    """Find the rigid or affine transform that aligns two images.

    Parameters
    ----------
    fixed, moving : Image
        Intensities in [0, 1]; any grids.
    mode : {"auto", "rigid", "affine"}
        What to fit; ``auto`` fits an affine transform. The headers' alignment is kept when the fit is not better, or,
        with ``auto``, hardly better or not plausible.

    Yields
    ------
    AffineStep
        After the choice of the starting position and after each resolution level.

    Returns
    -------
    AffineResult
    """
    levels = _pyramid(fixed, moving)
    start, how = _best_start(*levels[0])
    total, finest = len(levels) + 1, levels[-1]
    yield AffineStep(1, total, mutual_information(*finest, start), f"starting from {how}")
    matrix = start
    for number, level in enumerate(levels):
        if number == 0 or mode == "rigid":
            matrix = _optimise(*level, matrix, "rigid", ITERATIONS[number])
        if mode != "rigid" and (number > 0 or len(levels) == 1):
            matrix = _optimise(*level, matrix, "affine", ITERATIONS[number])
        pitch = " x ".join(f"{s:.3g}" for s in level[0].grid.spacing)
        yield AffineStep(number + 2, total, mutual_information(*finest, matrix), f"aligned at {pitch} mm")
    return _accept(finest, mode, matrix, start, how)


def mutual_information(fixed: Image, moving: Image, world: Matrix) -> float:
    """Return the mutual information of the overlap, times its share of the fixed image, in nats.

    The factor counts what is lost outside the moving image: without it a sliver of overlap could score best.
    """
    inside = _inside(fixed.grid, moving.grid, world)
    if inside.sum() < BINS:
        return 0.0
    warped = resample(moving, fixed.grid, world).array
    joint, _, _ = np.histogram2d(fixed.array[inside], warped[inside], bins=BINS, range=((0, 1), (0, 1)))
    joint /= joint.sum()
    marginal = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / marginal[seen])).sum() * inside.mean())


def _inside(fixed: Grid, moving: Grid, world: Matrix) -> NDArray[np.bool_]:
    """Return which fixed voxels reach the inside of the moving grid, (*S)."""
    matrix = fixed.voxel_map_to(moving, world)
    inside = np.ones(fixed.shape, dtype=bool)
    axes = np.ogrid[tuple(slice(n) for n in fixed.shape)]
    for row, n in zip(matrix[:-1], moving.shape, strict=True):
        reached = sum((c * axis for c, axis in zip(row[:-1], axes, strict=True)), row[-1])
        inside &= (reached >= -0.5) & (reached <= n - 0.5)
    return inside


def _pyramid(fixed: Image, moving: Image) -> list[Pair]:
    """Return both images at each resolution, coarse to fine, without repeating one that a small image already has."""
    levels: list[Pair] = []
    for voxels in LEVEL_VOXELS:
        grid = coarsened(fixed.grid, voxels)
        if levels and levels[-1][0].grid.shape == grid.shape:
            break
        pitch = float(grid.spacing.min())
        other = moving.grid.with_shape(at_least(moving.grid, pitch))
        levels.append((resample(fixed, grid, antialias=True), resample(moving, other, antialias=True)))
    return levels


def _best_start(fixed: Image, moving: Image) -> tuple[Matrix, str]:
    """Return the best translation among the headers', the centres', the moments', and what lies around them."""
    ndim = fixed.grid.ndim
    candidates = {
        "the headers' alignment": np.zeros(ndim),
        "the centres of both grids": moving.grid.centre - fixed.grid.centre,
        "the centres of mass": _centre_of_mass(moving) - _centre_of_mass(fixed),
    }
    found = [
        (*_search(fixed, moving, shift), how) for how, shift in candidates.items() if _plausible(fixed, moving, shift)
    ]
    _, shift, how = max(found, key=lambda entry: entry[0])
    return _translation(shift), how


def _search(fixed: Image, moving: Image, shift: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Improve a translation by halving steps along the fixed axes: a pattern search needs no slope to follow."""
    best = mutual_information(fixed, moving, _translation(shift))
    step = 0.2
    while step > 0.02:
        improved = False
        for axis in range(fixed.grid.ndim):
            stride = fixed.grid.direction[:, axis] * fixed.grid.extent[axis] * step
            for trial in (shift + stride, shift - stride):
                score = mutual_information(fixed, moving, _translation(trial))
                if score > best and _plausible(fixed, moving, trial):
                    best, shift, improved = score, trial, True
        if not improved:
            step /= 2
    return best, shift


def _plausible(fixed: Image, moving: Image, shift: NDArray[np.float64]) -> bool:
    return overlap(fixed.grid, moving.grid, _translation(shift)) >= LEAST_OVERLAP


def _centre_of_mass(image: Image) -> NDArray[np.float64]:
    weights = image.array.astype(np.float64)
    axes = range(image.grid.ndim)
    sums = [weights.sum(axis=tuple(a for a in axes if a != axis)) for axis in axes]
    return image.grid.to_world([float((s * np.arange(len(s))).sum() / s.sum()) for s in sums])


def _translation(shift: NDArray[np.float64]) -> Matrix:
    matrix = np.eye(len(shift) + 1)
    matrix[:-1, -1] = shift
    return matrix


def _optimise(fixed: Image, moving: Image, matrix: Matrix, kind: Literal["rigid", "affine"], iterations: int) -> Matrix:
    """Refine a matrix at one resolution by gradient descent on Mattes' mutual information."""
    transform = _transform(fixed.grid, matrix, kind)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    share = MOST_SAMPLES / float(np.prod(fixed.grid.shape))
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    finest = float(fixed.grid.spacing.min())
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=finest, minStep=1e-3 * finest, numberOfIterations=iterations, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(_itk(fixed), _itk(moving))
    return _matrix(transform, fixed.grid.ndim)


def _transform(grid: Grid, matrix: Matrix, kind: Literal["rigid", "affine"]) -> sitk.Transform:
    """Return a SimpleITK transform about the middle of the fixed grid, so that rotation and translation do not mix."""
    ndim = grid.ndim
    centre = grid.centre
    if kind == "affine":
        transform = sitk.AffineTransform(ndim)
    else:
        transform = sitk.Euler2DTransform() if ndim == 2 else sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(matrix[:-1, :-1].ravel().tolist())
    transform.SetTranslation((matrix[:-1, :-1] @ centre + matrix[:-1, -1] - centre).tolist())
    return transform


def _matrix(transform: sitk.Transform, ndim: int) -> Matrix:
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = np.reshape(transform.GetMatrix(), (ndim, ndim))
    matrix[:-1, -1] = transform.TransformPoint([0.0] * ndim)
    return matrix


def _itk(image: Image) -> sitk.Image:
    converted = sitk.GetImageFromArray(np.ascontiguousarray(image.array.T))
    converted.SetSpacing(image.grid.spacing.tolist())
    converted.SetOrigin(image.grid.origin.tolist())
    converted.SetDirection(image.grid.direction.ravel().tolist())
    return converted


def _accept(level: Pair, mode: str, matrix: Matrix, start: Matrix, how: str) -> AffineResult:
    """Decide whether the fitted matrix is used."""
    header = np.eye(level[0].grid.ndim + 1)
    grids = level[0].grid, level[1].grid
    shared = overlap(*grids, header)
    before, after = (mutual_information(*level, m) for m in (header, matrix))
    if shared == 0:
        how += ", since the images do not overlap in world coordinates"
    determinant = float(np.linalg.det(matrix[:-1, :-1]))
    plausible = VOLUME_CHANGE[0] <= determinant <= VOLUME_CHANGE[1] and overlap(*grids, matrix) >= LEAST_OVERLAP
    if mode == "auto" and not plausible:
        if shared >= LEAST_OVERLAP:
            return AffineResult(header, before, before, "Affine: none, the fit was not plausible")
        message = f"Affine: a translation only, since the fit was not plausible; starting from {how}"
        return AffineResult(start, before, mutual_information(*level, start), message)
    gain = f"mutual information {before:.3f} -> {after:.3f}"
    if after < before * (1 + LEAST_GAIN if mode == "auto" else 1):
        return AffineResult(header, before, before, f"Affine: none, the headers' alignment is as good ({gain})")
    kind = "rigid" if mode == "rigid" else "affine"
    return AffineResult(matrix, before, after, f"Affine: {kind}, starting from {how} ({gain})")
