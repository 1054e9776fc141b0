"""Colours of the Inspect widget: of heads (told apart by colour-blind readers too), of stages and of numbers."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
from napari.utils.colormaps import ensure_colormap
from numpy.typing import NDArray

from napari_ran.figures.colours import head_colour


def head_colours(heads: int) -> tuple[tuple[float, float, float], ...]:
    """Return one RGB colour per head, 0 to 1: those that the figures use as well."""
    return tuple(_rgb(head_colour(head)) for head in range(heads))


def _rgb(code: str) -> tuple[float, float, float]:
    red, green, blue = (int(code[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue


def stage_colours(count: int) -> NDArray[np.float64]:
    """Return one RGBA per stage, from dark to light."""
    rgb = ramp("plasma")[np.linspace(40, 235, max(count, 1)).astype(int)] / 255.0
    return np.concatenate([rgb, np.ones((len(rgb), 1))], 1)


def coloured(values: NDArray[Any], colormap: Any, limits: tuple[float, float]) -> NDArray[np.uint8]:
    """Return values as colours (..., 3) between two limits."""
    scaled = np.clip((values - limits[0]) / max(limits[1] - limits[0], 1e-12), 0, 1)
    return ramp(colormap)[(255 * scaled).astype(np.uint8)]


_RIGHT, _UP = (0.35, 0.04, -0.35), (0.35, 0.35, 0.35)
"""What going right (orange; left is blue) and up (light; down is dark) adds to a middle grey."""


def wheel_channel(right: Any, up: Any, channel: int) -> Any:
    """Return red (0), green (1) or blue (2) of a unit direction on the screen, 0 to 1.

    Orange and blue, light and dark are told apart by everybody; the hues of a rainbow are not.
    """
    return 0.5 + right * _RIGHT[channel] + up * _UP[channel]


def ramp(colormap: Any) -> NDArray[np.uint8]:
    """Return a colormap, by name or as a dictionary, as a table (256, 3) of bytes."""
    return _ramp(colormap if isinstance(colormap, str) else json.dumps(colormap))


@cache
def _ramp(colormap: str) -> NDArray[np.uint8]:
    source = json.loads(colormap) if colormap.startswith("{") else colormap
    rgba = ensure_colormap(source).map(np.linspace(0, 1, 256).astype(np.float32))
    return np.asarray(255 * rgba[:, :3], dtype=np.uint8)
