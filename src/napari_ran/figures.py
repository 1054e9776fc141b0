"""Figures of a registration for papers and for a first look; matplotlib is imported when one is drawn.

Planes are shown as in radiology: anterior or superior up, the patient's right on the left of the picture.
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float32]

COLUMN_INCHES = 2.25
LONGEST_INCHES = 3.6
"""Width of a column, and the largest height of a row."""

SIMILAR_CONTRAST = 0.6
"""From this correlation on, intensities are comparable enough to show their difference; below it, a checkerboard."""

INK, FRAME, MARK, FOLD = "#1a1a1a", "#c8c8c8", "#ffd54a", "#000000"


@dataclass(frozen=True)
class _Plane:
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


def summary(
    fixed: Image,
    moving: Image,
    warped: Image,
    field: DisplacementField,
    title: str = "",
    position: NDArray[Any] | None = None,
) -> Figure:
    """Draw a registration on one page: the pair, the result, what differs before and after, and the deformation.

    Parameters
    ----------
    fixed, moving : Image
        The pair; the moving image is shown where it lies in the world.
    warped : Image
        The moving image on the fixed grid.
    field : DisplacementField
        The whole transform on the fixed grid.
    title : str
        A line above the page.
    position : (D,) array, optional
        World point in mm through which the planes go; by default the centre of the fixed image's bright content.

    Returns
    -------
    matplotlib Figure
        Three rows (axial, coronal, sagittal) for a volume, one for a 2-D image. Save it with ``figure.savefig(path)``.
    """
    from matplotlib.figure import Figure

    planes = _planes(fixed.grid, _content_centre(fixed) if position is None else fixed.grid.to_voxel(position))
    cuts = [_cut(plane, fixed, moving, warped, field) for plane in planes]
    widest = max(plane.size[1] for plane in planes)
    inches = min(COLUMN_INCHES / widest, LONGEST_INCHES / max(plane.size[0] for plane in planes))  # per mm, one scale
    heights = [max(plane.size[0] * inches, 0.6) for plane in planes]
    names = ["fixed", "moving", "warped", "before", "after", "displacement", "jacobian"]
    head, bars = (0.75 if title else 0.4), 0.8
    width, height = max(widest * inches, 1.2) * len(names) + 1.1, sum(heights) + 0.12 * len(planes) + head + bars
    figure = Figure(figsize=(width, height), dpi=130, facecolor="white")
    rows = figure.add_gridspec(
        len(planes), len(names), height_ratios=heights, hspace=0.12 / np.mean(heights), wspace=0.06,
        left=0.45 / width, right=1 - 0.15 / width, top=1 - head / height, bottom=bars / height,
    )  # fmt: skip
    style = _Style.of(cuts, field)
    grid_of_axes = [[figure.add_subplot(rows[i, j]) for j in range(len(names))] for i in range(len(planes))]
    for axes, plane, cut in zip(grid_of_axes, planes, cuts, strict=True):
        drawn = [style.draw(name, ax, plane, cut) for name, ax in zip(names, axes, strict=True)]
        axes[0].set_ylabel(plane.name, color=INK, fontsize=10, labelpad=4)
        _orientation(axes[0], plane)
    _scale_bar(grid_of_axes[0][0], planes[0])
    for name, ax, heading in zip(names, grid_of_axes[0], style.headings(names), strict=True):
        ax.set_title(heading, color=INK, fontsize=10, pad=5, gid=name)
    style.colour_bars(figure, dict(zip(names, drawn, strict=True)), grid_of_axes[-1], names)
    if title:
        figure.text(0.45 / width, 1 - 0.14 / height, title, color=INK, fontsize=12, va="top", ha="left")
    return figure


@dataclass(frozen=True)
class _Cut:
    """Everything that is shown of one plane, each (rows, columns); the three images scaled to [0, 1]."""

    fixed: Array
    moving: Array
    warped: Array
    magnitude: Array
    jacobian: Array
    mapped: tuple[Array, Array]


def _cut(plane: _Plane, fixed: Image, moving: Image, warped: Image, field: DisplacementField) -> _Cut:
    pixels = field.tensor.cpu().numpy()[(slice(None), *plane.voxels)]
    vectors = np.einsum("ij,jrc->irc", field.grid.affine[:-1, :-1], pixels)
    mapped = tuple((plane.voxels[axis] + pixels[axis]) * field.grid.spacing[axis] for axis in plane.axes)
    bounds, other = _bounds(fixed), _bounds(moving)
    return _Cut(
        fixed=_scaled(plane.of(fixed.tensor[0].cpu().numpy()), bounds),
        moving=_scaled(plane.from_image(moving, fixed.grid), other),
        warped=_scaled(plane.of(warped.tensor[0].cpu().numpy()), other),
        magnitude=np.linalg.norm(vectors, axis=0).astype(np.float32),
        jacobian=plane.jacobian(field),
        mapped=(mapped[0].astype(np.float32), mapped[1].astype(np.float32)),
    )


@dataclass(frozen=True)
class _Style:
    """Colours and ranges that all planes share."""

    difference: bool
    contrast: float
    longest: float
    spread: float

    @classmethod
    def of(cls, cuts: list[_Cut], field: DisplacementField) -> _Style:
        fixed, moving, warped, magnitude, determinant = (
            np.concatenate([getattr(cut, name).ravel() for cut in cuts])
            for name in ("fixed", "moving", "warped", "magnitude", "jacobian")
        )
        alike = float(np.corrcoef(fixed, warped)[0, 1]) if fixed.std() > 0 and warped.std() > 0 else 0.0
        return cls(
            difference=alike >= SIMILAR_CONTRAST,
            contrast=max(0.2, float(np.percentile(np.abs(fixed - moving), 99))),
            longest=max(1e-3, float(np.percentile(magnitude, 99.8))),
            spread=float(np.clip(np.percentile(np.abs(determinant - 1), 99.5), 0.2, 1.0)),
        )

    def headings(self, names: list[str]) -> list[str]:
        what = "Difference" if self.difference else "Checkerboard"
        texts = {
            "fixed": "Fixed",
            "moving": "Moving",
            "warped": "Warped",
            "before": f"{what} before",
            "after": f"{what} after",
            "displacement": "Displacement (mm)",
            "jacobian": "Volume change",
        }
        return [texts[name] for name in names]

    def draw(self, name: str, axes: Axes, plane: _Plane, cut: _Cut) -> Any:
        """Draw one panel and return the mappable for its colour bar."""
        from matplotlib.colors import TwoSlopeNorm

        if name in ("fixed", "moving", "warped"):
            return _show(axes, plane, getattr(cut, name), cmap="gray", vmin=0, vmax=1)
        if name in ("before", "after"):
            other = cut.moving if name == "before" else cut.warped
            if self.difference:
                return _show(axes, plane, other - cut.fixed, cmap="RdBu_r", vmin=-self.contrast, vmax=self.contrast)
            return _show(axes, plane, _checkerboard(cut.fixed, other, plane), cmap="gray", vmin=0, vmax=1)
        if name == "displacement":
            drawn = _show(axes, plane, cut.magnitude, cmap="viridis", vmin=0, vmax=self.longest)
            _deformed_grid(axes, plane, cut)
            return drawn
        norm = TwoSlopeNorm(1.0, max(1 - self.spread, 1e-6), 1 + self.spread)
        drawn = _show(axes, plane, cut.jacobian, cmap=_volume_colours(), norm=norm)
        folds = np.ma.masked_where(cut.jacobian > 0, np.ones_like(cut.jacobian))
        _show(axes, plane, folds, cmap=_single_colour(FOLD), vmin=0, vmax=1)
        return drawn

    def colour_bars(self, figure: Figure, drawn: dict[str, Any], bottom: list[Axes], names: list[str]) -> None:
        """Add the bars below the last row, each as wide as its column."""
        from matplotlib.ticker import MaxNLocator

        labels = {"displacement": "lines: the moving image's grid", "jacobian": "Jacobian determinant, ■ fold"}
        if self.difference:
            labels["after"] = "share of the intensity range"
        height = figure.get_size_inches()[1]
        for name, label in labels.items():
            box = bottom[names.index(name)].get_position()
            left, width = box.x0 + 0.08 * box.width, 0.84 * box.width
            if name == "after":  # one bar for both
                left -= bottom[0].get_position().width * 0.55
            axes = figure.add_axes((left, 0.48 / height, width, 0.085 / height))
            bar = figure.colorbar(
                drawn[name], cax=axes, orientation="horizontal", extend="max" if name == "displacement" else "both"
            )
            bar.outline.set_visible(False)
            bar.ax.xaxis.set_major_locator(MaxNLocator(4))
            bar.ax.tick_params(labelsize=8, length=2, colors=INK)
            bar.set_label(label, fontsize=8, color=INK, labelpad=2)


def _planes(grid: Grid, centre: NDArray[Any]) -> list[_Plane]:
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
        planes.append(_Plane(name, voxels, axes, (grid.spacing[axes[0]], grid.spacing[axes[1]]), letters))
    return planes


def _content_centre(image: Image) -> NDArray[Any]:
    """Voxel position of the centre of mass of the intensities above their median."""
    stride = max(1, round((image.tensor[0].numel() / 2_000_000) ** (1 / image.grid.ndim)))
    values = image.tensor[0][(slice(None, None, stride),) * image.grid.ndim].cpu().numpy().astype(np.float64)
    weights = np.clip(values - np.median(values), 0, None)
    if not weights.sum():
        return (np.asarray(image.grid.shape) - 1) / 2
    profiles = [weights.sum(axis=tuple(set(range(values.ndim)) - {axis})) for axis in range(values.ndim)]
    return np.array([stride * np.average(np.arange(len(profile)), weights=profile) for profile in profiles])


def _bounds(image: Image) -> tuple[float, float]:
    values = image.tensor[0].flatten()
    low, high = np.percentile(values[:: max(1, values.numel() // 1_000_000)].cpu().numpy(), [0.5, 99.7])
    return float(low), max(float(high), float(low) + 1e-6)


def _scaled(values: Array, bounds: tuple[float, float]) -> Array:
    return np.asarray(np.clip((values - bounds[0]) / (bounds[1] - bounds[0]), 0, 1))


def _checkerboard(first: Array, second: Array, plane: _Plane) -> Array:
    side = min(plane.size) / 6
    rows, columns = (np.arange(n) * mm // side for n, mm in zip(first.shape, plane.pixel, strict=True))
    return np.where((rows[:, None] + columns[None]) % 2 == 0, first, second)


def _show(axes: Axes, plane: _Plane, values: Any, **options: Any) -> Any:
    height, width = plane.size
    drawn = axes.imshow(values, extent=(0, width, height, 0), interpolation="nearest", **options)
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    for spine in axes.spines.values():
        spine.set(color=FRAME, linewidth=0.6)
    return drawn


def _deformed_grid(axes: Axes, plane: _Plane, cut: _Cut) -> None:
    """Draw the moving image's regular grid as it comes to lie on the fixed image: lines of equal mapped coordinate."""
    height, width = plane.size
    x = (np.arange(cut.magnitude.shape[1]) + 0.5) * plane.pixel[1]
    y = (np.arange(cut.magnitude.shape[0]) + 0.5) * plane.pixel[0]
    step = max(height, width) / 20
    for coordinate in cut.mapped:
        levels = np.arange(np.floor(coordinate.min() / step), np.ceil(coordinate.max() / step) + 1) * step
        if min(coordinate.shape) > 1:
            axes.contour(x, y, coordinate, levels=levels, colors="white", linewidths=0.55, alpha=0.75)


