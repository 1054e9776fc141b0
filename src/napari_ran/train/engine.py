"""The training loop: `fit` yields an event per step and can be stopped and resumed at any of them.

Every batch is a function of (seed, step), so nothing but the step number has to be remembered for the data; weights,
their running mean, optimiser and the torch random state are in the checkpoint. A run that was killed and resumed
therefore takes the same steps as one that was not.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from napari_ran import functional as F
from napari_ran.config import FrozenConfig
from napari_ran.errors import InputError
from napari_ran.losses import edge_weight, local_ncc, smoothness
from napari_ran.models import RAN, ModelOutput
from napari_ran.synthetic.generator import GeneratedPair, PairConfig, generate_batch
from napari_ran.train.evaluation import HeldOut, evaluate_model


class TrainConfig(FrozenConfig):
    """Every choice of a training run.

    Attributes
    ----------
    data : PairConfig
        What the pairs look like.
    seed : int
        Seed of the training pairs; held-out pairs use another sequence.
    steps : int
        Number of steps; with `minutes`, whichever comes first.
    minutes : float or None
        Time budget, over all resumed parts together.
    batch : int
        Pairs per step.
    rate, warmup : float, int
        Learning rate, reached linearly over the first `warmup` steps.
    decay_from : float
        Share of the budget (the further one of steps and minutes) after which the rate falls to a tenth by a cosine.
    clip : float
        Largest norm of the gradient.
    average : float
        Decay of the running mean of the weights, which is what is evaluated and exported.
    supervised, similarity, smooth : float
        Weights of the end-point error against the true field (mean over levels), of local NCC and of the smoothness.
    levels : float
        Share of the supervision that goes to the levels' fields, the rest to the final field.
    ncc_window : int
        Box of the local NCC in voxels.
    edge_scale : float
        Strength of the edge-aware weight of the smoothness (Eq. 13).
    validate_every, validation_pairs : int
        Held-out evaluation and checkpoint.
    autocast : bool
        Run the network in bfloat16 where it may.
    """

    data: PairConfig = Field(default_factory=PairConfig)
    seed: int = 0
    steps: PositiveInt = 100_000
    minutes: PositiveFloat | None = None
    batch: PositiveInt = 1
    rate: PositiveFloat = 5e-4
    warmup: PositiveInt = 50
    decay_from: float = 0.6
    clip: PositiveFloat = 1.0
    average: float = 0.99
    supervised: NonNegativeFloat = 1.0
    similarity: NonNegativeFloat = 1.0
    smooth: NonNegativeFloat = 0.1
    levels: float = 0.5
    ncc_window: PositiveInt = 7
    edge_scale: NonNegativeFloat = 5.0
    validate_every: PositiveInt = 100
    validation_pairs: PositiveInt = 12
    autocast: bool = False

    @property
    def held_out_seed(self) -> int:
        """Seed of the pairs that steer the choice of the best checkpoint."""
        return self.seed + 500_009


@dataclass(frozen=True)
class TrainStep:
    """One step is done; the first columns of the log. `held_out` is set where the run was validated.

    Attributes
    ----------
    step : int
        Steps done so far, skipped ones included.
    seconds : float
        Time spent so far, over all resumed parts.
    loss, epe, ncc : float
        Objective, end-point error in voxels, and one minus local NCC of the batch; NaN where the step was skipped.
    gradient : float
        Norm of the gradient before clipping.
    rate : float
        Learning rate.
    skipped : int
        Steps left out so far because loss or gradient was not finite.
    held_out : HeldOut or None
        Validation of the averaged weights.
    """

    step: int
    seconds: float
    loss: float
    epe: float
    ncc: float
    gradient: float
    rate: float
    skipped: int
    held_out: HeldOut | None


def fit(model: RAN, config: TrainConfig, folder: str | Path, resume: bool = False) -> Iterator[TrainStep]:
    """Train `model` in place on generated pairs, yielding after each step.

    `folder` receives ``log.csv``, ``last.pt`` and ``best.pt`` (lowest held-out end-point error). Checkpoints are
    written whole or not at all. Closing the generator, or killing the process, loses at most the steps since the last
    checkpoint. When the run has ended the model holds the averaged weights.

    Parameters
    ----------
    model : RAN
        The network, on the device on which to train.
    config : TrainConfig
        What to do.
    folder : path
        Where to keep checkpoints and the log.
    resume : bool
        Go on from ``last.pt`` where there is one.
    """
    run = _Run(model, config, Path(folder))
    if resume and run.last.exists():
        run.load()
    elif run.last.exists():
        raise InputError("folder", f"{run.last} exists already", "Resume it or choose another folder")
    while not run.finished:
        yield run.advance()
    run.save(run.last)
    model.load_state_dict(run.average)


def load_average(path: str | Path) -> dict[str, Any]:
    """Read a training checkpoint of this package: averaged weights ``average``, ``step``, ``seconds``, ``config``."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


