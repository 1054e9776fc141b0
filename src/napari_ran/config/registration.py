"""Settings of a whole registration: the same in Python, on the command line and in the viewer."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from napari_ran.config.base import FrozenConfig
from napari_ran.config.instance import InstanceConfig
from napari_ran.types import AffineMode, Intensity


class RegistrationConfig(FrozenConfig):
    """Every choice of a registration.

    Attributes
    ----------
    preset : str
        Network preset: RAN0, RAN3, RAN4, RAN4+ and their ``-appendix`` layouts. Used when `weights` does not name one.
    weights : str
        ``auto`` takes the bundled weights for the images' dimension where there are some; ``none`` starts from the
        identity without a network; otherwise the name of a model of ``napari-ran models`` or a safetensors file.
    device : str
        ``auto`` picks CUDA, then MPS, then the CPU; or a torch device such as ``cuda:1``.
    intensity : {"auto", "ct-soft", "ct-lung", "mri", "minmax"}
        How intensities are mapped to [0, 1].
    affine : {"auto", "none", "rigid", "affine"}
        Pre-alignment.
    spacing : float, optional
        Working voxel size in mm; chosen from the images when left out.
    instance : InstanceConfig
        Refinement for this pair.
    """

    preset: str = "RAN3"
    weights: str = "auto"
    device: str = "auto"
    intensity: Intensity = "auto"
    affine: AffineMode = "auto"
    spacing: PositiveFloat | None = None
    instance: InstanceConfig = Field(default_factory=InstanceConfig)
