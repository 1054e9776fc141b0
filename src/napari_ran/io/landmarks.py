"""Read and write landmarks."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ran.data import Grid, Landmarks
from napari_ran.errors import InputError
from napari_ran.io.claims import refuse_numpy
from napari_ran.io.files import existing, reading, stem_of, suffix_of
from napari_ran.io.geometry import lps
from napari_ran.parsing import parse_json
from napari_ran.writing import replacing

_FORMATS = "CSV with columns x, y, z (mm, RAS), Slicer .fcsv or .mrk.json, elastix or plain text, or .npy"
_COLUMNS = {"xyz": "ras", "ras": "ras", "lps": "lps", "ijk": "voxel"}
"""Column names of a CSV file, joined, and the coordinates that they stand for."""

_FCSV_SYSTEMS = {"0": "ras", "ras": "ras", "1": "lps", "lps": "lps", "2": "voxel", "ijk": "voxel"}

Found = tuple[NDArray[np.float64], str]
"""Points (N, D) as stored, and what they are: ``ras`` (mm), ``lps`` (mm) or ``voxel``."""


def load_landmarks(path: str | Path, grid: Grid | None = None) -> Landmarks:
    """Read points.

    Parameters
    ----------
    path : path
        CSV with a header: columns ``x, y, z`` or ``r, a, s`` (mm, RAS), ``l, p, s`` (mm, LPS) or ``i, j, k`` (voxels
        along the array axes, from 0; needs `grid`), in any order, other columns ignored. Slicer ``.fcsv`` and
        ``.mrk.json`` (the coordinate system that the file states). elastix ``.txt`` (first line ``point``: mm, LPS;
        ``index``: voxels). Numbers without a header and ``.npy``: mm, RAS. Two columns (without ``z``, ``s``, ``k``)
        make 2-D points.
    grid : Grid, optional
        The grid on which voxel coordinates are counted.

    Raises
    ------
    InputError
        The file is missing, damaged or of another format, has no points, or is in voxels and no grid was given.
    """
    with reading(path, _FORMATS):
        points, system = _read(path)
        if system == "voxel":
            if grid is None:
                cure = "Give the grid of their image, or save them in mm"
                raise InputError("landmarks", "the points are in voxels", cure)
            return Landmarks.from_voxels(points, grid, stem_of(path))
        return Landmarks(points * lps(points.shape[1]) if system == "lps" else points, stem_of(path))


def load_voxel_landmarks(path: str | Path, grid: Grid) -> Landmarks:
    """Read points whose numbers are voxels of `grid`, whether their file says so or not: those of Learn2Reg do not.

    Raises
    ------
    InputError
        The file is missing, damaged or of another format, or has no points.
    """
    with reading(path, _FORMATS):
        return Landmarks.from_voxels(_read(path)[0], grid, stem_of(path))


def save_landmarks(landmarks: Landmarks, path: str | Path) -> Path:
    """Write points as CSV with columns x, y (and z), in mm, RAS, all or nothing.

    Raises
    ------
    InputError
        The suffix is not ``.csv``.
    OutputError
        The file could not be written; what was there stays.
    """
    if suffix_of(path) != ".csv":
        raise InputError(str(path), f"cannot write landmarks to a '{suffix_of(path)}' file", "Use .csv")
    names = "xyz"[: landmarks.points.shape[1]]
    rows = [",".join(names), *(",".join(repr(float(v)) for v in point) for point in landmarks.points)]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Path(path)


def _read(path: str | Path) -> Found:
    found, suffix = existing(path), suffix_of(path)
    readers: dict[str, Callable[[Path], Found]] = {
        ".csv": _read_text, ".txt": _read_text, ".pts": _read_text, ".fcsv": _read_fcsv,
        ".mrk.json": _read_markups, ".json": _read_markups, ".npy": _read_numpy,
    }  # fmt: skip
    if suffix not in readers:
        raise InputError("landmarks", f"cannot read landmarks from a '{suffix}' file", f"Give {_FORMATS}")
    points, system = readers[suffix](found)
    if points.size == 0:
        raise InputError("landmarks", "the file holds no points", "Give at least one point")
    return points, system


def _read_text(path: Path) -> Found:
    """CSV with or without a header, whitespace-separated numbers, or elastix' point set."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        return np.zeros((0, 3)), "ras"
    if lines[0].lower() in ("point", "index"):
        system = "lps" if lines[0].lower() == "point" else "voxel"
        points = _numbers(lines[2:])
        if len(points) != int(lines[1]):
            raise InputError("landmarks", f"the file says {lines[1]} points and holds {len(points)}", "Export it again")
        return points, system
    if _is_numbers(lines[0]):
        return _numbers(lines), "ras"
    return _columns(list(csv.reader(lines, skipinitialspace=True, delimiter=_delimiter(lines[0]))))