class _Run:
    """The state of one run: what a checkpoint holds, and the step that changes it."""

    def __init__(self, model: RAN, config: TrainConfig, folder: Path) -> None:
        self.model, self.config, self.folder = model, config, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.last, self.best, self.log = folder / "last.pt", folder / "best.pt", folder / "log.csv"
        self.optimiser = torch.optim.Adam(model.parameters(), lr=config.rate)
        self.average = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.step, self.seconds, self.skipped, self.lowest = 0, 0.0, 0, math.inf

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        spent = self.step / self.config.steps
        return spent if self.config.minutes is None else max(spent, self.seconds / (60 * self.config.minutes))

    @property
    def finished(self) -> bool:
        return self.progress >= 1

    def advance(self) -> TrainStep:
        start = time.perf_counter()
        device = next(self.model.parameters()).device
        pair = generate_batch(self.config.data, self.config.seed, self.step, self.config.batch).to(device)
        rate = learning_rate(self.config, self.step, self.progress)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.autocast):
            output = self.model(pair.moving, pair.fixed, keep_levels=True, both=False)
        loss, epe, ncc = objective(output, pair, self.config)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip))
        usable = math.isfinite(gradient) and math.isfinite(float(loss.detach()))
        if usable:
            self.optimiser.step()
        self.skipped += not usable
        self.step += 1
        self._average()
        self.seconds += time.perf_counter() - start
        held_out = self._validate() if self.step % self.config.validate_every == 0 or self.finished else None
        event = TrainStep(
            step=self.step,
            seconds=self.seconds,
            loss=float(loss.detach()) if usable else math.nan,
            epe=float(epe) if usable else math.nan,
            ncc=float(ncc.detach()) if usable else math.nan,
            gradient=gradient,
            rate=rate,
            skipped=self.skipped,
            held_out=held_out,
        )
        self._write(event)
        return event

    def save(self, path: Path) -> None:
        """Write a checkpoint beside its place, then move it there in one go."""
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "lowest": self.lowest,
            "config": self.config.to_dict(),
            "model": self.model.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, path)

    def load(self) -> None:
        """Go back to the last checkpoint, and cut the log to it."""
        state = load_average(self.last)
        self.step, self.seconds = state["step"], state["seconds"]
        self.skipped, self.lowest = state["skipped"], state["lowest"]
        self.model.load_state_dict(state["model"])
        device = next(self.model.parameters()).device
        self.average = {name: value.to(device) for name, value in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        if self.log.exists():
            lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = lines[:1] + [line for line in lines[1:] if int(line.split(",", 1)[0]) <= self.step]
            self.log.write_text("".join(kept), encoding="utf-8")

    def _average(self) -> None:
        # a short memory at first, or the random start would stay in the mean for long
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value.detach(), 1 - decay)

    def _validate(self) -> HeldOut:
        training = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        found = evaluate_model(self.model, self.config.data, self.config.held_out_seed, self.config.validation_pairs)
        self.model.load_state_dict(training)
        better = found.epe < self.lowest
        self.lowest = min(self.lowest, found.epe)
        self.save(self.last)
        if better:
            self.save(self.best)
        return found

    def _write(self, event: TrainStep) -> None:
        row = asdict(event)
        held_out = row.pop("held_out") or dict.fromkeys(HeldOut.__dataclass_fields__, "")
        row |= {f"held_out_{name}": value for name, value in held_out.items()}
        new = not self.log.exists()
        with self.log.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, row)
            if new:
                writer.writeheader()
            writer.writerow(row)


def learning_rate(config: TrainConfig, step: int, progress: float) -> float:
    """Return the learning rate of a step: linear warm-up, constant, then a cosine down to a tenth."""
    fall = min(max((progress - config.decay_from) / max(1 - config.decay_from, 1e-6), 0.0), 1.0)
    shape = 0.1 + 0.9 * (1 + math.cos(math.pi * fall)) / 2
    return config.rate * shape * min(1.0, (step + 1) / config.warmup)


def objective(output: ModelOutput, pair: GeneratedPair, config: TrainConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of a batch, and its end-point error (voxels) and one minus local NCC.

    The supervision compares the final field and, upsampled to the image, the field of every level with the truth. The
    length of the error is softened below a tenth of a voxel, so that its gradient stays finite at zero.
    """
    field = output.field.float()
    fine = _robust(field - pair.truth)
    coarse = field.new_zeros(())
    for level in output.levels:
        repeated = F.upsample_field(level.forward.field.float(), level.pool_size)
        for axis, size in enumerate(field.shape[2:], start=2):
            repeated = repeated.narrow(axis, 0, size)
        coarse = coarse + _robust(repeated - pair.truth) / len(output.levels)
    loss = config.supervised * ((1 - config.levels) * fine + config.levels * coarse)
    ncc = field.new_zeros(())
    if config.similarity:
        ncc = local_ncc(F.warp(pair.moving, field, padding="border"), pair.fixed, config.ncc_window)
        loss = loss + config.similarity * ncc
    if config.smooth:
        loss = loss + config.smooth * smoothness(field, edge_weight(pair.fixed, config.edge_scale))
    epe = torch.linalg.vector_norm((field - pair.truth).detach(), dim=1).mean()
    return loss, epe, ncc


def _robust(error: Tensor) -> Tensor:
    return (error.square().sum(dim=1) + 0.01).sqrt().mean()
