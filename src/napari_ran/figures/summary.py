"""A registration on one page, for papers and for a first look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ran.data import DisplacementField, Image
from napari_ran.figures.colours import INK, page
from napari_ran.figures.planes import (
    Array,
    Plane,
    content_centre,
    intensity_bounds,
    orientation,
    planes_through,
    scale_bar,
    scaled,
    show,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_INCHES = 2.25
LONGEST_INCHES = 3.6
"""Width of a column, and the largest height of a row."""

SIMILAR_CONTRAST = 0.6
"""From this correlation on, intensities are comparable enough to show their difference; below it, a checkerboard."""

FOLD = "#000000"


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
    planes = planes_through(fixed.grid, content_centre(fixed) if position is None else fixed.grid.to_voxel(position))
    cuts = [_cut(plane, fixed, moving, warped, field) for plane in planes]
    widest = max(plane.size[1] for plane in planes)
    inches = min(COLUMN_INCHES / widest, LONGEST_INCHES / max(plane.size[0] for plane in planes))  # per mm, one scale
    heights = [max(plane.size[0] * inches, 0.6) for plane in planes]
    names = ["fixed", "moving", "warped", "before", "after", "displacement", "jacobian"]
    head, bars = (0.75 if title else 0.4), 0.8
    width, height = max(widest * inches, 1.2) * len(names) + 1.1, sum(heights) + 0.12 * len(planes) + head + bars
    figure = page(width, height, layout=None)
    rows = figure.add_gridspec(
        len(planes), len(names), height_ratios=heights, hspace=0.12 / np.mean(heights), wspace=0.06,
        left=0.45 / width, right=1 - 0.15 / width, top=1 - head / height, bottom=bars / height,
    )  # fmt: skip
    style = _Style.of(cuts)
    grid_of_axes = [[figure.add_subplot(rows[i, j]) for j in range(len(names))] for i in range(len(planes))]
    for axes, plane, cut in zip(grid_of_axes, planes, cuts, strict=True):
        drawn = [style.draw(name, ax, plane, cut) for name, ax in zip(names, axes, strict=True)]
        axes[0].set_ylabel(plane.name, color=INK, fontsize=10, labelpad=4)
        orientation(axes[0], plane)
    scale_bar(grid_of_axes[0][0], planes[0])
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


def _cut(plane: Plane, fixed: Image, moving: Image, warped: Image, field: DisplacementField) -> _Cut:
    pixels = field.tensor.cpu().numpy()[(slice(None), *plane.voxels)]
    vectors = np.einsum("ij,jrc->irc", field.grid.affine[:-1, :-1], pixels)
    mapped = tuple((plane.voxels[axis] + pixels[axis]) * field.grid.spacing[axis] for axis in plane.axes)
    bounds, other = intensity_bounds(fixed), intensity_bounds(moving)
    return _Cut(
        fixed=scaled(plane.of(fixed.tensor[0].cpu().numpy()), bounds),
        moving=scaled(plane.from_image(moving, fixed.grid), other),
        warped=scaled(plane.of(warped.tensor[0].cpu().numpy()), other),
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
    def of(cls, cuts: list[_Cut]) -> _Style:
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

    def draw(self, name: str, axes: Axes, plane: Plane, cut: _Cut) -> Any:
        """Draw one panel and return the mappable for its colour bar."""
        from matplotlib.colors import ListedColormap, TwoSlopeNorm

        if name in ("fixed", "moving", "warped"):
            return show(axes, plane, getattr(cut, name), cmap="gray", vmin=0, vmax=1)
        if name in ("before", "after"):
            other = cut.moving if name == "before" else cut.warped
            if self.difference:
                return show(axes, plane, other - cut.fixed, cmap="RdBu_r", vmin=-self.contrast, vmax=self.contrast)
            return show(axes, plane, _checkerboard(cut.fixed, other, plane), cmap="gray", vmin=0, vmax=1)
        if name == "displacement":
            drawn = show(axes, plane, cut.magnitude, cmap="viridis", vmin=0, vmax=self.longest)
            _deformed_grid(axes, plane, cut)
            return drawn
        norm = TwoSlopeNorm(1.0, max(1 - self.spread, 1e-6), 1 + self.spread)
        drawn = show(axes, plane, cut.jacobian, cmap=_volume_colours(), norm=norm)
        folds = np.where(cut.jacobian > 0, np.nan, 1.0)
        show(axes, plane, folds, cmap=ListedColormap([FOLD]), vmin=0, vmax=1)
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


def _checkerboard(first: Array, second: Array, plane: Plane) -> Array:
    side = min(plane.size) / 6
    rows, columns = (np.arange(n) * mm // side for n, mm in zip(first.shape, plane.pixel, strict=True))
    return np.where((rows[:, None] + columns[None]) % 2 == 0, first, second)


def _deformed_grid(axes: Axes, plane: Plane, cut: _Cut) -> None:
    """Draw the moving image's regular grid as it comes to lie on the fixed image: lines of equal mapped coordinate."""
    height, width = plane.size
    x = (np.arange(cut.magnitude.shape[1]) + 0.5) * plane.pixel[1]
    y = (np.arange(cut.magnitude.shape[0]) + 0.5) * plane.pixel[0]
    step = max(height, width) / 20
    for coordinate in cut.mapped:
        levels = np.arange(np.floor(coordinate.min() / step), np.ceil(coordinate.max() / step) + 1) * step
        if min(coordinate.shape) > 1:
            axes.contour(x, y, coordinate, levels=levels, colors="white", linewidths=0.55, alpha=0.75)


def _volume_colours() -> Any:
    """Orange for shrinking, purple for growing, without the darkest ends, so that black stands for folds alone."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["PuOr"](np.linspace(0.08, 0.92, 256)), name="volume")
