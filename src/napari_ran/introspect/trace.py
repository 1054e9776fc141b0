"""What a network was given and what it computed, kept for inspection."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.errors import InputError
from napari_ran.models import RAN, Levelled, LevelOutput, ModelOutput


@dataclass(frozen=True, eq=False)
class NetworkTrace:
    """One pass of a network over one pair, with every level that it went through.

    Everything lies on the CPU. The moving image is the affinely aligned one: both images share one grid in the fixed
    image's world. Where the network looked at coarser grids first, the pass is that of the last look. It saw the moving
    image as the field of the coarser ones warps it, and the inverse direction lives on the image that it saw.

    Attributes
    ----------
    model : RAN or PyramidNetwork
        The network that computed `output`, in evaluation mode.
    card_name : str
        What its weights are called.
    grid : Grid
        Grid of the network's images, in the fixed image's world; coarser than the working grid where that is large.
    affine : (D + 1, D + 1) float64 array
        Fixed world positions to moving world positions, in mm: the pre-alignment.
    fixed, moving : (1, 1, *S) float32 tensor
        The images, intensities in [0, 1], on `grid`.
    output : ModelOutput
        Fields of both directions in voxels of `grid`, and the levels.
    start : (1, D, *S) float32 tensor, optional
        The field of the coarser looks, fixed to aligned moving image, in voxels of `grid`; None where there were none.
    before : ModelOutput, optional
        What the network computed before it was fitted to this pair (instance mode "network").
    before_model : RAN or PyramidNetwork, optional
        The network that computed `before`, its weights as they were.
    refined, refined_inverse : DisplacementField, optional
        The deformable part after the instance optimisation, in voxels of the working grid, both directions: only where
        it differs from the network's field (instance mode "field", tiles, or folds that were smoothed after a fit).
    refined_by : str
        What made it, as the title of a stage.
    """

    model: Levelled
    card_name: str
    grid: Grid
    affine: NDArray[np.float64]
    fixed: Tensor
    moving: Tensor
    output: ModelOutput
    start: Tensor | None = None
    before: ModelOutput | None = None
    before_model: Levelled | None = None
    refined: DisplacementField | None = None
    refined_inverse: DisplacementField | None = None
    refined_by: str = "Instance optimisation"

    def __post_init__(self) -> None:
        for name, channels in (("fixed", 1), ("moving", 1), ("start", self.grid.ndim)):
            if (tensor := getattr(self, name)) is None:
                continue
            expected, shape = (1, channels, *self.grid.shape), tuple(tensor.shape)
            if shape != expected:
                raise InputError(name, f"expected a tensor of shape {expected}, got {shape}", "Give it on the grid")
        if not self.output.levels:
            raise InputError("output", "it holds no levels", "Run the network with keep_levels=True")

    @cached_property
    def seen(self) -> Tensor:
        """The moving image (1, 1, *S) as the network saw it: as the coarser looks had warped it."""
        return self.moving if self.start is None else F.warp(self.moving, self.start, padding="border")

    @cached_property
    def field(self) -> Tensor:
        """What all looks together found, (1, D, *S): fixed to aligned moving image, in voxels of `grid`."""
        return self.on_start(self.output.field)

    def on_start(self, field: Tensor) -> Tensor:
        """Return a field (1, D, *S) of this look together with that of the coarser ones."""
        return field if self.start is None else F.compose(self.start, field)

    @property
    def levels(self) -> tuple[LevelOutput, ...]:
        """What each level computed, coarse to fine."""
        return self.output.levels

    @property
    def aligners(self) -> RAN:
        """The network, for what only Residual Aligners have: attribution and ablation.

        Raises
        ------
        InputError
            It is another network with levels.
        """
        if isinstance(self.model, RAN):
            return self.model
        raise InputError("trace", f"its network is a {self.model.system}", "Use one of a Residual Aligner Network")

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that were computed to the end: "forward", and "inverse" where there is one."""
        return ("forward",) if self.output.inverse_field is None else ("forward", "inverse")

    @property
    def as_it_was(self) -> NetworkTrace | None:
        """The trace of the network before the pair-specific steps; None unless it was fitted to this pair."""
        if self.before is None or self.before_model is None:
            return None
        name = self.card_name.removesuffix(FITTED)
        return NetworkTrace(self.before_model, name, self.grid, self.affine, self.fixed, self.moving, self.before)

    def images(self) -> tuple[Image, Image]:
        """Return the fixed and the (aligned) moving image as the network saw them."""
        return Image(self.fixed[0], self.grid, "fixed"), Image(self.seen[0], self.grid, "moving, aligned")


FITTED = ", fitted to this pair"
"""Ends the name of weights that were changed for one pair."""


def level_grid(grid: Grid, pool_size: int) -> Grid:
    """Return the grid of a level of voxel size `pool_size` on images of `grid`, cropped to what overlaps the image.

    Level voxel ``j`` is centred at image voxel ``pool_size * (j + 0.5) - 0.5``. The last voxel along an axis may reach
    beyond the image.
    """
    to_image = np.diag([*[float(pool_size)] * grid.ndim, 1.0])
    to_image[:-1, -1] = (pool_size - 1) / 2
    return Grid(tuple(-(-n // pool_size) for n in grid.shape), grid.affine @ to_image)


def on_cpu(output: ModelOutput) -> ModelOutput:
    """Return an output without gradients, on the CPU, in single precision; tensors that are so already are shared."""
    return output.map(lambda tensor: tensor.detach().to("cpu", torch.float32))


def model_on_cpu(model: Levelled) -> Levelled:
    """Return the network in evaluation mode on the CPU: itself where it is there already, else a copy."""
    here = next(model.parameters()).device.type == "cpu"
    return (model if here else copy.deepcopy(model).cpu()).eval()
