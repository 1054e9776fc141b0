"""How far landmarks that lead the fit help the others: ``python benchmarks/landmarks.py --case case_004``.

Of a DIR-Lab case (or of ``elastix``'s lungs, to develop on) some landmarks spread over the lungs lead, and the error of
all others is printed without them, with them, and how much of the unguided error is left. The volumes are read from the
folder named by NAPARI_RAN_DATA.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from volumes import lungs

import napari_ran as ran
from napari_ran.data import Landmarks
from napari_ran.evaluate import target_registration_error


def spread(points: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """Return the places of points that lie far from each other, each the farthest from those before it."""
    chosen = [0]
    nearest = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < number:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return np.array(chosen)


def read(data: Path, case: str) -> tuple[list[ran.Image], list[NDArray[np.float64]]]:
    """Return fixed and moving image and their corresponding points in mm."""
    if case == "elastix":
        folder = data / "lung_elastix"
        images = [ran.load_image(folder / f"3DCT_lung_{name}.mha") for name in ("baseline", "followup")]
        files = (folder / f"CT_3D_lung_{name}_point_set_corrected.txt" for name in ("fixed", "moving"))
        return images, [ran.load_landmarks(file).points for file in files]
    images, landmarks = lungs(data, case)
    return images, [one.points for one in landmarks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="case_004")
    parser.add_argument("--number", type=int, default=30)
    parser.add_argument("--weights", type=float, nargs="+", default=[1.0], help="weights of the landmarks")
    parser.add_argument("--random", type=int, help="choose them at random with this seed, not spread out")
    arguments = parser.parse_args()
    images, points = read(Path(os.environ["NAPARI_RAN_DATA"]), arguments.case)
    lead = spread(points[0], arguments.number)
    if arguments.random is not None:
        lead = np.random.default_rng(arguments.random).choice(len(points[0]), arguments.number, replace=False)
    rest = np.setdiff1d(np.arange(len(points[0])), lead)
    given = dict(zip(("fixed_landmarks", "moving_landmarks"), (Landmarks(one[lead]) for one in points), strict=True))
    others = [Landmarks(one[rest]) for one in points]
    found: dict[float, float] = {}
    for weight in (0.0, *arguments.weights):
        result = ran.register(*images, **given, instance={"landmarks": weight})
        found[weight] = float(target_registration_error(others[0], others[1], result.field).mean())
        leading = float(target_registration_error(*given.values(), result.field).mean())
        left = 100 * found[weight] / found[0.0]
        errors = f"others {found[weight]:.3f} mm ({left:.0f} %), leading {leading:.3f} mm"
        folding = f"folding {result.report.folding_percent:.4f} %"
        print(f"{arguments.case} weight {weight:g}: {errors}, {folding}", flush=True)


if __name__ == "__main__":
    main()
