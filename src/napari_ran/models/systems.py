"""Every system of the paper's Table 1 by its name, and the ablations of Table 2 and of the introspection."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from napari_ran.config import RANConfig
from napari_ran.errors import InputError
from napari_ran.models.attention import cross_attention_pyramid
from napari_ran.models.cascade import RecursiveCascade
from napari_ran.models.composite import Composite
from napari_ran.models.packaged import PACKAGE, PackagedVoxelMorph
from napari_ran.models.pairwise import PairNetwork
from napari_ran.models.pyramid import PyramidNetwork
from napari_ran.models.ran import RAN
from napari_ran.models.voxelmorph import VoxelMorph

Dimensions = Literal[2, 3]

Network = RAN | PairNetwork
"""What registers a pair: called with the moving and the fixed image, it returns a `ModelOutput`."""


Levelled = RAN | PyramidNetwork
"""A network with levels, which can be inspected."""


@dataclass(frozen=True)
class System:
    """A network to register with.

    Attributes
    ----------
    build : callable
        Returns it for `ndim` axes with the weights of `seed`.
    source : str
        What it is and where it comes from.
    published : float, optional
        Millions of parameters that the paper's tables give.
    ablation : bool
        Whether it is a variant of another system with a part left out.
    requires : str
        The package that it comes from, if that is not this one.
    """

    build: Callable[[Dimensions, int], Network]
    source: str
    published: float | None = None
    ablation: bool = False
    requires: str = ""


def _ran(preset: str, **changes: Any) -> Callable[[Dimensions, int], Network]:
    return lambda ndim, seed: RAN(RANConfig.preset(preset, ndim).replace(**changes), seed)


_VOXELMORPH = "VoxelMorph (Balakrishnan et al., TMI 2019)"
_CASCADE = "recursive cascade of five (Zhao et al., ICCV 2019)"
_RAN = "Residual Aligner Network"

SYSTEMS: dict[str, System] = {
    "VM1": System(lambda ndim, seed: VoxelMorph(ndim, seed=seed), _VOXELMORPH, 0.36),
    "VM2": System(lambda ndim, seed: VoxelMorph(ndim, 2, seed=seed), f"{_VOXELMORPH}, twice the channels", 1.42),
    "CA/P": System(cross_attention_pyramid, "cross attention in a feature pyramid (the RAN paper)", 0.58),
    "Cn+Un": System(
        lambda ndim, seed: Composite(ndim, seed=seed), "affine network, then U-net (Hu et al., ISBI 2018)", 2.11
    ),
    "RCn1": System(lambda ndim, seed: RecursiveCascade(ndim, seed=seed), f"{_CASCADE} of VM1", 0.36),
    "RCn2": System(lambda ndim, seed: RecursiveCascade(ndim, 2, seed=seed), f"{_CASCADE} of VM2", 1.42),
    "DPRn": System(
        lambda ndim, seed: PyramidNetwork(ndim, seed=seed), "dual-stream pyramid (Hu et al., MICCAI 2019)", 0.62
    ),
    "RAN0": System(_ran("RAN0"), f"{_RAN}, q = 0", 0.71),
    "RAN3": System(_ran("RAN3"), f"{_RAN}, q = 3", 0.72),
    "RAN4": System(_ran("RAN4"), f"{_RAN}, q = 4", 0.71),
    "RAN4+": System(_ran("RAN4+"), f"{_RAN}, q = 4, more skip channels", 0.75),
    "RAN3 without confidence": System(_ran("RAN3", confidence=False), f"{_RAN}, masks alone", ablation=True),
    "RAN3 with one head": System(_ran("RAN3", heads=1), f"{_RAN}, M = 1", ablation=True),
    "RAN3 without feedback": System(_ran("RAN3", feedback=False), f"{_RAN}, features not refined", ablation=True),
    "RAN3 not shared": System(_ran("RAN3", shared=False), f"{_RAN}, each level its own convolutions", ablation=True),
    "voxelmorph": System(
        lambda ndim, seed: PackagedVoxelMorph(ndim, seed), "the package voxelmorph with its defaults", requires=PACKAGE
    ),
}
"""The systems by name, those of Table 1 first."""


def create_system(name: str, ndim: Dimensions = 3, seed: int = 0) -> Network:
    """Build a system that starts at, or very near, the identity.

    Parameters
    ----------
    name : str
        One of `SYSTEMS`.
    ndim : {2, 3}
        Number of spatial axes.
    seed : int
        Seed of the weights. The global random state is neither used nor changed.

    Returns
    -------
    RAN or PairNetwork
        Called as `RAN` is; its `ModelOutput` has levels where its structure has some.

    Raises
    ------
    InputError
        There is no such system, or the package that it needs is not installed.
    """
    if name not in SYSTEMS:
        close = difflib.get_close_matches(str(name), SYSTEMS, n=1, cutoff=0.5)
        hint = f"Did you mean '{close[0]}'?" if close else f"Known systems are {', '.join(SYSTEMS)}"
        raise InputError("system", f"there is no system {name!r}", hint)
    network = SYSTEMS[name].build(ndim, seed)
    if isinstance(network, PairNetwork):
        network.system = name
    return network
