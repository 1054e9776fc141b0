"""Whole registrations beside ConvexAdam's, in turns: ``python benchmarks/end_to_end.py [--only dirlab,hippocampus]``.

Every pair is registered by ours without a network, by ours with the bundled one, and by ConvexAdam with its defaults,
one after the other, in rounds; each has all threads (OMP_NUM_THREADS). Seconds are those of the registration alone,
without reading, writing and imports of the tools; ours include the other direction, the warped image and the figures
of the report. Beside the clock's seconds are those of the cores' work, which say more where others compute as well.
The volumes are read from the folder named by NAPARI_RAN_DATA; ``--development`` takes pairs that settings may be tuned
on, the lungs of which have no landmarks.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from accuracy import hippocampus_pairs

import napari_ran as ran
from napari_ran.data import DisplacementField, Landmarks
from napari_ran.evaluate import dice, target_registration_error
from napari_ran.peers import check_peer, run_peer
from napari_ran.transform import warp_labels

OURS = {"ours, no network": "none", "ours": "auto"}
PEER = "convexadam"


@dataclass
class Case:
    """One pair, and how a field for it is scored."""

    name: str
    fixed: ran.Image
    moving: ran.Image
    truth: tuple[Landmarks, Landmarks] | tuple[ran.Labels, ran.Labels] | None

    def score(self, found: DisplacementField) -> float:
        """Return the mean landmark error in mm, or the mean Dice; NaN where nothing is known."""
        if self.truth is None:
            return float("nan")
        fixed, moving = self.truth
        if isinstance(fixed, Landmarks):
            return float(target_registration_error(fixed, moving, found).mean())
        ids = sorted(set(fixed.ids) & set(moving.ids))
        return float(np.mean(list(dice(fixed, warp_labels(moving, found), ids).values())))


@dataclass
class Times:
    """What one tool took, stage by stage, and what it reached."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)


def lungs(folder: Path, development: bool) -> Iterator[Case]:
    """Yield the breathing lungs, 160 x 128 x 160 voxels."""
    for name in ["case_001"] if development else ["case_002", "case_003", "case_004"]:
        path = folder / "lung_dirlab" / name
        images = [ran.load_image(path / f"{phase}.nii.gz") for phase in ("T00", "T50")]
        files = [path / f"{phase}_landmarks_zyx_vox.txt" for phase in ("T00", "T50")]
        points = None
        if not development:  # voxels in the order z, y, x
            fixed, moving = (
                Landmarks.from_voxels(np.loadtxt(file)[:, ::-1], image.grid)
                for file, image in zip(files, images, strict=True)
            )
            points = fixed, moving
        yield Case(f"lungs {name}", *images, points)


def hippocampi(folder: Path, development: bool) -> Iterator[Case]:
    """Yield four pairs of hippocampi, about 35 x 51 x 35 voxels."""
    path = folder / "hippocampus"
    for pair in hippocampus_pairs(folder, development)[:4]:
        images = [ran.load_image(path / "images" / name) for name in pair]
        fixed, moving = (ran.load_labels(path / "labels" / name) for name in pair)
        yield Case(f"hippocampus {pair[0][12:15]} {pair[1][12:15]}", *images, (fixed, moving))


SETS = {"dirlab": lungs, "hippocampus": hippocampi}


def measure(case: Case, tools: list[str], found: dict[str, Times]) -> None:
    """Register a pair with every tool, in turns."""
    for name in tools:
        times = found.setdefault(name, Times())
        stages: dict[str, float] = {}
        if name == PEER:
            start = np.eye(4)
            start[:-1, -1] = case.moving.grid.centre - case.fixed.grid.centre
            peer = run_peer(PEER, case.fixed, case.moving, start)
            reached, seconds, processor = peer.field, peer.seconds, peer.processor_seconds
        else:
            worked = time.process_time()
            result = ran.register(case.fixed, case.moving, weights=OURS[name], affine="centre")
            processor = time.process_time() - worked
            stages = {stage.name: stage.seconds for stage in result.report.stages}
            reached, seconds = result.field, sum(stages.values())
        times.seconds.append(seconds)
        times.processor.append(processor)
        times.scores.append(case.score(reached))
        text = "  ".join(f"{stage} {value:.2f}" for stage, value in stages.items())
        line = f"{case.name:22s} {name:18s} {seconds:7.2f} s {processor:7.2f} CPU s {times.scores[-1]:8.3f}  {text}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SETS), help=f"some of {','.join(SETS)}")
    parser.add_argument("--tools", default=",".join([*OURS, PEER]), help="some of these, in this order")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--development", action="store_true", help="pairs that settings may be tuned on")
    chosen = parser.parse_args()
    tools = chosen.tools.split(",")
    if unknown := set(tools) - {*OURS, PEER}:
        parser.error(f"unknown tools {', '.join(sorted(unknown))}")
    if PEER in tools:
        check_peer(PEER, 3)
    folder = Path(os.environ["NAPARI_RAN_DATA"])
    for name in chosen.only.split(","):
        found: dict[str, Times] = {}
        for _ in range(chosen.rounds):
            for case in SETS[name](folder, chosen.development):
                measure(case, tools, found)
        for tool, times in found.items():
            print(
                f"{name}: {tool:18s} mean {np.mean(times.seconds):.2f} s, {np.mean(times.processor):.2f} CPU s", end=""
            )
            if PEER in found:
                print(f", {_ratio(times.seconds, found[PEER].seconds):.2f} of ConvexAdam's", end="")
                print(f" ({_ratio(times.processor, found[PEER].processor):.2f} of its CPU s)", end="")
            print(f", mean score {np.mean(times.scores):.3f}", flush=True)


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return float(np.median(np.array(ours) / np.array(theirs)))


if __name__ == "__main__":
    main()
