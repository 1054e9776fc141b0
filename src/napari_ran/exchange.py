"""A found transform in both directions: carry images, labels, points and surfaces, and hand it on to other tools."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_ran.applying import LabelMethod
from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks, Surface
from napari_ran.errors import InputError
from napari_ran.inversion import invert_field, invert_points
from napari_ran.io import load_field, save_field
from napari_ran.io.folders import settled
from napari_ran.transform import check_dimension, compose_to, warp_image, warp_labels

if TYPE_CHECKING:
    from napari_ran.results import Registration

Carried = Image | Labels | Landmarks | Surface
"""What a transform can carry."""


@dataclass(frozen=True, eq=False)
class Transform:
    """Where points of the fixed image lie in the moving image, and back.

    What lies on voxels of the moving image is pulled onto the fixed grid by `field`; points and surfaces of the moving
    image travel the other way, by the inverse.

    Attributes
    ----------
    field : DisplacementField
        On the fixed image's grid, fixed to moving points.
    inverse_field : DisplacementField, optional
        The other direction; found when it is needed, on `moving`, where it is not known.
    moving : Grid, optional
        The moving image's grid; the fixed one stands in where it is not known.
    turned : bool
        Whether `inverse_field` is what was found, and `field` what was made of it.
    affine : (D + 1, D + 1) array, optional
        The affine part of `field`, fixed world to moving world in mm, where it is known.
    """

    field: DisplacementField
    inverse_field: DisplacementField | None = None
    moving: Grid | None = None
    turned: bool = False
    affine: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, registration: Registration) -> Self:
        """Return the transform of a registration.

        Parameters
        ----------
        registration : Registration
            Whose fields are taken, both directions of them.
        """
        reg = registration
        return cls(reg.field, reg.inverse_field, reg.moving.grid, affine=reg.affine)

    @classmethod
    def load(
        cls, source: str | Path, format: str | None = None, *, fixed: Grid | None = None, moving: Grid | None = None
    ) -> Self:
        """Read the folder of a result, or any tool's file, see `napari_ran.io.load_field`.

        Parameters
        ----------
        source : path
            The folder of a result, or a file.
        format : str, optional
            A name of `napari_ran.io.fields.FORMATS`, where neither the file's name nor its header say what it is.
        fixed, moving : Grid, optional
            Grids of the images: a transform without a grid needs the fixed one, an FSL warp the moving one too.

        Raises
        ------
        InputError
            There is no field, it cannot be read, or it needs a grid that was not given.
        """
        folder = Path(source).expanduser()
        if not folder.is_dir():
            return cls(load_field(source, format, fixed=fixed, moving=moving), None, moving)
        settled(folder)
        if not (folder / "field.h5").exists():
            raise InputError(str(source), "there is no field.h5 in this folder", "Give the folder of a registration")
        back = folder / "inverse_field.h5"
        inverse = load_field(back) if back.exists() else None
        return cls(load_field(folder / "field.h5"), inverse, moving or (None if inverse is None else inverse.grid))

    def opposite(self) -> Self:
        """Return the transform from the moving to the fixed image; the inverse is found if it is not known."""
        back = self.inverse_field
        if back is None:
            back = invert_field(self.field, self.moving or self.field.grid).field
        way = None if self.affine is None else np.asarray(np.linalg.inv(self.affine), dtype=np.float64)
        turned = not self.turned
        return replace(self, field=back, inverse_field=self.field, moving=self.field.grid, turned=turned, affine=way)

    def on(self, grid: Grid) -> Self:
        """Return the same transform on another grid of the fixed space: what is pulled comes out on that one.

        Parameters
        ----------
        grid : Grid
            The grid on which voxels are to come out.
        """
        return replace(self, field=compose_to(self.field, np.eye(grid.ndim + 1), grid))

    @overload
    def apply(self, value: Image, labels: LabelMethod = ...) -> Image: ...
    @overload
    def apply(self, value: Labels, labels: LabelMethod = ...) -> Labels: ...
    @overload
    def apply(self, value: Landmarks, labels: LabelMethod = ...) -> Landmarks: ...
    @overload
    def apply(self, value: Surface, labels: LabelMethod = ...) -> Surface: ...
    def apply(self, value: Carried, labels: LabelMethod = "nearest") -> Carried:
        """Bring something of the moving image to the fixed one, interpolating at most once.

        Parameters
        ----------
        value : Image, Labels, Landmarks or Surface
            In the moving image's space, on any grid; an image may have several channels.
        labels : {"nearest", "gaussian"}
            How labels are read: the nearest voxel, or the label that is most present around a point.

        Raises
        ------
        InputError
            It has another dimension.
        """
        if isinstance(value, Image):
            return warp_image(value, self.field)
        if isinstance(value, Labels):
            return warp_labels(value, self.field, labels)
        if isinstance(value, Landmarks):
            return Landmarks(self.carry_points(value.points)[0], f"{value.name} warped")
        return replace(value, vertices=self.carry_points(value.vertices)[0])

    def carry_points(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where points (N, D) of the moving image lie in the fixed one, and how far off that may be, in mm.

        Each is solved for by itself; where the field folds, or nothing leads to a point, it stays off.

        Parameters
        ----------
        points : (N, D) array
            World points in mm.

        Raises
        ------
        InputError
            They have another dimension.
        """
        if self.turned and self.inverse_field is not None:
            points = np.asarray(points, dtype=np.float64)
            check_dimension("points", points.shape[-1], self.field.grid.ndim)
            return self.inverse_field.map_points(points), np.zeros(len(points))
        return invert_points(self.field, points, self.inverse_field)

    def save(self, path: str | Path, format: str | None = None) -> Path:
        """Write the field for another tool, see `napari_ran.io.save_field`.

        Parameters
        ----------
        path : path
            File to write.
        format : str, optional
            A name of `napari_ran.io.fields.FORMATS`, where the file's name does not say it.
        """
        return save_field(self.field, path, format, moving=self.moving, affine=self.affine)


__all__ = ["Carried", "Transform"]
