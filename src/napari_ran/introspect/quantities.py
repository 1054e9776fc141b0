"""The stages of a registration, and the named quantities that each of them has."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ran.data import Grid
from napari_ran.errors import InputError

StageKind = Literal["start", "level", "output", "instance", "field"]
QuantityKind = Literal["vector", "heads", "masks", "scalar", "features", "image"]
DIRECTIONS = ("forward", "inverse")

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Stage:
    """One step on the way to the result.

    Attributes
    ----------
    index : int
        Position among the stages, counted from 0.
    kind : {"start", "level", "output", "instance", "field"}
        The network's looks at coarser grids, a Residual Aligner, the network's last convolution, the instance
        optimisation, or a field of unknown origin.
    title : str
        What to call it.
    level : int or None
        Which level it is, 0 is the coarsest; None unless it is one.
    pool_size : int
        Voxel size of its grid in voxels of the network's image; 1 unless it is a level.
    capture_range : float or None
        Largest displacement a_k that the level can find, in voxels of the network's image; None unless it is a level.
    """

    index: int
    kind: StageKind
    title: str
    level: int | None = None
    pool_size: int = 1
    capture_range: float | None = None


@dataclass(frozen=True)
class Quantity:
    """Something that stages can have.

    Attributes
    ----------
    name : str
        Its key.
    title : str
        What to call it in a list.
    kind : {"vector", "heads", "masks", "scalar", "features", "image"}
        How it is shown: D channels; M D channels; M channels that sum to one; one channel; any; one channel.
    unit : str
        Of its values.
    help : str
        What it means, in a sentence.
    """

    name: str
    title: str
    kind: QuantityKind
    unit: str
    help: str


VOXELS = "voxels of its grid"

QUANTITIES = {
    quantity.name: quantity
    for quantity in (
        Quantity("field", "Displacement", "vector", VOXELS, "The displacement after this stage."),
        Quantity("increment", "Increment", "vector", VOXELS, "What this stage added to the stage before."),
        Quantity("residual_heads", "Heads", "heads", VOXELS, "The residual displacement that each head proposes."),
        Quantity("masks", "Head masks", "masks", "1", "How much each head counts at a voxel; they sum to one."),
        Quantity("logits", "Head logits", "features", "1", "The heads' weights before the softmax; carried on."),
        Quantity("confidence", "Confidence", "scalar", "1", "How much this level's own residual counts; at least 0."),
        Quantity(
            "previous_confidence",
            "Confidence of the carried field",
            "scalar",
            "1",
            "How much the field of the level before counts; at least 0.",
        ),
        Quantity("attributes", "Attributes", "features", "1", "What the feedback learns about the match."),
        Quantity("features", "Features", "features", "1", "Features of the image before the feedback."),
        Quantity("refined", "Refined features", "features", "1", "Features after the feedback; the next level's."),
        Quantity("warped", "Warped image", "image", "intensity in [0, 1]", "The other image, pulled by this field."),
        Quantity("difference", "Difference", "image", "intensity", "Warped minus own image, -1 to 1."),
        Quantity("jacobian", "Jacobian determinant", "scalar", "1", "Local volume change; folds are at or below 0."),
    )
}
"""All quantities by name, in the order in which they are offered."""


def own_and_other(fixed_and_moving: tuple[ValueT, ValueT], direction: str) -> tuple[ValueT, ValueT]:
    """Return what belongs to the image that a direction's field lives on, then what belongs to the one it pulls."""
    fixed, moving = fixed_and_moving
    return (fixed, moving) if direction == "forward" else (moving, fixed)


def missing(quantity: str, reason: str) -> InputError:
    """Return the error that a stage does not have a quantity, for the reason that `why_not` gave."""
    return InputError(quantity, f"{reason[0].lower()}{reason[1:]}", "Ask `available` for what there is")


@dataclass(frozen=True, eq=False)
class QuantityArray:
    """One quantity of one stage in one direction.

    Attributes
    ----------
    name : str
        Which quantity.
    stage : Stage
        Which stage.
    direction : {"forward", "inverse"}
        Pulling the moving image to the fixed one, or the other way round.
    data : (C, *S) float32 tensor
        On the CPU. Do not write to it: it may be a view of what the network left (and then need not be contiguous).
    grid : Grid
        Its own grid, with its affine.
    unit : str
        Unit of `data`.
    """

    name: str
    stage: Stage
    direction: str
    data: Tensor
    grid: Grid
    unit: str

    def numpy(self) -> NDArray[np.float32]:
        """Return the data (C, *S) as an array, without a copy."""
        array: NDArray[np.float32] = self.data.numpy()
        return array

    @property
    def kind(self) -> QuantityKind:
        """What kind of quantity it is; see `Quantity`."""
        return QUANTITIES[self.name].kind

    @property
    def heads(self) -> Tensor:
        """Displacements by head, (M, D, *S): of kind "heads" M of them, of kind "vector" one."""
        self._need("vector", "heads")
        return self.data.reshape(-1, self.grid.ndim, *self.grid.shape)

    @property
    def mm(self) -> Tensor:
        """Displacements (C, *S) in mm along the grid's axes."""
        spacing = torch.as_tensor(self.grid.spacing, dtype=self.data.dtype).view(-1, *[1] * self.grid.ndim)
        return (self.heads * spacing).flatten(0, 1)

    @property
    def magnitude(self) -> Tensor:
        """Length of each displacement in mm, (M, *S), or (1, *S) for a single one; also on a sheared grid."""
        matrix = torch.as_tensor(np.array(self.grid.affine[:-1, :-1]), dtype=self.data.dtype)
        return torch.einsum("ij,mj...->mi...", matrix, self.heads).square().sum(1).sqrt()

    def _need(self, *kinds: str) -> None:
        if self.kind not in kinds:
            raise InputError("quantity", f"'{self.name}' holds no displacements", "Use 'field' or 'residual_heads'")


@dataclass(frozen=True)
class StageMetrics:
    """How good the field is after a stage; values that do not apply are None.

    Attributes
    ----------
    similarity : float or None
        Mean squared local normalised cross correlation of the pair on the network's grid, 0 to 1, over the voxels that
        the field maps into the other image.
    smoothness : float
        Mean of ``|grad u|**2``, the squared differences of neighbours summed over components and axes, mm per mm.
    folding_percent : float
        Share of voxels of the stage's own grid whose Jacobian determinant is at or below zero.
    mean_mm, max_mm : float
        Length of the displacement on the stage's own grid.
    dice : dict of int to float, or None
        Overlap per label that both images have, 0 to 1.
    tre_mm : float or None
        Mean distance of corresponding landmarks.
    """

    similarity: float | None
    smoothness: float
    folding_percent: float
    mean_mm: float
    max_mm: float
    dice: dict[int, float] | None = None
    tre_mm: float | None = None

    @property
    def dice_mean(self) -> float | None:
        """Mean overlap over the labels, 0 to 1."""
        return sum(self.dice.values()) / len(self.dice) if self.dice else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values."""
        return asdict(self)
