"""What instance optimisation alone reaches on the validation pairs of a run: the line that its curves come near."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_ran import functional as F
from napari_ran.config import InstanceConfig, TrainConfig
from napari_ran.instance import optimise_field
from napari_ran.models import ModelOutput
from napari_ran.parsing import parse_json
from napari_ran.steps import relay
from napari_ran.train.batch import PairBatch
from napari_ran.train.events import Validation
from napari_ran.train.launch import network_for
from napari_ran.train.sources import find_sources
from napari_ran.train.validation import validate
from napari_ran.train.wire import CONFIG
from napari_ran.writing import replacing

COMPARISON = "instance.json"
_INVERSE_ITERATIONS = 20


@dataclass(frozen=True)
class Compared:
    """How far a comparison is: `pair` counts from 0, `share` of this pair is done."""

    pair: int
    pairs: int
    share: float


def compare_with_instance(folder: Path) -> Generator[Compared, None, Validation]:
    """Optimise a field for each validation pair of a run, from zero and without a network, on the CPU.

    The fields are measured as the network's are. The similarity is the run's; all else of the optimisation is as
    `InstanceConfig` chooses it. The outcome is kept in the run's folder, see `comparison_of`.

    Raises
    ------
    InputError
        The run's settings or data cannot be read (any more).
    OutputError
        The outcome could not be written.
    """
    config = TrainConfig.from_yaml(folder / CONFIG)
    pairs = find_sources(config, network_for(config.model, config.seed).ndim).validation
    fields = []
    for number, pair in enumerate(pairs):
        fields.append((yield from _optimised(config, pair, number, len(pairs))))
    found = validate(_Known(fields), pairs, config.objective, torch.device("cpu"))
    with replacing(folder / COMPARISON) as part:
        part.write_text(json.dumps({"of": _what(config), "validation": found.to_dict()}), encoding="utf-8")
    return found


def comparison_of(folder: Path, config: TrainConfig) -> Validation | None:
    """Return what was found for these validation pairs and this objective, or None."""
    try:
        kept = parse_json((folder / COMPARISON).read_text(encoding="utf-8"))
        return Validation(**kept["validation"]) if kept["of"] == _what(config) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _optimised(config: TrainConfig, pair: PairBatch, number: int, total: int) -> Generator[Compared, None, Tensor]:
    settings = InstanceConfig(similarity=config.objective.compare)
    steps = optimise_field(pair.fixed, pair.moving, None, settings, pair.spacing)
    found = yield from relay(steps, lambda step: Compared(number, total, step.step / max(step.total, 1)))
    return found.field


def _what(config: TrainConfig) -> dict[str, Any]:
    """Return what decides about the outcome, as JSON gives it back."""
    values = config.to_dict()
    what = {name: values[name] for name in ("seed", "data", "objective")}
    what["validation"] = {name: values["validation"][name] for name in ("pairs", "holdout", "data")}
    decided: dict[str, Any] = json.loads(json.dumps(what))
    return decided


class _Known(nn.Module):
    """Answers as a network does, with fields that are known already, in their order."""

    def __init__(self, fields: Sequence[Tensor]) -> None:
        super().__init__()
        self._fields = iter(fields)

    def forward(self, moving: Tensor, fixed: Tensor, keep_levels: bool = False, both: bool = False) -> ModelOutput:
        """Return the next field."""
        field = next(self._fields)
        return ModelOutput(field, F.invert(field, None, _INVERSE_ITERATIONS)[0] if both else None)
