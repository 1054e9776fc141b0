"""How far two computations of one thing lie apart: precisions, devices, numbers of threads, 2-D and 3-D.

``python benchmarks/numerics.py`` prints the figures of ``docs/numerics.md``. The tests under ``tests/numerics`` measure
with the same functions and hold the bounds that the page states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import napari_ran as ran
from napari_ran.data import DisplacementField
from napari_ran.evaluate import dice
from napari_ran.functional import resize
from napari_ran.instance import optimise_field
from napari_ran.io.checkpoints import load_network
from napari_ran.steps import last
from napari_ran.transform import warp_labels

BUNDLED = {"general-2d": 2, "general-3d": 3, "hippocampus": 3}
"""Bundled weights, with the number of axes of their images."""

REFINEMENT = ran.InstanceConfig(similarity="ncc", levels=2, steps=20, search=2)


@dataclass(frozen=True)
class Apart:
    """How far two fields lie apart: mean and largest length of the difference in voxels, and that of a label's Dice."""

    mean: float
    largest: float
    dice: float = 0.0

    @classmethod
    def of(cls, one: Tensor, two: Tensor, pair: Any = None) -> Apart:
        """Compare two fields (1, D, *S); with a phantom pair, the Dice overlap of its warped labels too."""
        length = (one.detach().cpu().double() - two.detach().cpu().double()).norm(dim=1)
        lost = 0.0
        if pair is not None:
            before, after = _overlaps(one, pair), _overlaps(two, pair)
            lost = max(abs(before[label] - after[label]) for label in before)
        return cls(float(length.mean()), float(length.max()), lost)

    def __str__(self) -> str:
        shift = f"mean {self.mean:.2g}, largest {self.largest:.2g} voxels"
        return shift + (f", Dice {self.dice:.2g}" if self.dice else "")


def _overlaps(field: Tensor, pair: Any) -> dict[int, float]:
    moved = DisplacementField(field[0].detach().float().cpu(), pair.fixed.grid)
    return dice(pair.fixed_labels, warp_labels(pair.moving_labels, moved))


def phantom(ndim: int, seed: int = 0) -> Any:
    """Make a phantom pair."""
    return ran.phantom_2d(seed) if ndim == 2 else ran.sliding_phantom(seed, (48, 40, 48))


def predicted(name: str, pair: Any, device: str = "cpu", precision: torch.dtype | None = None) -> Tensor:
    """Return the field (1, D, *S) that bundled weights predict for a pair, under autocast to `precision` if given."""
    model = load_network(name).eval().to(device)
    images = (image.tensor[None].to(device) for image in (pair.moving, pair.fixed))
    with torch.no_grad(), torch.autocast(device, precision) if precision else nullcontext():
        field: Tensor = model(*images).field
    return field


def refined(fixed: Tensor, moving: Tensor, config: ran.InstanceConfig = REFINEMENT) -> Tensor:
    """Return the field (1, D, *S) that the instance optimisation finds for images (1, 1, *S), from nothing."""
    with torch.enable_grad():
        found: Tensor = last(optimise_field(fixed, moving, None, config, (1.0,) * (fixed.ndim - 2))).field
    return found


def registered(pair: Any, **settings: Any) -> Tensor:
    """Return the field (1, D, *S) of a whole registration of a pair on the processor, in voxels."""
    config = ran.RegistrationConfig(device="cpu", instance=REFINEMENT).replace(**settings)
    return ran.register(pair.fixed, pair.moving, config).field.tensor[None]


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def with_threads(count: int, work: Callable[[], Tensor]) -> Tensor:
    """Return what some work returns with so many threads."""
    with threads(count):
        return work()


def half_against_single(name: str, seed: int = 0) -> Apart:
    """Compare what bundled weights predict in bfloat16 and in single precision, on the processor."""
    pair = phantom(BUNDLED[name], seed)
    return Apart.of(predicted(name, pair, precision=torch.bfloat16), predicted(name, pair), pair)


def device_against_processor(name: str, device: str, precision: torch.dtype | None = None) -> Apart:
    """Compare what bundled weights predict on a device and on the processor in single precision."""
    pair = phantom(BUNDLED[name])
    return Apart.of(predicted(name, pair, device, precision), predicted(name, pair), pair)


def flat_pair(depth: int) -> tuple[Tensor, Tensor]:
    """Make two images (1, 1, 28, 24) whose motion is smooth; of `depth` equal slices along a third axis if not 0."""
    coarse = torch.rand((1, 1, 9, 8), generator=torch.Generator().manual_seed(1))
    whole = resize(coarse, (31, 24))
    images = [whole[:, :, start : start + 28].contiguous() for start in (0, 2)]
    if depth:
        images = [image[..., None].expand(*image.shape, depth).contiguous() for image in images]
    return images[0], images[1]


def deep_against_flat(depth: int = 12) -> tuple[Apart, float]:
    """Refine images of equal slices in 3-D and one slice in 2-D: how far the slices' fields lie apart, and the motion.

    The whole motion is two voxels along the first axis; nothing says anything about the third one.
    """
    flat = refined(*flat_pair(0))
    deep = refined(*flat_pair(depth))
    slices = torch.cat([flat, torch.zeros_like(flat[:, :1])], 1)[..., None].expand_as(deep)
    return Apart.of(deep, slices), float(flat.norm(dim=1).mean())


def _lines() -> Iterator[tuple[str, str]]:
    for name in BUNDLED:
        for seed in range(3):
            yield f"{name}, bfloat16 against single, pair {seed}", str(half_against_single(name, seed))
    for device in ("cuda", "mps"):
        there = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
        for name in BUNDLED:
            said = str(device_against_processor(name, device)) if there else "no such device here"
            yield f"{name}, {device} against the processor", said
    for count in (2, 4):
        for name, ndim in list(BUNDLED.items())[:2]:
            pair = phantom(ndim)
            works: dict[str, Callable[[], Tensor]] = {
                f"network {name}": lambda name=name, pair=pair: predicted(name, pair),
                f"{ndim}-D refinement": lambda pair=pair: refined(pair.fixed.tensor[None], pair.moving.tensor[None]),
                f"{ndim}-D registration": lambda pair=pair: registered(pair),
            }
            for title, work in works.items():
                yield (
                    f"{title}, {count} threads against 1",
                    str(Apart.of(with_threads(count, work), with_threads(1, work))),
                )
    apart, motion = deep_against_flat()
    yield f"refinement of equal slices in 3-D against 2-D (motion {motion:.2g})", str(apart)


def main() -> None:
    for title, said in _lines():
        print(f"{title:64} {said}", flush=True)


if __name__ == "__main__":
    main()
