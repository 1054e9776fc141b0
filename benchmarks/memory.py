"""Predicted against measured memory of whole registrations, each in a process of its own, and the fit of the constants.

``python benchmarks/memory.py`` prints a line for each run that nothing was fitted to: what its plan predicted, how far
the process grew beyond what it held before (median and range of three processes), and the ratio of the first two.
``--json`` prints the table as JSON. ``--fit`` measures the runs of the fit and prints the constants of
`napari_ran.memory` that they give, or those that are named after it. ``--one SYSTEM SHAPE MODE`` does a single run,
such as ``--one RAN4+ 96x96x112 none``; SYSTEM may be ``none`` or ``bundled``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

import napari_ran as ran
from napari_ran.config import InstanceConfig
from napari_ran.counting import pass_bytes
from napari_ran.instance.pyramid import control_factor, search_tables
from napari_ran.io.checkpoints import ModelCard, load_network, save_weights
from napari_ran.memory import GUESS_BYTES, SLAB, give_back_freed_memory
from napari_ran.models import create_system

HELD_OUT = (
    ("RAN0", "96x80x128", "none"),
    ("RAN3", "96x80x128", "none"),
    ("RAN4", "112x96x96", "none"),
    ("RAN4+", "96x96x112", "none"),
    ("VM1", "96x80x128", "none"),
    ("VM2", "128x96x80", "none"),
    ("DPRn", "96x80x96", "none"),
    ("RAN3", "1024x896", "none"),
    ("VM2", "960x1024", "none"),
    ("RAN3", "128x112x128", "tiles"),
    ("bundled", "72x72x72", "field"),
    ("none", "88x88x88", "field"),
    ("bundled", "96x96x96", "field"),
    ("bundled", "144x144x40", "field"),
    ("bundled", "160x128x128", "field"),
    ("bundled", "160x128x160", "field"),
    ("bundled", "1400x1200", "field"),
    ("RAN3", "64x64x64", "network"),
    ("VM1", "64x64x80", "network"),
)
"""Runs that nothing was fitted to: system, shape, what follows the network."""

WHOLE_FIT = (
    *((shape, shape) for shape in ("200x200x200", "160x160x176", "128x128x128", "96x96x96", "2000x1600", "1000x900")),
    ("256x256x300", "128x128x128"),
    ("128x128x128", "256x256x300"),
)
"""Fixed and moving shapes of the runs that give `WHOLE_BYTES`."""

FIELD_FIT = {
    2: ("512x512", "1000x800", "1200x1000", "1600x1300"),
    3: ("64x64x64", "96x80x128", "112x112x112", "128x128x160", "160x160x144"),
}
"""Shapes of the runs that give `REFINE_BYTES`, each with two numbers of points and no search."""

POINTS = (100_000, 1_000_000)

SEARCH_FIT = {
    2: ("1200x1000", "1600x1300"),
    3: ("48x48x48", "56x56x56", "64x64x64", "80x80x80", "96x80x128", "112x112x112"),
}
"""Shapes of the runs that give `SEARCH_BYTES`: those in which the search takes most."""

GUESS_FIT = {2: ("1000x800", "1600x1300"), 3: ("64x64x64", "112x112x112", "128x128x160", "160x160x144")}
"""Shapes of the runs that give `GUESS_BYTES`: those of the bundled network, beside what is predicted without it."""

TILED_FIT = {2: ("900x800", "1600x1300"), 3: ("112x112x112", "128x128x160", "160x160x160")}
"""Shapes of the runs that give `TILED_BYTES`."""

DEFAULTS = InstanceConfig()

REPEATS = 3
"""Runs of each: where blocks come to lie in the heap is chance, and the same run takes up to a fifth more or less."""


def image(shape: tuple[int, ...], seed: int = 0) -> ran.Image:
    """Make a smooth random image."""
    coarse = torch.from_numpy(np.random.default_rng(seed).random([n // 8 + 2 for n in shape], dtype=np.float32))
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    values = torch.nn.functional.interpolate(coarse[None, None], size=shape, mode=mode, align_corners=True)[0, 0]
    return ran.Image(values.numpy(), ran.Grid.from_spacing(shape, [256 / n for n in shape]))


def weights_of(system: str, ndim: int, folder: Path) -> str:
    """Return what `RegistrationConfig.weights` is to be: untrained ones of a system take as much as trained ones."""
    if system in ("none", "bundled"):
        return {"none": "none", "bundled": "auto"}[system]
    dimensions: Any = ndim
    card = ModelCard(name="untrained", preset=system, ndim=dimensions)
    return str(save_weights(create_system(system, dimensions), folder / "untrained.safetensors", card))


def measured(fixed: ran.Image, moving: ran.Image, **settings: Any) -> dict[str, Any]:
    """Register, and return the predicted and the measured growth in bytes: of the run, and stage by stage."""
    run = ran.start(fixed, moving, affine="none", device="cpu", **settings)
    give_back_freed_memory()
    start = psutil.Process().memory_info().rss
    for _ in run:
        pass
    stages = {stage.name: stage.peak_bytes - start for stage in run.result().report.stages}
    plan, tile = run.plan, 0
    if plan.tile:
        tile = pass_bytes(load_network(settings["weights"]), plan.tile, plan.device, precision=plan.precision)
    predicted = {need.name: need.bytes for need in plan.needs}
    return {
        "tile": tile,
        "predicted": max(predicted.values()),
        "measured": max(stages.values()),
        "stages": {name: [predicted.get(name, 0), size] for name, size in stages.items()},
    }


def one(system: str, shape: str, mode: str) -> dict[str, Any]:
    """Do one run of the table in this process."""
    sizes = tuple(map(int, shape.split("x")))
    voxels = voxels_of(shape)
    settings: dict[str, Any] = {
        "none": {"instance": "none", "network_voxels": voxels},
        "tiles": {"instance": "none", "network_voxels": voxels // 4},
        "field": {"instance": {"mode": "field", "steps": 3}},
        "network": {"instance": {"mode": "network", "network_steps": 2}},
    }[mode]
    with tempfile.TemporaryDirectory() as folder:
        weights = weights_of(system, len(sizes), Path(folder))
        return measured(image(sizes), image(sizes, 1), weights=weights, **settings)


def whole(fixed: str, moving: str) -> dict[str, Any]:
    """Do a run in which only the walks over the whole images take memory."""
    images = [image(tuple(map(int, shape.split("x")))) for shape in (fixed, moving)]
    return measured(*images, weights="none", instance="none", spacing=256 / 40)


def field(shape: str, points: str, search: str) -> dict[str, Any]:
    """Do a run without a network, whose field is searched so far and optimised with so many points."""
    sizes = tuple(map(int, shape.split("x")))
    instance = {"mode": "field", "steps": 3, "points": int(points), "search": int(search)}
    return measured(image(sizes), image(sizes, 1), weights="none", instance=instance)


def in_a_process(kind: str, *arguments: str) -> dict[str, Any]:
    """Do a run in a process of its own."""
    command = [sys.executable, __file__, f"--{kind}", *arguments, "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def whole_fit() -> dict[str, list[float]]:
    """Measure and solve for `WHOLE_BYTES`."""
    rows, stages = [], dict[str, list[int]]()
    for pair in WHOLE_FIT * REPEATS:
        f, m = map(voxels_of, pair)
        rows.append([min(max(f, m), SLAB), f, m])
        for name, (_, size) in in_a_process("whole", *pair)["stages"].items():
            stages.setdefault(name, []).append(size)
    return {name: solved(rows, stages[name]) for name in ("preprocess", "transform", "evaluate")}


def refine_fit(ndim: int) -> list[float]:
    """Measure and solve for `REFINE_BYTES`."""
    rows, sizes = [], []
    for shape, points in itertools.product(FIELD_FIT[ndim] * REPEATS, POINTS):
        voxels = voxels_of(shape)
        rows.append([voxels, voxels // control_factor(voxels) ** ndim, min(voxels, points), 1])
        sizes.append(in_a_process("field", shape, str(points), "0")["stages"]["instance"][1])
    return solved(rows, sizes)


def search_fit(ndim: int) -> list[float]:
    """Measure and solve for `SEARCH_BYTES`."""
    rows, sizes = [], []
    for shape in SEARCH_FIT[ndim] * REPEATS:
        cells, tried = largest_search(shape)
        rows.append([voxels_of(shape), cells, 1])
        growth = in_a_process("field", shape, str(DEFAULTS.points), str(DEFAULTS.search))["stages"]["instance"][1]
        sizes.append(growth - 4 * tried * cells)
    return solved(rows, sizes)


def guess_fit(ndim: int) -> float:
    """Measure and solve for `GUESS_BYTES`, with the others as they are in the package."""
    voxels, more, whole = [], [], []
    for shape in GUESS_FIT[ndim] * REPEATS:
        predicted, size = in_a_process("one", "bundled", shape, "field")["stages"]["instance"]
        voxels.append([voxels_of(shape)])
        more.append(size - predicted + GUESS_BYTES[ndim] * voxels_of(shape))
        whole.append(size)
    return solved(voxels, more, whole)[0]


def tiled_fit(ndim: int) -> float:
    """Measure and solve for `TILED_BYTES`."""
    shapes = TILED_FIT[ndim] * REPEATS
    found = [in_a_process("one", "RAN3", shape, "tiles") for shape in shapes]
    return solved(
        [[voxels_of(shape)] for shape in shapes], [run["stages"]["network"][1] - run["tile"] for run in found]
    )[0]


FITS: dict[str, Callable[[], Any]] = {
    "WHOLE_BYTES": whole_fit,
    "REFINE_BYTES": lambda: {ndim: refine_fit(ndim) for ndim in FIELD_FIT},
    "SEARCH_BYTES": lambda: {ndim: search_fit(ndim) for ndim in SEARCH_FIT},
    "GUESS_BYTES": lambda: {ndim: guess_fit(ndim) for ndim in GUESS_FIT},
    "TILED_BYTES": lambda: {ndim: tiled_fit(ndim) for ndim in TILED_FIT},
}
"""What measures and solves for the constants of `napari_ran.memory`, by least relative squares, none below zero."""


def largest_search(shape: str) -> tuple[int, int]:
    """Return the voxels of the search that takes most of an `image` of a shape, and how much each of them tries."""
    sizes = tuple(map(int, shape.split("x")))
    return max(search_tables(sizes, [256 / n for n in sizes], DEFAULTS.search), key=math.prod)


def voxels_of(shape: str) -> int:
    """Return the voxels of a shape such as 64x64x80."""
    return math.prod(map(int, shape.split("x")))


def solved(rows: list[list[int]], sizes: list[int], whole: list[int] | None = None) -> list[float]:
    """Return the factors that give the sizes with the least squares, relative to them or to those they are part of."""
    from scipy.optimize import nnls

    weight = 1 / np.asarray(whole or sizes, dtype=float)
    return [round(float(x), 1) for x in nnls(np.asarray(rows) * weight[:, None], np.asarray(sizes) * weight)[0]]


def line(case: tuple[str, ...], runs: list[dict[str, Any]]) -> str:
    """Return a row of the table: prediction, median and range of what was measured, and the first two's ratio."""
    predicted = runs[0]["predicted"] / 2**20
    sizes = sorted(run["measured"] / 2**20 for run in runs)
    middle = statistics.median(sizes)
    spread = f"{sizes[0]:.0f} to {sizes[-1]:.0f}"
    return f"{' '.join(case):32} {predicted:9.0f} {middle:9.0f} {spread:>13} {predicted / middle:6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, metavar=("SYSTEM", "SHAPE", "MODE"), help="a single run")
    parser.add_argument("--whole", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--field", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--fit", nargs="*", choices=FITS, help="measure the runs of the fit and print the constants")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args()
    if chosen.fit is not None:
        print(json.dumps({name: FITS[name]() for name in chosen.fit or FITS}, indent=2))
        return
    for name, work in (("one", one), ("whole", whole), ("field", field)):
        if case := getattr(chosen, name):
            found = work(*case)
            print(json.dumps(found) if chosen.json else line(case, [found]))
            return
    if not chosen.json:
        print(f"{'run':32} {'predicted':>9} {'median':>9} {'range':>13} {'ratio':>6}   (MiB, {REPEATS} runs of each)")
    table = {}
    for case in HELD_OUT:
        table[" ".join(case)] = [in_a_process("one", *case) for _ in range(REPEATS)]
        if not chosen.json:
            print(line(case, table[" ".join(case)]), flush=True)
    if chosen.json:
        print(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
