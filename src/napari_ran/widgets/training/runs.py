"""Where trainings of the viewer live, and what starts them and takes up what they leave behind."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

from platformdirs import user_data_dir

import napari_ran as ran
from napari_ran.config import TrainConfig
from napari_ran.errors import OutputError
from napari_ran.io.own_models import add_model
from napari_ran.train.process import TrainingProcess
from napari_ran.train.wire import EVENTS
from napari_ran.widgets.training.pairs import LayerPairs

TAKEN_UP = "model-name"
"""The file in a run's folder that says under which name its model was added."""


def runs_folder() -> Path:
    """Return the folder of the trainings that were started in the viewer."""
    return Path(user_data_dir("napari-ran", appauthor=False)) / "runs"


def folder_of(name: str) -> Path:
    """Return the folder of a run.

    Raises
    ------
    InputError
        The name cannot be one.
    """
    if not re.fullmatch(r"[\w][\w .+-]*", name):
        raise ran.InputError("name", f"'{name}' cannot be the name of a model", "Use letters, digits, dots and dashes")
    folder = runs_folder() / name
    if (folder / EVENTS).exists():
        cure = "Give another name, or open that training and resume it"
        raise ran.InputError("name", f"there is a training named '{name}' already", cure)
    return folder


def open_runs() -> list[Path]:
    """Return the folders of the trainings whose model was not taken up yet, those that run first, then by age."""
    found = [path.parent for path in runs_folder().glob(f"*/{EVENTS}") if not (path.parent / TAKEN_UP).exists()]
    running = {folder: TrainingProcess.attach(folder).pid is not None for folder in found}
    return sorted(found, key=lambda folder: (running[folder], (folder / EVENTS).stat().st_mtime), reverse=True)


def take_up(folder: Path, best: Path, name: str) -> str:
    """Add the best weights of a run to the user's models, once, and return their name there.

    Raises
    ------
    InputError, OutputError
        They cannot be read, or not be copied.
    """
    note = folder / TAKEN_UP
    if note.exists():
        return note.read_text(encoding="utf-8").strip()
    name = add_model(best, name)
    try:
        note.write_text(name, encoding="utf-8")
    except OSError as error:
        raise OutputError(str(note), f"cannot be written ({error.strerror})", "Free some space") from error
    return name


def starting_work(
    config: TrainConfig, folder: Path, pairs: LayerPairs | None, validation: LayerPairs | None, outlive: bool
) -> Any:
    """Return the work that converts layers, writes them to the run's folder and starts the child process."""

    def work(task: Any) -> Generator[None, None, TrainingProcess]:
        yield
        given = None if pairs is None else pairs.convert()
        measured = None if validation is None else validation.convert()
        return TrainingProcess.start(config, folder, pairs=given, validation=measured, outlive=outlive)

    return work


def resuming_work(config: TrainConfig, folder: Path, outlive: bool) -> Any:
    """Return the work that lets a run go on from its last checkpoint."""

    def work(task: Any) -> Generator[None, None, TrainingProcess]:
        yield
        note = folder / TAKEN_UP
        run = TrainingProcess.start(config, folder, resume=True, outlive=outlive)
        note.unlink(missing_ok=True)  # it will have better weights
        return run

    return work


def saving_work(path: Path, config: TrainConfig, pairs: LayerPairs | None, validation: LayerPairs | None) -> Any:
    """Return the work that writes settings for ``napari-ran train``, with the layers in a folder beside them."""

    def work(task: Any) -> Generator[None, None, Path]:
        from napari_ran.train.pairs import save_pairs

        yield
        written, folder = config, path.with_name(f"{path.stem}-layers").absolute()
        try:
            if pairs is not None:
                data = {"source": "pairs", "path": str(save_pairs(pairs.convert(), folder / "pairs"))}
                written = written.replace(data=data)
            if validation is not None:
                where = save_pairs(validation.convert(), folder / "validation")
                data = config.data.replace(source="pairs", path=str(where)).to_dict()
                written = written.replace(validation={"data": data})
        except OSError as error:
            raise OutputError(str(folder), f"cannot be written ({error.strerror})", "Choose another folder") from error
        written.to_yaml(path)
        return path

    return work
