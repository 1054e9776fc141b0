"""The user's own models: files in one folder, found by name wherever weights can be chosen."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from napari_ran.errors import InputError, OutputError
from napari_ran.io.checkpoints import SUFFIX, known_weights, load_network, user_weights, weights_in
from napari_ran.writing import replacing

_NAME = re.compile(r"[\w][\w .+-]*")


def own_models() -> dict[str, Path]:
    """Return the files of the user's own models by name; those that cannot be read are listed too."""
    return weights_in(user_weights())


def add_model(path: str | Path, name: str) -> str:
    """Copy a file of weights into the user's folder; a number is added to a name that is taken.

    Returns
    -------
    str
        The name under which it is found now.

    Raises
    ------
    InputError
        The name cannot be one, or the file holds no weights of this package.
    OutputError
        The folder may not be written to.
    """
    _check_name(name)
    load_network(Path(path))  # a damaged file is refused here, not when it is needed
    taken = known_weights()
    free = next(one for one in [name, *(f"{name}-{n}" for n in range(2, 10_000))] if one not in taken)
    _copy(Path(path), user_weights() / f"{free}{SUFFIX}")
    return free


def rename_model(name: str, new: str) -> None:
    """Give one of the user's models another name.

    Raises
    ------
    InputError
        There is no such model, or the new name is taken or cannot be one.
    OutputError
        The file could not be renamed.
    """
    path = _own(name)
    _check_name(new)
    if new in known_weights():
        raise InputError("name", f"there is a model named '{new}' already", "Choose another name")
    try:
        os.rename(path, path.with_name(f"{new}{SUFFIX}"))
    except OSError as error:
        raise OutputError(str(path), f"could not be renamed ({error.strerror})", "Close what uses it") from error


def export_model(name: str, path: str | Path) -> Path:
    """Copy one of the user's models to a file, to be given to others.

    Raises
    ------
    InputError
        There is no such model.
    OutputError
        The file could not be written.
    """
    target = Path(path).expanduser()
    target = target if target.suffix == SUFFIX else target.with_name(target.name + SUFFIX)
    _copy(_own(name), target)
    return target


def remove_model(name: str) -> None:
    """Delete one of the user's models.

    Raises
    ------
    InputError
        There is no such model.
    OutputError
        The file could not be deleted.
    """
    path = _own(name)
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(str(path), f"could not be removed ({error.strerror})", "Close what uses it") from error


def _own(name: str) -> Path:
    found = own_models().get(name)
    if found is None:
        there = ", ".join(own_models()) or "none yet"
        raise InputError("model", f"you have no model named '{name}'", f"Your own models: {there}")
    return found


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        cure = "Use letters, digits, spaces, dots and dashes, beginning with a letter or digit"
        raise InputError("name", f"'{name}' cannot be the name of a model", cure)


def _copy(source: Path, target: Path) -> None:
    with replacing(target, "the model", make_folder=True) as part:
        shutil.copyfile(source, part)
