"""Tell whether an image of unknown units shows lungs: large dark cavities inside the body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ran.data import Image

CAVITY_SHARE = 0.1
"""Least share of the body that wide cavities must fill; chests had 0.21 and more when it was set, others below 0.03."""

_SIDE = 64
"""About how many voxels a side are looked at."""

_LEAST_SIDE = 16
_LEVELS = 256


def shows_lungs(image: Image) -> bool:
    """Say whether a 3-D image shows lungs, whatever its units.

    The body is what is brighter than Otsu's threshold, filled plane by plane. Cavities that are dark, closed in the
    planes and wide (they survive an opening by two voxels of a 64th of the image) are lungs when they make up more than
    `CAVITY_SHARE` of the filled body. Planes across each axis are tried and the middle one of the three shares counts:
    most of the lungs must be in the picture, and a body that is merely cut at both ends is not hollow.
    """
    if image.grid.ndim != 3 or min(image.grid.shape) < _LEAST_SIDE:
        return False
    steps = tuple(slice(None, None, max(1, round(n / _SIDE))) for n in image.grid.shape)
    values = image.tensor[0][steps].cpu().numpy()
    bright = values > _otsu(values)
    return bool(np.median([_cavity_share(bright, axis) for axis in range(3)]) > CAVITY_SHARE)


def _cavity_share(bright: NDArray[np.bool_], axis: int) -> float:
    """Return the share of the body, filled in the planes across `axis`, that is wide dark cavity."""
    planes = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(bright, axis, 0)]
    body = np.moveaxis(np.stack(planes), 0, axis)
    cavities = ndimage.binary_opening(body & ~bright, iterations=2)
    return float(cavities.sum() / max(int(body.sum()), 1))


def _otsu(values: NDArray[np.float32]) -> float:
    """Return the threshold with the largest variance between the two classes (Otsu 1979)."""
    counts, edges = np.histogram(values, _LEVELS)
    centres = 0.5 * (edges[1:] + edges[:-1])
    below = np.cumsum(counts) / counts.sum()
    mean = np.cumsum(counts * centres) / counts.sum()
    between = (mean[-1] * below - mean) ** 2 / np.maximum(below * (1 - below), 1e-12)
    return float(edges[1:][np.argmax(between)])


__all__ = ["CAVITY_SHARE", "shows_lungs"]
