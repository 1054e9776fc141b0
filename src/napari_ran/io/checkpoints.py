"""Weights with their card, as safetensors files: bundled with the package, in the user's folder, or anywhere.

A file holds the tensors of one network and, in its header, the structure (`RANConfig`, or the name of another system)
and the card (`ModelCard`) as JSON. Pickles are refused, since reading one can run any code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from platformdirs import user_data_dir
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from napari_ran.config import FrozenConfig, RANConfig
from napari_ran.errors import InputError, brief
from napari_ran.models import RAN, Network, PairNetwork, create_system
from napari_ran.parsing import parse_json
from napari_ran.types import CoarseLooks
from napari_ran.writing import replacing

BUNDLED = Path(__file__).resolve().parent.parent / "weights"
"""Folder of the weights that come with the package."""

SUFFIX = ".safetensors"
_DEFAULTS = {2: "general-2d", 3: "general-3d"}


class ModelCard(FrozenConfig):
    """Where weights come from, what they were measured to do, and what they cannot do.

    Attributes
    ----------
    name : str
        What to call them.
    preset : str
        Name of the structure; the file holds the structure itself too.
    ndim : {2, 3}
        Number of spatial axes.
    objective, data : str
        What was minimised, and on what.
    seed, steps, minutes : int, int, float
        Seed, number and duration of the training steps.
    figures : dict
        Held-out figures; end-point errors in voxels of the generated pairs.
    command : str
        The command that trained them.
    licence : str
        Terms of use.
    limits : str
        What they have not seen or cannot do.
    version : str
        Version of this package that wrote the file.
    recipe : dict
        Every setting of the training.
    coarse_looks : bool
        Whether they do well on grids coarser than the images too, having been trained on images of many resolutions.
    """

    name: str
    preset: str
    ndim: Literal[2, 3]
    objective: str = ""
    data: str = ""
    seed: int = 0
    steps: int = 0
    minutes: float = 0.0
    figures: dict[str, float] = Field(default_factory=dict)
    command: str = ""
    licence: str = "BSD-3-Clause"
    limits: str = ""
    version: str = ""
    recipe: dict[str, Any] = Field(default_factory=dict)
    coarse_looks: bool = False

    @property
    def looks(self) -> str:
        """How a registration has the network look at a pair unless asked otherwise, in words."""
        return "from coarse to fine" if self.coarse_looks else "once"


class TrainedRAN(RAN):
    """A network with trained weights and the card that came with them."""

    def __init__(self, config: RANConfig, card: ModelCard) -> None:
        super().__init__(config)
        self.card = card


def user_weights() -> Path:
    """Return the folder where a user's own weights are looked for by name."""
    return Path(user_data_dir("napari-ran", appauthor=False)) / "weights"


def weights_in(folder: Path) -> dict[str, Path]:
    """Return the files of weights in a folder by name; those that cannot be read are listed too."""
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def known_weights() -> dict[str, Path]:
    """Return all files of weights by name; a user's takes the place of a bundled one of the same name."""
    return weights_in(BUNDLED) | weights_in(user_weights())


def looks_coarsely(network: nn.Module, wanted: CoarseLooks = "auto") -> bool:
    """Return whether a network looks at coarser grids first: as wanted, or as the card of its weights says."""
    if wanted != "auto":
        return wanted == "on"
    card: ModelCard | None = getattr(network, "card", None)
    return card is not None and card.coarse_looks


