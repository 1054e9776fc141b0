"""A training of several parts, each of which starts from the weights of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_ran.config import TrainConfig
from napari_ran.config.training import PREVIOUS
from napari_ran.errors import InputError
from napari_ran.io.checkpoints import SUFFIX
from napari_ran.train.checkpoint import has_checkpoint


@dataclass(frozen=True)
class Part:
    """One part of a training: its settings, and the folder of its weights and log."""

    config: TrainConfig
    folder: Path


def parts_of(files: Sequence[Path], configs: Sequence[TrainConfig], folder: Path, resume: bool = False) -> list[Part]:
    """Return the parts of a training in their order.

    Parameters
    ----------
    files, configs : sequences
        The settings files and what they say. One file trains in `folder`, several each in the folder of the file's
        name inside it. ``model.start: previous`` becomes the best weights of the part before.
    folder : Path
        Where the training goes.
    resume : bool
        Parts that were begun go on.

    Raises
    ------
    InputError
        Two files of one name, nothing before the first part to start from, or a part's folder holds a training and
        `resume` is not set: everything is refused before anything is trained.
    """
    folders = [folder] if len(files) == 1 else [folder / file.stem for file in files]
    for number, place in enumerate(folders):
        if place in folders[:number]:
            raise InputError("config", f"two files are called {place.name}", "Rename one: each part has its own folder")
        if has_checkpoint(place) and not resume:
            raise InputError("--output", f"{place} holds a training already", "Give --resume or another folder")
    found: list[Part] = []
    for config, place in zip(configs, folders, strict=True):
        if config.model.start == PREVIOUS:
            if not found:
                raise InputError(
                    "model.start",
                    f"{files[0].name} starts from the weights of the part before it, and is the first",
                    "Name the file of the part before it first, or give --set model.start=WEIGHTS",
                )
            start = str(found[-1].folder / f"best{SUFFIX}")
            config = config.replace(model=config.model.replace(start=start))
        found.append(Part(config, place))
    return found
