"""Draw the motion-separability PDFs of networks that were trained alike, and their differences (Fig. 7).

``python scripts/separability_pictures.py CASES.csv RAN0=FILE RAN3=FILE RAN4=FILE -o FOLDER`` measures every
network alone on all cases together, and on the sliding phantom of seed 0. Points count whose label the warped moving
label equals. For each kind of images it writes one picture of the PDFs and one for each difference from the first, and
prints how far displacements differ at small distances.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

import napari_ran as ran
from napari_ran import figures
from napari_ran.cases import read_cases
from napari_ran.introspect.separability import Separability, correct_points, separability
from napari_ran.io.checkpoints import load_network
from napari_ran.models import RAN

Quadruple = tuple[ran.Image, ran.Image, ran.Labels, ran.Labels]

REACH = {"hippocampus": (32, 12), "phantom": (48, 16)}
"""Largest distance and difference in voxels."""

NEAR = (1, 2, 4, 8, 16)


def hippocampi(path: Path) -> Iterator[Quadruple]:
    for case in read_cases(path):
        assert case.fixed_labels is not None
        assert case.moving_labels is not None
        images = ran.load_image(case.fixed), ran.load_image(case.moving)
        yield *images, ran.load_labels(case.fixed_labels), ran.load_labels(case.moving_labels)


def phantom() -> Iterator[Quadruple]:
    made = ran.sliding_phantom(seed=0)
    yield made.fixed, made.moving, made.fixed_labels, made.moving_labels


def measured(weights: Path, pairs: Iterator[Quadruple], reach: tuple[int, int], affine: str) -> Separability:
    """Return the PDF over all pairs, each with the same number of draws."""
    network = load_network(weights)
    found: Separability | None = None
    for fixed, moving, fixed_labels, moving_labels in pairs:
        result = ran.register(
            fixed, moving, weights=str(weights), affine=affine, instance="none", device="cpu",
            fixed_labels=fixed_labels, moving_labels=moving_labels,
        )  # fmt: skip
        assert result.warped_labels is not None
        correct = correct_points(fixed_labels.tensor.squeeze(0), result.warped_labels.tensor.squeeze(0))
        layout = network.config if isinstance(network, RAN) else None
        one = separability(result.field.tensor, correct, 300_000, *reach, layout=layout)
        found = one if found is None else replace(found, counts=_sum(found, one))
    assert found is not None
    return found


def _sum(one: Separability, other: Separability) -> torch.Tensor:
    rows = max(len(one.counts), len(other.counts))
    total = one.counts.copy() if len(one.counts) == rows else other.counts.copy()
    smaller = other.counts if len(one.counts) == rows else one.counts
    total[: len(smaller)] += smaller
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path, help="list of hippocampus pairs with labels")
    parser.add_argument("weights", nargs="+", help="NAME=FILE for each network")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the pictures")
    arguments = parser.parse_args()
    named = {name: Path(file) for name, _, file in (text.partition("=") for text in arguments.weights)}
    arguments.output.mkdir(parents=True, exist_ok=True)
    first, *others = named
    for kind, reach in REACH.items():
        found = {}
        for name, file in named.items():
            pairs = hippocampi(arguments.cases) if kind == "hippocampus" else phantom()
            found[name] = measured(file, pairs, reach, "centre" if kind == "hippocampus" else "none")
        if len({len(one.counts) for one in found.values()}) > 1:
            raise SystemExit("the networks' correct points reach differently far")
        figures.separability(found).savefig(arguments.output / f"{kind}.png")
        for name in others:
            figure = figures.separability_difference(found[name].difference(found[first]), (name, first))
            figure.savefig(arguments.output / f"{kind}-{name}-{first}.png")
        print(f"{kind}: mean difference of displacement (voxels) at a distance of {', '.join(map(str, NEAR))} voxels")
        for name, one in found.items():
            values = ", ".join(f"{one.mean_difference[distance - 1]:.2f}" for distance in NEAR)
            above = "" if one.above_bound is None else f"; {100 * one.above_bound:.3g} % above the bound"
            print(f"  {name}: {values}{above}")


if __name__ == "__main__":
    main()
