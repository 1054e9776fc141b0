"""The weights that a run leaves behind: the best ones with their card, and snapshots over its course."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from napari_ran._version import __version__
from napari_ran.config import PRESETS, RANConfig, TrainConfig
from napari_ran.io.checkpoints import SUFFIX, ModelCard, save_weights
from napari_ran.models import RAN
from napari_ran.train.checkpoint import write_state
from napari_ran.train.events import Validation
from napari_ran.train.objective import TERMS

SNAPSHOTS = "snapshots"


def best_name(network: nn.Module) -> str:
    """Return the name of the file of the best weights; a foreign network has no structure that others could read."""
    return f"best{SUFFIX}" if isinstance(network, RAN) else "best.ckpt"


def save_best(
    network: nn.Module, path: Path, config: TrainConfig, step: int, seconds: float, found: Validation
) -> None:
    """Write the weights with what was measured.

    Raises
    ------
    OutputError
        They could not be written; the ones before are kept.
    """
    if isinstance(network, RAN):
        save_weights(network, path, card_of(network, config, step, seconds, found))
    else:
        write_state({"average": network.state_dict(), "config": config.to_dict(), "step": step}, path)


def keep_snapshot(network: nn.Module, folder: Path, config: TrainConfig, step: int) -> None:
    """Keep the weights of this step; from twice the wanted number on, every second one is given up."""
    wanted = config.validation.snapshots
    if not wanted or not isinstance(network, RAN):
        return
    card = ModelCard(name=f"{config.name} {step}", preset=preset_of(network), ndim=network.config.ndim, steps=step)
    save_weights(network, folder / SNAPSHOTS / f"{step:07d}{SUFFIX}", card)
    files = sorted((folder / SNAPSHOTS).glob(f"*{SUFFIX}"))
    if len(files) >= 2 * wanted:
        for file in files[1:-1:2]:
            file.unlink(missing_ok=True)


def card_of(network: RAN, config: TrainConfig, step: int, seconds: float, found: Validation) -> ModelCard:
    """Return the card of a network that was trained so far."""
    figures = {name: round(float(value), 4) for name, value in found.to_dict().items() if value is not None}
    return ModelCard(
        name=config.name,
        preset=preset_of(network),
        ndim=network.config.ndim,
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
    )


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
