"""Motion across a boundary: the slip along it and the gap that opens or closes, between labels or along a drawn path.

The jump of a displacement field is read as for the phantom (`synthetic.slip`): a little beyond the boundary minus a
little before it. Its tangential part is the slip, its normal part the gap.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_ran.data import DisplacementField, Grid
from napari_ran.errors import InputError
from napari_ran.synthetic.slip import jump_across, tangential, zero_crossings

OFFSET_VOXELS = 1.5
"""Distance from the boundary at which a field is read, in voxels: as the phantom's own measure has it."""

APART_VOXELS = 2.0
"""Two labels bound each other where the gap between them is no wider than this."""


@dataclass(frozen=True, eq=False)
class BoundaryMotion:
    """How a field jumps at points of a boundary, in mm and world axes.

    Attributes
    ----------
    points : (N, D) array
        World positions on the fixed image's side.
    normals : (N, D) array
        Unit normals, from the first side to the second.
    jump : (N, D) array
        Displacement beyond the boundary (on the second side) minus before it.
    offset : float
        Distance from the boundary at which the field was read.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    jump: NDArray[np.float64]
    offset: float

    @classmethod
    def of(cls, parts: Sequence[BoundaryMotion]) -> BoundaryMotion:
        """Return the points of several boundaries as those of one; all were read at the same distance.

        Parameters
        ----------
        parts : sequence of BoundaryMotion
            At least one.
        """
        points, normals, jump = (np.concatenate([getattr(p, n) for p in parts]) for n in ("points", "normals", "jump"))
        return cls(points, normals, jump, parts[0].offset)

    @property
    def slip_vectors(self) -> NDArray[np.float64]:
        """Tangential part of the jump, (N, D)."""
        return tangential(self.jump, self.normals)

    @property
    def slip(self) -> NDArray[np.float64]:
        """Length of the tangential part, (N,)."""
        return np.asarray(np.linalg.norm(self.slip_vectors, axis=1))

    @property
    def gap(self) -> NDArray[np.float64]:
        """Normal part, (N,): positive where the sides lie farther apart in the moving image than in the fixed one."""
        return np.asarray((self.jump * self.normals).sum(axis=1))

    def summary(self) -> dict[str, float]:
        """Return the number of points, and mean, median and 95th percentile of slip and absolute gap in mm."""
        values: dict[str, float] = {"points": float(len(self.points)), "gap_mean_mm": float(self.gap.mean())}
        for name, lengths in (("slip", self.slip), ("absolute_gap", np.abs(self.gap))):
            values[f"{name}_mean_mm"] = float(lengths.mean())
            values[f"{name}_median_mm"] = float(np.median(lengths))
            values[f"{name}_p95_mm"] = float(np.percentile(lengths, 95))
        return values

    def to_csv(self, path: str | Path) -> None:
        """Write one line per point.

        Parameters
        ----------
        path : path
            File to write.
        """
        axes = "xyz"[: self.points.shape[1]]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*(f"{a}_mm" for a in axes), *(f"normal_{a}" for a in axes), "slip_mm", "gap_mm"])
            for point, normal, slip, gap in zip(self.points, self.normals, self.slip, self.gap, strict=True):
                writer.writerow([f"{value:.6g}" for value in (*point, *normal, slip, gap)])


def boundary_motion(
    field: DisplacementField,
    first: NDArray[np.bool_],
    second: NDArray[np.bool_] | None = None,
    offset: float | None = None,
) -> BoundaryMotion:
    """Measure slip and gap across the boundary between two parts.

    Parameters
    ----------
    field : DisplacementField
        On the fixed grid.
    first, second : (*S) bool array
        The two parts, such as ``labels.array == 1`` and ``labels.array == 2``; without the second, all that is not in
        the first. They may touch or lie up to two voxels apart: the boundary is halfway.
    offset : float, optional
        Distance from the boundary in mm at which the field is read on either side; by default 1.5 voxels.

    Raises
    ------
    InputError
        A part is empty, of another shape than the field, or the two do not touch.
    """
    grid = field.grid
    other = ~np.asarray(first, bool) if second is None else np.asarray(second, bool)
    parts = np.asarray(first, bool), other
    for name, part in zip(("first", "second"), parts, strict=True):
        if part.shape != grid.shape:
            raise InputError(
                name, f"must have shape {grid.shape} as the field, got {part.shape}", "Resample it to the fixed grid"
            )
        if not part.any():
            raise InputError(name, "this side of the boundary has no voxel", "Choose a label that occurs in the image")
    box = _contact(*parts)
    voxels, gradient = _surface(parts[0][box], parts[1][box], grid)
    if not len(voxels):
        raise InputError("second", "the two parts do not touch", "Choose labels that have a boundary in common")
    start = np.array([side.start for side in box])
    normals = gradient @ np.linalg.inv(grid.affine[:-1, :-1])
    return _measured(field, grid.to_world(voxels + start), normals, offset)


def motion_across_path(
    field: DisplacementField, vertices: ArrayLike, through: ArrayLike | None = None, offset: float | None = None
) -> BoundaryMotion:
    """Measure slip and gap across a path that was drawn in a slice.

    Points are a voxel apart along the path, whatever the distance of its corners, and normals are those of its course
    over the distance at which the field is read: the unrest of a drawing hand is no boundary.

    Parameters
    ----------
    field : DisplacementField
        On the fixed grid.
    vertices : (N, D) array
        Corners of the path, world positions in mm. The first side lies to the left of it in 2-D.
    through : (D,) array, optional
        World direction at a right angle to the slice (3-D); by default along the array axis along which the path
        extends least.
    offset : float, optional
        Distance from the path in mm at which the field is read on either side; by default 1.5 voxels.

    Raises
    ------
    InputError
        The path has fewer than two different corners, leaves the image, or lies in two slices and `through` is not
        given.
    """
    corners = np.atleast_2d(np.asarray(vertices, float))
    grid = field.grid
    if corners.shape[1:] != (grid.ndim,):
        raise InputError("vertices", f"must be (N, {grid.ndim}), got {corners.shape}", "Draw the path in a slice")
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    corners, steps = corners[np.append(True, steps > 1e-9)], steps[steps > 1e-9]
    if len(corners) < 2:
        raise InputError("vertices", "a path needs two different corners", "Draw a line along the boundary")
    voxels = grid.to_voxel(corners)
    outside = ~grid.contains(voxels)
    if outside.any():
        problem = f"the path leaves the image at {int(outside.sum())} of its {len(corners)} corners"
        raise InputError("vertices", problem, "Draw it inside")
    if grid.ndim == 3 and through is None:
        spread = np.ptp(voxels, axis=0)
        if np.sort(spread)[1] < 1e-6:
            raise InputError("through", "a straight path along an array axis lies in two slices", "Say which is meant")
        through = grid.affine[:-1, spread.argmin()]
    reached = np.append(0.0, np.cumsum(steps))
    count = max(1, round(reached[-1] / float(grid.spacing.min())))
    at = (np.arange(count) + 0.5) / count * reached[-1]
    reach = min(_offset(grid, offset), reached[-1])
    course = _along(corners, reached, at + reach) - _along(corners, reached, at - reach)
    normals = np.stack([course[:, 1], -course[:, 0]], 1) if through is None else np.cross(course, np.asarray(through))
    return _measured(field, _along(corners, reached, at), normals, offset)


def _along(corners: NDArray[np.float64], reached: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the places (M, D) after `at` mm of a path whose corners (N, D) are reached after so many mm."""
    return np.stack([np.interp(at, reached, values) for values in corners.T], 1)


