"""Print how well 2-D images of several sizes are registered: ``python benchmarks/slices.py [WEIGHTS ...]``.

The same sliding organs, drawn on more and more pixels: the mean end-point error in pixels of four phantoms, whose seeds
are not among those that settings may be tuned on (0 to 9). *refined*: the refinement alone, from nothing; *at once*:
the same at full resolution only, as small images are refined; then each network alone, and with the refinement.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time

import numpy as np
import torch

import napari_ran as ran
from napari_ran.data import DisplacementField
from napari_ran.instance import octaves

SHAPES = ((112, 80), (224, 160), (448, 320), (896, 640))
SEEDS = (10, 11, 12, 13)
FIELD_OF_VIEW = 168.0
"""Length of the first axis in mm."""


def errors(shape: tuple[int, int], weights: str | None, mode: str) -> tuple[float, float]:
    """Return the mean error in pixels and the mean seconds of a registration; of doing nothing without weights."""
    found, seconds = [], []
    for seed in SEEDS:
        pair = ran.phantom_2d(seed=seed, shape=shape, spacing=(FIELD_OF_VIEW / shape[0],) * 2)
        start = time.perf_counter()
        if weights is None:
            field = DisplacementField(torch.zeros(2, *shape), pair.fixed.grid)
        else:
            field = ran.register(pair.fixed, pair.moving, affine="none", weights=weights, instance=mode).field  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - start)
        found.append(pair.slip(field).epe_voxels)
    return float(np.mean(found)), float(np.mean(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*")
    arguments = parser.parse_args()
    networks = list(itertools.product(arguments.weights, ("none", "field")))
    names = [
        "nothing",
        "at once",
        "refined",
        *(f"{w}, {'alone' if mode == 'none' else 'refined'}" for w, mode in networks),
    ]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} of {os.cpu_count()} cores; error in pixels (seconds)")
    print(f"{'size':12s}" + "".join(f"{name:>24s}" for name in names))
    usual = octaves.LARGEST_SIDE
    for shape in SHAPES:
        cells = [errors(shape, None, "none")]
        octaves.LARGEST_SIDE = max(shape)  # type: ignore[misc]
        cells.append(errors(shape, "none", "field"))
        octaves.LARGEST_SIDE = usual
        cells.append(errors(shape, "none", "field"))
        cells += [errors(shape, weights, mode) for weights, mode in networks]
        size = " x ".join(map(str, shape))
        print(f"{size:12s}" + "".join(f"{error:16.2f} ({took:4.1f})" for error, took in cells), flush=True)


if __name__ == "__main__":
    main()
