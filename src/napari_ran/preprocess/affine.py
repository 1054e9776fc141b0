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

from napari_ran.data import Grid, Image, Labels
from napari_ran.preprocess.grids import at_least, coarsened, overlap
from napari_ran.preprocess.metric import BINS, NO_MASKS, Masks, Matrix, MutualInformation
from napari_ran.preprocess.start import LEAST_GAIN, LEAST_OVERLAP, best_start
from napari_ran.transform import resample

LEVEL_VOXELS = (6_000, 24_000, 100_000)
"""Largest number of voxels of the fixed image at each level of the pyramid, coarse to fine."""

ITERATIONS = (100, 60, 50)
MOST_SAMPLES = 20_000
SEED = 121212

STRETCH = (0.5, 2.0)
"""Singular values between which a transform is believed."""

ANISOTROPY = 1.6
"""Largest ratio of two singular values that is believed: bodies differ in size more than in proportions."""

Kind = Literal["rigid", "similarity", "affine"]


@dataclass(frozen=True, eq=False)
class _Level:
    """Both images at one resolution, and where they count."""

    fixed: Image
    moving: Image
    masks: Masks

    @property
    def metric(self) -> MutualInformation:
        return MutualInformation(self.fixed, self.moving, self.masks)


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
        Mutual information (nats) by the headers alone and with the matrix; see `metric.MutualInformation`.
    message : str
        What was done and why, in one sentence.
    """

    matrix: Matrix
    before: float
    after: float
    message: str


def align(
    fixed: Image, moving: Image, mode: Literal["auto", "rigid", "affine"], masks: Masks = NO_MASKS
) -> Generator[AffineStep, None, AffineResult]:
    """Find the rigid or affine transform that aligns two images.

    A search for translation and size on some thousand voxels is followed by gradient descent, rigid or with one size at
    the coarsest level and with all freedom after it. The sampling is seeded: equal images give equal results.

    Parameters
    ----------
    fixed, moving : Image
        Intensities in [0, 1]; any grids of one dimension.
    mode : {"auto", "rigid", "affine"}
        What to fit; ``auto`` fits an affine transform. The headers' alignment is kept when the fit is not better, or,
        with ``auto``, hardly better.
    masks : pair of Labels or None
        Where the fixed and the moving image count (not 0), on their own grids.

    Yields
    ------
    AffineStep
        After the choice of the starting position and after each resolution level.

    Returns
    -------
    AffineResult
    """
    levels = _pyramid(fixed, moving, masks)
    finest, coarsest = levels[-1].metric, levels[0]
    matrix, how = best_start(coarsest.fixed, coarsest.moving, mode != "rigid", coarsest.masks)
    yield AffineStep(1, len(levels) + 1, finest(matrix), f"starting from {how}")
    for number, level in enumerate(levels):
        for kind in _kinds(mode, number, len(levels)):
            matrix = _refine(level, matrix, kind, ITERATIONS[number])
        pitch = " x ".join(f"{s:.3g}" for s in level.fixed.grid.spacing)
        yield AffineStep(number + 2, len(levels) + 1, finest(matrix), f"aligned at {pitch} mm")
    return _accept(fixed.grid, moving.grid, finest, mode, matrix, how)


def _kinds(mode: str, number: int, levels: int) -> list[Kind]:
    """Return what is fitted at a level, in this order."""
    if mode == "rigid":
        return ["rigid"]
    if levels == 1:
        return ["similarity", "affine"]
    return ["similarity"] if number == 0 else ["affine"]


def _pyramid(fixed: Image, moving: Image, masks: Masks) -> list[_Level]:
    """Return both images at each resolution, coarse to fine, without repeating one that a small image already has."""
    levels: list[_Level] = []
    for voxels in LEVEL_VOXELS:
        grid = coarsened(fixed.grid, voxels)
        if levels and levels[-1].fixed.grid.shape == grid.shape:
            break
        other = moving.grid.with_shape(at_least(moving.grid, float(grid.spacing.min())))
        images = resample(fixed, grid, antialias=True), resample(moving, other, antialias=True)
        levels.append(_Level(*images, (_resampled(masks[0], grid), _resampled(masks[1], other))))
    return levels


def _resampled(mask: Labels | None, grid: Grid) -> Labels | None:
    """Return a mask on another grid; None where nothing would be left of it."""
    here = None if mask is None else resample(mask, grid)
    return here if here is not None and here.ids else None


def _refine(level: _Level, matrix: Matrix, kind: Kind, iterations: int) -> Matrix:
    """Optimise a matrix at one resolution, and keep the old one where the optimiser lost its way.

    Its own metric looks at the overlap alone, so that it may drift off where there is little to hold on to.
    """
    found = _optimise(level, matrix, kind, iterations)
    if found is None or not _believable(level.fixed.grid, level.moving.grid, found):
        return matrix
    metric = level.metric
    return found if metric(found) > metric(matrix) else matrix


def _believable(fixed: Grid, moving: Grid, matrix: Matrix) -> bool:
    values = np.linalg.svd(matrix[:-1, :-1], compute_uv=False)
    low, high = float(values.min()), float(values.max())
    in_range = STRETCH[0] <= low and high <= STRETCH[1] and high <= ANISOTROPY * low
    return in_range and overlap(fixed, moving, matrix) >= LEAST_OVERLAP


def _optimise(level: _Level, matrix: Matrix, kind: Kind, iterations: int) -> Matrix | None:
    """Follow the slope of Mattes' mutual information; None if the images came apart on the way."""
    fixed, moving = level.fixed, level.moving
    transform = _transform(fixed.grid, matrix, kind)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    share = MOST_SAMPLES / float(np.prod(fixed.grid.shape))
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, SEED)
    for mask, use in zip(level.masks, (method.SetMetricFixedMask, method.SetMetricMovingMask), strict=True):
        if mask is not None:
            use(_itk(mask))
    method.SetInterpolator(sitk.sitkLinear)
    step = float(fixed.grid.spacing.min())
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step, minStep=1e-3 * step, numberOfIterations=iterations, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(_itk(fixed), _itk(moving))
    except RuntimeError:  # "all samples map outside moving image buffer"
        return None
    found = _matrix(transform, fixed.grid.ndim)
    return found if np.isfinite(found).all() else None


