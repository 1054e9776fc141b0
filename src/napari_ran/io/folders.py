"""Write several files into one folder, all or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_ran.errors import OutputError


@contextmanager
def filling(folder: str | Path, obsolete: Sequence[str] = ()) -> Iterator[Path]:
    """Yield an empty folder; when the block ends without an error, what was put there moves to `folder`.

    Files and folders of the same names are replaced, others stay.

    Parameters
    ----------
    folder : path
        Where it all goes; made if needed.
    obsolete : sequence of str
        Names of folders that are removed from `folder` unless they were written anew.

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
        _move_into_place(new, target, staging, obsolete)
    except OSError as error:
        raise error if isinstance(error, OutputError) else _output_error(target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move_into_place(new: Path, target: Path, staging: Path, obsolete: Sequence[str]) -> None:
    """Rename the whole folder where there was none, else replace entry by entry."""
    if not target.exists():
        os.replace(new, target)
        return
    names = [path.name for path in new.iterdir()]
    (old := staging / "old").mkdir()
    try:
        for name in {*names, *obsolete}:
            if (target / name).is_dir():  # a folder cannot be renamed over another one
                os.replace(target / name, old / name)
        for name in names:
            os.replace(new / name, target / name)
    except OSError:
        for folder in old.iterdir():
            if not (target / folder.name).exists():
                os.replace(folder, target / folder.name)
        raise


def _output_error(path: Path, error: OSError) -> OutputError:
    return OutputError(
        str(path),
        f"the result could not be written ({error.strerror or error})",
        "Choose another folder, or free some space",
    )
