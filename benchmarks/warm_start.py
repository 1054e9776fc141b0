"""Print how many steps of instance optimisation a network saves: ``python benchmarks/warm_start.py WEIGHTS``.

Each pair of the families of `networks.py` is optimised from zero and from the network's field, with the same steps,
by the same measure. Printed are the loss at the start and at its lowest, and the steps until the optimisation from
zero has gone 90 % of its way down and until it is within 0.001 of its lowest loss, each with the steps from the
network's field until the same loss. The loss is looked at every ten steps. Without ``--search`` both go without the
discrete search, which finds large motion before the first step; ``--levels 1`` optimises at full resolution only, in
three times the steps.
The volumes are read from the folder named by NAPARI_RAN_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import os
from pathlib import Path

import numpy as np
import torch
from networks import FAMILIES, VOXELS, Pair, load, network_images
from torch import Tensor, nn

from napari_ran.config import InstanceConfig
from napari_ran.instance import optimise_field
from napari_ran.preprocess import network_grid

NEAR = 1e-3
"""A loss this close to the lowest counts as reached."""

Course = list[tuple[int, float]]


def course(fixed: Tensor, moving: Tensor, start: Tensor | None, config: InstanceConfig, spacing: list[float]) -> Course:
    """Return the steps of the optimisation and the lowest loss up to each, the start first."""
    found: list[tuple[int, float]] = []
    steps = 0
    for event in optimise_field(fixed, moving, start, config, spacing):
        steps += event.message.startswith("level")  # one event for each; a level that no longer gains ends early
        if np.isfinite(event.loss):
            found.append((steps, min(event.loss, found[-1][1]) if found else event.loss))
    return found


def needed(steps: Course, loss: float) -> int | None:
    """Return the first step at which the loss is as low as `loss`."""
    return next((step for step, value in steps if value <= loss + NEAR), None)


def compare(pair: Pair, network: nn.Module, search: bool, levels: int | None) -> tuple[Course, Course]:
    """Return the courses from zero and from the network's field."""
    grid = network_grid(pair.fixed.grid, VOXELS, 16)
    fixed, moving = network_images(pair, grid)
    with torch.no_grad():
        start: Tensor = network(moving, fixed, both=False).field.float()
    config = InstanceConfig(similarity="ncc").resolved(similarity="ncc")
    config = config.replace(search=config.search if search else 0, levels=levels or config.levels)
    if levels:
        config = config.replace(steps=3 * (config.steps or 50))
    spacing = [float(side) for side in grid.spacing]
    zero, warm = (course(fixed, moving, field, config, spacing) for field in (None, start))
    return zero, warm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--only", default="hippocampus,brain,dirlab,phantom")
    parser.add_argument("--pairs", type=int, default=4, help="most pairs of a family")
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--levels", type=int)
    arguments = parser.parse_args()
    folder, network = Path(os.environ.get("NAPARI_RAN_DATA", "")), load(arguments.weights)
    heads = ("loss: zero", "network", "lowest: zero", "network", "90 %: zero", "network", "all: zero", "network")
    print(f"{'family':12s}" + "".join(f"{head:>14s}" for head in heads))
    for name in arguments.only.split(","):
        family = FAMILIES[name]
        pairs = family.development if arguments.development else family.reported
        if pairs is None:
            parser.error(f"{name} has no pairs for development")
        for pair in itertools.islice(pairs(folder), arguments.pairs):
            zero, warm = compare(pair, network, arguments.search, arguments.levels)
            start, lowest = zero[0][1], zero[-1][1]
            cells = [f"{value:.3f}" for value in (start, warm[0][1], lowest, warm[-1][1])]
            for target in (start + 0.9 * (lowest - start), lowest):
                cells += [str(needed(one, target)) for one in (zero, warm)]
            print(f"{name:12s}" + "".join(f"{cell:>14s}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