def _delimiter(line: str) -> str:
    return next((mark for mark in (",", ";", "\t") if mark in line), " ")


def _is_numbers(line: str) -> bool:
    try:
        return bool(_numbers([line]).size)
    except ValueError:
        return False


def _numbers(lines: list[str]) -> NDArray[np.float64]:
    rows = [[float(v) for v in line.replace(",", " ").replace(";", " ").split()] for line in lines]
    if len({len(row) for row in rows}) > 1:
        raise InputError("landmarks", "the rows have different numbers of values", "Give one point per line")
    return np.array(rows, dtype=np.float64)


def _columns(rows: list[list[str]]) -> Found:
    """Pick the coordinate columns of a table by their names."""
    header = [name.strip().strip('"').lower() for name in rows[0]]
    for names, system in _COLUMNS.items():
        wanted = [name for name in names if name in header]
        if names[0] in wanted and names[1] in wanted:
            places = [header.index(name) for name in wanted]
            points = np.array([[float(row[place]) for place in places] for row in rows[1:]])
            return points.reshape(-1, len(wanted)), system
    raise InputError(
        "landmarks",
        f"expected columns x, y, z (mm) or i, j, k (voxels), got {', '.join(header)}",
        "Name the columns of the table",
    )


def _read_fcsv(path: Path) -> Found:
    """Slicer's older fiducial list: ``# CoordinateSystem = LPS`` (or RAS, or 0 for RAS and 1 for LPS)."""
    system, columns, rows = "ras", ["id", "x", "y", "z"], []
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        key, _, value = line.lstrip("# ").partition("=")
        if not line.startswith("#"):
            if line.strip():
                rows.append(line.split(","))
        elif key.strip().lower() == "coordinatesystem":
            system = _system(value)
        elif key.strip().lower() == "columns":
            columns = [name.strip() for name in value.split(",")]
    places = [columns.index(name) for name in "xyz"]
    return np.array([[float(row[place]) for place in places] for row in rows]).reshape(-1, 3), system


def _read_markups(path: Path) -> Found:
    """Slicer's markups: the control points of every list in the file, each list in its own coordinate system."""
    content: Any = parse_json(path.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict) or not isinstance(content.get("markups"), list):
        raise InputError("landmarks", "the file is JSON but not a Slicer markups file", f"Give {_FORMATS}")
    points: list[NDArray[np.float64]] = []
    for markup in content["markups"]:
        system = _system(markup.get("coordinateSystem", "LPS"))
        if system == "voxel":
            raise InputError(
                "landmarks", "a markups list in voxels cannot be placed", "Export the points in RAS or LPS"
            )
        sign = lps(3) if system == "lps" else np.ones(3)
        controls = [p for p in markup.get("controlPoints", []) if p.get("positionStatus", "defined") == "defined"]
        points.append(np.array([p["position"] for p in controls], dtype=np.float64).reshape(-1, 3) * sign)
    return np.concatenate(points) if points else np.zeros((0, 3)), "ras"


def _system(text: str) -> str:
    key = str(text).strip().lower()
    if key not in _FCSV_SYSTEMS:
        raise InputError("landmarks", f"unknown coordinate system '{text.strip()}'", "Export the points in RAS or LPS")
    return _FCSV_SYSTEMS[key]


def _read_numpy(path: Path) -> Found:
    with path.open("rb") as file:
        refuse_numpy(file, path.stat().st_size)
        return np.asarray(np.load(file, allow_pickle=False), dtype=np.float64), "ras"
