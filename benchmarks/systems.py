"""Print what each system costs: ``python benchmarks/systems.py [--shape 96 80 128] [--only VM1,RAN3] [--repeats 3]``.

Parameters in millions with the paper's beside them and the gap in percent; multiply-accumulates of the convolutions and
linear maps of one pair in both directions, counted while they run; the processor's seconds for a forward pass in both
directions and its peak memory, as ratios to VM1 in the same run, the systems taking turns. With ``--count``: parameters
and multiply-accumulates alone.
"""

from __future__ import annotations

import argparse
import time

import torch
from peak import peak_bytes
from torch import Tensor, nn

from napari_ran.models import SYSTEMS, create_system


def multiply_accumulates(network: nn.Module, moving: Tensor, fixed: Tensor) -> int:
    """Return the multiply-accumulates of one pass through all convolutions and linear maps."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        if isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):  # each input voxel meets every tap
            total += inputs[0].numel() // inputs[0].shape[1] * weight.numel()
        else:
            total += output.numel() // output.shape[1] * weight.numel()

    kinds = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d | nn.Linear
    hooks = [part.register_forward_hook(count) for part in network.modules() if isinstance(part, kinds)]
    with torch.no_grad():
        network(moving, fixed)
    for hook in hooks:
        hook.remove()
    return total


def seconds(names: list[str], shape: tuple[int, ...], repeats: int) -> dict[str, float]:
    """Return the processor's seconds for the shortest pass of each system; they take turns."""
    images = torch.rand(2, 1, 1, *shape)
    best = dict.fromkeys(names, float("inf"))
    networks = {name: create_system(name, 3) for name in names}
    for _ in range(repeats):
        for name, network in networks.items():
            start = time.process_time()
            with torch.no_grad():
                network(*images)
            best[name] = min(best[name], time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 80, 128))
    parser.add_argument("--only", help="some of the systems, separated by commas; VM1 is always measured")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--count", action="store_true", help="parameters and multiply-accumulates alone")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = arguments.only.split(",") if arguments.only else [name for name in SYSTEMS if not SYSTEMS[name].requires]
    names = ["VM1", *(name for name in names if name != "VM1")]
    shape = tuple(arguments.shape)
    took: dict[str, float] = {}
    memory: dict[str, float] = {}
    if not arguments.count:
        took = seconds(names, shape, arguments.repeats)
        memory = {name: peak_bytes(create_system, (name, 3), shape, arguments.threads) for name in names}
        print(f"VM1: {took['VM1']:.2f} s, {memory['VM1'] / 2**30:.2f} GiB; {arguments.threads} threads, {shape}")
    print(f"{'system':26s}{'M param.':>10s}{'paper':>8s}{'gap %':>8s}{'GMAC':>8s}{'time':>8s}{'memory':>8s}")
    for name in names:
        network = create_system(name, 3)
        millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        published = SYSTEMS[name].published
        paper = f"{published:8.2f}{100 * (millions / published - 1):8.1f}" if published else " " * 16
        macs = multiply_accumulates(network, *torch.rand(2, 1, 1, *shape)) / 1e9
        ratios = "" if arguments.count else f"{took[name] / took['VM1']:8.2f}{memory[name] / memory['VM1']:8.2f}"
        print(f"{name:26s}{millions:10.3f}{paper}{macs:8.0f}{ratios}", flush=True)


if __name__ == "__main__":
    main()