def save_weights(model: Network, path: str | Path, card: ModelCard) -> Path:
    """Write a network and its card to a safetensors file, whole or not at all.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    metadata = {"card": json.dumps(card.to_dict())}
    if isinstance(model, RAN):
        metadata["config"] = json.dumps(model.config.to_dict())
    else:
        metadata["system"] = json.dumps({"name": model.system, "ndim": model.ndim})
    with replacing(path, "the weights", make_folder=True) as part:
        part.write_bytes(save(tensors, metadata))
    return path


def load_weights(name_or_path: str | Path) -> TrainedRAN:
    """Return the network of a name of `available_weights` or of a safetensors file, on the CPU, with its ``.card``.

    Parameters
    ----------
    name_or_path : str or path
        Name of installed weights, or a file.

    Raises
    ------
    InputError
        There is no such name or file, or the file is not a safetensors file of this package.
    """
    network = load_network(name_or_path)
    if not isinstance(network, TrainedRAN):
        raise _refused(_find(name_or_path), f"holds a {network.system}, not a Residual Aligner Network")
    return network


def load_network(name_or_path: str | Path) -> TrainedRAN | PairNetwork:
    """Return what `load_weights` returns, or another system whose weights the file holds, with its ``.card``.

    Parameters
    ----------
    name_or_path : str or path
        Name of installed weights, or a file.

    Raises
    ------
    InputError
        As `load_weights`.
    """
    path = _find(name_or_path)
    structure, card = _read_header(path)
    if isinstance(structure, RANConfig):
        with torch.device("meta"):  # nothing is allocated before the file is known to hold just this network
            expected = RAN(structure).state_dict()
    else:
        expected = structure.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            _check_shapes(path, expected, {name: file.get_slice(name) for name in file.keys()})  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in expected}
    except (OSError, SafetensorError) as error:
        raise _refused(path, f"is truncated or damaged ({brief(str(error))})") from None
    _check_values(path, tensors)
    model: TrainedRAN | PairNetwork
    if isinstance(structure, RANConfig):
        model = TrainedRAN(structure, card)
    else:
        model = structure
        model.card = card
    model.load_state_dict(tensors)
    return model.eval()


def available_weights() -> list[ModelCard]:
    """Return the cards of the bundled weights and the user's own, by name; files that cannot be read are left out."""
    cards = []
    for path in known_weights().values():
        try:
            cards.append(_read_header(path)[1].replace(name=path.stem))
        except InputError:
            continue
    return sorted(cards, key=lambda card: card.name)


def default_weights(ndim: int) -> str | None:
    """Return the name of the bundled weights for images with `ndim` axes, or None where there are none."""
    name = _DEFAULTS.get(ndim)
    return name if name is not None and (BUNDLED / f"{name}{SUFFIX}").is_file() else None


def _find(name_or_path: str | Path) -> Path:
    known = known_weights()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        raise _refused(path, "is a folder")
    if not path.is_file():
        raise InputError("weights", f"there is no model or file named '{name_or_path}'", _cure())
    return path


def _read_header(path: Path) -> tuple[RANConfig | PairNetwork, ModelCard]:
    """Return the structure of a file's network, built where it is another system, and its card."""
    if path.suffix.lower() in {".pt", ".pth", ".ckpt", ".pkl", ".bin", ".h5", ".tf"}:
        raise _refused(path, "is not a safetensors file; pickled and foreign checkpoints are not opened")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror or error})") from None
    except SafetensorError as error:
        raise _refused(path, f"is not a safetensors file, or is truncated ({brief(str(error))})") from None
    kind = "system" if "system" in metadata else "config"
    missing = [key for key in (kind, "card") if key not in metadata]
    if missing:
        raise _refused(path, f"has no '{missing[0]}' in its metadata, so it was not written by this package")
    try:
        values, card = parse_json(metadata[kind]), ModelCard(**parse_json(metadata["card"]))
        if kind == "config":
            return RANConfig(**values), card
        network = create_system(**values)
        if isinstance(network, RAN):
            raise InputError("system", f"a {values['name']} has a config", "Write it again")
        return network, card
    except (InputError, TypeError, ValueError) as error:
        raise _refused(path, f"holds metadata that cannot be used ({str(error).rstrip('.')})") from None


def _check_shapes(path: Path, expected: dict[str, torch.Tensor], found: dict[str, Any]) -> None:
    """Refuse tensors that are not those of the network, by the file's list of them."""
    missing, foreign = expected.keys() - found.keys(), found.keys() - expected.keys()
    if missing or foreign:
        kind, name = ("lacks", min(missing)) if missing else ("holds the foreign", min(foreign))
        raise _refused(path, f"{kind} tensor '{name}' ({len(missing)} missing, {len(foreign)} foreign)")
    for name, value in expected.items():
        shape = tuple(found[name].get_shape())
        if shape != tuple(value.shape):
            raise _refused(path, f"holds tensor '{name}' of shape {shape}, not {tuple(value.shape)}")


def _check_values(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    for name, value in tensors.items():
        if not value.is_floating_point() or not bool(torch.isfinite(value.float()).all()):
            raise _refused(path, f"holds values in tensor '{name}' that are not finite numbers")


def _refused(path: Path, problem: str) -> InputError:
    return InputError("weights", f"{path} {problem}", _cure())


def _cure() -> str:
    names = ", ".join(sorted(known_weights()))
    return f"Use one of {names}, or a file written by save_weights" if names else "Give a file written by save_weights"


__all__ = [
    "ModelCard",
    "TrainedRAN",
    "available_weights",
    "default_weights",
    "known_weights",
    "load_network",
    "load_weights",
    "save_weights",
    "user_weights",
    "weights_in",
]
