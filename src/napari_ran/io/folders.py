"""Write several files into one folder, all or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_ran.errors import OutputError


@contextmanager
def filling(folder: str | Path, obsolete: Iterable[str] = ()) -> Iterator[Path]:
    """Yield an empty folder; when the block ends without an error, the files that were put there move to `folder`.

    Files of the same names are replaced, others stay.

    Parameters
    ----------
    folder : path
        Where it all goes; made if needed.
    obsolete : iterable of str
        Paths of files and folders inside `folder` that are removed unless they were written anew, and with them the
        folders that this leaves empty.

    Raises
    ------
    OutputError
        A file could not be written; the folder is as it was before.
    """
    target = Path(folder)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise _output_error(target, error) from error
    try:
        (new := staging / "new").mkdir()
        yield new
        if target.exists():
            _Exchange(target, staging / "old").take(new, sorted(obsolete))
        else:
            os.replace(new, target)
    except OSError as error:
        raise error if isinstance(error, OutputError) else _output_error(target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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
        except OSError:
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
