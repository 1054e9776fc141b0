"""Settings of the instance optimisation."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from napari_ran.config.base import FrozenConfig
from napari_ran.types import InstanceMode, Similarity


class InstanceConfig(FrozenConfig):
    """How the registration is refined for one pair.

    Values left out (None) follow the intensities and the similarity, see `resolved` and `DEFAULTS`. "Voxel" is a voxel
    of the working grid, unless a level is named: level ``k`` of ``L`` sees voxels ``2**(L - 1 - k)`` times as large.

    Attributes
    ----------
    mode : {"field", "network", "none"}
        What is optimised: the displacement field, the network's weights, or nothing.
    similarity : {"auto", "ncc", "mse", "mind"}
        What is compared; ``auto`` chooses from the intensities and says what it chose.
    window : int, optional
        Side of the window of the local NCC in voxels of the level.
    smoothness : float, optional
        Weight of the mean squared gradient of the displacement (mm per mm) against the logarithm of the dissimilarity.
    edge_scale : float, optional
        Factor s of the edge-aware weight ``exp(-s |grad I|**2)`` of Eq. 13, in squared voxels per squared intensity;
        0 smooths alike everywhere.
    fold_penalty : float
        Weight of the mean of ``relu(0.1 - det J)``, which keeps the field from folding.
    search : int
        Radius of the discrete search before the refinement, in voxels of a grid of about 24 voxels a side; 0 for none.
    levels : int
        Number of levels of the refinement.
    steps : int, optional
        Most steps per level; a level ends early when it no longer gains. Left out: 30 for images of at most 150,000
        voxels, which hold few voxels of motion, else 60.
    control : int, optional
        Spacing of the optimised displacements in voxels; 1 is what sliding boundaries need. Left out: 1 for images of
        at most a million voxels, else 2.
    landmarks : float
        Weight of the mean distance of the landmarks in voxels against the logarithm of the dissimilarity, for the mode
        "field"; 0 only scores with them. A weight of 1 leads firmly.
    labels : float
        Weight of one minus the mean Dice of the labels that both images have, likewise; 0 only scores with them.
    learning_rate : float
        First step size of Adam in voxels of the level; it falls linearly to a tenth. On the last of several levels,
        where a step compares only some of the voxels, it begins with 0.7 of that and falls with the square of the
        steps left, to a fiftieth.
    points : int
        Most voxels that are compared in one step by the local NCC, which needs whole windows; by the other similarities
        half as many.
    network_steps : int
        Most steps of Adam on the network's weights, for the mode "network".
    network_learning_rate : float
        Their step size.
    """

    mode: InstanceMode = "field"
    similarity: Similarity = "auto"
    window: int | None = Field(None, ge=3, le=15)
    smoothness: NonNegativeFloat | None = None
    edge_scale: NonNegativeFloat | None = None
    fold_penalty: NonNegativeFloat = 30.0
    search: NonNegativeInt = Field(4, le=8)
    levels: PositiveInt = Field(3, le=6)
    steps: PositiveInt | None = None
    control: PositiveInt | None = Field(None, le=8)
    landmarks: NonNegativeFloat = 0.0
    labels: NonNegativeFloat = 0.0
    learning_rate: PositiveFloat = 0.3
    points: PositiveInt = 100_000
    network_steps: PositiveInt = 30
    network_learning_rate: PositiveFloat = 1e-3

    def resolved(self, intensity: str = "minmax", similarity: Literal["ncc", "mse", "mind"] | None = None) -> Self:
        """Return the settings with the values that were left out filled in.

        Parameters
        ----------
        intensity : str
            How the intensities were mapped to [0, 1], see `RegistrationConfig`.
        similarity : {"ncc", "mse", "mind"}, optional
            What ``auto`` turned out to be; its values are filled in as well.
        """
        name = (similarity or IMPLIED.get(intensity)) if self.similarity == "auto" else self.similarity
        if name is None:
            return self
        left_out = {key: value for key, value in DEFAULTS[name].items() if getattr(self, key) is None}
        return self.replace(similarity=name, **left_out)


DEFAULTS: dict[str, dict[str, Any]] = {
    "ncc": {"window": 5, "smoothness": 5.0, "edge_scale": 50.0},
    "mse": {"window": 5, "smoothness": 10.0, "edge_scale": 0.0},
    "mind": {"window": 5, "smoothness": 15.0, "edge_scale": 20.0},
}
"""What the values that were left out become for each similarity."""

IMPLIED: dict[str, Literal["mind"]] = {"ct-lung": "mind"}
"""What ``auto`` is for some intensities, whatever else is known."""
