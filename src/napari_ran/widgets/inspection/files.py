"""Files that the pages of the Inspect widget write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_ran.errors import OutputError
from napari_ran.writing import replacing


@contextmanager
def telling(failed: Any) -> Iterator[None]:
    """Let a signal tell what keeps a file from being written."""
    try:
        yield
    except OutputError as error:
        failed.emit(error)


def save_figure(figure: Any, path: str | Path) -> None:
    """Write a matplotlib figure whole or not at all; the name's ending decides the format, PNG where it has none.

    Raises
    ------
    OutputError
        It could not be written, or matplotlib does not know the format.
    """
    target = Path(path) if Path(path).suffix else Path(f"{path}.png")
    try:
        with replacing(target, "the figure") as part:
            figure.savefig(part)
    except ValueError as error:
        problem = f"the figure could not be written ({error})"
        raise OutputError(str(target), problem, "Choose a name that ends in .png, .svg or .pdf") from error
