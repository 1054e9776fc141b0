"""Read and write surfaces: STL, OBJ, PLY, VTK and others by meshio, and ``.npz``.

Files of surfaces rarely say whether they are LPS or RAS. 3D Slicer writes LPS and notes ``SPACE=LPS`` or ``SPACE=RAS``
in the header; a file without a note is taken as LPS unless it is said otherwise. An ``.npz`` holds ``vertices`` and
``faces`` in RAS.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from napari_ran.data import Surface
from napari_ran.errors import InputError
from napari_ran.io.claims import refuse_numpy
from napari_ran.io.files import existing, reading, stem_of, suffix_of
from napari_ran.io.geometry import lps
from napari_ran.writing import replacing

Space = Literal["lps", "ras"]

SUFFIXES = (".stl", ".obj", ".ply", ".vtk", ".vtu", ".off", ".npz")
"""Endings of files of surfaces."""

_COUNTS = {
    ".ply": re.compile(rb"^element\s+\S+\s+(\d+)", re.MULTILINE),
    ".vtk": re.compile(rb"^(?:POINTS|CELLS|CELL_TYPES|POLYGONS|LINES|VERTICES|TRIANGLE_STRIPS)\s+(\d+)", re.MULTILINE),
    ".off": re.compile(rb"\A\s*(?:OFF\s+)?(\d+)"),
}
"""How many of something a file says that it has."""

_NOTE = re.compile(rb"SPACE=(LPS|RAS)", re.IGNORECASE)


def load_surface(path: str | Path, space: Space | None = None) -> Surface:
    """Read a surface of triangles.

    Parameters
    ----------
    path : path
        The file.
    space : {"lps", "ras"}, optional
        What its coordinates are; as the file notes, or LPS, when left out.

    Raises
    ------
    InputError
        The file is missing, damaged, of another format, or has no triangles.
    """
    found = existing(path)
    suffix = suffix_of(found)
    if suffix not in SUFFIXES:
        raise InputError(str(path), f"cannot read a surface from a '{suffix}' file", f"Give {', '.join(SUFFIXES)}")
    with reading(path, "STL, OBJ, PLY or VTK"):
        if suffix == ".npz":
            with np.load(found, allow_pickle=False) as file:
                for member in file.zip.infolist():
                    with file.zip.open(member) as stream:
                        refuse_numpy(stream, member.file_size)
                vertices, faces = np.array(file["vertices"], dtype=float), np.array(file["faces"])
            sign = np.ones(3)
        else:
            vertices, faces = _by_meshio(found)
            sign = lps(3) if (space or _noted(found) or "lps") == "lps" else np.ones(3)
        return Surface(vertices * sign, faces, stem_of(path))


def _by_meshio(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import meshio

    _refuse_claims(path)
    try:
        with _silent():
            mesh = meshio.read(path)
    except SystemExit as error:  # meshio ends the process over a file that it does not know
        raise ValueError(str(error)) from error
    triangles = [cells.data for cells in mesh.cells if cells.type == "triangle"]
    points = np.asarray(mesh.points, dtype=float)
    return points, np.concatenate(triangles) if triangles else np.empty((0, 3), dtype=int)


def _refuse_claims(path: Path) -> None:
    """Refuse what meshio would search without end, or make room for before it has seen it.

    Every vertex and every triangle takes at least a byte.
    """
    content = path.read_bytes()
    if suffix_of(path) == ".ply" and b"end_header" not in content:
        raise InputError("surface", "the file ends within its header", "Export or download it again")
    if (counts := _COUNTS.get(suffix_of(path))) is not None:
        for found in counts.finditer(content):
            _refuse_claim(int(found.group(1)[:20]), len(content))


def _refuse_claim(claimed: int, most: int) -> None:
    if claimed > most:
        problem = f"the header claims {claimed:,} of something, more than there is room for"
        raise InputError("surface", problem, "It is truncated or damaged: export or download it again")


def _noted(path: Path) -> str | None:
    with path.open("rb") as file:
        note = _NOTE.search(file.read(1024))
    return None if note is None else note.group(1).decode().lower()


def save_surface(surface: Surface, path: str | Path, space: Space = "lps") -> Path:
    """Write a surface, all or nothing, in LPS unless `space` says otherwise (``.npz``: always RAS).

    Raises
    ------
    InputError
        The suffix is not known.
    OutputError
        The file could not be written; what was there stays.
    """
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise InputError(str(path), f"cannot write a '{suffix}' file", f"Use one of {', '.join(SUFFIXES)}")
    with replacing(path) as temporary:
        if suffix == ".npz":
            np.savez_compressed(temporary, vertices=surface.vertices, faces=surface.faces)
        else:
            _write_by_meshio(surface, temporary, lps(3) if space == "lps" else np.ones(3))
    return Path(path)


def _write_by_meshio(surface: Surface, path: Path, sign: np.ndarray) -> None:
    import meshio

    mesh = meshio.Mesh(surface.vertices * sign, [("triangle", surface.faces)])
    binary = {"binary": True} if suffix_of(path) == ".stl" else {}
    with _silent():
        mesh.write(path, **binary)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep what meshio prints off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
