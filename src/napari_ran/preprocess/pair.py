"""Bring a pair of images onto one working grid, affinely aligned and scaled to [0, 1]."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_ran.config import RegistrationConfig
from napari_ran.data import Grid, Image
from napari_ran.errors import InputError
from napari_ran.preprocess.affine import align
from napari_ran.preprocess.grids import VOXEL_BUDGET, overlap, working_grid
from napari_ran.preprocess.initial import Initial
from napari_ran.preprocess.intensity import IntensityChoice, choose_intensity
from napari_ran.preprocess.metric import NO_MASKS, Masks
from napari_ran.steps import relay
from napari_ran.transform import resample

STEPS = 3
"""Steps of the stage "preprocess": checks and intensities, working grid, fixed image."""


@dataclass(frozen=True)
class PrepareStep:
    """Progress of the preparation.

    Attributes
    ----------
    stage : {"preprocess", "affine"}
        The part that is under way.
    step, total : int
        How far it is.
    metric : float or None
        Mutual information of the alignment so far (nats, larger is better), where there is one.
    message : str
        What has been done.
    """

    stage: Literal["preprocess", "affine"]
    step: int
    total: int
    metric: float | None
    message: str


@dataclass(frozen=True, eq=False)
class PreparedPair:
    """A pair that is ready for the network and the instance optimisation.

    Attributes
    ----------
    fixed, moving : (1, 1, *S) float32 tensor
        Intensities in [0, 1] on the working grid; the moving image is affinely aligned.
    grid : Grid
        The working grid, in the fixed image's world.
    affine : (D + 1, D + 1) float64 array
        Fixed world positions to moving world positions, in mm.
    intensity : IntensityChoice
        How the intensities of each image were mapped.
    messages : tuple of str
        What was chosen and why, in sentences.
    initial : (1, D, *S) tensor or None
        The field to start from in voxels of the working grid, where the initial transform is more than an affine.
    """

    fixed: Tensor
    moving: Tensor
    grid: Grid
    affine: NDArray[np.float64]
    intensity: IntensityChoice
    messages: tuple[str, ...]
    initial: Tensor | None = None


def prepare_pair(
    fixed: Image,
    moving: Image,
    config: RegistrationConfig,
    initial: Initial | None = None,
    masks: Masks = NO_MASKS,
    budget: int = VOXEL_BUDGET,
) -> Generator[PrepareStep, None, PreparedPair]:
    """Check a pair, map its intensities, choose the working grid, and align it affinely.

    Parameters
    ----------
    fixed, moving : Image
        The originals, of one channel, on any grids.
    config : RegistrationConfig
        `intensity`, `affine` and `spacing` are used.
    initial : Initial, optional
        Where to start from: the affine alignment improves on its affine part, or keeps it; if it is more than an
        affine it stays as it is.
    masks : pair of Labels or None
        Where the fixed and the moving image count for the affine alignment, on their own grids.
    budget : int
        Largest number of voxels of a working grid that is not asked for.

    Yields
    ------
    PrepareStep
        The stage "preprocess" first, then "affine".

    Returns
    -------
    PreparedPair

    Raises
    ------
    InputError
        The images differ in dimension, one is constant, has several channels or an axis of one voxel, the spacing
        leaves nothing, or they do not overlap in world coordinates and no alignment is allowed.
    """
    check_pair(fixed, moving)
    messages = [
        f"{image.name}: {text.rstrip('.')}" for image in (fixed, moving) for text in image.metadata.get("warnings", ())
    ]
    choice = choose_intensity(fixed, moving, config.intensity)
    messages.append(choice.reason)
    yield PrepareStep("preprocess", 1, STEPS, None, choice.reason)
    grid, why = working_grid(fixed.grid, config.spacing, budget)
    messages.append(why)
    yield PrepareStep("preprocess", 2, STEPS, None, why)
    fixed_scaled = Image(choice.fixed.apply(fixed.tensor), fixed.grid, fixed.name)
    moving_scaled = Image(choice.moving.apply(moving.tensor), moving.grid, moving.name)
    fixed_working = resample(fixed_scaled, grid, antialias=True)
    yield PrepareStep("preprocess", 3, STEPS, None, "intensities mapped, fixed image on the working grid")
    affine, message = yield from _align_from(initial, fixed_scaled, moving_scaled, config, masks)
    messages.append(message)
    moving_working = resample(moving_scaled, grid, affine, antialias=True)
    return PreparedPair(
        fixed_working.tensor[None],
        moving_working.tensor[None],
        grid,
        affine,
        choice,
        tuple(messages),
        None if initial is None or (rest := initial.rest(grid)) is None else rest.tensor[None],
    )


def _align_from(
    initial: Initial | None, fixed: Image, moving: Image, config: RegistrationConfig, masks: Masks
) -> Generator[PrepareStep, None, tuple[NDArray[np.float64], str]]:
    """Return the affine matrix, found from an initial transform where there is one, and what explains it."""
    if initial is None:
        return (yield from _align(fixed, moving, config, masks))
    if initial.field is not None:
        message = "Affine: that of the initial transform"
        yield PrepareStep("affine", 1, 1, None, message)
        return initial.affine, message
    there = masks[0], None if masks[1] is None else initial.reheaded(masks[1])
    matrix, message = yield from _align(fixed, initial.reheaded(moving), config, there)
    message = message.replace("the headers' alignment", "the initial transform")
    return initial.affine @ matrix, f"{message}; after the initial transform"


def _align(
    fixed: Image, moving: Image, config: RegistrationConfig, masks: Masks
) -> Generator[PrepareStep, None, tuple[NDArray[np.float64], str]]:
    """Return the affine matrix and the sentence that explains it."""
    matrix = np.eye(fixed.grid.ndim + 1)
    if config.affine == "auto" and fixed.grid == moving.grid:
        message = "Affine: none, the grids are identical, taken as pre-aligned"
    elif config.affine == "none":
        if overlap(fixed.grid, moving.grid, matrix) == 0:
            raise InputError(
                "moving", "it does not overlap with the fixed image in world coordinates", "Set affine='auto'"
            )
        message = "Affine: none, as asked for"
    elif config.affine == "centre":
        message = "Affine: none, the middles of both grids brought together, as asked for"
        matrix[:-1, -1] = moving.grid.centre - fixed.grid.centre
    else:
        found = yield from relay(
            align(fixed, moving, config.affine, masks),
            lambda step: PrepareStep("affine", step.step, step.total, step.metric, step.message),
        )
        return found.matrix, found.message
    yield PrepareStep("affine", 1, 1, None, message)
    return matrix, message


def check_pair(fixed: Image, moving: Image) -> None:
    """Refuse a pair of different dimensions, with several channels, or with an axis of one voxel."""
    if fixed.grid.ndim != moving.grid.ndim:
        raise InputError(
            "moving",
            f"the fixed image has {fixed.grid.ndim} dimensions, the moving one {moving.grid.ndim}",
            "Choose two images of the same dimension",
        )
    for argument, image in (("fixed", fixed), ("moving", moving)):
        if image.tensor.shape[0] != 1:
            raise InputError(
                argument,
                f"expected one channel, got {image.tensor.shape[0]} (a colour image?)",
                "Choose one channel, or convert it to grey values",
            )
        if min(image.grid.shape) < 2:
            raise InputError(
                argument,
                f"an axis has a single voxel: shape {image.grid.shape}",
                "Give a 2-D image without that axis, or a volume of at least two slices",
            )
