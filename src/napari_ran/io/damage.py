"""Damage that the readers pass over in silence: TIFF files that end early, DICOM files left out of their series."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

from napari_ran.errors import InputError
from napari_ran.io.files import is_dicom


def refuse_cut_tiff(path: Path) -> None:
    """Follow the chain of a TIFF file's pages: libtiff reads the pages before the cut and calls that the whole.

    Raises
    ------
    InputError
        A page is said to lie beyond the end of the file, or the pages lead back to an earlier one.
    """
    with path.open("rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 16:
            return  # the reader will say what is wrong
        big = struct.unpack(f"{order}H", head[2:4])[0] == 43
        count_format, entry, offset_format = ("Q", 20, "Q") if big else ("H", 12, "I")
        (offset,) = struct.unpack_from(f"{order}{offset_format}", head, 8 if big else 4)
        seen: set[int] = set()
        while offset:
            if offset in seen:
                raise _unreadable(path, f"after page {len(seen)} it leads back to an earlier one")
            seen.add(offset)
            file.seek(offset)
            try:
                (entries,) = struct.unpack(f"{order}{count_format}", file.read(struct.calcsize(count_format)))
                file.seek(entries * entry, os.SEEK_CUR)
                (offset,) = struct.unpack(f"{order}{offset_format}", file.read(struct.calcsize(offset_format)))
            except struct.error:  # fewer bytes than that were left
                raise _unreadable(path, f"it ends within page {len(seen)}") from None


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(str(path), f"the file cannot be read ({why})", "Export or download it again")


def left_out(folder: Path, used: Iterable[str]) -> list[str]:
    """Return the names of files in a folder that are marked as DICOM and belong to none of the series found."""
    known = {Path(name).name for name in used}
    names = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in known and path.name.upper() != "DICOMDIR":
            names += [path.name] if is_dicom(path) else []
    return names
