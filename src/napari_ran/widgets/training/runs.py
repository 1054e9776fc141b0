"""Where trainings of the viewer live, and what starts them and takes up what they leave behind."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Generator
from pathlib import Path

from platformdirs import user_data_dir

import napari_ran as ran
from napari_ran.config import TrainConfig
from napari_ran.errors import OutputError
from napari_ran.io.own_models import add_model
from napari_ran.owners import running_process
from napari_ran.train import TrainEvent, TrainFailed, TrainFinished
from napari_ran.train.pairs import save_pairs
from napari_ran.train.process import TrainingProcess
from napari_ran.train.wire import EVENTS, command_in, decode
from napari_ran.widgets._worker import Task, Work
from napari_ran.widgets.training.pairs import LayerPairs

TAKEN_UP = "model-name"
"""The file in a run's folder that says under which name its model was added."""

SEEN = "failure-seen"
"""The file in a run's folder that says that somebody has read why it failed."""

LAST_LINES = 2**16
"""Bytes at the end of the file of events in which its last one is looked for."""


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
        cure = "Give another name, or resume or delete that training on the page Progress"
        raise ran.InputError("name", f"there is a training named '{name}' already", cure)
    return folder


def free_name(name: str) -> str:
    """Return a name like this one that no training has yet: ``model``, then ``model-2``, ``model-3`` and so on."""
    stem, number = name, 1
    if counted := re.fullmatch(r"(.+)-(\d+)", name):
        stem, number = counted[1], int(counted[2])
    while (runs_folder() / name).exists():
        number += 1
        name = f"{stem}-{number}"
    return name


class Leash:
    """The training that a widget listens to; no Qt object, so that it can be let go of when the widget is gone."""

    def __init__(self) -> None:
        self.run: TrainingProcess | None = None

    def let_go(self) -> None:
        """Stop the training if it was to end with the viewer."""
        if self.run is not None and not self.run.ended:
            self.run.let_go()


def all_runs() -> dict[Path, str]:
    """Return the folders of all trainings, the newest first, and what each does in a word."""
    found = [path.parent for path in runs_folder().glob(f"*/{EVENTS}")]
    return {folder: state_of(folder) for folder in sorted(found, key=_age, reverse=True)}


def state_of(folder: Path) -> str:
    """Return what a training does, or how it ended, in a word."""
    last = _last_event(folder)
    if isinstance(last, TrainFinished):
        return "stopped" if last.reason == "closed" else "done"
    if isinstance(last, TrainFailed):
        return "failed"
    if running_process(folder) is None and (folder / EVENTS).exists():
        return "interrupted"
    return "starting" if last is None else "paused" if command_in(folder) == "pause" else "running"


def open_runs() -> list[Path]:
    """Return the trainings that ask for attention: those that run, then those of whose end nobody knows yet."""
    runs = all_runs()
    running = [folder for folder, state in runs.items() if state in ("starting", "running", "paused")]
    ended = [folder for folder in runs if not ((folder / TAKEN_UP).exists() or (folder / SEEN).exists())]
    return running + [folder for folder in ended if folder not in running]


def note_failure(folder: Path) -> None:
    """Remember that a failure was shown, so that it does not greet everybody who opens the widget."""
    with contextlib.suppress(OSError):
        (folder / SEEN).touch()


def delete_run(folder: Path) -> None:
    """Delete a training with its checkpoints and snapshots; a model that it gave stays.

    Raises
    ------
    InputError
        It runs, or it is not one of the viewer's trainings.
    OutputError
        Something in its folder could not be deleted.
    """
    if folder.parent != runs_folder() or not (folder / EVENTS).exists():
        cure = "Delete its folder by other means"
        raise ran.InputError("training", f"{folder} is not one of the viewer's trainings", cure)
    if running_process(folder) is not None:
        raise ran.InputError("training", f"'{folder.name}' is running", "Stop it first")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(str(folder), f"could not be deleted ({error.strerror})", "Close what uses it") from error


def _age(folder: Path) -> float:
    return (folder / EVENTS).stat().st_mtime


def _last_event(folder: Path) -> TrainEvent | None:
    """Return the last thing that a training told, None where it has not told anything yet."""
    try:
        with (folder / EVENTS).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LAST_LINES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((event for line in reversed(lines) if (event := decode(line)) is not None), None)


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
) -> Work:
    """Return the work that converts layers, writes them to the run's folder and starts the child process."""

    def work(task: Task) -> Generator[None, None, TrainingProcess]:
        yield
        given = None if pairs is None else pairs.convert()
        measured = None if validation is None else validation.convert()
        return TrainingProcess.start(config, folder, pairs=given, validation=measured, outlive=outlive)

    return work


def resuming_work(config: TrainConfig, folder: Path, outlive: bool) -> Work:
    """Return the work that lets a run go on from its last checkpoint."""

    def work(task: Task) -> Generator[None, None, TrainingProcess]:
        yield
        run = TrainingProcess.start(config, folder, resume=True, outlive=outlive)
        for note in (TAKEN_UP, SEEN):
            (folder / note).unlink(missing_ok=True)  # it will have better weights
        return run

    return work


def saving_work(path: Path, config: TrainConfig, pairs: LayerPairs | None, validation: LayerPairs | None) -> Work:
    """Return the work that writes settings for ``napari-ran train``, with the layers in a folder beside them."""

    def work(task: Task) -> Generator[None, None, Path]:
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
