"""Print what looking inside costs: ``python benchmarks/introspection.py [--only cost,ablation] [--threads 2]``.

``cost``: time and peak memory of a forward pass of both directions with levels kept against not kept. Each variant runs
in a process of its own, the passes of the variants alternate, and ratios are medians of the ratios of neighbours; those
of the CPU seconds suffer less from a machine that is busy otherwise. With ``--reference SRC`` the code in the ``src``
folder of another checkout, without levels, is one more variant.

``ablation``: seconds to switch off every head of a network one at a time, each scored by its similarity.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SHAPE = (96, 80, 128)
TARGETS = {"time": 1.3, "memory": 2.0, "ablation": 180.0}


@dataclass(frozen=True)
class Variant:
    """One way to run the forward pass."""

    name: str
    keep_levels: bool
    source: str | None = None


class Child:
    """A process that runs one forward pass each time it is asked to."""

    def __init__(self, variant: Variant, preset: str, shape: tuple[int, ...], threads: int) -> None:
        self.variant = variant
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        if variant.source:
            environment["PYTHONPATH"] = str(Path(variant.source).resolve())
        task = {"preset": preset, "shape": shape, "keep_levels": variant.keep_levels, "source": variant.source}
        command = [sys.executable, __file__, "--child", json.dumps(task), "--threads", str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.before: int = self._answer()["resident"]

    def run(self) -> dict[str, Any]:
        """Run one pass and return its seconds and the highest memory so far, in bytes."""
        assert self._process.stdin is not None
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of '{self.variant.name}' ended: {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _bytes(maxrss: int) -> int:
    return maxrss if sys.platform == "darwin" else maxrss * 1024


def pair(shape: tuple[int, ...]) -> Any:
    """Return a smooth random image and one that is shifted against it, (2, 1, 1, *S)."""
    import torch
    from torch.nn import functional as F

    coarse = torch.rand(1, 1, *[max(2, n // 6) for n in shape], generator=torch.Generator().manual_seed(0))
    fixed = F.interpolate(coarse, size=shape, mode="trilinear")
    return torch.stack([torch.roll(fixed, 2, dims=2), fixed])


def answer_as_child(task: dict[str, Any], threads: int) -> None:
    """Run a forward pass for every line that comes in."""
    import psutil
    import torch

    import napari_ran
    from napari_ran.models import create_model

    if task["source"] and not Path(napari_ran.__file__).is_relative_to(Path(task["source"]).resolve()):
        raise SystemExit(f"the code came from {napari_ran.__file__}, not from {task['source']}")
    torch.set_num_threads(threads)
    model, (moving, fixed) = create_model(task["preset"]).eval(), pair(tuple(task["shape"]))
    print(json.dumps({"resident": psutil.Process().memory_info().rss}), flush=True)
    for _ in sys.stdin:
        started, used = time.perf_counter(), time.process_time()
        with torch.no_grad():
            output = model(moving, fixed, keep_levels=task["keep_levels"])
        seconds, used = time.perf_counter() - started, time.process_time() - used
        del output
        peak = _bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        print(json.dumps({"seconds": seconds, "cpu": used, "peak": peak}), flush=True)


def cost(preset: str, repeats: int, threads: int, reference: str | None) -> None:
    """Print one line per variant for one preset."""
    variants = [Variant("off", False), Variant("on", True)]
    if reference:
        variants.append(Variant("reference", False, reference))
    children = [Child(variant, preset, SHAPE, threads) for variant in variants]
    first = {child.variant.name: child.run() for child in children}  # warms up, and holds the peak of a single pass
    passes: dict[str, list[dict[str, Any]]] = {child.variant.name: [] for child in children}
    for turn in range(repeats):
        for child in children if turn % 2 == 0 else reversed(children):
            passes[child.variant.name].append(child.run())
    for child in children:
        name = child.variant.name
        peak, own = first[name]["peak"], first[name]["peak"] - child.before
        ratios = {
            kind: statistics.median(a[kind] / b[kind] for a, b in zip(passes[name], passes["off"], strict=True))
            for kind in ("seconds", "cpu")
        }
        more = own / (first["off"]["peak"] - children[0].before)
        seconds = [one["seconds"] for one in passes[name]]
        print(
            f"{preset:6s} {name:10s} {statistics.median(seconds):6.2f} s ({min(seconds):.2f} to {max(seconds):.2f}), "
            f"CPU {statistics.median(one['cpu'] for one in passes[name]):6.2f} s;  x off: {ratios['seconds']:.2f}, "
            f"CPU {ratios['cpu']:.2f};  peak {peak / 2**30:.2f} GiB, of it the pass {own / 2**30:.2f} GiB, "
            f"x off: {more:.2f}",
            flush=True,
        )
        child.close()


def ablation(preset: str, threads: int, which: tuple[str, ...]) -> None:
    """Print the seconds of a study of one preset."""
    import numpy as np
    import torch

    from napari_ran.data import Grid
    from napari_ran.introspect.ablation import ablation_study
    from napari_ran.introspect.trace import NetworkTrace
    from napari_ran.models import create_model

    torch.set_num_threads(threads)
    model, (moving, fixed) = create_model(preset).eval(), pair(SHAPE)
    with torch.no_grad():
        started = time.perf_counter()
        output = model(moving, fixed, keep_levels=True)
        whole = time.perf_counter() - started
    trace = NetworkTrace(model, preset, Grid.from_spacing(SHAPE), np.eye(4), fixed, moving, output)
    started, used, last, rows = time.perf_counter(), time.process_time(), time.perf_counter(), []
    for step in ablation_study(trace, which):  # type: ignore[arg-type]
        if step.row is not None:
            rows.append((step.row, time.perf_counter() - last))
            last = time.perf_counter()
    total, used = time.perf_counter() - started, time.process_time() - used
    for level in sorted({row.level for row, _ in rows if row.head is not None}):
        of_level = [seconds for row, seconds in rows if row.level == level and row.head is not None]
        print(f"{preset:6s} heads of level {level}: {statistics.mean(of_level):6.2f} s each", flush=True)
    load = os.getloadavg()[0]
    print(
        f"{preset:6s} {len(rows)} rows ({', '.join(which)}): {total:.1f} s, CPU {used:.1f} s, {threads} threads, one "
        f"whole pass {whole:.1f} s, load of the machine {load:.1f}; target {TARGETS['ablation']:.0f} s for the heads",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="cost,ablation")
    parser.add_argument("--presets", default="RAN3,RAN4+")
    parser.add_argument("--parts", default="head", help="kinds of parts to ablate, separated by commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--reference", help="src folder of another checkout")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        answer_as_child(json.loads(options.child), options.threads)
        return
    shape = " x ".join(map(str, SHAPE))
    print(f"{shape} voxels, {options.threads} threads, load of the machine {os.getloadavg()[0]:.1f} at the start")
    if "cost" in options.only:
        print(f"targets: on at most {TARGETS['time']} x the time and {TARGETS['memory']} x the peak memory of off")
        for preset in options.presets.split(","):
            cost(preset, options.repeats, options.threads, options.reference)
    if "ablation" in options.only:
        ablation(options.presets.split(",")[-1], options.threads, tuple(options.parts.split(",")))


if __name__ == "__main__":
    main()
