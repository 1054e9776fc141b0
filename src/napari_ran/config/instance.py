"""Settings of the instance optimisation."""

from __future__ import annotations

from napari_ran.config.base import FrozenConfig
from napari_ran.types import InstanceMode, Similarity


class InstanceConfig(FrozenConfig):
    """How the registration is refined for one pair.

    Attributes
    ----------
    mode : {"field", "network", "none"}
        What is optimised: the displacement field, the network's weights, or nothing.
    similarity : {"auto", "ncc", "mse", "mind"}
        What is compared; ``auto`` chooses from the intensities and says what it chose.
    """

    mode: InstanceMode = "field"
    similarity: Similarity = "auto"
