"""Print how long the motion-separability PDF takes: ``python benchmarks/separability.py [--pairs 2000000]``.

A smooth field of 160 x 160 x 160 voxels and organs that fill about a tenth of it, as in an abdomen.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from napari_ran.config import RANConfig
from napari_ran.introspect.separability import separability


def pair(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a field (3, *S) in voxels and the correct points (*S)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn((1, 4, 10, 10, 10), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (size,) * 3, mode="trilinear", align_corners=True)[0]
    return 4 * smooth[:3], smooth[3] > 0.75


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2_000_000)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    field, correct = pair(options.size)
    seconds, busy = [], []
    for seed in range(options.repeats):
        start, cpu = time.perf_counter(), time.process_time()
        found = separability(field, correct, options.pairs, seed=seed, layout=RANConfig.preset("RAN4+"))
        _ = found.probability
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - cpu)
    share, nearest = 100 * float(correct.float().mean()), int(found.counts[0].sum())
    print(f"{options.size}^3 voxels, {share:.0f} % correct: {found.pairs} pairs, {nearest} of them neighbours")
    print(f"{np.median(seconds):.2f} s, median of {options.repeats} ({min(seconds):.2f} to {max(seconds):.2f})")
    print(f"{np.median(busy):.2f} CPU seconds")


if __name__ == "__main__":
    main()
