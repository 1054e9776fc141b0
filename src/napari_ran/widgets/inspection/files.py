"""Figures that the pages of the Inspect widget write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_ran.errors import OutputError
from napari_ran.writing import replacing


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
