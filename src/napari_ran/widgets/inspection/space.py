"""The space of a viewer: its units and sliders, the slice that it shows, and the way from its world to mm and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import napari_ran as ran
from napari_ran.io.geometry import lps
from napari_ran.io.units import millimetres
from napari_ran.widgets._layers import own_result

PREFIX = "inspect-"
"""Begins the marks of the Inspect widget's layers, see `own_result`."""


class ViewerSpace:
    """Where things are in a viewer, and how large.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose space it is.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer

    @property
    def camera(self) -> Any:
        """The viewer's camera, wherever this napari keeps it."""
        scene = getattr(self._viewer, "scene", None)
        return self._viewer.camera if scene is None else scene.camera

    @property
    def pixel(self) -> float:
        """Size of a screen pixel in the viewer's units."""
        return 1.0 / max(float(self.camera.zoom), 1e-6)

    def units(self, ndim: int) -> tuple[tuple[Any, ...], NDArray[np.float64]]:
        """Return the units of the viewer's other layers, which must not be mixed, and how many mm each is."""
        for layer in self._viewer.layers:
            if layer.ndim >= ndim and not (own_result(layer) or "").startswith(PREFIX):
                units = tuple(layer.units)[-ndim:]  # of a time series the last axes are those of space
                try:
                    return units, np.array(millimetres(units, layer.name))
                except ran.InputError:
                    continue
        return ("mm",) * ndim, np.ones(ndim)

    def in_units(self, affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[Any, ...]]:
        """Return an affine (D + 1, D + 1) in mm as one in the units of the viewer's other layers, and these units."""
        units, factor = self.units(len(affine) - 1)
        return np.diag([*(1 / factor), 1.0]) @ affine, units

    def plane(self, ndim: int) -> tuple[int, int]:
        """Return the displayed axes, downwards and to the right, counted from the last (-1)."""
        total = self._viewer.dims.ndim
        shown = [axis - total for axis in self._viewer.dims.displayed if axis - total >= -ndim]
        return (shown[-2], shown[-1]) if len(shown) >= 2 else (-2, -1)

    def flat(self) -> bool:
        """Whether a slice is shown, not the volume."""
        return int(self._viewer.dims.ndisplay) == 2

    @property
    def across(self) -> int:
        """The axis of three at a right angle to the plane that is shown, counted from the last (-1)."""
        return ({-3, -2, -1} - set(self.plane(3))).pop()

    def hidden_axis(self, ndim: int) -> int | None:
        """Return the axis along which one slice is shown, counted from the last (-1); None where all are seen."""
        return self.across if ndim == 3 and self.flat() else None

    def position(self, ndim: int) -> NDArray[np.float64]:
        """Return the point of the viewer's sliders (D,), in its units and order of axes."""
        return np.asarray(self._viewer.dims.point[-ndim:], dtype=float)

    def to_world(self, place: ArrayLike, ndim: int) -> NDArray[np.float64]:
        """Turn a place in the viewer (D,) into mm, RAS."""
        _, factor = self.units(ndim)
        return np.asarray((np.asarray(place, float)[-ndim:] * factor)[::-1] * lps(ndim))

    def to_viewer(self, points: ArrayLike) -> NDArray[np.float64]:
        """Turn points (N, D) in mm, RAS, into places in the viewer."""
        points = np.asarray(points, float)
        ndim = points.shape[-1]
        _, factor = self.units(ndim)
        return np.asarray((points * lps(ndim))[..., ::-1] / factor)

    def into_slice(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bring places (..., D) in the viewer into the slice that is shown, so that they are seen."""
        axis = self.hidden_axis(places.shape[-1])
        if axis is not None:
            places = places.copy()
            places[..., axis] = self.position(3)[axis]
        return places
