"""Drawing a pair's parameters: the only place of the generator where its own random numbers are chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from napari_ran.config import PairConfig
from napari_ran.errors import InputError
from napari_ran.synthetic.deformations import uniform
from napari_ran.synthetic.records import ObjectRecord, OrganRecord, PairRecord, PlacingRecord
from napari_ran.synthetic.stage_one import draw_stage_one


class _Dice:
    """Draws from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        return uniform(self.generator, low, high)

    def integer(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, probability: float) -> bool:
        """Return True with a probability; what is certain draws nothing."""
        return probability > 0 and (probability >= 1 or self.uniform(0, 1) < probability)

    def vector(self, ndim: int, length: float) -> tuple[float, ...]:
        direction = torch.randn(ndim, generator=self.generator)
        return tuple((direction * (length / float(direction.norm().clamp_min(1e-6)))).tolist())

    def levels(self, count: int) -> tuple[float, ...]:
        return tuple(torch.rand(count, generator=self.generator).mul(0.85).add(0.1).tolist())


def draw_pair(
    config: PairConfig,
    generator: torch.Generator,
    shape: Sequence[int] | None = None,
    label_maps: Sequence[Tensor] = (),
) -> PairRecord:
    """Draw the parameters of one pair.

    Parameters
    ----------
    config : PairConfig
        The ranges.
    generator : torch.Generator
        Source of all numbers.
    shape : sequence of int, optional
        Shape of the images; one of the config's when left out.
    label_maps : sequence of (1, 1, *S) int tensors
        Anatomies, of which one is drawn; random ellipsoids and regions when there is none. Read when it is drawn, so
        that a sequence may load its items from files.

    Raises
    ------
    InputError
        The label map has another dimension than the images, or holds no label above zero.
    """
    dice = _Dice(generator)
    shape = tuple(shape or config.shapes[dice.integer(0, len(config.shapes) - 1)])
    ndim, side = len(shape), math.prod(shape) ** (1 / len(shape))
    still = dice.uniform(0, 1) < config.still
    peak = 0.0 if still else side * dice.uniform(*config.peak)
    control_spacing = max(dice.uniform(0.2, 0.6) * side, 2.5 * peak)
    turn = 1.0 if ndim == 2 else 0.6
    angles = tuple(dice.uniform(-turn, turn) * 2 * peak / side for _ in range(2 * ndim - 3))
    translation = dice.vector(ndim, dice.uniform(0, 0.6) * peak)
    placing = _placing(config, dice, shape, label_maps) if len(label_maps) and dice.chance(config.mapped) else None
    objects = () if placing else _objects(config, dice, shape, still)
    objects += _cavities(config, dice, shape, still)
    regions = dice.integer(*config.regions)
    levels = regions + 2 + (len(placing.labels) if placing else 0) + 2 * len(objects)
    fixed_levels, unrelated = dice.levels(levels), dice.levels(levels)
    grain = dice.uniform(*config.texture)
    record = PairRecord(
        shape=shape,
        seed=int(torch.randint(0, 2**62, (), generator=generator)),
        peak=peak,
        control_spacing=control_spacing,
        angles=angles,
        translation=translation,
        regions=regions,
        region_spacing=max(5.0, dice.uniform(0.1, 0.25) * side),
        tubes=dice.uniform(0.1, 0.35),
        body=dice.uniform(0, 1) < config.body,
        objects=objects,
        fixed_levels=fixed_levels,
        moving_levels=unrelated if dice.uniform(0, 1) < config.other_contrast else fixed_levels,
        texture=tuple((torch.rand(levels, generator=generator) * 2 * grain).tolist()),
        texture_spacing=dice.uniform(1.2, 3.0),
        bias=(dice.uniform(*config.bias), dice.uniform(*config.bias)),
        noise=(dice.uniform(*config.noise), dice.uniform(*config.noise)),
        blur=dice.uniform(*config.blur),
        placing=placing,
        organs=_organs(config, dice, placing, ndim, side) if placing and not still else (),
    )
    if config.deformation == "paper" and not still:
        record = replace(record, peak=0.0, stage_one=draw_stage_one(config.stage_one, shape, generator))
    if max(config.thickness) > 1:
        drawn = tuple((dice.integer(0, ndim - 1), dice.uniform(*config.thickness)) for _ in range(2))
        record = replace(record, thickness=drawn)
    if max(config.unlike) > 0:
        own = tuple((dice.uniform(*config.unlike), dice.uniform(1.5, 5.0)) for _ in range(2))
        record = replace(record, unlike=own)
    return record


