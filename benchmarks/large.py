"""One large pair from start to saved files: seconds and memory.

``python benchmarks/large.py FIXED MOVING [--shape 512 512 300]`` resamples both images to the shape first,
as whole numbers of 16 bits.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import SimpleITK as sitk

import napari_ran as ran


def resampled(path: Path, shape: list[int], target: Path) -> Path:
    image = sitk.ReadImage(str(path))
    spacing = [size * n / m for size, n, m in zip(image.GetSpacing(), image.GetSize(), shape, strict=True)]
    large = sitk.Resample(
        sitk.Cast(image, sitk.sitkInt16), shape, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), spacing,
        image.GetDirection(), -1000, sitk.sitkInt16,
    )  # fmt: skip
    sitk.WriteImage(large, str(target))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fixed", type=Path)
    parser.add_argument("moving", type=Path)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 300])
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = [resampled(getattr(chosen, side), chosen.shape, folder / f"{side}.mha") for side in ("fixed", "moving")]
        began = time.perf_counter()
        found = ran.register(*files, device=chosen.device)
        registered = time.perf_counter()
        found.save(folder / "result")
        saved = time.perf_counter()
    for stage in found.report.stages:
        print(f"{stage.name:12} {stage.seconds:6.1f} s {stage.peak_bytes / 2**30:6.2f} GiB")
    print(f"registered in {registered - began:.0f} s, saved in {saved - registered:.0f} s")
    print(f"largest memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
