"""Random changes of training pairs: what is drawn is a record, and applying it uses no random numbers but its seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_ran.config.training import AugmentSettings
from napari_ran.errors import InputError
from napari_ran.train.batch import PairBatch


@dataclass(frozen=True)
class AugmentRecord:
    """What is done to one pair.

    Attributes
    ----------
    start, shape : tuple of int
        First voxel and shape of the part that is cut out.
    flips : tuple of int
        Array axes that are mirrored.
    swap : bool
        Whether fixed and moving image change places.
    gains : (float, float)
        Factors of the intensities of the fixed and the moving image.
    noise : (float, float)
        Standard deviations of the noise that is added to each.
    seed : int
        Of the noise.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]
    flips: tuple[int, ...]
    swap: bool
    gains: tuple[float, float]
    noise: tuple[float, float]
    seed: int


def draw_augmentation(settings: AugmentSettings, shape: Sequence[int], generator: torch.Generator) -> AugmentRecord:
    """Draw what is done to a pair of spatial shape `shape`; the number of draws does not depend on the settings.

    Raises
    ------
    InputError
        The settings name an axis that the pair does not have.
    """
    ndim = len(shape)
    crop = settings.crop or tuple(shape)
    if len(crop) != ndim:
        raise InputError("augment.crop", f"has {len(crop)} axes and the images have {ndim}", "Give one size per axis")
    if any(axis >= ndim for axis in settings.flips):
        raise InputError("augment.flips", f"names axis {max(settings.flips)} of {ndim}", f"Use 0 to {ndim - 1}")
    part = tuple(min(wanted, n) for wanted, n in zip(crop, shape, strict=True))
    values = torch.rand(2 * ndim + 5, generator=generator, dtype=torch.float64).tolist()
    seed = int(torch.randint(0, 2**62, (), generator=generator))
    start = tuple(min(int(u * (n - p + 1)), n - p) for u, n, p in zip(values[:ndim], shape, part, strict=True))
    flips = tuple(axis for axis in settings.flips if values[ndim + axis] < 0.5)
    swap, *rest = values[2 * ndim :]
    gains = (1 + settings.intensity * (2 * rest[0] - 1), 1 + settings.intensity * (2 * rest[1] - 1))
    noise = (settings.noise * rest[2], settings.noise * rest[3])
    return AugmentRecord(start, part, flips, settings.swap and swap < 0.5, gains, noise, seed)


def augmented(record: AugmentRecord, pair: PairBatch) -> PairBatch:
    """Return the pair (batch size 1) as the record says; the true field and the landmarks go with the images."""
    if record.shape != pair.shape:
        pair = _cropped(pair, record.start, record.shape)
    if record.flips:
        pair = _flipped(pair, record.flips)
    if record.swap and pair.truth is None:
        pair = pair.swapped()
    if record.gains != (1.0, 1.0) or any(record.noise):
        generator = torch.Generator().manual_seed(record.seed)
        images = [
            _acquired(image, gain, noise, generator)
            for image, gain, noise in zip((pair.fixed, pair.moving), record.gains, record.noise, strict=True)
        ]
        pair = replace(pair, fixed=images[0], moving=images[1])
    return pair


def _acquired(image: Tensor, gain: float, noise: float, generator: torch.Generator) -> Tensor:
    image = image * gain
    return image + noise * torch.randn(image.shape, generator=generator) if noise else image


def _cropped(pair: PairBatch, start: Sequence[int], shape: Sequence[int]) -> PairBatch:
    def cut(tensor: Tensor) -> Tensor:
        for axis, (first, size) in enumerate(zip(start, shape, strict=True), start=2):
            tensor = tensor.narrow(axis, first, size)
        return tensor.contiguous()

    fixed_points, moving_points = [], []
    low, high = torch.tensor(start), torch.tensor(start) + torch.tensor(shape) - 1
    for fixed, moving in zip(pair.fixed_points, pair.moving_points, strict=True):
        inside = ((fixed >= low) & (fixed <= high)).all(dim=1)  # the field is read at the fixed points
        fixed_points.append(fixed[inside] - low)
        moving_points.append(moving[inside] - low)
    parts = {name: cut(value) for name, value in pair.volumes.items()}
    return replace(pair, **parts, fixed_points=tuple(fixed_points), moving_points=tuple(moving_points))  # type: ignore[arg-type]


def _flipped(pair: PairBatch, axes: Sequence[int]) -> PairBatch:
    def mirror(points: Tensor) -> Tensor:
        points = points.clone()
        for axis in axes:
            points[:, axis] = pair.shape[axis] - 1 - points[:, axis]
        return points

    where = [axis + 2 for axis in axes]
    parts = {name: value.flip(where) for name, value in pair.volumes.items()}
    if "truth" in parts:
        parts["truth"][:, list(axes)] *= -1  # a displacement along a mirrored axis points the other way
    return replace(
        pair,
        **parts,  # type: ignore[arg-type]
        fixed_points=tuple(mirror(points) for points in pair.fixed_points),
        moving_points=tuple(mirror(points) for points in pair.moving_points),
    )
