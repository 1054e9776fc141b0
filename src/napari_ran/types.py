"""Closed sets of names used across the package.

Tensor shapes in docstrings: ``B`` batch, ``C`` channels, ``D`` number of spatial dimensions (2 or 3),
``*S`` the spatial shape, ``M`` heads, ``N`` points.
"""

from __future__ import annotations

from typing import Literal

AffineMode = Literal["auto", "none", "centre", "rigid", "affine"]
"""Pre-alignment: ``auto`` skips it for identical grids and otherwise keeps an affine that helps; ``centre`` brings the
middles of both grids together."""

InstanceMode = Literal["none", "field", "network"]
"""What instance optimisation adapts to this pair: nothing, the field, or the network's weights."""

Similarity = Literal["auto", "ncc", "mse", "mind"]
"""Image similarity: local normalised cross correlation, mean squares, or MIND-SSC."""

Intensity = Literal["auto", "ct-soft", "ct-lung", "mri", "minmax"]
"""How intensities are mapped to [0, 1]: two CT windows (HU), MRI percentiles, or minimum to maximum."""

CoarseLooks = Literal["auto", "on", "off"]
"""Whether the network looks at coarser grids first; ``auto``: where its weights were trained for that."""

Tiles = Literal["auto", "on", "off"]
"""Whether the network looks again, on tiles of the working grid; ``auto``: where no refinement follows."""

Interpolation = Literal["linear", "nearest"]
Padding = Literal["zeros", "border"]
