"""Write several files into one folder, all or none, whatever ends the program meanwhile.

The files are made in a passing folder: beside the target, which it then becomes, or inside one that is there already,
where they then take their places one by one. A note in the target says so until all have, so that whoever comes next,
`settled`, can finish what a killed process has begun.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_ran.errors import InputError, OutputError
from napari_ran.io.files import leads_out
from napari_ran.owners import elsewhere, exclusively, identity, living
from napari_ran.parsing import parse_json

NOTE = ".unfinished"
"""In a folder whose files are being replaced: where the new ones are, and what is to go."""

_OWNER, _NEW, _OLD = "owner", "new", "old"
_GONE = ".gone"
_ABANDONED = 86400.0
"""Seconds after which a passing folder of another machine is taken for abandoned."""

_MADE = 1.0
"""Seconds after which one that does not say whose it is was left by a process that was killed."""


@contextmanager
def filling(folder: str | Path, obsolete: Iterable[str] | Callable[[Path], Iterable[str]] = ()) -> Iterator[Path]:
    """Yield an empty folder; when the block ends without an error, the files that were put there move to `folder`.

    Files of the same names are replaced, others stay. Of several processes that fill one folder at the same time, each
    waits until the one before it is through: what is there at the end is of one of them.

    Parameters
    ----------
    folder : path
        Where it all goes; made if needed.
    obsolete : iterable of str, or callable
        Paths of files and folders inside `folder` that are removed unless they were written anew, and with them the
        folders that this leaves empty. A function is asked for them, given the folder, when it is their turn.

    Raises
    ------
    OutputError
        A file could not be written; the folder is as it was before.
    """
    target = Path(folder)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target)
        # inside what is there: beside it may be another disk, where a target is a mount point
        around = target if target.is_dir() else target.parent
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=around))
    except OSError as error:
        raise _output_error(target, error) from error
    delivered, new = False, staging / _NEW
    try:
        (staging / _OWNER).write_text(identity(), encoding="utf-8")
        new.mkdir()
        yield new
        _deliver(new, target, staging, obsolete)
        delivered = True
    except OutputError as error:  # the passing folder's name says nothing to anyone
        path = Path(error.path)
        place = target / path.relative_to(new) if path.is_relative_to(new) else path
        raise OutputError(str(place), error.problem, error.cure) from error
    except OSError as error:
        raise _output_error(target, error) from error
    finally:
        if delivered or not _noted(target, staging):
            _discard(staging)


def settled(folder: str | Path) -> Path:
    """Return a folder after what a killed process left half done in it, if anything, has been finished.

    Raises
    ------
    InputError
        It cannot be finished: its files are of two results.
    """
    target = Path(folder)
    if not (target / NOTE).is_file():
        return target
    with exclusively(target.parent):
        _settle(target)
    return target


def _deliver(new: Path, target: Path, staging: Path, obsolete: Iterable[str] | Callable[[Path], Iterable[str]]) -> None:
    """Move what was made to its place, one process at a time."""
    with exclusively(target.parent):
        _settle(target)
        if not target.exists():
            os.replace(new, target)
            return
        names = sorted(obsolete(target) if callable(obsolete) else obsolete)
        names = [name for name in names if (target / name).exists()]
        if not target.is_dir():
            raise NotADirectoryError(20, os.strerror(20))
        _write_note(target, staging, names)
        try:
            _Exchange(target, staging / _OLD).take(new, names)
        finally:  # it is done, or undone
            (target / NOTE).unlink(missing_ok=True)


def _settle(target: Path) -> None:
    """Finish an exchange whose process has ended; the caller keeps others out."""
    note = target / NOTE
    if not note.is_file():
        return
    problem = "a program was ended while it replaced the files here, so that they are of two results"
    try:
        said = parse_json(note.read_text(encoding="utf-8"))
        staging, names = str(said["staging"]), [str(name) for name in said["obsolete"]]
        places = [around / staging for around in (target, target.parent)]
        place = next((one for one in places if (one / _NEW).is_dir()), None)
        if any(map(leads_out, names)) or not _staging_of(target).fullmatch(staging) or place is None:
            raise ValueError(f"there is nothing in {staging}")
        left = [name for name in names if not (place / _OLD / name).exists()]  # the others are gone already
        _Exchange(target, place / _OLD).take(place / _NEW, left)
        note.unlink()
    except (OSError, ValueError, KeyError, TypeError) as error:
        cure = f"Write the result again into another folder, or remove {NOTE} to use what there is"
        raise InputError(str(target), f"{problem} ({error})", cure) from None
    _discard(place)


def _write_note(target: Path, staging: Path, obsolete: Sequence[str]) -> None:
    part = staging / NOTE
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"staging": staging.name, "obsolete": list(obsolete)}))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, target / NOTE)


def _noted(target: Path, staging: Path) -> bool:
    """Whether a folder still needs what is in a passing one."""
    try:
        return bool(parse_json((target / NOTE).read_text(encoding="utf-8"))["staging"] == staging.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _discard(staging: Path) -> None:
    """Remove a passing folder, under a name by which what a kill leaves of it is known as rubbish."""
    gone = staging if staging.name.endswith(_GONE) else staging.with_name(staging.name + _GONE)
    with contextlib.suppress(OSError):
        staging.rename(gone)
    for folder in (staging, gone):  # threads of a failed writer may still make files under the old name
        shutil.rmtree(folder, ignore_errors=True)


def _staging_of(target: Path) -> re.Pattern[str]:
    return re.compile(rf"\.{re.escape(target.name)}-[a-z0-9_]{{8}}")


def _remove_abandoned(target: Path) -> None:
    """Remove the passing folders of killed processes that the target does not need."""
    pattern = _staging_of(target)
    around = [target.parent, *([target] if target.is_dir() else [])]
    passing = [one for folder in around for one in folder.iterdir()]
    for place in [one for one in passing if pattern.fullmatch(one.name.removesuffix(_GONE))]:
        if place.name.endswith(_GONE):
            _discard(place)
            continue
        with contextlib.suppress(OSError):  # its process has just finished
            owner = place / _OWNER
            said = owner.read_text(encoding="utf-8") if owner.is_file() else ""
            age = time.time() - place.stat().st_mtime
            unknown = age < (_ABANDONED if elsewhere(said) else 0 if said else _MADE)
            if living(said) is None and not unknown and not _noted(target, place):
                _discard(place)


class _Exchange:
    """Brings files into a folder, and all of it back when one of them fails.

    Parameters
    ----------
    target : Path
        The folder.
    aside : Path
        Where what has to go is kept meanwhile.
    """

    def __init__(self, target: Path, aside: Path) -> None:
        self.target, self.aside = target, aside
        self._moved: list[tuple[Path, Path]] = []
        self._made: list[Path] = []

    def take(self, new: Path, obsolete: Sequence[str]) -> None:
        """Remove what is obsolete and move all files of a folder here."""
        try:
            for name in obsolete:
                self._set_aside(self.target / name)
            for path in sorted(new.rglob("*")):
                if not path.is_dir():
                    self._place(path, self.target / path.relative_to(new))
        except BaseException:  # an interrupt of the keyboard too
            for here, there in reversed(self._moved):
                os.replace(there, here)
                self._remove_empty(there.parent)
            for folder in reversed(self._made):
                self._remove_empty(folder)
            raise
        finally:
            for folder in sorted((here.parent for here, _ in self._moved), key=lambda folder: -len(folder.parts)):
                self._remove_empty(folder)

    def _place(self, path: Path, place: Path) -> None:
        above = [self.target / folder for folder in reversed(place.relative_to(self.target).parents)][1:]
        for folder in above:
            if folder.exists() and not folder.is_dir():
                self._set_aside(folder)
        self._made += [folder for folder in above if not folder.exists()]
        place.parent.mkdir(parents=True, exist_ok=True)
        self._set_aside(place)
        self._move(path, place)

    def _set_aside(self, path: Path) -> None:
        if path.exists() or path.is_symlink():
            there = self.aside / path.relative_to(self.target)
            there.parent.mkdir(parents=True, exist_ok=True)
            self._move(path, there)

    def _move(self, here: Path, there: Path) -> None:
        os.replace(here, there)
        self._moved.append((here, there))

    def _remove_empty(self, folder: Path) -> None:
        while folder != self.target and self.target in folder.parents and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(
        str(path),
        f"the result could not be written ({error.strerror or error})",
        "Choose another folder, or free some space",
    )


__all__ = ["NOTE", "filling", "settled"]
