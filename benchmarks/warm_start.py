"""Print how many steps of instance optimisation a network saves: ``python benchmarks/warm_start.py WEIGHTS``.

Each pair of the families of `networks.py` is optimised from zero, from the network's field with as many steps, and
from the network's field with half of the steps that it took from zero to the lowest loss, all by the same measure and
from coarse to fine. Printed are

- the loss at the start and the lowest one, and the steps until 90 % of the way from zero and until within 0.001 of the
  lowest loss from zero, looked at every ten steps and at the end. The rate falls to a tenth over the steps that a run
  has, so that a run of half of the steps is not the first half of a longer one;
- the figure of each field: Dice, landmark error or end-point error.

Without ``--search`` all go without the discrete search, which finds large motion before the first step; ``--levels 1``
optimises at full resolution only, in three times the steps. From zero that suits small motion alone: with
``--zero-levels 3`` the course from zero is from coarse to fine still, in as many steps in all.
The volumes are read from the folder named by NAPARI_RAN_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from networks import FAMILIES, Pair, load, network_images
from torch import Tensor

from napari_ran import functional
from napari_ran.config import InstanceConfig, RegistrationConfig
from napari_ran.data import DisplacementField, Grid
from napari_ran.instance import optimise_field
from napari_ran.instance.pyramid import Pyramid
from napari_ran.io.checkpoints import looks_coarsely
from napari_ran.looks import look_at_whole, look_grids, network_grid
from napari_ran.models import Network
from napari_ran.steps import last
from napari_ran.transform import compose_to

VOXELS = 1_000_000
"""Most voxels of the grid that is optimised."""

NEAR = 1e-3
"""A loss this close to the lowest counts as reached."""


@dataclass(frozen=True)
class Course:
    """The steps of an optimisation with the lowest loss up to each, the start first, and the figure of its field."""

    losses: list[tuple[int, float]]
    figure: float

    def needed(self, loss: float) -> int | None:
        """Return the first step at which the loss is as low as `loss`."""
        return next((step for step, value in self.losses if value <= loss + NEAR), None)


def course(
    pair: Pair, grid: Grid, images: tuple[Tensor, Tensor], start: Tensor | None, config: InstanceConfig
) -> Course:
    """Optimise a pair from a field in voxels of `grid`, or from zero."""
    found: list[tuple[int, float]] = []
    steps, run = 0, optimise_field(*images, start, config, [float(side) for side in grid.spacing])
    while True:
        try:
            event = next(run)
        except StopIteration as stop:
            field = DisplacementField(stop.value.field[0], grid, "fixed", "moving")
            return Course(found, pair.measure(compose_to(field, pair.world, pair.fixed.grid)))
        steps += event.message.startswith("level")  # one event for each; a level that no longer gains ends early
        if np.isfinite(event.loss):
            found.append((steps, min(event.loss, found[-1][1]) if found else event.loss))


@torch.no_grad()
def network_field(network: Network, images: tuple[Tensor, Tensor], grid: Grid) -> Tensor:
    """Return the network's field on `grid`, as a registration has it before the refinement."""
    usual = RegistrationConfig()
    grids = look_grids(grid, usual.network_voxels, network.multiple, looks_coarsely(network, usual.coarse_looks))
    return functional.resize_field(last(look_at_whole(network, *images, grids)).forward, grid.shape)


def compare(
    pair: Pair, network: Network, search: bool, levels: int | None, zero_levels: int | None
) -> tuple[Course, Course, Course]:
    """Return the courses from zero, from the network's field, and from there with half of the steps that zero took."""
    grid = network_grid(pair.fixed.grid, VOXELS, 16)
    images = network_images(pair, grid)
    start = network_field(network, images, grid)
    config = InstanceConfig(similarity="ncc").resolved(similarity="ncc")
    steps = 3 * Pyramid(*images, [float(side) for side in grid.spacing], "ncc", config).steps
    config = config.replace(search=config.search if search else 0, levels=levels or config.levels)
    zero_levels = zero_levels or config.levels
    zero = course(pair, grid, images, None, config.replace(levels=zero_levels, steps=steps // zero_levels))
    taken = zero.needed(zero.losses[-1][1]) or steps
    whole, half = (config.replace(steps=number // config.levels) for number in (steps, taken // 2))
    return zero, *(course(pair, grid, images, start, one) for one in (whole, half))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--only", default="hippocampus,brain,dirlab,phantom")
    parser.add_argument("--pairs", type=int, default=4, help="most pairs of a family")
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--levels", type=int, help="of the optimisation; from coarse to fine when left out")
    parser.add_argument("--zero-levels", type=int, help="of that from zero, if others")
    arguments = parser.parse_args()
    folder, network = Path(os.environ.get("NAPARI_RAN_DATA", "")), load(arguments.weights)
    groups = ("start", "lowest loss", "steps to 90 %", "steps to all", "figure")
    print(f"{'':12s}" + "".join(f"{group:>21s}" for group in groups))
    print(f"{'family':12s}" + f"{'zero':>14s}{'net':>7s}" + f"{'zero':>7s}{'net':>7s}{'half':>7s}" * 4)
    for name in arguments.only.split(","):
        family = FAMILIES[name]
        pairs = family.development if arguments.development else family.reported
        if pairs is None:
            parser.error(f"{name} has no pairs for development")
        for pair in itertools.islice(pairs(folder), arguments.pairs):
            courses = compare(pair, network, arguments.search, arguments.levels, arguments.zero_levels)
            zero, warm, _ = courses
            start, lowest = zero.losses[0][1], zero.losses[-1][1]
            cells = [f"{start:14.3f}{warm.losses[0][1]:7.3f}", *(f"{one.losses[-1][1]:7.3f}" for one in courses)]
            for target in (start + 0.9 * (lowest - start), lowest):
                cells += [f"{one.needed(target) or '-':>7}" for one in courses]
            cells += [f"{one.figure:7.3f}" for one in courses]
            print(f"{name:12s}" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
