"""How fast the network's pass is: ``python benchmarks/forward.py [--only RAN3,RAN4+] [--shape 96 80 128]``.

Three passes through the same weights take turns in one process: ours, the convolutions of ours alone (recorded from a
real pass: shapes, strides, dilations, precision and layout), which is the machine's ceiling for this network, and a
plain port: each image and each direction by itself, the components of the displacement side by side, PyTorch's default
layout. Medians of ratios between neighbours, so that a machine whose speed drifts does not matter; then the peak memory
of both passes, each in a process of its own. With ``--precision auto`` ours is as a registration without refinement
computes it on this machine, and the plain port in single precision. ``--sizes`` prints how time grows with the number
of voxels instead, ``--compiled`` the time of the pass with blocks that PyTorch has compiled over that without, and the
seconds of its first pass.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from peak import peak_bytes
from torch import Tensor, nn
from torch.nn import functional as F
from training import Recorder

from napari_ran.config import RegistrationConfig
from napari_ran.data import Grid
from napari_ran.memory import keeping_freed_memory
from napari_ran.models import RAN, create_system
from napari_ran.models.aligner import Carried
from napari_ran.models.compiled import compile_blocks
from napari_ran.precision import autocast_to, precisions_for

SIZES = ((48, 48, 48), (64, 64, 64), (96, 80, 128), (128, 128, 128), (160, 128, 160), (192, 160, 192))


class Plain(nn.Module):
    """The network's equations in the order of the paper, without any of the arrangements that make it fast."""

    def __init__(self, network: RAN) -> None:
        super().__init__()
        self.network = network
        for part in network.modules():
            if isinstance(part, nn.Conv2d | nn.Conv3d):
                part.forward = _default_layout(part)  # type: ignore[method-assign]

    def forward(self, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
        """Return both fields of images (1, 1, *S) whose sides the network need not pad."""
        net = self.network
        stages = [net._stages(image) for image in (moving, fixed)]
        features: list[Any] = [None, None]
        carried: list[Carried | None] = [None, None]
        for level in range(net.config.levels):
            own = [net._features(level, features[way], stages[way]) for way in (0, 1)]
            for way in (0, 1):
                before = carried[way]
                if before is not None and net.doubles(level):
                    before = before.doubled()
                features[way], carried[way] = self._align(level, own[way], own[1 - way], before)
        return tuple(net._finish(features[way], carried[way]) for way in (1, 0))  # type: ignore[return-value]

    def _align(self, level: int, own: Tensor, other: Tensor, carried: Carried | None) -> tuple[Tensor, Carried]:
        aligner, shared = self.network.aligner_at(level)
        proposal = aligner._propose(own, other, carried, shared)
        parts = aligner.weighted(proposal, None if carried is None else carried.field)
        together = torch.cat([part.transpose(1, 2) for part in parts], dim=2).flatten(0, 1)  # components as a batch
        hidden = F.leaky_relu(aligner.field_join(together), aligner.slope)
        field = shared.field(hidden).view(own.shape[0], -1, *own.shape[2:])
        refined = aligner._refined(own, other, field, proposal.attributes)
        return refined, Carried(field, proposal.logits)


def _default_layout(layer: Any) -> Callable[[Tensor], Tensor]:
    """Return the forward of a convolution as PyTorch has it, on tensors laid out as PyTorch makes them."""
    return lambda x: layer._conv_forward(x.contiguous(), layer.weight, layer.bias).contiguous()


def chosen(asked: str, shape: tuple[int, ...]) -> tuple[str, str]:
    """Return the precisions of ours and of the plain port."""
    if asked != "auto":
        return asked, asked
    usual = RegistrationConfig(instance={"mode": "none"})
    return precisions_for(usual, Grid.from_spacing(shape), torch.device("cpu"))[0][0], "fp32"


def passes(name: str, shape: tuple[int, ...], precision: str, plain_precision: str) -> dict[str, Callable[[], Any]]:
    """Return the pass, its convolutions alone, and the plain port of a system."""
    images = torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(0))
    network, plain = create_system(name, 3).eval(), Plain(create_system(name, 3).eval())

    def ours() -> Any:
        with torch.no_grad(), autocast_to(precision, torch.device("cpu")):
            return network(*images)

    def port() -> Any:
        with torch.no_grad(), autocast_to(plain_precision, torch.device("cpu")):
            return plain(*images)

    with Recorder() as recorder:
        ours()
    kept: dict[Any, Tensor] = {}
    calls = [call.ready(kept, torch.device("cpu")) for call in recorder.calls]

    def convolutions() -> None:
        with torch.no_grad():
            for call in calls:
                call()

    if plain_precision == "fp32":
        ways = zip(port(), (ours().field, ours().inverse_field), strict=True)
        gap = max(float((a - b).abs().max()) for a, b in ways)
        print(f"{name}: the plain port's fields differ from ours by at most {gap:.1e} voxels")
    work = sum(call.multiply_accumulates for call in recorder.calls)
    convolutions.work = work  # type: ignore[attr-defined]
    return {"ours": ours, "convolutions": convolutions, "plain": port}


