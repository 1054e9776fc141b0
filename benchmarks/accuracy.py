"""Print the accuracy figures: ``python benchmarks/accuracy.py [--only dirlab,brain,...]``.

Everything goes through ``ran.register`` with its defaults; labels and landmarks are used for scoring only. The volumes
are read from the folder named by NAPARI_RAN_DATA; the phantom is made. ``--development`` scores the hippocampus pairs
that settings may be tuned on instead of the reported ones.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from volumes import LUNGS, abdomen_files, brain_files, hippocampus_files, hippocampus_pairs, lungs

import napari_ran as ran
from napari_ran.data import DisplacementField
from napari_ran.evaluate import dice, target_registration_error
from napari_ran.synthetic import PairConfig, generate_batch
from napari_ran.transform import warp_labels

SETS = ("dirlab", "brain", "inverted", "hippocampus", "led", "abdomen", "head", "phantom", "contrasts")
"""Pairs; those without volumes of their own are generated."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    figure: str
    before: float
    after: float
    folding: float
    seconds: float
    cpu: float

    def __str__(self) -> str:
        return (
            f"{self.name:34s} {self.figure:20s} {self.before:8.3f} {self.after:8.3f} "
            f"{self.folding:9.4f} {self.seconds:7.1f} {self.cpu:7.1f} {_peak_gib():6.2f}"
        )


def _peak_gib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


class Bench:
    """Registers pairs, scores them and prints a line for each."""

    def __init__(self, folder: Path, development: bool, verbose: bool) -> None:
        self.folder, self.development, self.verbose = folder, development, verbose
        self.call = ran.register  # imports what it needs, once, before anything is timed

    def register(self, fixed: ran.Image, moving: ran.Image, name: str, figure: str, **settings: Any) -> tuple[Any, Row]:
        """Register with the defaults and time it."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = self.call(fixed, moving, **settings)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if self.verbose:
            print(*result.report.messages, sep="\n")
        return result, Row(name, figure, np.nan, np.nan, result.field.folding_percent, wall, cpu)

    def dirlab(self) -> Iterator[Row]:
        """Target registration error of the breathing lungs."""
        rows = []
        for case in LUNGS:
            images, points = lungs(self.folder, case)
            result, row = self.register(*images, f"DIR-Lab {case}", "TRE mm")
            before = target_registration_error(*points, DisplacementField.identity(images[0].grid)).mean()
            rows.append(replace(row, before=before, after=target_registration_error(*points, result.field).mean()))
            yield rows[-1]
        yield mean(rows, "DIR-Lab, mean of the cases")

    def brain(self) -> Iterator[Row]:
        """Overlap of all structures of the brain pair."""
        yield from self._labelled(brain_files(self.folder), "Brain T1")

    def inverted(self) -> Iterator[Row]:
        """Overlap of all structures of the brain pair when the moving image's contrast is turned round."""
        (fixed, moving), maps = _read(brain_files(self.folder))
        inside, most = moving.tensor > 0, moving.tensor.max()
        values = torch.where(inside, most - moving.tensor + 0.05 * most, torch.zeros_like(moving.tensor))
        turned = ran.Image(values, moving.grid, "inverted")
        yield from self._overlap(fixed, turned, *maps, "Brain T1, moving inverted")

    def contrasts(self) -> Iterator[Row]:
        """End-point error on generated pairs whose two contrasts have nothing to do with each other, as CT and MR."""
        config = PairConfig(shapes=((80, 96, 80),), peak=(0.05, 0.08), sliding=0.0, still=0.0, other_contrast=1.0)
        rows = []
        for number in range(6):
            pair = generate_batch(config, seed=101 if self.development else 100, index=number)
            grid = ran.Grid.from_spacing((80, 96, 80), 2.0)
            images = ran.Image(pair.fixed[0], grid, "fixed"), ran.Image(pair.moving[0], grid, "moving")
            result, row = self.register(*images, f"Two contrasts {number + 1}", "EPE voxels")
            seen = pair.visible[0, 0] > 0
            gaps = [
                torch.linalg.vector_norm(found - pair.truth[0], dim=0)[seen].mean()
                for found in (torch.zeros_like(pair.truth[0]), result.field.tensor)
            ]
            rows.append(replace(row, before=float(gaps[0]), after=float(gaps[1])))
            yield rows[-1]
        yield mean(rows, "Two contrasts, mean of the pairs")

    def head(self) -> Iterator[Row]:
        """Overlap of the masks of two 2-D CT slices of heads."""
        names = ("fixed", "moving", "fixed_mask", "moving_mask")
        files = [self.folder / "ct2d_head" / f"CT_2D_head_{name}.mha" for name in names]
        yield from self._labelled(files, "CT head, 2-D")
        yield from self._labelled(files, "CT head, 2-D, aligned first", affine="affine")

    def abdomen(self) -> Iterator[Row]:
        """Overlap of the organs of two subjects with different fields of view."""
        yield from self._labelled(abdomen_files(self.folder), "Abdomen CT", {6: "liver"})

    def hippocampus(self) -> Iterator[Row]:
        """Overlap of both parts of the hippocampus, pair by pair."""
        rows: list[Row] = []
        for pair in hippocampus_pairs(self.folder, self.development):
            title = " ".join(["Hippocampus", *(name[12:15] for name in pair)])
            rows += self._labelled(hippocampus_files(self.folder, pair), title)
            yield rows[-1]
        yield mean(rows, "Hippocampus, mean of the pairs")

    def led(self) -> Iterator[Row]:
        """Overlap of both parts of the hippocampus when the front one leads the fit: the other one was not told."""
        rows: list[Row] = []
        for pair in hippocampus_pairs(self.folder, self.development):
            images, maps = _read(hippocampus_files(self.folder, pair))
            front = [ran.Labels(torch.where(one.tensor == 1, 1, 0), one.grid) for one in maps]
            given = {"fixed_labels": front[0], "moving_labels": front[1]}
            found = []
            for weight in (0.0, 1.0):
                settings = {"instance": {"labels": weight}, "affine": "centre"}
                result, row = self.register(*images, "Hippocampus", "", **given, **settings)
                found.append(dice(maps[0], warp_labels(maps[1], result.field), [1, 2]))
            for label, figure in ((1, "Dice front, leads"), (2, "Dice back")):
                rows.append(replace(row, figure=figure, before=found[0][label], after=found[1][label]))
        for figure in ("Dice front, leads", "Dice back"):
            yield mean([row for row in rows if row.figure == figure], "Hippocampus, without and with")

    def _labelled(
        self, files: list[Path], name: str, also: dict[int, str] | None = None, **settings: Any
    ) -> Iterator[Row]:
        images, maps = _read(files)
        yield from self._overlap(*images, *maps, name, also, **settings)

    def _overlap(
        self,
        fixed: ran.Image,
        moving: ran.Image,
        target: ran.Labels,
        source: ran.Labels,
        name: str,
        also: dict[int, str] | None = None,
        **settings: Any,
    ) -> Iterator[Row]:
        result, row = self.register(fixed, moving, name, "mean Dice", **settings)
        ids = sorted(set(target.ids) & set(source.ids))
        before = dice(target, warp_labels(source, DisplacementField.identity(target.grid)), ids)
        after = dice(target, warp_labels(source, result.field), ids)
        for label, organ in (also or {}).items():
            yield replace(row, figure=f"Dice {organ}", before=before[label], after=after[label])
        yield replace(row, before=float(np.mean(list(before.values()))), after=float(np.mean(list(after.values()))))

    def phantom(self) -> Iterator[Row]:
        """End-point error and slip of the phantom, with and without the edge-aware weight."""
        pair = ran.sliding_phantom(seed=1 if self.development else 0)
        nothing = pair.slip(DisplacementField.identity(pair.fixed.grid))
        for name, settings in (("Phantom", {}), ("Phantom, smooth baseline", {"instance": {"edge_scale": 0.0}})):
            result, row = self.register(pair.fixed, pair.moving, name, "EPE voxels", **settings)
            found = pair.slip(result.field)
            yield replace(row, before=nothing.epe_voxels, after=found.epe_voxels)
            yield replace(
                row, figure="slip recovered %", before=nothing.recovered_percent, after=found.recovered_percent
            )