def _offset(grid: Grid, offset: float | None) -> float:
    return OFFSET_VOXELS * float(grid.spacing.mean()) if offset is None else offset


def _measured(
    field: DisplacementField, points: NDArray[np.float64], normals: NDArray[np.float64], offset: float | None
) -> BoundaryMotion:
    offset = _offset(field.grid, offset)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    known = length[:, 0] > 1e-9  # a spot between two equal surfaces has no direction
    points, normals = points[known], (normals / np.maximum(length, 1e-9))[known]
    return BoundaryMotion(points, normals, jump_across(field, points, normals, offset), offset)


def _contact(first: NDArray[np.bool_], second: NDArray[np.bool_], margin: int = 5) -> tuple[slice, ...]:
    """Return the box in which the two parts can touch."""
    slices = []
    for axis in range(first.ndim):
        others = tuple(set(range(first.ndim)) - {axis})
        ends = [np.flatnonzero(part.any(axis=others))[[0, -1]] for part in (first, second)]
        low, high = max(end[0] for end in ends) - margin, min(end[1] for end in ends) + margin + 1
        slices.append(slice(max(int(low), 0), max(int(high), max(int(low), 0))))
    return tuple(slices)


def _surface(
    first: NDArray[np.bool_], second: NDArray[np.bool_], grid: Grid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return voxel positions (N, D) halfway between two parts and a gradient (N, D) that points to the second."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    if not (first.any() and second.any()):
        return np.zeros((0, first.ndim)), np.zeros((0, first.ndim))
    spacing = np.asarray(grid.spacing)
    to_first, to_second = (distance_transform_edt(~part, sampling=spacing) for part in (first, second))
    level = to_first - to_second
    near = to_first + to_second <= (1 + APART_VOXELS) * float(spacing.max())
    voxels = zero_crossings(level)
    nearest = tuple(np.rint(voxels).astype(int).T)
    smooth = gaussian_filter(level, 1.0)  # voxel staircases would make normals of their own
    gradient = np.stack([slope[nearest] for slope in np.gradient(smooth)], axis=1)
    kept = near[nearest]
    return voxels[kept], gradient[kept]