def seconds(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each function, all in turns, forwards and backwards alternately."""
    took: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name in list(functions)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            functions[name]()
            if number:  # the first round warms up
                took[name].append(time.perf_counter() - start)
    return took


def spread(one: list[float], other: list[float]) -> str:
    """Return the median and range of the ratios of neighbours."""
    values = [a / b for a, b in zip(one, other, strict=True)]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def made(name: str, plain: bool, precision: str, compiling: bool = False) -> Callable[..., Any]:
    """Return a system's pass, or its plain port, in some precision; compiled at its first call, if so."""
    network: Any = create_system(name, 3).eval()
    network = Plain(network) if plain else network
    if compiling:
        compile_blocks(network, torch.device("cpu"))

    def run(*images: Tensor) -> Any:
        with torch.no_grad(), autocast_to(precision, torch.device("cpu")):
            return network(*images)

    return run


def compare(name: str, shape: tuple[int, ...], threads: int, rounds: int, asked: str) -> None:
    precision, plain_precision = chosen(asked, shape)
    functions = passes(name, shape, precision, plain_precision)
    took = seconds(functions, rounds)
    middle = {key: statistics.median(values) for key, values in took.items()}
    rate = functions["convolutions"].work / middle["convolutions"] / 1e9  # type: ignore[attr-defined]
    print(f"{name}, {precision}: {middle['ours']:.2f} s; convolutions alone {middle['convolutions']:.2f} s", end=" ")
    print(f"({rate:.0f} GMAC/s); plain port in {plain_precision} {middle['plain']:.2f} s")
    share, faster = spread(took["convolutions"], took["ours"]), spread(took["plain"], took["ours"])
    print(f"  share of the ceiling {share}, times faster than plain {faster}")
    ways = ((False, precision), (True, plain_precision))
    memory = [peak_bytes(made, (name, *way), shape, threads) for way in ways]
    each = [bytes_ / math.prod(shape) for bytes_ in memory]
    print(f"  peak {memory[0] / 2**30:.2f} GiB ({each[0]:.0f} B a voxel), plain {memory[1] / 2**30:.2f} GiB", end="")
    print(f" ({each[1]:.0f} B): {memory[0] / memory[1]:.2f} of it", flush=True)


def growth(name: str, rounds: int, precision: str) -> None:
    """Print seconds for each size, and the exponent of the power of voxels that fits them."""
    network, times, voxels = create_system(name, 3).eval(), [], []
    for shape in SIZES:
        images = torch.rand(2, 1, 1, *shape)
        best = math.inf
        for _ in range(rounds + 1):
            start = time.perf_counter()
            with torch.no_grad(), autocast_to(precision, torch.device("cpu")):
                network(*images)
            best = min(best, time.perf_counter() - start)
        times.append(best)
        voxels.append(math.prod(shape))
        size = " x ".join(map(str, shape))
        print(f"{name} {size:16s} {best:7.2f} s {1e6 * best / voxels[-1]:7.2f} s a million voxels", flush=True)
    exponent = np.polyfit(np.log(voxels), np.log(times), 1)[0]
    print(f"{name}: seconds grow with voxels to the power {exponent:.2f}")


def compiled(name: str, shape: tuple[int, ...], rounds: int, precision: str) -> None:
    """Print what compiling the blocks of a system costs and changes."""
    images = torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(0))
    functions = {
        way: partial(made(name, False, precision, way == "compiled"), *images) for way in ("without", "compiled")
    }
    start = time.perf_counter()
    fields = [run().field for run in functions.values()]
    first = time.perf_counter() - start
    gap = float((fields[0] - fields[1]).abs().max())
    took = seconds(functions, rounds)
    middle = {way: statistics.median(values) for way, values in took.items()}
    print(f"{name}, {precision}: compiled {spread(took['compiled'], took['without'])} times the", end=" ")
    print(f"{middle['without']:.2f} s without; the first pass {first - sum(middle.values()):.0f} s longer;", end=" ")
    print(f"fields differ by {gap:.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="RAN3,RAN4+")
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 80, 128))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("fp32", "bf16", "auto"), action="append", help="fp32 when left out")
    parser.add_argument("--compiled", action="store_true", help="what compiling the blocks changes instead")
    parser.add_argument("--sizes", action="store_true", help="growth with the number of voxels instead")
    args = parser.parse_args()
    shape = tuple(args.shape)
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} of {os.cpu_count()} cores, both directions")
    for name in args.only.split(","):
        for precision in args.precision or ["fp32"]:
            with keeping_freed_memory(holes=True):
                if args.sizes:
                    growth(name, args.rounds, chosen(precision, shape)[0])
                elif args.compiled:
                    compiled(name, shape, args.rounds, chosen(precision, shape)[0])
                else:
                    compare(name, shape, args.threads, args.rounds, precision)


if __name__ == "__main__":
    main()
