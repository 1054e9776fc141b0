"""What a file's header claims, looked at before a reader believes it.

Sizes that no file could hold are refused before anything is allocated, and headers for which native readers write
beyond their buffers before those see them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from napari_ran.device import free_memory
from napari_ran.errors import InputError

PACKED = 1100
"""How many bytes can come out of one that was packed, by deflate; rounded up."""

LONGEST_LINE = 500
"""Bytes in a line of an NRRD header: ITK's reader ends the process over 1024 in a line that it does not understand."""

MOST_AXES = 10
"""Axes of a MetaImage: ITK's reader writes beyond its arrays for more."""

_HEADER = 1 << 20
_FREE_TEXT = re.compile(rb"^(#|content:|[^:]+:=)", re.IGNORECASE)
_DATA_FILE = re.compile(rb"^\s*ElementDataFile\s*=(.*)$", re.IGNORECASE | re.DOTALL)
_NDIMS = re.compile(rb"^\s*NDims\s*=\s*(\S*)", re.IGNORECASE)


def refuse_claim(shape: Sequence[int], itemsize: int, holds: int | None) -> None:
    """Refuse voxels that the file cannot hold, or the memory cannot.

    Parameters
    ----------
    shape : sequence of int
        What the header says, every axis.
    itemsize : int
        Bytes of a stored voxel.
    holds : int, optional
        The most bytes of voxels that the file can hold; not checked when left out.

    Raises
    ------
    InputError
        Nothing has been allocated.
    """
    voxels = math.prod(int(n) for n in shape)
    words = " x ".join(str(int(n)) for n in shape)
    if holds is not None and voxels * itemsize > holds:
        problem = f"the file cannot be read (its header claims {words} voxels, more than fit into its size)"
        raise InputError("image", problem, "It is truncated or damaged: export or download it again")
    needed, free = voxels * max(itemsize, 4), free_memory(torch.device("cpu"))
    if needed > free:
        problem = f"its {words} voxels need {needed / 1e9:.1f} GB of memory, {max(free, 0) / 1e9:.1f} GB are free"
        raise InputError("image", problem, "Free memory, or write it as OME-Zarr and take a coarser resolution")


def refuse_type(dtype: np.dtype[Any]) -> None:
    """Refuse voxels that are not one real number each.

    Raises
    ------
    InputError
        They are colours, complex numbers, or no numbers.
    """
    if dtype.fields is not None:
        problem = f"expected one value per voxel, got colours ({', '.join(dtype.fields)})"
        raise InputError("image", problem, "Convert it to one grey channel")
    if dtype.kind not in "biuf":
        problem = f"expected real numbers, got values of type {dtype}"
        raise InputError("image", problem, "Save the magnitude or the real part")


def refuse_numpy(stream: IO[bytes], size: int) -> None:
    """Refuse an array file of NumPy, of `size` bytes, whose header claims more; the stream is left at its start.

    Raises
    ------
    InputError
        Nothing has been allocated.
    ValueError
        It is no such file.
    """
    of = np.lib.format
    version = of.read_magic(stream)  # type: ignore[no-untyped-call]
    read = of.read_array_header_1_0 if version == (1, 0) else of.read_array_header_2_0
    shape, _, dtype = read(stream)  # type: ignore[no-untyped-call]
    if any(n < 0 for n in shape):
        raise ValueError(f"a shape of {shape}")
    refuse_claim(shape, dtype.itemsize, size)
    stream.seek(0)


def refuse_header(path: Path) -> None:
    """Refuse the text header of an NRRD file or a MetaImage that would take ITK's reader beyond its buffers.

    Raises
    ------
    InputError
        A line is too long, there are too many axes, or the file with the voxels is not there.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if head.startswith(b"NRRD"):
        _refuse_nrrd(head)
    elif path.suffix.lower() in (".mha", ".mhd"):
        _refuse_meta_image(head, path.parent)


def refuse_hdf5(path: Path) -> None:
    """Refuse an HDF5 file to which bytes have been added: its library follows addresses in it wherever they lead now.

    Raises
    ------
    InputError
        The file is longer than it says.
    """
    said, size = hdf5_end(path), path.stat().st_size
    if said is not None and said < size:
        problem = f"the file cannot be read (it says that it ends after {said:,} of its {size:,} bytes)"
        raise InputError("field", problem, "It is damaged: export or download it again")


def hdf5_end(path: Path) -> int | None:
    """Return after how many bytes an HDF5 file says that it ends; None if it is no such file."""
    with path.open("rb") as file:
        head = file.read(52)
    signed = head.startswith(b"\x89HDF\r\n\x1a\n") and len(head) == 52
    place = {0: 40, 1: 44, 2: 28, 3: 28}.get(head[8]) if signed else None
    return None if place is None else int.from_bytes(head[place : place + 8], "little")


def detached(path: Path) -> bool:
    """Whether the voxels lie in other files than this one, which its header names."""
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if head.startswith(b"NRRD"):
        return bool(re.search(rb"^data ?file:", head.split(b"\n\n", 1)[0], re.IGNORECASE | re.MULTILINE))
    return path.suffix.lower() == ".mhd"


def _refuse_nrrd(head: bytes) -> None:
    for number, line in enumerate(re.split(rb"\r?\n", head), start=1):
        if not line:
            return
        if len(line) > LONGEST_LINE and not _FREE_TEXT.match(line):
            problem = f"line {number} of the header has more than {LONGEST_LINE} letters"
            raise InputError("header", problem, "It is damaged: export or download the file again")


def _refuse_meta_image(head: bytes, folder: Path) -> None:
    for line in head.split(b"\n"):
        found = _NDIMS.match(line)
        if found:
            text = found.group(1)
            if not (text.isdigit() and len(text) < 3 and 1 <= int(text) <= MOST_AXES):
                said = text[:20].decode("latin-1")
                raise InputError("header", f"NDims is '{said}', expected 2 or 3", "Repair the file's header")
        found = _DATA_FILE.match(line)
        if found:
            _refuse_missing(found.group(1).strip(), folder)
            return


def _refuse_missing(name: bytes, folder: Path) -> None:
    """Refuse voxels in a file that is not there: ITK's reader corrupts the memory of the process over some names."""
    try:
        text = name.decode("utf-8") if len(name) < LONGEST_LINE else ""
        several = text.upper().startswith("LIST") or "%" in text
        there = text.upper() == "LOCAL" or several or (folder / text).is_file()
    except (ValueError, OSError):
        there = False
    if not there:
        said = name[:40].decode("utf-8", errors="replace")
        problem = f"its voxels are said to lie in '{said}', which is not there"
        raise InputError("header", problem, "Put that file beside it, or export or download both again")
