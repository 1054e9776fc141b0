"""From label maps to images: levels, texture, blur, what has no counterpart, bias field, thick slices, noise."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.synthetic.deformations import spline_noise
from napari_ran.synthetic.records import PairRecord

_AIR = 0.02
"""Intensity outside the body."""

_PSF = 0.42
"""Standard deviation of a Gaussian whose full width at half maximum is one."""


def paint(record: PairRecord, labels: Tensor, texture: Tensor, levels: tuple[float, ...]) -> Tensor:
    """Intensities of a label map: a level and a share of the texture per label, then the common blur."""
    empty = record.body or (record.placing is not None and not record.placing.surround)
    level = torch.tensor((_AIR, *levels[1:]) if empty else levels)
    grain = torch.tensor((0.0, *record.texture[1:]) if empty else record.texture)
    return F.gaussian_smooth(level[labels] + grain[labels] * texture, record.blur)


def with_own(image: Tensor, inside: Tensor, share: float, spacing: float, generator: torch.Generator) -> Tensor:
    """Put places that show an intensity of their own on an image (1, 1, *S): a share of the mask `inside`.

    Both the places and their intensity are smooth random volumes, the former with control points `spacing` voxels
    apart, the latter with twice that distance.
    """
    where = spline_noise(image.shape[2:], spacing, 1, generator)
    level = (0.5 + 0.25 * spline_noise(image.shape[2:], 2 * spacing, 1, generator)).clamp(0.05, 0.95)
    limit = torch.special.ndtri(torch.tensor(1 - share))
    opacity = F.gaussian_smooth(((where > limit) & inside).float(), 0.5)
    return torch.lerp(image, level, opacity)


def acquire(
    image: Tensor, bias: float, noise: float, generator: torch.Generator, thickness: tuple[int, float] | None = None
) -> Tensor:
    """Put a bias field, thick slices (axis, width) and noise on an image (1, 1, *S).

    Bias and noise are drawn even when they vanish, to keep the order of draws.
    """
    slow = spline_noise(image.shape[2:], 0.5 * min(image.shape[2:]), 1, generator)
    grain = torch.randn(image.shape, generator=generator)
    seen = image * torch.exp(bias * slow.clamp(-2, 2))
    if thickness is not None:
        seen = thickened(seen, *thickness)
    return (seen + noise * grain).clamp(0, 1)


def thickened(image: Tensor, axis: int, width: float) -> Tensor:
    """Return an image (B, C, *S) as voxels of `width` along one axis would show it, resampled to its own grid."""
    shape = list(image.shape[2:])
    coarse = shape.copy()
    coarse[axis] = max(2, round(shape[axis] / width))
    if coarse[axis] >= shape[axis]:
        return image
    sigma = [0.0] * len(shape)
    sigma[axis] = _PSF * width
    return F.resize(F.resize(F.gaussian_smooth(image, sigma), coarse), shape)
