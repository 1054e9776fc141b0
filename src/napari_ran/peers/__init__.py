"""Other registration tools on the same pairs, each in a process of its own.

A tool gets the fixed image, and the moving image brought to where a registration starts; what it finds is read back as
a displacement field.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.errors import InputError, RanError
from napari_ran.io import save_image
from napari_ran.io.field_itk import from_vectors
from napari_ran.io.geometry import array_from_itk
from napari_ran.steps import last
from napari_ran.transform import compose_to, resample

EXTRA = "peers"
"""The extra that installs all of them."""

_LOOK = 0.2
"""Seconds between two looks at a tool."""

_LINES = 3
"""So many of a tool's last words are reported when it fails."""


@dataclass(frozen=True)
class Peer:
    """A tool.

    Attributes
    ----------
    module : str
        What it imports.
    source : str
        What it is and where it comes from.
    dimensions : tuple of int
        The numbers of axes it can do.
    """

    module: str
    source: str
    dimensions: tuple[int, ...] = (2, 3)

    @property
    def installed(self) -> bool:
        """Whether it can be imported here."""
        return importlib.util.find_spec(self.module) is not None


PEERS: dict[str, Peer] = {
    "demons": Peer("SimpleITK", "diffeomorphic demons of SimpleITK (Vercauteren et al., 2009)"),
    "ants-syn": Peer("ants", "affine and SyN of ANTs (Avants et al., 2008)"),
    "elastix-bspline": Peer("itk", "affine and B-spline of elastix (Klein et al., 2010)"),
    "convexadam": Peer("convexAdam", "ConvexAdam (Siebert et al., 2024)", (3,)),
}
"""The tools by name."""


class PeerError(RanError):
    """A tool crashed, found nothing, or took too long."""


@dataclass(frozen=True, eq=False)
class PeerResult:
    """What a tool found, and what it took.

    Attributes
    ----------
    field : DisplacementField
        On the fixed grid.
    seconds, processor_seconds : float
        Of the registration alone: by the clock, and of all cores' work.
    peak_bytes : int
        Peak memory of its process.
    """

    field: DisplacementField
    seconds: float
    peak_bytes: int
    processor_seconds: float


def check_peer(name: str, ndim: int | None = None) -> None:
    """Refuse a tool that is not known, not installed, or cannot do so many axes.

    Raises
    ------
    InputError
        Says how to install it.
    """
    if name not in PEERS:
        raise InputError("peers", f"there is no tool '{name}'", f"Tools are {', '.join(PEERS)}")
    if not PEERS[name].installed:
        raise InputError("peers", f"'{name}' is not installed", f"pip install 'napari-ran[{EXTRA}]', or leave it out")
    if ndim is not None and ndim not in PEERS[name].dimensions:
        raise InputError("peers", f"'{name}' cannot register images of {ndim} axes", "Leave it out")


def run_peer(
    name: str,
    fixed: Image,
    moving: Image,
    start: NDArray[np.float64],
    *,
    options: Mapping[str, Any] | None = None,
    timeout: float | None = None,
) -> PeerResult:
    """Do what `peer_steps` does, to its end; see `peer_steps` for the parameters and the errors."""
    return last(peer_steps(name, fixed, moving, start, options=options, timeout=timeout))


def peer_steps(
    name: str,
    fixed: Image,
    moving: Image,
    start: NDArray[np.float64],
    *,
    options: Mapping[str, Any] | None = None,
    timeout: float | None = None,
) -> Generator[float, None, PeerResult]:
    """Register a pair with another tool.

    Parameters
    ----------
    name : str
        One of `PEERS`.
    fixed, moving : Image
        The pair.
    start : (D + 1, D + 1) array
        Fixed world positions to moving world positions, in mm. A shift moves the moving image's header; anything else
        resamples it onto the fixed grid.
    options : mapping, optional
        The tool's own settings, see `napari_ran.peers.child`.
    timeout : float, optional
        Seconds after which the tool is stopped.

    Yields
    ------
    float
        Seconds since the tool was started, a few times each second. Closing the generator ends the tool.

    Returns
    -------
    PeerResult

    Raises
    ------
    InputError
        See `check_peer`.
    PeerError
        The tool crashed or took too long.
    """
    check_peer(name, fixed.grid.ndim)
    with tempfile.TemporaryDirectory(prefix="napari-ran-") as folder:
        place = Path(folder)
        out = place / "field.mha"
        job = {
            "tool": name,
            "fixed": str(save_image(fixed, place / "fixed.mha")),
            "moving": str(save_image(_moved(moving, fixed.grid, start), place / "moving.mha")),
            "out": str(out),
            "options": dict(options or {}),
        }
        (place / "job.json").write_text(json.dumps(job), encoding="utf-8")
        figures = yield from _run(name, place, timeout)
        field = _read(out, fixed.grid)
    whole = compose_to(field, start, fixed.grid)
    return PeerResult(whole, float(figures["seconds"]), int(figures["peak_bytes"]), float(figures["processor_seconds"]))


def _moved(moving: Image, grid: Grid, start: NDArray[np.float64]) -> Image:
    if np.allclose(start[:-1, :-1], np.eye(grid.ndim)):
        return replace(moving, grid=moving.grid.moved(np.linalg.inv(start)))
    return resample(moving, grid, start)


def _run(name: str, place: Path, timeout: float | None) -> Generator[float, None, dict[str, Any]]:
    threads = str(torch.get_num_threads())
    limits = dict.fromkeys(("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), threads)
    command = [sys.executable, str(Path(__file__).with_name("child.py")), str(place / "job.json")]
    said, complained = place / "said.txt", place / "complained.txt"
    begun = time.monotonic()
    with said.open("wb") as out, complained.open("wb") as errors:
        process = subprocess.Popen(command, cwd=place, env=os.environ | limits, stdout=out, stderr=errors)
        try:
            while process.poll() is None:
                seconds = time.monotonic() - begun
                if timeout is not None and seconds > timeout:
                    raise PeerError(f"{name} was stopped after {timeout:g} s")
                yield seconds
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK)
        finally:
            process.kill()  # does nothing once it has ended
            process.wait()
    if process.returncode:
        text = complained.read_text(encoding="utf-8", errors="replace")
        words = " | ".join(line.strip() for line in text.strip().splitlines()[-_LINES:])
        raise PeerError(f"{name} failed ({process.returncode}): {words or 'it said nothing'}")
    figures: dict[str, Any] = json.loads(said.read_text(encoding="utf-8").strip().splitlines()[-1])
    return figures


def _read(path: Path, grid: Grid) -> DisplacementField:
    """Read an ITK vector image (mm, LPS) on a grid."""
    vectors = array_from_itk(sitk.ReadImage(str(path))).astype(np.float64)
    if not np.isfinite(vectors).all():
        raise PeerError("the field holds values that are not finite")
    return from_vectors(vectors.reshape(*grid.shape, grid.ndim), grid)
