"""One step of the weights: passes, gradient, clipping, the optimiser, and the running mean of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_ran.config import TrainConfig
from napari_ran.train.batch import PairBatch
from napari_ran.train.muon import Muon
from napari_ran.train.objective import TERMS, Opaque, Trained

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_ROWS = ("loss", *TERMS)


@dataclass(frozen=True)
class StepTaken:
    """What a step found over all passes and processes; a step without a finite gradient left the weights alone."""

    loss: float
    terms: dict[str, float]
    gradient: float
    finite: bool


class Optimisation:
    """The weights of a run and what changes them.

    Parameters
    ----------
    fabric : Fabric
        Device, precision and processes.
    trained : Trained
        The network with its objective.
    config : TrainConfig
        `optimiser` is used.

    Attributes
    ----------
    average : nn.Module
        A copy of the network that holds the running mean of the weights.
    """

    def __init__(self, fabric: Fabric, trained: Trained, config: TrainConfig) -> None:
        self.fabric, self.config = fabric, config
        self.network = trained.network.train()
        method = {"adam": torch.optim.AdamW, "muon": Muon}[config.optimiser.method]
        wanted = [parameter for parameter in trained.parameters() if parameter.requires_grad]
        self.raw: torch.optim.Optimizer = method(
            wanted, lr=config.optimiser.rate, weight_decay=config.optimiser.weight_decay
        )
        self.module, self.optimiser = fabric.setup(trained, self.raw)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)

    def step(self, batches: Sequence[PairBatch], rate: float, number: int) -> StepTaken:
        """Take a step; `batches` holds one batch per pass, and `number` steps were taken before."""
        for group in self.raw.param_groups:
            group["lr"] = rate
        self.raw.zero_grad(set_to_none=True)
        sums = torch.zeros(len(_ROWS), 2, device=self.fabric.device)
        for place, batch in enumerate(batches):
            # gradients are exchanged between the processes with the last pass only
            with self.fabric.no_backward_sync(self.module, enabled=place < len(batches) - 1):
                loss, terms = self.module(Opaque(batch.to(self.fabric.device)))
                self.fabric.backward(loss / len(batches))
            for name, value in {"loss": loss.detach(), **terms}.items():
                sums[_ROWS.index(name)] += torch.stack([value, torch.ones_like(value)])
        norm = self.fabric.clip_gradients(
            self.module, self.raw, max_norm=self.config.optimiser.clip, error_if_nonfinite=False
        )
        found = self._agreed(sums, torch.as_tensor(norm))
        if found.finite or getattr(self.fabric.strategy.precision, "scaler", None) is not None:
            self.optimiser.step()  # the loss scaling of fp16 leaves out such steps itself, and learns from them
        self._follow(number)
        return found

    def add(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.fabric.world_size == 1:
            return values
        total = self.fabric.all_reduce(values.to(self.fabric.device), reduce_op="sum")
        return torch.as_tensor(total).to(values.device)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds of it."""
        return {
            "model": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.raw.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go back to such a state."""
        self.network.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.raw.load_state_dict(state["optimiser"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])

    def _agreed(self, sums: Tensor, norm: Tensor) -> StepTaken:
        """Bring the figures of all processes together; a step counts only if it is finite in all of them."""
        finite = torch.isfinite(norm) & torch.isfinite(sums[0, 0])
        together = self.add(torch.cat([sums.flatten(), norm.reshape(1).to(sums), finite.reshape(1).to(sums)]))
        *values, gradient, count = together.tolist()
        world = self.fabric.world_size
        good = count == world
        means = {name: values[2 * i] / values[2 * i + 1] for i, name in enumerate(_ROWS) if values[2 * i + 1]}
        loss = means.pop("loss")
        return StepTaken(loss if good else math.nan, means if good else {}, gradient / world, good)

    def _follow(self, number: int) -> None:
        """Bring the running mean up to date."""
        # a short memory at first, or the random start would stay in the mean for long
        decay = min(self.config.optimiser.average, (2 + number) / (11 + number))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
            for kept, buffer in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(buffer)


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Return the learning rate of a step: linear warm-up, constant, then a cosine down to the final share.

    `progress` is the spent share of the budget.
    """
    wanted = config.optimiser
    fall = min(max((progress - wanted.decay_from) / max(1 - wanted.decay_from, 1e-6), 0.0), 1.0)
    shape = wanted.final + (1 - wanted.final) * (1 + math.cos(math.pi * fall)) / 2
    return wanted.rate * shape * min(1.0, (step + 1) / max(wanted.warmup, 1))
