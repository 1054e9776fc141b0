"""Instance optimisation of large grids: first the same at half the resolution, whose field is one more first guess.

The levels and the search of one optimisation reach so many voxels far, whatever their size. Its candidates are judged
at full resolution, where images that lie many voxels apart look no more alike for being half as far apart. At half the
resolution they are half as far.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from napari_ran import functional
from napari_ran.config import InstanceConfig
from napari_ran.instance.events import InstanceResult, InstanceStep
from napari_ran.instance.field import optimise_at_once
from napari_ran.instance.guide import Guide
from napari_ran.instance.pyramid import grid_at
from napari_ran.instance.search import pool_to
from napari_ran.steps import relay

LARGEST_SIDE = 200
"""Voxels along a side of the cube, or the square, up to which one optimisation finds what there is to find."""

COARSE_SHARE = 0.25
"""Share of the progress that the coarser optimisation takes; its own time is an eighth in 3-D."""

TICKS = 1000
"""Steps of the progress of several optimisations together."""

Masks = tuple[Tensor | None, Tensor | None]


def optimise_field(
    fixed: Tensor,
    moving: Tensor,
    initial: Tensor | None,
    config: InstanceConfig,
    spacing: Sequence[float],
    guides: tuple[Guide, ...] = (),
    masks: Masks = (None, None),
) -> Generator[InstanceStep, None, InstanceResult]:
    """Fit a displacement field to one pair: at once, or on a large grid at half the resolution first.

    Parameters
    ----------
    fixed, moving, initial, config, spacing, guides, masks
        As for `optimise_at_once`. Guides lead at full resolution alone.

    Yields
    ------
    InstanceStep
        Several a second. What is told of a field at half the resolution has no loss, which would not compare.

    Returns
    -------
    InstanceResult
        Of the optimisation at full resolution, with the steps of all.
    """
    shape = tuple(fixed.shape[2:])
    if math.prod(shape) <= LARGEST_SIDE ** len(shape):
        return (yield from optimise_at_once(fixed, moving, initial, config, spacing, guides, masks))
    coarse_shape = grid_at(2, shape, spacing)
    coarse = yield from relay(
        optimise_field(
            pool_to(fixed, coarse_shape),
            pool_to(moving, coarse_shape),
            None if initial is None else functional.resize_field(initial, coarse_shape),
            config,
            [side * n / m for side, n, m in zip(spacing, shape, coarse_shape, strict=True)],
            (),
            tuple(None if mask is None else (pool_to(mask, coarse_shape) > 0.5).to(mask) for mask in masks),  # type: ignore[arg-type]
        ),
        partial(_coarse_step, shape),
    )
    proposal = functional.resize_field(coarse.field, shape)
    fine = optimise_at_once(fixed, moving, initial, config, spacing, guides, masks, proposal)
    found = yield from relay(fine, _fine_step)
    said = f"The field was refined on {' x '.join(map(str, coarse_shape))} voxels first"
    return replace(found, steps=coarse.steps + found.steps, messages=(said, *found.messages))


def _coarse_step(shape: Sequence[int], step: InstanceStep) -> InstanceStep:
    def best_field() -> Tensor:
        with torch.no_grad():
            return functional.resize_field(step.best_field(), shape)

    ticks = round(TICKS * COARSE_SHARE * step.step / step.total)
    message = step.message if step.message.startswith("coarser") else f"coarser: {step.message}"
    return InstanceStep(ticks, TICKS, -1, math.nan, math.inf, message, best_field, step.measures)


def _fine_step(step: InstanceStep) -> InstanceStep:
    share = COARSE_SHARE + (1 - COARSE_SHARE) * step.step / step.total
    return replace(step, step=round(TICKS * share), total=TICKS)
