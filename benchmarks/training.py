"""How near the training step comes to its convolutions alone: ``python benchmarks/training.py [--threads 1]``.

Every convolution of one real training step is recorded: shapes, strides, dilations, precision, memory formats, and
which gradients the step asks for. Then real steps alternate with rounds of exactly those convolutions on random
tensors, forward and backward, in the same process; a ratio compares neighbours, so that a machine whose speed drifts
does not matter. The recipe is that of ``examples/training/hippocampus-fine.yaml`` on generated pairs of 32x48x32. With
``--looks`` a step looks from coarse to fine, as the training of the general weights and fine-tuning from them do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from napari_ran.config import TrainConfig
from napari_ran.train.launch import fabric_for, held, laid_out, network_for
from napari_ran.train.objective import Trained
from napari_ran.train.optimisation import Optimisation
from napari_ran.train.sources import Batches, find_sources

SHAPE = (32, 48, 32)
FORWARD = torch.ops.aten.convolution.default
BACKWARD = torch.ops.aten.convolution_backward.default


@dataclass(frozen=True)
class Like:
    """What a random tensor must have in common with the real one."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> Like:
        """Return what a tensor is like."""
        return cls(tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)

    def make(self, device: torch.device) -> Tensor:
        """Return a random tensor of this kind."""
        return torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=device).normal_()


@dataclass(frozen=True)
class Call:
    """One convolution, or the backward of one: its tensors are described, its other arguments kept."""

    backward: bool
    arguments: tuple[Any, ...]

    def ready(self, tensors: dict[Like, Tensor], device: torch.device) -> Callable[[], Any]:
        """Return the call on random tensors, which calls of equal tensors share."""

        def given(value: Any) -> Any:
            if not isinstance(value, Like):
                return list(value) if isinstance(value, tuple) else value
            if value not in tensors:
                tensors[value] = value.make(device)
            return tensors[value]

        arguments = [given(value) for value in self.arguments]
        function = BACKWARD if self.backward else FORWARD
        return lambda: function(*arguments)

    @property
    def multiply_accumulates(self) -> int:
        """Products of a forward, and of a backward those of both gradients that are wanted."""
        likes = [value for value in self.arguments if isinstance(value, Like)]
        if self.backward:
            gradient, _, weight = likes[:3]
            wanted = sum(self.arguments[-1][:2])
            voxels = gradient.shape[0] * torch.Size(gradient.shape[2:]).numel()
            return wanted * voxels * torch.Size(weight.shape).numel()
        image, weight = likes[:2]
        kernel, padding, stride, dilation = weight.shape[2:], *(self.arguments[i] for i in (4, 3, 5))
        voxels = image.shape[0]
        for size, k, p, s, d in zip(image.shape[2:], kernel, padding, stride, dilation, strict=True):
            voxels *= (size + 2 * p - d * (k - 1) - 1) // s + 1
        return voxels * torch.Size(weight.shape).numel()


class Recorder(TorchDispatchMode):
    """Writes down every convolution that is computed while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in (FORWARD, BACKWARD):
            told = [
                Like.of(value) if isinstance(value, Tensor) else tuple(value) if isinstance(value, list) else value
                for value in args
            ]
            self.calls.append(Call(func is BACKWARD, tuple(told)))
        return func(*args, **(kwargs or {}))


class Step:
    """The training step of the recipe in one precision, and its convolutions alone."""

    def __init__(self, precision: str, looks: bool, seed: int = 0) -> None:
        data = {"source": "generated", "generated": {"shapes": (SHAPE,)}}
        objective = {"similarity": 1, "compare": "ncc", "window": 9, "smooth": 3, "both": True}
        config = TrainConfig(
            seed=seed,
            model={"preset": "RAN3", "ndim": 3, "hold": ["displacement"]},
            data=data,
            objective=objective,
            optimiser={"method": "muon", "rate": 0.003, "warmup": 30},
            validation={"pairs": 1},
            compute={"precision": precision, "device": "cpu"},
        )
        fabric = fabric_for(config.compute)
        self.device = fabric.device
        network = held(network_for(config.model, seed), config.model.hold)
        laid_out(network, config.compute.channels_last)
        self.optimisation = Optimisation(fabric, Trained(network, config.objective, coarse=looks), config)
        source = find_sources(config, 3, 1).training
        self.batches = Batches(source, config, 0, 0, 1, False)
        self.number = 0
        self.waited: list[float] = []
        self.take()
        with Recorder() as recorder:
            self.take()
        self.calls = recorder.calls
        tensors: dict[Like, Tensor] = {}
        self._ready = [call.ready(tensors, self.device) for call in self.calls]

    def take(self) -> None:
        """Take one step, data included."""
        data, waited = self.batches.next()
        self.waited.append(waited)
        self.optimisation.step(data, 3e-5, self.number)
        self.number += 1

    def convolve(self) -> None:
        """Compute the convolutions of a step, and nothing else."""
        for call in self._ready:
            call()

    def compared(self, rounds: int) -> Iterator[tuple[float, float]]:
        """Yield seconds of the convolutions and of the step, taken one after the other in turns."""
        self.convolve()
        for turn in range(rounds):
            both = {}
            for name in ("convolutions", "step") if turn % 2 else ("step", "convolutions"):
                start = time.perf_counter()
                (self.convolve if name == "convolutions" else self.take)()
                both[name] = time.perf_counter() - start
            yield both["convolutions"], both["step"]

    def waiting(self, steps: int) -> list[float]:
        """Return the seconds that each of so many steps waited for data, nothing between them."""
        del self.waited[:]
        for _ in range(steps):
            self.take()
        return self.waited


def report(precision: str, rounds: int, looks: bool, profile: bool) -> None:
    step = Step(precision, looks)
    times = list(step.compared(rounds))
    ratios = [alone / whole for alone, whole in times]
    alone, whole = (statistics.median(values) for values in zip(*times, strict=True))
    work = sum(call.multiply_accumulates for call in step.calls)
    count = Counter((call.backward, str(call.arguments[0].dtype).removeprefix("torch.")) for call in step.calls)
    kinds = ", ".join(f"{n} {'backward' if back else 'forward'} {dtype}" for (back, dtype), n in count.items())
    print(f"{precision}: {kinds}; {work / 1e9:.1f} GMAC in the convolutions of a step")
    print(f"  step {whole:.2f} s, its convolutions alone {alone:.2f} s ({work / alone / 1e9:.1f} GMAC/s), medians")
    print(
        f"  convolutions alone / step: median {statistics.median(ratios):.2f}, range {min(ratios):.2f} to "
        f"{max(ratios):.2f} ({rounds} pairs of neighbours)"
    )
    waited = step.waiting(rounds)
    print(
        f"  waited for data in {rounds} steps without a pause: {statistics.mean(waited):.4f} s a step, at most "
        f"{max(waited):.4f} s",
        flush=True,
    )
    if profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
            step.take()
        print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=10, max_name_column_width=40))
    step.batches.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=("fp32", "bf16"), action="append", help="both when left out")
    parser.add_argument("--looks", action="store_true", help="look at coarser grids first")
    parser.add_argument("--profile", action="store_true", help="also print where a step spends its time")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} of {os.cpu_count()} cores, RAN3, {SHAPE}, both directions")
    for precision in args.precision or ("fp32", "bf16"):
        report(precision, args.rounds, args.looks, args.profile)


if __name__ == "__main__":
    main()
