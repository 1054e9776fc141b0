"""Print what networks do alone on hippocampus pairs: ``python benchmarks/networks.py WEIGHTS [WEIGHTS ...]``.

Each row is a mean over the 24 fixed pairs of `accuracy.py`: of the last 40 subjects by name, which no training reads,
or with ``--development`` of the first 168. *centred*: the images are brought together by their middles only, resized to
the network's grid, and the network's field is the result. *affine*: the whole registration with its affine alignment,
but without instance optimisation. Overlaps are measured on the fixed image's own grid. The first row is doing nothing.
The volumes are read from the folder named by NAPARI_RAN_DATA.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accuracy import hippocampus_pairs
from torch import nn

import napari_ran as ran
from napari_ran.data import DisplacementField, Grid
from napari_ran.evaluate import dice
from napari_ran.io.checkpoints import load_weights
from napari_ran.models import VoxelMorph
from napari_ran.preprocess import choose_intensity
from napari_ran.train.checkpoint import read_checkpoint
from napari_ran.transform import compose_to, resample, warp_labels
from napari_ran.working import network_grid

Solver = Callable[[ran.Image, ran.Image], DisplacementField]


def centred(network: nn.Module | None) -> Solver:
    """Return the registration of centred images by a network, or by nothing."""

    def solve(fixed: ran.Image, moving: ran.Image) -> DisplacementField:
        shift = np.eye(4)
        shift[:3, 3] = moving.grid.centre - fixed.grid.centre
        grid = network_grid(fixed.grid, 1_000_000, 16)
        field = torch.zeros(3, *grid.shape)
        if network is not None:
            field = network_field(network, fixed, moving, grid, shift)
        return compose_to(DisplacementField(field, grid, "fixed", "moving"), shift, fixed.grid)

    return solve


@torch.no_grad()
def network_field(
    network: nn.Module, fixed: ran.Image, moving: ran.Image, grid: Grid, world: np.ndarray
) -> torch.Tensor:
    """Return the network's field (3, *S) on `grid`."""
    choice = choose_intensity(fixed, moving)
    scaled = [
        ran.Image(window.apply(image.tensor), image.grid, image.name)
        for window, image in ((choice.fixed, fixed), (choice.moving, moving))
    ]
    target = resample(scaled[0], grid, antialias=True).tensor[None]
    source = resample(scaled[1], grid, world, antialias=True).tensor[None]
    field: torch.Tensor = network(source, target, both=False).field[0].float()
    return field


def affine(weights: str) -> Solver:
    """Return the whole registration without instance optimisation."""
    return lambda fixed, moving: ran.register(fixed, moving, weights=weights, instance="none").field


def load(weights: str) -> nn.Module:
    """Return the network of a safetensors file or name, or the averaged VoxelMorph of a training checkpoint."""
    if not weights.endswith(".ckpt"):
        return load_weights(weights).eval()
    network = VoxelMorph()
    network.load_state_dict(read_checkpoint(Path(weights))["average"])
    return network.eval()


def score(folder: Path, solve: Solver, development: bool) -> str:
    """Return mean and standard deviation of the Dice overlap, and the folding, as text."""
    overlaps, folding = [], []
    for names in hippocampus_pairs(folder, development):
        fixed, moving = (ran.load_image(folder / "hippocampus" / "images" / name) for name in names)
        target, source = (ran.load_labels(folder / "hippocampus" / "labels" / name) for name in names)
        field = solve(fixed, moving)
        overlaps.append(np.mean(list(dice(target, warp_labels(source, field), [1, 2]).values())))
        folding.append(field.folding_percent)
    return f"Dice {np.mean(overlaps):.3f} +- {np.std(overlaps):.3f}  folding {np.mean(folding):.3f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", help="names or files of weights, or best.ckpt of a VoxelMorph")
    parser.add_argument("--development", action="store_true", help="pairs of the first 168 subjects")
    parser.add_argument("--affine", action="store_true", help="also the whole registration with its affine alignment")
    arguments = parser.parse_args()
    folder = Path(os.environ.get("NAPARI_RAN_DATA", ""))
    if not (folder / "hippocampus").is_dir():
        parser.error("set NAPARI_RAN_DATA to the folder of real volumes")
    rows: list[tuple[str, Solver]] = [("identity, centred", centred(None))]
    rows += [(f"{name}, centred", centred(load(name))) for name in arguments.weights]
    if arguments.affine:
        rows += [("affine alone", affine("none"))]
        rows += [(f"{name}, affine", affine(name)) for name in arguments.weights if not name.endswith(".ckpt")]
    width = max(len(name) for name, _ in rows)
    for name, solve in rows:
        print(f"{name:{width}s}  {score(folder, solve, arguments.development)}", flush=True)


if __name__ == "__main__":
    main()
