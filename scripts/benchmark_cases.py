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

import napari_ran as ran
from napari_ran.io import save_field, save_image, save_labels, save_landmarks
from napari_ran.io.pair_lists import FILES

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from volumes import LUNGS, abdomen_files, brain_files, hippocampus_files, hippocampus_pairs, lung_files, lungs

Row = dict[str, object]


def labelled(name: str, files: list[Path]) -> Row:
    return {"name": name} | dict(zip(("fixed", "moving", "fixed_labels", "moving_labels"), files, strict=True))


def hippocampi(data: Path, development: bool) -> Iterator[Row]:
    for pair in hippocampus_pairs(data, development):
        name = "-".join(one.removeprefix("hippocampus_").removesuffix(".nii.gz") for one in pair)
        yield labelled(name, hippocampus_files(data, pair))


def chests(data: Path, made: Path) -> Iterator[Row]:
    for case in LUNGS:
        row: Row = {"name": case}
        _, points = lungs(data, case)
        for side, path, landmarks in zip(("fixed", "moving"), lung_files(data, case), points, strict=True):
            row |= {side: path, f"{side}_landmarks": save_landmarks(landmarks, made / f"{case}-{path.name[:3]}.csv")}
        yield row


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
        writer = csv.DictWriter(file, [name for name in ("name", *FILES) if any(name in row for row in rows)])
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
    write(output / "dirlab.csv", list(chests(data, made)))
    write(output / "brain.csv", [labelled("brain_t1", brain_files(data))])
    write(output / "abdomen.csv", [labelled("abdomen_ct", abdomen_files(data))])
    write(output / "phantom.csv", [phantom(made)])
    for path in sorted((Path(__file__).parents[1] / "examples" / "benchmark").glob("*.yaml")):
        shutil.copy(path, output)


if __name__ == "__main__":
    main()
