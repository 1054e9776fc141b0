"""Paths that the user drew in a shapes layer, as corners in mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Shapes
from numpy.typing import NDArray

from napari_ran.data import DisplacementField
from napari_ran.errors import InputError
from napari_ran.introspect.boundary import BoundaryMotion, motion_across_path
from napari_ran.io.geometry import lps
from napari_ran.widgets.inspection.space import ViewerSpace

OPEN = ("line", "path")
"""Kinds of shapes that end elsewhere than they begin."""

ROUND = 64
"""Corners that an ellipse gets."""


@dataclass(frozen=True, eq=False)
class Path:
    """A path that was drawn.

    Attributes
    ----------
    corners : (N, D) array
        World positions in mm, RAS+; the last is the first where the shape is closed.
    through : (D,) array or None
        Direction at a right angle to the slice it was drawn in; None in 2-D.
    """

    corners: NDArray[np.float64]
    through: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class Drawn:
    """The paths of a shapes layer that are to be measured: the selected ones, or all when none is selected.

    Attributes
    ----------
    layer : str
        The layer's name.
    paths : tuple of Path
        At least one.
    total : int
        How many shapes the layer has.
    """

    layer: str
    paths: tuple[Path, ...]
    total: int

    @property
    def words(self) -> str:
        """Which paths these are."""
        if self.total == 1:
            return f"Across the path of '{self.layer}'"
        if len(self.paths) == self.total:
            return f"Across all {self.total} paths of '{self.layer}'"
        return f"Across {len(self.paths)} selected of {self.total} paths of '{self.layer}'"

    def motion(self, field: DisplacementField) -> BoundaryMotion:
        """Measure how a field jumps across all of them.

        Raises
        ------
        InputError
            One of them leaves the image, or is a mere spot.
        """
        try:
            return BoundaryMotion.of([motion_across_path(field, path.corners, path.through) for path in self.paths])
        except InputError as error:
            problem = f"in '{self.layer}', {error.problem}"
            raise InputError("path", problem, error.cure) from None


def drawn(viewer: Any, space: ViewerSpace, ndim: int) -> Drawn:
    """Take the paths from the shapes layer that is selected in the viewer, else from the uppermost that has some.

    Raises
    ------
    InputError
        There is no shapes layer, or nothing in it.
    """
    layer = _shapes_layer(viewer)
    chosen = sorted(layer.selected_data) or range(len(layer.data))
    paths = tuple(_path(layer, index, space, ndim) for index in chosen)
    return Drawn(layer.name, paths, len(layer.data))


def _shapes_layer(viewer: Any) -> Shapes:
    found = [layer for layer in viewer.layers if isinstance(layer, Shapes)]
    if not found:
        cure = "Add a shapes layer and draw a path along the boundary"
        raise InputError("path", "there is no shapes layer with a path", cure)
    active = viewer.layers.selection.active
    layer = active if active in found else next((layer for layer in reversed(found) if len(layer.data)), found[-1])
    if not len(layer.data):
        raise InputError("path", f"the shapes layer '{layer.name}' is empty", "Draw a path in it along the boundary")
    return layer


def _path(layer: Shapes, index: int, space: ViewerSpace, ndim: int) -> Path:
    corners = np.asarray(layer.data[index], float)
    kind = layer.shape_type[index]
    if kind == "ellipse":
        corners = _round(corners)
    if kind not in OPEN:
        corners = np.concatenate([corners, corners[:1]])
    seen = np.stack([layer.data_to_world(corner) for corner in corners])[:, -ndim:]
    if seen.shape[1] < ndim:  # a layer of fewer axes lies in the last ones, in every slice: the one shown is meant
        rest = space.position(ndim)[: ndim - seen.shape[1]]
        seen = np.concatenate([np.broadcast_to(rest, (len(seen), len(rest))), seen], 1)
    through = None if ndim == 2 else _through(seen, space.hidden_axis(ndim))
    return Path(np.stack([space.to_world(place, ndim) for place in seen]), through)


def _round(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points around the ellipse in a box of four corners."""
    turn = np.linspace(0, 2 * np.pi, ROUND, endpoint=False)[:, None]
    return np.asarray(box.mean(0) + (box[1] - box[0]) / 2 * np.cos(turn) + (box[3] - box[0]) / 2 * np.sin(turn))


def _through(seen: NDArray[np.float64], hidden: int | None) -> NDArray[np.float64]:
    """Return the direction, in mm axes, in which a path does not extend; a straight one lies in the slice shown."""
    spread = np.ptp(seen, axis=0)
    flat = spread <= spread.min() + 1e-3 * spread.max()
    axis = hidden if hidden is not None and flat[hidden] else int(spread.argmin()) - 3
    return np.asarray(np.eye(3)[-1 - axis] * lps(3))