def _orientation(axes: Axes, plane: _Plane) -> None:
    places = [
        (0.02, 0.5, "left", "center"),
        (0.98, 0.5, "right", "center"),
        (0.5, 0.98, "center", "top"),
        (0.5, 0.02, "center", "bottom"),
    ]
    for letter, (x, y, ha, va) in zip(plane.letters, places, strict=True):
        _mark(axes, x, y, letter, 8, ha=ha, va=va, transform=axes.transAxes, fontweight="bold")


def _scale_bar(axes: Axes, plane: _Plane) -> None:
    height, width = plane.size
    length = max(
        (n for power in range(-2, 4) for n in (1 * 10**power, 2 * 10**power, 5 * 10**power) if n <= width / 3),
        default=width / 3,
    )
    axes.plot([0.05 * width, 0.05 * width + length], [0.95 * height] * 2, color=MARK, lw=2, solid_capstyle="butt")
    _mark(axes, 0.05 * width, 0.93 * height, f"{length:g} mm", 7, ha="left", va="bottom")


def _mark(axes: Axes, x: float, y: float, text: str, size: float, **options: Any) -> None:
    """Write on an image, with an outline that keeps it legible on any grey."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=1.6, foreground=INK)]
    axes.text(x, y, text, color=MARK, fontsize=size, path_effects=outline, **options)


def _volume_colours() -> Any:
    """Orange for shrinking, purple for growing, without the darkest ends, so that black stands for folds alone."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["PuOr"](np.linspace(0.08, 0.92, 256)), name="volume")


def _single_colour(colour: str) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap([colour])
