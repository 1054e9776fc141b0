"""Print what networks do alone, without instance optimisation: ``python benchmarks/networks.py WEIGHTS [WEIGHTS ...]``.

A row of *hippocampus* is a mean over the 24 fixed pairs of `volumes.py`, of the last 40 subjects by name, which no
training reads; *brain* is one pair, *dirlab* three pairs of breathing lungs (TRE in mm), *phantom* the sliding organs
of seed 0 (end-point error in voxels). With ``--development``: pairs that settings may be tuned on.

*alone*: the images lie where their headers say, the hippocampi by their middles; the network's field is the result,
with the coarser looks and the tiles that are the default where nothing refines it. *affine*: the same after an affine
alignment.
Everything is measured on the fixed image's own grid. The first row is doing nothing.
The volumes are read from the folder named by NAPARI_RAN_DATA.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from volumes import LUNGS, brain_files, hippocampus_files, hippocampus_pairs, lungs

import napari_ran as ran
from napari_ran.data import DisplacementField, Grid, Landmarks
from napari_ran.evaluate import dice, target_registration_error
from napari_ran.io.checkpoints import load_network
from napari_ran.models import Network
from napari_ran.preprocess import choose_intensity
from napari_ran.transform import resample, warp_labels
from napari_ran.types import AffineMode


@dataclass(frozen=True)
class Pair:
    """A pair, the figure of a field on the fixed grid, and whether its middles are brought together first."""

    fixed: ran.Image
    moving: ran.Image
    measure: Callable[[DisplacementField], float]
    centred: bool = False

    @property
    def world(self) -> np.ndarray:
        """How the images lie before the network, from fixed to moving, in mm."""
        world = np.eye(4)
        if self.centred:
            world[:3, 3] = self.moving.grid.centre - self.fixed.grid.centre
        return world


Solver = Callable[[Pair], DisplacementField]


@dataclass(frozen=True)
class Family:
    """Pairs of one kind, and the name of their figure."""

    figure: str
    reported: Callable[[Path], Iterator[Pair]]
    development: Callable[[Path], Iterator[Pair]] | None = None


def hippocampi(folder: Path, development: bool = False) -> Iterator[Pair]:
    for names in hippocampus_pairs(folder, development):
        yield labelled(*hippocampus_files(folder, names), centred=True)


def brains(folder: Path) -> Iterator[Pair]:
    yield labelled(*brain_files(folder))


def hearts(folder: Path) -> Iterator[Pair]:
    for patient in range(1, 6):
        first, last = sorted((folder / "cardiac").glob(f"patient{patient:03d}_*_image.nii.gz"))
        yield labelled(first, last, *(path.with_name(path.name.replace("image", "label")) for path in (first, last)))


def labelled(fixed: Path, moving: Path, fixed_labels: Path, moving_labels: Path, *, centred: bool = False) -> Pair:
    """Return a pair whose figure is the mean Dice overlap of the labels that both images have."""
    images = [ran.load_image(path) for path in (fixed, moving)]
    labels = [ran.load_labels(path) for path in (fixed_labels, moving_labels)]
    ids = sorted(set(labels[0].ids) & set(labels[1].ids))

    def measure(field: DisplacementField) -> float:
        return float(np.mean(list(dice(labels[0], warp_labels(labels[1], field), ids).values())))

    return Pair(images[0], images[1], measure, centred)


def chests(folder: Path) -> Iterator[Pair]:
    for case in LUNGS:
        images, points = lungs(folder, case)

        def measure(field: DisplacementField, points: list[Landmarks] = points) -> float:
            return float(target_registration_error(*points, field).mean())

        yield Pair(*images, measure)


def phantom(seed: int) -> Pair:
    made = ran.sliding_phantom(seed=seed)
    return Pair(made.fixed, made.moving, lambda field: made.slip(field).epe_voxels)


FAMILIES = {
    "hippocampus": Family("Dice", hippocampi, lambda folder: hippocampi(folder, development=True)),
    "brain": Family("Dice", brains),
    "cardiac": Family("Dice", hearts, hearts),
    "dirlab": Family("TRE mm", chests),
    "phantom": Family("EPE voxels", lambda folder: iter([phantom(0)]), lambda folder: map(phantom, (1, 2, 3))),
}


def network_images(pair: Pair, grid: Grid) -> tuple[Tensor, Tensor]:
    """Return fixed and moving image (1, 1, *S) as the network sees them on `grid`."""
    choice = choose_intensity(pair.fixed, pair.moving)
    fixed, moving = (
        ran.Image(window.apply(image.tensor), image.grid, image.name)
        for window, image in ((choice.fixed, pair.fixed), (choice.moving, pair.moving))
    )
    return (
        resample(fixed, grid, antialias=True).tensor[None],
        resample(moving, grid, pair.world, antialias=True).tensor[None],
    )


def solver(weights: str, affine: AffineMode | None = None) -> Solver:
    """Return the registration by a network without instance optimisation; by the pair's own start when left out."""

    def solve(pair: Pair) -> DisplacementField:
        start = affine or ("centre" if pair.centred else "none")
        return ran.register(pair.fixed, pair.moving, weights=weights, affine=start, instance="none").field

    return solve


def load(weights: str) -> Network:
    """Return the network of a safetensors file or name."""
    return load_network(weights).eval()


def score(pairs: Iterator[Pair], solve: Solver, figure: str) -> str:
    """Return mean and standard deviation of the figure, and the mean folding, as text."""
    found = [(pair.measure(field), field.folding_percent) for pair in pairs for field in [solve(pair)]]
    values, folding = np.transpose(found)
    return f"{figure} {values.mean():.3f} +- {values.std():.3f}  folding {folding.mean():.3f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", help="names or files of weights")
    parser.add_argument("--only", default="hippocampus", help=f"some of {','.join(FAMILIES)}")
    parser.add_argument("--development", action="store_true", help="pairs that settings may be tuned on")
    parser.add_argument("--affine", action="store_true", help="also the whole registration with its affine alignment")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(FAMILIES):
        parser.error(f"unknown families {', '.join(sorted(unknown))}; known are {', '.join(FAMILIES)}")
    folder = Path(os.environ.get("NAPARI_RAN_DATA", ""))
    if chosen != ["phantom"] and not (folder / "hippocampus").is_dir():
        parser.error("set NAPARI_RAN_DATA to the folder of real volumes, or use --only phantom")
    rows = [(f"{name}, alone", solver(name)) for name in ("none", *arguments.weights)]
    if arguments.affine:
        rows += [(f"{name}, affine", solver(name, "auto")) for name in ("none", *arguments.weights)]
    width = max(len(name) for name, _ in rows)
    for name in chosen:
        family = FAMILIES[name]
        pairs = family.development if arguments.development else family.reported
        if pairs is None:
            parser.error(f"{name} has no pairs for development")
        for row, solve in rows:
            print(f"{name:12s} {row:{width}s}  {score(pairs(folder), solve, family.figure)}", flush=True)


if __name__ == "__main__":
    main()
