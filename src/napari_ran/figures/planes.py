"""Planes through a volume as radiology shows them, and what every picture of one needs: letters, scale bar, ranges.

Anterior or superior is up, the patient's right on the left of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from napari_ran import functional as F
from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.figures.colours import FRAME, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float32]

MARK = "#ffd54a"
"""Letters on an image."""


@dataclass(frozen=True)
class Plane:
    """One orthogonal plane through the fixed grid.

    Attributes
    ----------
    name : str
        ``axial``, ``coronal``, ``sagittal``, or empty in 2-D.
    voxels : (D, rows, columns) array
        Voxel coordinates in the fixed grid of each pixel, top left first.
    axes : tuple of int
        Array axes that run along the rows and along the columns of the picture.
    pixel : tuple of float
        Height and width of a pixel in mm.
    letters : tuple of str
        What lies at the left, right, top and bottom, such as R L A P.
    """

    name: str
    voxels: NDArray[np.int64]
    axes: tuple[int, int]
    pixel: tuple[float, float]
    letters: tuple[str, str, str, str]

    @property
    def size(self) -> tuple[float, float]:
        """Height and width in mm."""
        rows, columns = self.voxels.shape[1:]
        return rows * self.pixel[0], columns * self.pixel[1]

    def of(self, volume: NDArray[Any]) -> Array:
        """Cut an array (*S) of the fixed grid."""
        return np.asarray(volume[tuple(self.voxels)], dtype=np.float32)

    def from_image(self, image: Image, grid: Grid) -> Array:
        """Cut an image of any grid where it lies in the world; zero outside."""
        matrix = grid.voxel_map_to(image.grid)
        points = np.einsum("ij,jrc->irc", matrix[:-1, :-1], self.voxels) + matrix[:-1, -1, None, None]
        ndim = len(points)
        coordinates = torch.as_tensor(points, dtype=torch.float32).view(1, ndim, *[1] * (ndim - 2), *points.shape[1:])
        return np.asarray(F.sample(image.tensor[None, :1].cpu(), coordinates)[0, 0].view(points.shape[1:]).numpy())

    def jacobian(self, field: DisplacementField) -> Array:
        """Cut the Jacobian determinant, computed from this plane and its neighbours only."""
        tensor, indices = field.tensor.cpu(), self.voxels.copy()
        for axis in set(range(len(indices))) - set(self.axes):
            position = int(indices[axis].flat[0])
            first = max(position - 1, 0)
            tensor = tensor.narrow(axis + 1, first, min(position + 2, tensor.shape[axis + 1]) - first)
            indices[axis] -= first
        return np.asarray(F.jacobian_determinant(tensor[None])[0].numpy()[tuple(indices)])


def planes_through(grid: Grid, centre: NDArray[Any]) -> list[Plane]:
    """Return the planes through a voxel position, turned to the patient's axes (the nearest ones for oblique grids)."""
    ndim = grid.ndim
    affine = np.eye(4)
    affine[:ndim, :ndim], affine[:ndim, 3] = grid.affine[:ndim, :ndim], grid.affine[:ndim, ndim]
    orientation = nib.orientations.io_orientation(affine)[:ndim]
    centre = np.clip(np.round(centre), 0, np.asarray(grid.shape) - 1).astype(int)
    array_axis = {int(world): axis for axis, (world, _) in enumerate(orientation)}  # world axis -> array axis
    runs = {}
    for axis, (world, sign) in enumerate(orientation):
        indices = np.arange(grid.shape[axis])
        runs[int(world)] = indices[::-1] if sign > 0 else indices  # from right to left, anterior to posterior, top down
    views = [("axial", 1, 0), ("coronal", 2, 0), ("sagittal", 2, 1)] if ndim == 3 else [("", 1, 0)]
    planes = []
    for name, down, across in views:
        voxels = np.empty((ndim, len(runs[down]), len(runs[across])), dtype=np.int64)
        voxels[:] = centre[:, None, None]
        voxels[array_axis[down]], voxels[array_axis[across]] = runs[down][:, None], runs[across][None, :]
        axes = (array_axis[down], array_axis[across])
        letters = ("R", "A")[across], ("L", "P")[across], ("", "A", "S")[down], ("", "P", "I")[down]
        if ndim == 2:  # a picture need not be a patient
            letters = ("", "", "", "")
        planes.append(Plane(name, voxels, axes, (grid.spacing[axes[0]], grid.spacing[axes[1]]), letters))
    return planes


def content_centre(image: Image) -> NDArray[Any]:
    """Voxel position of the centre of mass of the intensities above their median."""
    stride = max(1, round((image.tensor[0].numel() / 2_000_000) ** (1 / image.grid.ndim)))
    values = image.tensor[0][(slice(None, None, stride),) * image.grid.ndim].cpu().numpy().astype(np.float64)
    weights = np.clip(values - np.median(values), 0, None)
    if not weights.sum():
        return (np.asarray(image.grid.shape) - 1) / 2
    profiles = [weights.sum(axis=tuple(set(range(values.ndim)) - {axis})) for axis in range(values.ndim)]
    return np.array([stride * np.average(np.arange(len(profile)), weights=profile) for profile in profiles])


def intensity_bounds(image: Image) -> tuple[float, float]:
    """Return the intensities that are shown black and white: percentiles 0.5 and 99.7."""
    values = image.tensor[0].flatten()
    low, high = np.percentile(values[:: max(1, values.numel() // 1_000_000)].cpu().numpy(), [0.5, 99.7])
    return float(low), max(float(high), float(low) + 1e-6)


def scaled(values: Array, bounds: tuple[float, float]) -> Array:
    """Scale intensities to [0, 1] between `bounds`."""
    return np.asarray(np.clip((values - bounds[0]) / (bounds[1] - bounds[0]), 0, 1))


def show(axes: Axes, plane: Plane, values: Any, **options: Any) -> Any:
    """Show (rows, columns) of a plane in mm and return the picture."""
    height, width = plane.size
    drawn = axes.imshow(values, extent=(0, width, height, 0), interpolation="nearest", **options)
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    for spine in axes.spines.values():
        spine.set(color=FRAME, linewidth=0.6)
    return drawn


def orientation(axes: Axes, plane: Plane) -> None:
    """Write what lies at the four sides, such as R L A P."""
    places = [
        (0.02, 0.5, "left", "center"),
        (0.98, 0.5, "right", "center"),
        (0.5, 0.98, "center", "top"),
        (0.5, 0.02, "center", "bottom"),
    ]
    for letter, (x, y, ha, va) in zip(plane.letters, places, strict=True):
        mark(axes, x, y, letter, 8, ha=ha, va=va, transform=axes.transAxes, fontweight="bold")


def scale_bar(axes: Axes, plane: Plane) -> None:
    """Draw a bar of a round number of millimetres, at most a third of the picture wide."""
    height, width = plane.size
    length = max(
        (n for power in range(-2, 4) for n in (1 * 10**power, 2 * 10**power, 5 * 10**power) if n <= width / 3),
        default=width / 3,
    )
    axes.plot([0.05 * width, 0.05 * width + length], [0.95 * height] * 2, color=MARK, lw=2, solid_capstyle="butt")
    mark(axes, 0.05 * width, 0.93 * height, f"{length:g} mm", 7, ha="left", va="bottom")


def mark(axes: Axes, x: float, y: float, text: str, size: float, **options: Any) -> None:
    """Write on an image, with an outline that keeps it legible on any grey."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=1.6, foreground=INK)]
    axes.text(x, y, text, color=MARK, fontsize=size, path_effects=outline, **options)
