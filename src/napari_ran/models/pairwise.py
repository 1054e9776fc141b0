"""What the networks to compare with have in common: a pair of images in, padded; fields out, cropped."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_ran.errors import InputError
from napari_ran.functional import cropped
from napari_ran.models.outputs import LevelOutput, LevelStep, ModelOutput

Fields = tuple[Tensor, Tensor | None, tuple[LevelOutput, ...]]
"""Forward field, the other direction's if asked for, and the levels if they were to be kept."""


class PairNetwork(nn.Module):
    """A registration network that is called as `RAN` is.

    Attributes
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    multiple : int
        Images are padded inside the network to a multiple of this along every axis.
    system : str
        Its name among `napari_ran.models.SYSTEMS`, empty for a network that was built otherwise.
    card : object
        Where its weights come from, if they come from a file: a `napari_ran.io.checkpoints.ModelCard`.
    """

    ndim: int
    multiple: int
    system: str = ""
    card: Any = None

    def forward(self, moving: Tensor, fixed: Tensor, keep_levels: bool = False, both: bool = True) -> ModelOutput:
        """Register `moving` to `fixed`.

        Parameters
        ----------
        moving, fixed : (B, 1, *S) tensor
            Images on one grid with intensities in [0, 1].
        keep_levels : bool
            Keep the levels, in a network that has some.
        both : bool
            Also return the field of the other direction.

        Raises
        ------
        InputError
            The images do not fit each other or the network.
        """
        if moving.shape != fixed.shape or moving.ndim != self.ndim + 2 or moving.shape[1] != 1:
            problem = f"expected two tensors (B, 1, *S) of {self.ndim} axes, got {moving.shape} and {fixed.shape}"
            raise InputError("moving", problem, "Resample it to the fixed grid")
        shape = tuple(moving.shape[2:])
        moving, fixed = (
            F.pad(x, [end for n in reversed(shape) for end in (0, -n % self.multiple)]) for x in (moving, fixed)
        )
        field, inverse, levels = self.solve(moving, fixed, shape, keep_levels, both)
        inverse = None if inverse is None else cropped(inverse, shape).contiguous()
        return ModelOutput(cropped(field, shape).contiguous(), inverse, levels)

    def iterate(
        self, moving: Tensor, fixed: Tensor, keep_levels: bool = False, both: bool = True
    ) -> Generator[LevelStep, None, ModelOutput]:
        """Do what `forward` does, as `RAN.iterate` does it; there is one step."""
        output: ModelOutput = self(moving, fixed, keep_levels=keep_levels, both=both)
        yield LevelStep(0, 1)
        return output

    @abstractmethod
    def solve(self, moving: Tensor, fixed: Tensor, shape: tuple[int, ...], keep_levels: bool, both: bool) -> Fields:
        """Return the fields (B, D, *P) of padded images (B, 1, *P), which show something in `shape`."""


class DirectNetwork(PairNetwork):
    """A network of one direction: the other one is found by exchanging the images."""

    def solve(self, moving: Tensor, fixed: Tensor, shape: tuple[int, ...], keep_levels: bool, both: bool) -> Fields:
        """Return the fields of padded images; a network of this kind has no levels."""
        if not both:
            return self.displacement(moving, fixed), None, ()
        field = self.displacement(torch.cat([moving, fixed]), torch.cat([fixed, moving]))
        pairs = moving.shape[0]
        return field[:pairs], field[pairs:], ()

    @abstractmethod
    def displacement(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the field (B, D, *P) in voxels of padded images (B, 1, *P)."""
