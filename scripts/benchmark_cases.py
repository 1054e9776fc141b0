"""Write the lists of cases of the benchmarks, and their settings: ``python scripts/benchmark_cases.py -o FOLDER``.

``hippocampus.csv`` has the 24 fixed pairs of the last 40 subjects by name, ``hippocampus-development.csv`` 24 of the
first 168; ``dirlab.csv`` the lungs of cases 2 to 4 with their landmarks, ``brain.csv`` and ``abdomen.csv`` one pair
each, and ``phantom.csv`` the sliding organs of seed 0 with their exact field, which are made. The volumes stay in the
folder named by NAPARI_RAN_DATA; the settings of ``examples/benchmark`` are put beside the lists.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import napari_ran as ran
from napari_ran.cases.listing import COLUMNS
from napari_ran.data import Landmarks
from napari_ran.io import save_field, save_image, save_labels, save_landmarks

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from accuracy import hippocampus_pairs

Row = dict[str, object]


def hippocampi(data: Path, development: bool) -> Iterator[Row]:
    folder = data / "hippocampus"
    for fixed, moving in hippocampus_pairs(data, development):
        name = "-".join(one.removeprefix("hippocampus_").removesuffix(".nii.gz") for one in (fixed, moving))
        row: Row = {"name": name, "fixed": folder / "images" / fixed, "moving": folder / "images" / moving}
        yield row | {"fixed_labels": folder / "labels" / fixed, "moving_labels": folder / "labels" / moving}


def lungs(data: Path, made: Path) -> Iterator[Row]:
    for case in ("case_002", "case_003", "case_004"):
        row: Row = {"name": case}
        for side, phase in (("fixed", "T00"), ("moving", "T50")):
            path = data / "lung_dirlab" / case / f"{phase}.nii.gz"
            # voxels in the order z, y, x
            voxels = np.loadtxt(path.with_name(f"{phase}_landmarks_zyx_vox.txt"))[:, ::-1]
            landmarks = Landmarks.from_voxels(voxels, ran.load_image(path).grid)
            row |= {side: path, f"{side}_landmarks": save_landmarks(landmarks, made / f"{case}-{phase}.csv")}
        yield row


def labelled(folder: Path, fixed: str, moving: str, fixed_labels: str, moving_labels: str) -> Row:
    names = {"fixed": fixed, "moving": moving, "fixed_labels": fixed_labels, "moving_labels": moving_labels}
    return {"name": folder.name} | {key: folder / f"{name}.nii.gz" for key, name in names.items()}


def phantom(made: Path) -> Row:
    pair = ran.sliding_phantom(seed=0)
    return {
        "name": "phantom",
        "fixed": save_image(pair.fixed, made / "fixed.nii.gz"),
        "moving": save_image(pair.moving, made / "moving.nii.gz"),
        "fixed_labels": save_labels(pair.fixed_labels, made / "fixed-labels.nii.gz"),
        "moving_labels": save_labels(pair.moving_labels, made / "moving-labels.nii.gz"),
        "truth": save_field(pair.truth, made / "truth.h5"),
    }


def write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [name for name in COLUMNS if any(name in row for row in rows)])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{path}: {len(rows)} cases")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the lists")
    output: Path = parser.parse_args().output.absolute()
    data = Path(os.environ.get("NAPARI_RAN_DATA", "")).absolute()
    if not (data / "hippocampus").is_dir():
        parser.error("set NAPARI_RAN_DATA to the folder of real volumes")
    made = output / "made"
    made.mkdir(parents=True, exist_ok=True)
    write(output / "hippocampus.csv", list(hippocampi(data, False)))
    write(output / "hippocampus-development.csv", list(hippocampi(data, True)))
    write(output / "dirlab.csv", list(lungs(data, made)))
    brain = ("l2r2019_subj1_t1", "vxm_test_t1", "l2r2019_subj1_seg", "vxm_test_seg")
    write(output / "brain.csv", [labelled(data / "brain_t1", *brain)])
    abdomen = (f"{name}_2mm" for name in ("ircad01_ct", "ircad17_ct", "ircad01_seg", "ircad17_seg"))
    write(output / "abdomen.csv", [labelled(data / "abdomen_ct", *abdomen)])
    write(output / "phantom.csv", [phantom(made)])
    for path in sorted((Path(__file__).parents[1] / "examples" / "benchmark").glob("*.yaml")):
        shutil.copy(path, output)


if __name__ == "__main__":
    main()
