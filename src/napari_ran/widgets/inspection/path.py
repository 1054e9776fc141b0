"""The probed point's path through the levels and their capture ranges, drawn into the viewer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ran.introspect.probe import Probe
from napari_ran.widgets.inspection.colours import stage_colours
from napari_ran.widgets.inspection.layers import InspectLayers

Lines = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Segments (N, 2, D) in the viewer's coordinates, start and vector, and one RGBA each."""

HEAD_PIXELS = 9.0
"""Most that an arrow's head is long on the screen."""


class PathLines:
    """Draws paths as line segments of one layer: one layer for everything follows the mouse faster than several.

    Parameters
    ----------
    layers : InspectLayers
        Where the layer is.
    """

    def __init__(self, layers: InspectLayers) -> None:
        self._layers = layers

    def draw(self, found: Probe, stage: int) -> None:
        """Draw a point's path as a chain of arrows, and the capture ranges; that of `stage` in full colour."""
        colours = stage_colours(len(found.stages))
        chain, shades = self._arrows(self._layers.into_slice(self._layers.to_viewer(found.path)), colours)
        boxes, tints = self._boxes(found, colours, stage)
        if len(boxes):
            chain, shades = np.concatenate([chain, boxes]), np.concatenate([shades, tints])
        self._layers.lines("path", chain, shades, "inspect · path and capture range", 2.0)

    def on_screen(self, found: Probe) -> NDArray[np.float64]:
        """Return a path as it looks on the screen, (n + 1, 2): right and down, in mm."""
        ndim = found.path.shape[1]
        _, factor = self._layers.units(ndim)
        down, right = self._layers.plane(ndim)
        path = self._layers.to_viewer(found.path) * factor
        return path[:, [right, down]]

    def _arrows(self, path: NDArray[np.float64], colours: NDArray[np.float64]) -> Lines:
        """Return a path as a chain of arrows made of line segments."""
        steps = np.diff(path, axis=0)
        segments, shades = [np.stack([path[:-1], steps], 1)], [colours]
        down, right = self._layers.plane(path.shape[1])
        length = np.linalg.norm(steps, axis=1, keepdims=True)
        back = -steps / np.maximum(length, 1e-9) * np.minimum(0.4 * length, HEAD_PIXELS * self._layers.pixel)
        across = np.zeros_like(back)
        across[:, down], across[:, right] = back[:, right], -back[:, down]
        for side in (0.6, -0.6):
            segments.append(np.stack([path[1:], back + side * across], 1))
            shades.append(colours)
        return np.concatenate(segments), np.concatenate(shades)

    def _boxes(self, found: Probe, colours: NDArray[np.float64], chosen: int) -> Lines:
        """Return the edges of the capture ranges as segments."""
        ndim = len(found.point)
        hidden = self._layers.hidden_axis(ndim)
        axes = [axis for axis in range(ndim) if hidden is None or axis != -1 - hidden]
        segments, tints = [], []
        for index, stage in enumerate(found.stages):
            if stage.capture_range is None:
                continue
            half = found.box_axes * stage.capture_range  # columns
            for axis in axes:
                for corner in np.ndindex(*[2] * (len(axes) - 1)):
                    signs = iter(2 * np.array(corner) - 1)
                    start = found.path[index] + sum((-1 if a == axis else next(signs)) * half[:, a] for a in axes)
                    ends = self._layers.to_viewer(np.stack([start, start + 2 * half[:, axis]]))
                    ends = self._layers.into_slice(ends)
                    segments.append(np.stack([ends[0], ends[1] - ends[0]]))
                    tints.append([*colours[index][:3], 1.0 if stage.stage.index == chosen else 0.35])
        return np.array(segments), np.array(tints)
