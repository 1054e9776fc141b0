"""The structure of a Residual Aligner Network as data: one config builds every variant, in 2-D and 3-D."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from napari_ran.config.base import FrozenConfig
from napari_ran.errors import InputError


def layout(q: int, levels: int = 5) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return pool sizes and dilations of the zero-based layout with parameter `q` (Sec. 2.3 and Tables 3, 4).

    ``p_k = 2**(K - max(k, q))`` and ``dilation_k = 2**max(q - k, 0)`` for ``k = 0..K``, ``K = levels - 1``. The paper's
    text counts from one: its parameter q is ``q - 1`` here, for q of at least one.
    """
    last = levels - 1
    pools = tuple(2 ** (last - max(k, q)) for k in range(levels))
    return pools, tuple(2 ** max(q - k, 0) for k in range(levels))


Channels = Annotated[int, Field(gt=0, le=4096)]
"""How wide a layer may be: more is a damaged file or an attack, not a network."""

Steps = Annotated[int, Field(gt=0, le=256)]
"""A pool size or a dilation."""


class RANConfig(FrozenConfig):
    """Every structural choice of a Residual Aligner Network; the defaults are preset RAN3.

    Levels are counted from 0 (coarsest) and encoder stages from 1; stage ``i`` has ``2**i`` times the voxel size.

    Attributes
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    pools : tuple of int
        Pool size p_k of each level: its voxel size in input voxels. Halves or stays from level to level and ends at 1.
    dilations : tuple of int
        Dilation of the two dilated convolutions of each level's aligner.
    encoder_channels : tuple of int
        Channels of each encoder stage; every stage ends with an average pooling by 2.
    decoder_channels : tuple of int
        Channels F_k of each level.
    skips : tuple of tuple of int
        Encoder stages that enter each level. A level reads them at the grid of the level before it, level 0 at its own.
    skip_channels : int or None
        Channels that every skip is projected to by a convolution; None passes the stages on as they are.
    block_dilation : int
        Dilation of the third convolution of a residual block in the encoder and the decoder.
    heads : int
        Number M of residual displacement fields per level.
    regressor_width : int
        Hidden channels i of the regressor and the accumulator (the paper's 3**3 - 3**2, in 2-D as well).
    head_width : int
        Hidden channels e of the branch that regresses the heads (the paper's 3**3, in 2-D as well).
    confidence : bool
        Weigh the new heads and the carried field by learnt confidences (the factor C1).
    feedback : bool
        Refine a level's features from the aligned features of the other image and the attributes.
    shared : bool
        Use the same head, mask and field convolutions at all levels.
    normalisation : {"all axes", "per channel"}
        Normalise over channels and space together with scalar gain and bias (released code), or channel by channel.
    encoder_slope : float
        Negative slope of the leaky rectifiers in the encoder, the skips and the decoder.
    aligner_slope : float
        Negative slope of the leaky rectifiers in the aligners.
    """

    ndim: Literal[2, 3] = 3
    pools: tuple[Steps, ...] = Field((4, 4, 4, 2, 1), min_length=1, max_length=16)
    dilations: tuple[Steps, ...] = (4, 2, 1, 1, 1)
    encoder_channels: tuple[Channels, ...] = Field((8, 8, 16, 32), min_length=1, max_length=10)
    decoder_channels: tuple[Channels, ...] = (32, 32, 32, 16, 8)
    skips: tuple[Annotated[tuple[PositiveInt, ...], Field(max_length=64)], ...] = ((3, 4), (4,), (3,), (2,), (1,))
    skip_channels: Channels | None = 16
    block_dilation: Steps = 3
    heads: Channels = 6
    regressor_width: int = Field(18, ge=2, le=4096)
    head_width: Channels = 27
    confidence: bool = True
    feedback: bool = True
    shared: bool = True
    normalisation: Literal["all axes", "per channel"] = "all axes"
    encoder_slope: NonNegativeFloat = 0.2
    aligner_slope: NonNegativeFloat = 0.01

    @classmethod
    def preset(cls, name: str, ndim: Literal[2, 3] = 3) -> Self:
        """Return a named structure; see `PRESETS`.

        Parameters
        ----------
        name : str
            One of `PRESETS`.
        ndim : {2, 3}
            Number of spatial axes.

        Raises
        ------
        InputError
            No preset has this name, or `ndim` is not 2 or 3.
        """
        if name not in PRESETS:
            close = difflib.get_close_matches(str(name).upper(), PRESETS, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Known presets are {', '.join(PRESETS)}"
            raise InputError("preset", f"there is no preset {name!r}", hint)
        return cls(ndim=ndim, **PRESETS[name])

    @property
    def levels(self) -> int:
        """Number of levels."""
        return len(self.pools)

    @property
    def multiple(self) -> int:
        """Images are padded inside the network to a multiple of this along every axis."""
        return int(2 ** len(self.encoder_channels))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("dilations", "decoder_channels", "skips"):
            length = len(getattr(self, name))
            if length != self.levels:
                raise InputError(
                    name,
                    f"must have one entry per level ({self.levels}, as pools), got {length}",
                    "Make the lengths equal",
                )
        for coarse, fine in zip(self.pools, self.pools[1:], strict=False):
            if coarse not in (fine, 2 * fine):
                raise InputError(
                    "pools",
                    f"must stay or halve from level to level, got {self.pools}",
                    "Use for example (4, 4, 4, 2, 1)",
                )
        if self.pools[-1] != 1:
            raise InputError("pools", f"must end at full resolution (1), got {self.pools}", "Add finer levels")
        self._check_skips()
        return self

    def _check_skips(self) -> None:
        if not self.skips[0]:
            raise InputError("skips", "level 0 has no input", "Give it at least the deepest stage")
        stages = len(self.encoder_channels)
        grids = (self.pools[0], *self.pools)  # where each level joins its skips
        for level, entering in enumerate(self.skips):
            for stage in entering:
                if stage > stages:
                    raise InputError(
                        "skips", f"level {level} reads stage {stage} of {stages}", f"Name stages from 1 to {stages}"
                    )
                if 2**stage < grids[level]:
                    raise InputError(
                        "skips",
                        f"level {level} reads stage {stage} (voxel size {2**stage}) on a coarser grid ({grids[level]})",
                        "Use deeper stages or smaller pools",
                    )


def _variant(q: int, **changes: Any) -> dict[str, Any]:
    pools, dilations = layout(q)
    return {"pools": pools, "dilations": dilations, **changes}


_RAW: dict[str, Any] = {"skips": ((4,), (4,), (3,), (2,), (1,)), "skip_channels": None}
_THREE: dict[str, Any] = {"skips": ((2, 3, 4), (4,), (3,), (2,), (1,))}

PRESETS: dict[str, dict[str, Any]] = {
    "RAN0": _variant(0, **_RAW),
    "RAN3": _variant(2),
    "RAN4": _variant(3, **_THREE, skip_channels=12),
    "RAN4+": _variant(3, **_THREE),
    "RAN0-appendix": _variant(0, **_RAW),
    "RAN3-appendix": _variant(3),
    "RAN4-appendix": _variant(4, **_THREE, skip_channels=12),
    "RAN4+-appendix": _variant(4, **_THREE),
    "released": _variant(3),
}
"""Differences of each preset from the defaults.

The paper's text (Sec. 2.3, levels counted from one) gives RAN0, RAN3, RAN4 and RAN4+; its appendix (Tables 3 and 4, and
the project page) counts from zero, which costs five to seven times as much for RAN4 (RAN0 is the same in both).
``released`` is the graph of the published code. All use the channel widths of the published code.
"""

OTHER_SYSTEMS = (
    "VM1",
    "VM2",
    "CA/P",
    "Cn+Un",
    "RCn1",
    "RCn2",
    "DPRn",
    "RAN3 without confidence",
    "RAN3 with one head",
    "RAN3 without feedback",
    "RAN3 not shared",
    "voxelmorph",
)
"""What is compared with the presets: the other systems of the paper's tables, presets with a part left out, and the
network of VoxelMorph's own package."""