def _objects(config: PairConfig, dice: _Dice, shape: tuple[int, ...], still: bool) -> tuple[ObjectRecord, ...]:
    ndim, side = len(shape), math.prod(shape) ** (1 / len(shape))
    objects = []
    for _ in range(dice.integer(*config.objects)):
        slides = dice.uniform(0, 1) < config.sliding and not still
        objects.append(
            ObjectRecord(
                centre=tuple(dice.uniform(-0.35, 0.35) * n for n in shape),
                radii=tuple(dice.uniform(0.1, 0.28) * side for _ in shape),
                angles=tuple(dice.uniform(-1.5, 1.5) for _ in range(2 * ndim - 3)),
                core=dice.uniform(0.3, 0.75),
                motion=dice.vector(ndim, dice.uniform(*config.slip) * side) if slides else (0.0,) * ndim,
                along=slides and dice.chance(config.along),
            )
        )
    return tuple(objects)


def _cavities(config: PairConfig, dice: _Dice, shape: tuple[int, ...], still: bool) -> tuple[ObjectRecord, ...]:
    """Walled parts of the background; none are drawn unless asked for, so that older seeds keep their pairs."""
    if not max(config.cavities):
        return ()
    ndim, side = len(shape), math.prod(shape) ** (1 / len(shape))
    return tuple(
        ObjectRecord(
            centre=tuple(dice.uniform(-0.2, 0.2) * n for n in shape),
            radii=tuple(dice.uniform(0.22, 0.4) * n for n in shape),
            angles=tuple(dice.uniform(-0.5, 0.5) for _ in range(2 * ndim - 3)),
            core=0.0,
            motion=(0.0,) * ndim if still else dice.vector(ndim, dice.uniform(*config.slip) * side),
            along=True,
            hollow=True,
        )
        for _ in range(dice.integer(*config.cavities))
    )


def _placing(config: PairConfig, dice: _Dice, shape: tuple[int, ...], label_maps: Sequence[Tensor]) -> PlacingRecord:
    number = dice.integer(0, len(label_maps) - 1)
    chosen = label_maps[number]
    if chosen.ndim != len(shape) + 2:
        problem = f"label map {number} has {chosen.ndim - 2} dimensions, and images of {len(shape)} are wanted"
        raise InputError("label_maps", problem, "Give label maps (1, 1, *S) of the images' dimension")
    labels = tuple((torch.bincount(chosen.flatten().clamp_min(0))[1:].nonzero().flatten() + 1).tolist())
    if not labels:
        raise InputError("label_maps", f"label map {number} holds no label above zero", "Leave it out")
    widest = min(m / n for m, n in zip(chosen.shape[2:], shape, strict=True))
    scale = widest * dice.uniform(*config.zoom)
    room = [max(0.0, m - scale * n) / 2 for m, n in zip(chosen.shape[2:], shape, strict=True)]
    return PlacingRecord(
        number=number,
        labels=labels,
        scale=scale,
        offset=tuple(dice.uniform(-r, r) for r in room),
        mirror=tuple(dice.chance(config.mirror) for _ in shape),
        surround=dice.chance(config.surround),
    )


def _organs(config: PairConfig, dice: _Dice, placing: PlacingRecord, ndim: int, side: float) -> tuple[OrganRecord, ...]:
    """Draw which labels or groups of labels move on their own, each at most once."""
    known = set(placing.labels)
    groups = [tuple(label for label in group if label in known) for group in config.groups]
    candidates = [group for group in groups if group] if config.groups else [(label,) for label in placing.labels]
    wanted = min(dice.integer(*config.objects), len(candidates))
    order = torch.randperm(len(candidates), generator=dice.generator).tolist()
    return tuple(
        OrganRecord(
            labels=candidates[index],
            motion=dice.vector(ndim, dice.uniform(*config.slip) * side),
            along=dice.chance(config.along),
        )
        for index in order[:wanted]
        if dice.chance(config.sliding)
    )
