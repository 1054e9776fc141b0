"""What a run leaves behind: the best weights with their card, snapshots over its course, and a pair to look at."""

from __future__ import annotations

from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from napari_ran._version import __version__
from napari_ran.config import PRESETS, RANConfig, TrainConfig
from napari_ran.data import Grid
from napari_ran.errors import InputError
from napari_ran.io.checkpoints import SUFFIX, ModelCard, looks_coarsely, save_weights
from napari_ran.models import RAN, Network, PairNetwork
from napari_ran.train.batch import PairBatch
from napari_ran.train.checkpoint import write_state
from napari_ran.train.events import Validation
from napari_ran.train.objective import TERMS
from napari_ran.writing import replacing

SNAPSHOTS = "snapshots"

PAIR = "validation-pair.safetensors"
"""The first validation pair as the network sees it: what the snapshots are looked at with."""


def best_name(network: nn.Module) -> str:
    """Return the name of the file of the best weights; a foreign network has no structure that others could read."""
    return f"best{SUFFIX}" if _known(network) else "best.ckpt"


def save_best(
    network: nn.Module, path: Path, config: TrainConfig, step: int, seconds: float, found: Validation
) -> None:
    """Write the weights with what was measured.

    Raises
    ------
    OutputError
        They could not be written; the ones before are kept.
    """
    if _known(network):
        save_weights(network, path, card_of(network, config, step, seconds, found))
    else:
        write_state({"average": network.state_dict(), "config": config.to_dict(), "step": step}, path)


def keep_snapshot(network: nn.Module, folder: Path, config: TrainConfig, step: int, seconds: float) -> None:
    """Keep the weights of this step; from twice the wanted number on, every second one is given up."""
    wanted = config.validation.snapshots
    if not wanted or not isinstance(network, RAN):
        return
    card = ModelCard(
        name=f"{config.name} {step}",
        preset=preset_of(network),
        ndim=network.config.ndim,
        steps=step,
        minutes=round(seconds / 60, 2),
        coarse_looks=_coarse(network, config),
    )
    save_weights(network, folder / SNAPSHOTS / f"{step:07d}{SUFFIX}", card)
    files = list(snapshots(folder).values())
    if len(files) >= 2 * wanted:
        for file in files[1:-1:2]:
            file.unlink(missing_ok=True)


def snapshots(folder: Path) -> dict[int, Path]:
    """Return the files of the snapshots of a run by their steps, in their order."""
    found = (folder / SNAPSHOTS).glob(f"*{SUFFIX}")
    return {int(path.stem): path for path in sorted(found) if path.stem.isdigit()}


def keep_pair(pair: PairBatch, grid: Grid, folder: Path) -> Path:
    """Write both images of a pair (batch size 1) and the grid on which they lie.

    Raises
    ------
    OutputError
        They could not be written.
    """
    path = folder / PAIR
    tensors = {"fixed": pair.fixed.contiguous(), "moving": pair.moving.contiguous()}
    with replacing(path) as part:
        part.write_bytes(save(tensors | {"affine": torch.tensor(grid.affine)}))
    return path


def kept_pair(folder: Path) -> tuple[PairBatch, Grid]:
    """Return the pair of `keep_pair` and its grid.

    Raises
    ------
    InputError
        It was not kept, or its file is damaged.
    """
    path = folder / PAIR
    if not path.exists():
        raise InputError(
            "folder", f"{folder} keeps no validation pair", "Set validation.snapshots in the next training"
        )
    try:
        tensors = load_file(path)
        fixed, moving = tensors["fixed"], tensors["moving"]
        grid = Grid(tuple(fixed.shape[2:]), tensors["affine"].numpy())
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(str(path), f"the file is damaged ({error})", "Train again to replace it") from None
    return PairBatch(fixed, moving, tuple(float(size) for size in grid.spacing)), grid


def card_of(network: Network, config: TrainConfig, step: int, seconds: float, found: Validation) -> ModelCard:
    """Return the card of a network that was trained so far."""
    figures = {name: round(float(value), 4) for name, value in found.to_dict().items() if value is not None}
    return ModelCard(
        name=config.name,
        preset=preset_of(network) if isinstance(network, RAN) else network.system,
        ndim=config.model.ndim,
        objective=_objective(config),
        data=_data(config),
        seed=config.seed,
        steps=step,
        minutes=round(seconds / 60, 1),
        figures=figures,
        command="napari-ran train config.yaml -o FOLDER",
        limits="Measured on its own validation pairs only; see the figures.",
        version=__version__,
        recipe=config.to_dict(),
        coarse_looks=_coarse(network, config),
    )


def _coarse(network: nn.Module, config: TrainConfig) -> bool:
    """Return whether a registration with these weights looks at coarser grids first.

    It does as the training did; and after generated pairs, which have many resolutions, even if the training did not.
    """
    generated = config.data.source == "generated" and config.model.coarse_looks == "auto"
    return generated or looks_coarsely(network, config.model.coarse_looks)


def _known(network: nn.Module) -> TypeGuard[Network]:
    """Whether a network can be built again from what its file says."""
    return isinstance(network, RAN) or (isinstance(network, PairNetwork) and bool(network.system))


def preset_of(network: RAN) -> str:
    """Return the name of the preset that a network's structure is, or ``custom``."""
    ndim = network.config.ndim
    return next((name for name in PRESETS if RANConfig.preset(name, ndim) == network.config), "custom")


def _objective(config: TrainConfig) -> str:
    wanted = config.objective
    words = {
        "similarity": f"{wanted.compare}" + (f" {wanted.window}" if wanted.compare == "ncc" else ""),
        "smooth": f"smoothness ({wanted.smoothness})",
        "field": "end-point error",
        "dice": "soft Dice",
        "landmarks": "landmark distance",
        "inverse": "inverse consistency",
        "folding": "folding",
    }
    return " + ".join(f"{getattr(wanted, name):g} {words[name]}" for name in TERMS if getattr(wanted, name))


def _data(config: TrainConfig) -> str:
    data = config.data
    if data.source == "generated":
        return "generated pairs (napari_ran.synthetic.generator, see recipe)"
    where = Path(data.path).name if data.path else "layers"
    return f"{data.source} {where}, see recipe"
