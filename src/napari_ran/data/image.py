"""Images, label maps and landmarks in physical space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_ran.data.grid import Grid
from napari_ran.errors import InputError


def as_tensor(values: ArrayLike | Tensor, dtype: torch.dtype, name: str = "array") -> Tensor:
    """Convert any array (any integer or float type, any byte order) to a contiguous tensor of `dtype`.

    Raises
    ------
    InputError
        The values are complex or no numbers, or whole numbers were wanted and a value is not one or is too large; the
        error calls the array by its `name`.
    """
    if isinstance(values, Tensor):
        values = values.detach()
        if values.is_complex():
            raise InputError(name, f"expected real numbers, got {values.dtype}", "Take the magnitude or the real part")
        if not dtype.is_floating_point:
            _refuse_fractions(values, values.dtype.is_floating_point, name)
        return values.to(dtype).contiguous()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise InputError(name, f"expected real numbers, got values of type {array.dtype}", "Convert them to numbers")
    if not dtype.is_floating_point:
        _refuse_fractions(array, array.dtype.kind == "f", name)
    native = np.float32 if dtype.is_floating_point else np.int32
    with np.errstate(over="ignore"):  # what overflows becomes infinite, which is refused by name later
        array = np.ascontiguousarray(array, dtype=native)
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(dtype)


def _refuse_fractions(values: Any, fractional: bool, name: str) -> None:
    """Refuse labels, in an array or a tensor, that are not whole numbers of 32 bits."""
    if 0 in values.shape:
        return
    if fractional and not bool((values == values.round()).all()):  # also NaN, which differs from itself
        raise InputError(
            name, "expected whole numbers, got fractions or NaN", "Give a label map, not an intensity image"
        )
    # as Python numbers: 2**31 itself overflows when it is compared within the array's own type
    if not -(2**31) <= float(values.min()) <= float(values.max()) < 2**31:
        raise InputError(name, "a label does not fit into 32 bits", "Renumber the labels")


@dataclass(frozen=True, eq=False)
class Image:
    """A scalar image on a grid.

    Attributes
    ----------
    tensor : (C, *S) float32 tensor
        Intensities; made from any numeric array of shape (C, *S) or *S.
    grid : Grid
        Where the voxels lie.
    name : str
        What to call the image in messages and layers.
    metadata : dict
        Free-form provenance, such as the path and the modality.

    Raises
    ------
    InputError
        The shape does not match the grid, or a value is NaN or infinite.
    """

    tensor: Tensor
    grid: Grid
    name: str = "image"
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tensor = as_tensor(self.tensor, torch.float32, self.name)
        if tensor.ndim == self.grid.ndim:
            tensor = tensor[None]
        if tuple(tensor.shape[1:]) != self.grid.shape or tensor.shape[0] < 1:
            raise InputError(
                self.name,
                f"the array has shape {tuple(tensor.shape)} but its grid has {self.grid.shape}",
                "Give both the same axes",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise InputError(
                self.name,
                "the image holds NaN or infinite values",
                "Replace them (for example with the background value)",
            )
        object.__setattr__(self, "tensor", tensor)

    @property
    def array(self) -> NDArray[np.float32]:
        """The intensities as a numpy array (*S) when there is one channel, else (C, *S)."""
        array = self.tensor.cpu().numpy()
        return array[0] if array.shape[0] == 1 else array


@dataclass(frozen=True, eq=False)
class Labels:
    """A label map on a grid.

    Attributes
    ----------
    tensor : (*S) int32 tensor
        Label of each voxel; 0 is background.
    grid : Grid
        Where the voxels lie.
    name : str
        What to call it in messages and layers.
    names : dict
        Label value to the name of the structure, where known.
    """

    tensor: Tensor
    grid: Grid
    name: str = "labels"
    names: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tensor = as_tensor(self.tensor, torch.int32, self.name)
        if tuple(tensor.shape) != self.grid.shape:
            raise InputError(
                self.name,
                f"the labels have shape {tuple(tensor.shape)} but their grid has {self.grid.shape}",
                "Use labels drawn on this image",
            )
        object.__setattr__(self, "tensor", tensor)

    @property
    def array(self) -> NDArray[np.int32]:
        """The labels as a numpy array (*S)."""
        return self.tensor.cpu().numpy()

    @property
    def ids(self) -> list[int]:
        """The labels that occur, without the background."""
        return [int(i) for i in torch.unique(self.tensor) if i != 0]

    def common_ids(self, other: Labels) -> list[int]:
        """Return the labels that occur in both maps, without the background, sorted.

        Parameters
        ----------
        other : Labels
            On any grid.
        """
        return sorted(set(self.ids) & set(other.ids))


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Corresponding points in world coordinates.

    Attributes
    ----------
    points : (N, D) float64 array
        Positions in mm, RAS+.
    name : str
        What to call them in messages and layers.
    """

    points: NDArray[np.float64]
    name: str = "landmarks"

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] not in (2, 3):
            raise InputError(
                self.name, f"expected points of shape (N, 2) or (N, 3), got {points.shape}", "Give one row per point"
            )
        if not np.isfinite(points).all():
            raise InputError(self.name, "a coordinate is NaN or infinite", "Remove that point")
        object.__setattr__(self, "points", points)

    def __len__(self) -> int:
        return len(self.points)

    @classmethod
    def from_voxels(cls, voxels: ArrayLike, grid: Grid, name: str = "landmarks") -> Landmarks:
        """Make landmarks from voxel coordinates (N, D) of a grid.

        Parameters
        ----------
        voxels : (N, D) array
            Coordinates along the array axes, counted from 0.
        grid : Grid
            The grid on which they are counted.
        name : str
            What to call them.
        """
        return cls(grid.to_world(voxels), name)