def _transform(grid: Grid, matrix: Matrix, kind: Kind) -> sitk.Transform:
    """Return a SimpleITK transform about the middle of the fixed grid, so that rotation and translation do not mix."""
    ndim, centre, linear = grid.ndim, grid.centre, matrix[:-1, :-1]
    transforms = {
        ("rigid", 2): sitk.Euler2DTransform,
        ("rigid", 3): sitk.Euler3DTransform,
        ("similarity", 2): sitk.Similarity2DTransform,
        ("similarity", 3): sitk.Similarity3DTransform,
    }
    transform = sitk.AffineTransform(ndim) if kind == "affine" else transforms[kind, ndim]()
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(linear.ravel().tolist())
    transform.SetTranslation((linear @ centre + matrix[:-1, -1] - centre).tolist())
    return transform


def _matrix(transform: sitk.Transform, ndim: int) -> Matrix:
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = np.reshape(transform.GetMatrix(), (ndim, ndim))
    matrix[:-1, -1] = transform.TransformPoint([0.0] * ndim)
    return matrix


def _itk(image: Image | Labels) -> sitk.Image:
    """Return an image, or a mask of 0 and 1, for SimpleITK."""
    values = image.array if isinstance(image, Image) else (image.array > 0).astype(np.uint8)
    converted = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    converted.SetSpacing(image.grid.spacing.tolist())
    converted.SetOrigin(image.grid.origin.tolist())
    converted.SetDirection(image.grid.direction.ravel().tolist())
    return converted


def _accept(fixed: Grid, moving: Grid, metric: MutualInformation, mode: str, matrix: Matrix, how: str) -> AffineResult:
    """Decide whether the fitted matrix is used."""
    header = np.eye(fixed.ndim + 1)
    before, after = metric(header), metric(matrix)
    gain = f"mutual information {before:.3f} -> {after:.3f}"
    if overlap(fixed, moving, header) == 0:
        how += ", since the images do not overlap in world coordinates"
    elif after < before + (LEAST_GAIN if mode == "auto" else 0):
        return AffineResult(header, before, before, f"Affine: none, the headers' alignment is as good ({gain})")
    kind = "rigid" if mode == "rigid" else "affine"
    return AffineResult(matrix, before, after, f"Affine: {kind}, starting from {how} ({gain})")
