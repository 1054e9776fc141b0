"""Public files, fetched once, checked, and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch

from napari_ran.errors import InputError


@dataclass(frozen=True)
class RemoteFile:
    """A public file: where it is, and what it must be.

    Attributes
    ----------
    name : str
        File name in the cache.
    url : str
        An address whose content does not change (a commit, or an address made of the hash).
    digest : str
        ``algorithm:hexdigest`` of the content.
    """

    name: str
    url: str
    digest: str


def fetched(file: RemoteFile, folder: Path, instead: str = "") -> Path:
    """Return the path of a file in a folder, downloaded with a progress bar on the terminal if it must be.

    Parameters
    ----------
    file : RemoteFile
        What to fetch.
    folder : Path
        Where it is kept.
    instead : str
        A sentence on what can be done without a network.

    Raises
    ------
    InputError
        There is no network, the server refuses, or the content is not what it should be.
    """
    try:
        return Path(
            pooch.retrieve(
                file.url, file.digest, fname=file.name, path=folder, progressbar=_TerminalProgress(file.name)
            )
        )
    except ValueError as error:  # pooch: the hash differs; it removes what it downloaded
        raise InputError(
            file.name,
            f"what came from {file.url} is not the expected file (its checksum differs)",
            "Try again; if it stays so, the file was changed at its source: please report it",
        ) from error
    except Exception as error:  # requests raises its own family, the disk raises OSError
        raise InputError(
            file.name,
            f"could not be fetched from {file.url} ({_reason(error)})",
            f"Check the network connection and try again. {instead}".strip(),
        ) from error


class _TerminalProgress:
    """The progress bar that pooch drives: one line on the terminal."""

    def __init__(self, name: str) -> None:
        from rich.progress import Progress

        self.total = 0  # set by pooch
        self._name, self._progress = name, Progress(transient=True)
        self._task: Any = None

    def update(self, count: int) -> None:
        """Advance by so many bytes."""
        if self._task is None:
            self._progress.start()
            self._task = self._progress.add_task(f"Fetching {self._name}", total=self.total or None)
        self._progress.advance(self._task, count)

    def reset(self) -> None:
        """Start again; pooch calls this once the file has arrived, before its last update."""
        if self._task is not None:
            self._progress.reset(self._task)

    def close(self) -> None:
        """Remove the bar."""
        self._progress.stop()


def _reason(error: BaseException) -> str:
    """Return the innermost cause in a few words: the outer messages of the network libraries are long and technical."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # the loop's condition holds one
    return str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0][:120]
