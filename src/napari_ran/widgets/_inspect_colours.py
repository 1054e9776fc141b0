"""Colours of the Inspect widget: of heads (told apart by colour-blind readers too) and of numbers."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
from napari.utils.colormaps import ensure_colormap
from numpy.typing import NDArray

PALETTE: tuple[tuple[float, float, float], ...] = (
    (0.000, 0.447, 0.698),  # blue
    (0.902, 0.624, 0.000),  # orange
    (0.000, 0.620, 0.451),  # bluish green
    (0.800, 0.475, 0.655),  # reddish purple
    (0.337, 0.706, 0.914),  # sky blue
    (0.941, 0.894, 0.259),  # yellow
    (0.835, 0.369, 0.000),  # vermilion
    (0.600, 0.600, 0.600),  # grey
)
"""The colours of Okabe and Ito (2008), which stay apart in all common forms of colour blindness."""


def head_colours(heads: int) -> tuple[tuple[float, float, float], ...]:
    """Return one RGB colour per head, 0 to 1; beyond eight heads they repeat, darker."""
    return tuple(
        tuple(channel * 0.6 ** (head // len(PALETTE)) for channel in PALETTE[head % len(PALETTE)])  # type: ignore[misc]
        for head in range(heads)
    )


def ramp(colormap: Any) -> NDArray[np.uint8]:
    """Return a colormap, by name or as a dictionary, as a table (256, 3) of bytes."""
    return _ramp(colormap if isinstance(colormap, str) else json.dumps(colormap))


@cache
def _ramp(colormap: str) -> NDArray[np.uint8]:
    source = json.loads(colormap) if colormap.startswith("{") else colormap
    rgba = ensure_colormap(source).map(np.linspace(0, 1, 256).astype(np.float32))
    return np.asarray(255 * rgba[:, :3], dtype=np.uint8)
