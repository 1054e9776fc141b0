"""How long the parts of a registration take, how that grows, and what others take for the same.

``python benchmarks/operations.py [--only ncc,warp,...] [--threads 2]`` measures each operation on grids of 48^3 to
192x160x192 voxels: seconds for a million voxels, and the power of the number of voxels that fits (1: linear). Where
another package does the same (VoxelMorph 0.3 and its losses in neurite), both take turns in the same run and the median
of the ratios is printed. The passes of the networks are in `forward.py`, whole registrations in `end_to_end.py`.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import napari_ran as ran
from napari_ran import functional as F
from napari_ran.config import InstanceConfig, RANConfig
from napari_ran.instance import optimise_field
from napari_ran.introspect.separability import separability
from napari_ran.io import load_image, save_image
from napari_ran.losses import local_ncc, mind_ssc
from napari_ran.memory import keeping_freed_memory
from napari_ran.models import create_system

SHAPES = ((48, 48, 48), (64, 64, 64), (96, 80, 128), (160, 128, 160), (192, 160, 192))
STEPS = 10
"""Steps of the instance optimisation that are timed together."""

Action = Callable[[], Any]


class Pair:
    """A smooth random image, the same displaced, and the displacement (1, 3, *S) in voxels."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(1, 4, 10, 10, 10, generator=generator)
        smooth = torch.nn.functional.interpolate(coarse, shape, mode="trilinear", align_corners=True)
        noise = 0.2 * torch.rand(1, 1, *shape, generator=generator)  # flat windows have no correlation
        self.shape, self.fixed, self.field = shape, smooth[:, :1] + noise, 3 * (smooth[:, 1:] - 0.5).contiguous()
        self.moving = F.warp(self.fixed, self.field, padding="border")

    def ncc(self) -> tuple[Action, Action | None]:
        """Local NCC with a window of 9, value and gradient."""
        from neurite.nn.modules import NCC

        theirs = NCC(window_size=9)
        return _with_gradient(local_ncc, self.fixed, self.moving), _with_gradient(theirs, self.fixed, self.moving)

    def mind(self) -> tuple[Action, Action | None]:
        """MIND-SSC descriptors of one image."""
        return lambda: mind_ssc(self.fixed), None

    def warp(self) -> tuple[Action, Action | None]:
        """Linear interpolation of an image through a displacement field."""
        from voxelmorph.nn.modules import SpatialTransformer

        theirs = SpatialTransformer()
        return lambda: F.warp(self.fixed, self.field), lambda: theirs(self.fixed, self.field)

    def compose(self) -> tuple[Action, Action | None]:
        """Composition of two fields."""
        return lambda: F.compose(self.field, self.field), None

    def invert(self) -> tuple[Action, Action | None]:
        """Inversion of a field by twenty iterations at most."""
        return lambda: F.invert(self.field, None, 20), None

    def jacobian(self) -> tuple[Action, Action | None]:
        """Compute the determinant of the Jacobian."""
        return lambda: F.jacobian_determinant(self.field), None

    def pdf(self) -> tuple[Action, Action | None]:
        """Motion-separability PDF from half a million pairs of voxels."""
        correct = self.fixed[0, 0] > 0.5
        layout = RANConfig.preset("RAN3")
        return lambda: separability(self.field[0], correct, 500_000, layout=layout).probability, None

    def instance(self) -> tuple[Action, Action | None]:
        """Ten steps of the optimisation of the field at full resolution."""
        settings = InstanceConfig(levels=1, steps=STEPS, similarity="ncc", search=0).resolved("minmax")

        def run() -> None:
            for _ in optimise_field(self.fixed, self.moving, None, settings, (1.0, 1.0, 1.0)):
                pass

        return run, None

    def nifti(self) -> tuple[Action, Action | None]:
        """Write an image as compressed NIfTI and read it back."""
        image = ran.Image(self.fixed[0, 0].numpy(), ran.Grid.from_spacing(self.shape, 1.0))

        def both() -> None:
            with tempfile.TemporaryDirectory() as folder:
                load_image(save_image(image, Path(folder) / "image.nii.gz"))

        return both, None

    def network(self) -> tuple[Action, Action | None]:
        """RAN3 in both directions, against VoxelMorph's own network in one."""
        ours, theirs = create_system("RAN3", 3).eval(), create_system("voxelmorph", 3).eval()
        images = self.moving, self.fixed
        return lambda: ours(*images), lambda: theirs(*images, both=False)


def _with_gradient(function: Callable[[Tensor, Tensor], Tensor], fixed: Tensor, moving: Tensor) -> Action:
    def run() -> None:
        with torch.enable_grad():
            given = moving.clone().requires_grad_()
            function(fixed, given).mean().backward()

    return run


OPERATIONS = ("ncc", "mind", "warp", "compose", "invert", "jacobian", "pdf", "instance", "nifti", "network")


def seconds(actions: list[Action], rounds: int) -> Iterator[tuple[float, ...]]:
    """Yield the seconds of each action, in turns."""
    for number in range(rounds + 1):
        took = []
        for action in actions:
            start = time.perf_counter()
            with torch.no_grad():
                action()
            took.append(time.perf_counter() - start)
        if number:  # the first round warms up
            yield tuple(took)


def report(operation: str, rounds: int) -> None:
    """Print a row of the table."""
    sizes, best, ratios = [], [], []
    for shape in SHAPES:
        ours, theirs = getattr(Pair(shape), operation)()
        found = list(seconds([ours] if theirs is None else [ours, theirs], rounds))
        sizes.append(math.prod(shape))
        best.append(min(row[0] for row in found))
        ratios.append(None if theirs is None else statistics.median(row[1] / row[0] for row in found))
    exponent = np.polyfit(np.log(sizes), np.log(best), 1)[0]
    each = "".join(f"{1e6 * spent / size:9.3f}" for spent, size in zip(best, sizes, strict=True))
    other = "".join(f"{ratio:8.2f}" for ratio in ratios if ratio is not None)
    print(f"{operation:10s}{each}{exponent:7.2f}{other}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(OPERATIONS))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} of {os.cpu_count()} cores; shapes {SHAPES}")
    print("seconds for a million voxels at each shape; power of voxels; times that the other package takes")
    with keeping_freed_memory():
        for operation in args.only.split(","):
            report(operation, args.rounds)


if __name__ == "__main__":
    main()