def _read(files: list[Path]) -> tuple[list[ran.Image], list[ran.Labels]]:
    """Read fixed and moving image and their labels."""
    return [ran.load_image(file) for file in files[:2]], [ran.load_labels(file) for file in files[2:]]


def mean(rows: list[Row], name: str) -> Row:
    """Return the average of some lines; the seconds are those of the slowest."""
    before, after, folding = (
        float(np.mean([getattr(row, key) for row in rows])) for key in ("before", "after", "folding")
    )
    slowest = max(rows, key=lambda row: row.seconds)
    return Row(name, rows[0].figure, before, after, folding, slowest.seconds, slowest.cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SETS), help=f"some of {','.join(SETS)}")
    parser.add_argument(
        "--development", action="store_true", help="pairs for tuning: other hippocampi, another phantom"
    )
    parser.add_argument("--verbose", action="store_true", help="say what each registration chose")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(SETS):
        parser.error(f"unknown sets {', '.join(sorted(unknown))}; known are {', '.join(SETS)}")
    folder = Path(os.environ.get("NAPARI_RAN_DATA", ""))
    if not set(chosen) <= {"phantom", "contrasts"} and not (folder / "lung_dirlab").is_dir():
        parser.error("set NAPARI_RAN_DATA to the folder of real volumes, or use --only phantom")
    bench = Bench(folder, arguments.development, arguments.verbose)
    columns = ("identity", "ours", "folding %", "seconds", "CPU s", "GiB")
    widths = (8, 8, 9, 7, 7, 6)
    heading = " ".join(f"{text:>{width}s}" for text, width in zip(columns, widths, strict=True))
    print(f"{'pair':34s} {'figure':20s} {heading}")
    for name in chosen:
        for row in getattr(bench, name)():
            print(row, flush=True)


if __name__ == "__main__":
    main()
