"""Surfaces of triangles in world coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ran.errors import InputError


@dataclass(frozen=True, eq=False)
class Surface:
    """A surface.

    Attributes
    ----------
    vertices : (N, 3) float64 array
        Positions in mm, RAS+.
    faces : (M, 3) int64 array
        The corners of each triangle, by their place among the vertices.
    name : str
        What to call it in messages and layers.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    name: str = "surface"

    def __post_init__(self) -> None:
        vertices, faces = np.asarray(self.vertices, dtype=np.float64), np.asarray(self.faces)
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise InputError(self.name, f"expected vertices of shape (N, 3), got {vertices.shape}", "Give them in 3-D")
        if faces.ndim != 2 or faces.shape[1:] != (3,) or len(faces) == 0:
            raise InputError(self.name, f"it has no triangles (faces of shape {faces.shape})", "Triangulate it first")
        if not np.isfinite(vertices).all():
            raise InputError(self.name, "a coordinate is NaN or infinite", "Remove that vertex")
        if faces.dtype.kind not in "iu" or faces.min() < 0 or faces.max() >= len(vertices):
            raise InputError(self.name, "a triangle names a vertex that is not there", "Export the surface again")
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", faces.astype(np.int64))
