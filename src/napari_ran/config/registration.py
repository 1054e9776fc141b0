"""Settings of a whole registration: the same in Python, on the command line and in the viewer."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from napari_ran.config.base import SWITCH, FrozenConfig
from napari_ran.config.instance import InstanceConfig
from napari_ran.config.model import RANConfig
from napari_ran.types import AffineMode, CoarseLooks, Intensity, Tiles


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
    affine : {"auto", "none", "centre", "rigid", "affine"}
        Pre-alignment: none, by the middles of both grids, rigid or affine; ``auto`` is none for identical grids, else
        an affine one if it helps.
    spacing : float, optional
        Working voxel size in mm; chosen from the images when left out.
    instance : InstanceConfig
        Refinement for this pair; a plain string sets its mode.
    network_voxels : int
        Largest number of voxels that the network sees at once; larger working grids are coarsened for it (and only for
        it). A network reaches so many voxels far, and so finds larger motion on coarser grids; finer ones are for
        `tiles`.
    coarse_looks : {"auto", "on", "off"}
        Whether the network first looks at the whole image on coarser grids, each of a quarter of the voxels of the
        next, and each time at what is left: that finds motion that is too large for it on finer grids. ``auto`` does
        with weights that were trained on generated pairs, whose resolutions differ, or that started from such. Not for
        ``instance="network"``.
    tiles : {"auto", "on", "off"}
        Whether the network, after a look at the whole image on the grid of `network_voxels`, looks again at the working
        grid tile by tile, each of at most so many voxels. ``auto`` does where the field is not refined afterwards. Not
        for ``instance="network"``.
    precision : {"auto", "fp32", "tf32", "bf16", "fp16"}
        In what the network computes. ``auto`` is fp32 unless the network is a large part of the work and a short
        measurement, made once on each device, found bf16 to be faster there. All else is computed in fp32.
    compile : bool
        Let PyTorch compile the network's blocks, which takes up to a minute in the first registration of a process and
        some seconds at the second shape of images. It needs a compiler, and is not for ``instance="network"``. On the
        processors that were measured it is no faster; it is offered for GPUs and many pairs.
    keep_levels : bool
        Keep what each Residual Aligner computed, for inspection: some 600 to 800 bytes per voxel that the network sees,
        in memory and in the saved result, twice that for ``instance="network"``. It changes nothing in the result.
    """

    preset: str = "RAN3"
    weights: str = "auto"
    device: str = "auto"
    intensity: Intensity = "auto"
    affine: AffineMode = "auto"
    spacing: PositiveFloat | None = None
    instance: InstanceConfig = Field(default_factory=InstanceConfig)
    network_voxels: PositiveInt = 512**2
    coarse_looks: Annotated[CoarseLooks, SWITCH] = "auto"
    tiles: Annotated[Tiles, SWITCH] = "auto"
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    compile: bool = False
    keep_levels: bool = False

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str) -> str:
        RANConfig.preset(value)
        return value

    @field_validator("network_voxels", mode="before")
    @classmethod
    def _usual_if_left_open(cls, value: Any) -> Any:
        return cls.model_fields["network_voxels"].default if value is None else value  # older settings leave it open

    @field_validator("instance", mode="before")
    @classmethod
    def _instance_by_mode(cls, value: Any) -> Any:
        return {"mode": value} if isinstance(value, str) else value

    def replace(self, **overrides: Any) -> Self:
        """Return a copy with some values replaced; ``instance="network"`` keeps the other instance settings.

        Parameters
        ----------
        **overrides
            New values by their names; a dictionary for `instance` changes only the keys that it names.
        """
        if isinstance(overrides.get("instance"), str):
            overrides["instance"] = {"mode": overrides["instance"]}
        return super().replace(**overrides)
