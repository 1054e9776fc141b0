"""The list of the files that a report wrote, so that the next one in the same folder can remove them, and only them."""

from __future__ import annotations

import json
from pathlib import Path

from napari_ran.io.files import leads_out
from napari_ran.parsing import parse_json

MANIFEST = "report-files.json"
KEY = "files of this report"


def list_files(folder: Path) -> None:
    """Write the list of all files of a folder, itself among them."""
    files = sorted({path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} | {MANIFEST})
    (folder / MANIFEST).write_text(json.dumps({KEY: files}, indent=1), encoding="utf-8")


def written_before(folder: str | Path) -> list[str]:
    """Return the files that an earlier report wrote into a folder and that are still there, as paths inside it.

    A list that cannot be read counts as none, and what it names outside the folder is not touched.
    """
    root = Path(folder)
    try:
        listed = parse_json((root / MANIFEST).read_text(encoding="utf-8"))[KEY]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    return [name for name in names if _inside(root, name)]


def _inside(root: Path, name: str) -> bool:
    if not name or leads_out(name):
        return False
    place = root / name
    return place.is_file() and place.parent.resolve().is_relative_to(root.resolve())
