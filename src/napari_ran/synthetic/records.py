"""What is drawn for a generated pair, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from napari_ran.synthetic.stage_one import StageOneRecord


@dataclass(frozen=True)
class ObjectRecord:
    """One ellipsoid.

    Attributes
    ----------
    centre, radii, motion : tuples of D floats
        Middle, half axes and own motion in voxels.
    angles : tuple of float
        Rotation in radians.
    core : float
        Size of the core relative to the whole.
    along : bool
        Whether the content slips along the border; otherwise the object moves over what lies behind it.
    hollow : bool
        Whether it is a cavity: a wall around a part of the background, without a core.
    """

    centre: tuple[float, ...]
    radii: tuple[float, ...]
    angles: tuple[float, ...]
    core: float
    motion: tuple[float, ...]
    along: bool = False
    hollow: bool = False


@dataclass(frozen=True)
class OrganRecord:
    """Labels of a map that move together: the labels, their own motion in voxels (D,), and `ObjectRecord.along`."""

    labels: tuple[int, ...]
    motion: tuple[float, ...]
    along: bool


@dataclass(frozen=True)
class PlacingRecord:
    """Which part of which label map is seen.

    Attributes
    ----------
    number : int
        Number of the map.
    labels : tuple of int
        The labels above zero that it holds.
    scale : float
        Size of the image's voxels in voxels of the map.
    offset : tuple of D floats
        Position of the image's middle relative to the map's, in voxels of the map.
    mirror : tuple of D bools
        Along which axes the map is reflected.
    surround : bool
        Whether unlabelled space is filled with random regions.
    """

    number: int
    labels: tuple[int, ...]
    scale: float
    offset: tuple[float, ...]
    mirror: tuple[bool, ...]
    surround: bool


@dataclass(frozen=True)
class PairRecord:
    """Everything that was drawn for one pair; see `render_pair`. Lengths are in voxels, intensities in [0, 1].

    Attributes
    ----------
    shape : tuple of D ints
        Spatial shape of the images.
    seed : int
        Of all volumes that are drawn when the pair is made.
    peak, control_spacing : float
        Largest displacement of the smooth deformation, and distance of its control points.
    angles, translation : tuples of float
        Its rotation in radians (1 in 2-D, 3 in 3-D) and its translation (D).
    regions, region_spacing : int, float
        Number of kinds of random regions, and distance of their control points.
    tubes : float
        Thickness of the tubes: they lie where two random volumes together are smaller than this.
    body : bool
        Whether the outside of a body is empty.
    objects : tuple of ObjectRecord
        Ellipsoids and cavities, from the lowest up.
    fixed_levels, moving_levels : tuple of float
        Intensity of each label in either image.
    texture, texture_spacing : tuple of float, float
        Share of the texture in each label's intensity, and distance of its control points.
    bias, noise : (float, float)
        Strength of the bias field, and standard deviation of the noise, in the fixed and in the moving image.
    blur : float
        Standard deviation of the blur of both images.
    stage_one : StageOneRecord, optional
        The paper's deformation, in place of the smooth one.
    placing : PlacingRecord, optional
        The label map that is seen, in place of the ellipsoids.
    organs : tuple of OrganRecord
        Which of its labels move on their own.
    thickness : tuple of (int, float)
        Axis and width of the thick slices of the fixed and of the moving image; empty for none.
    unlike : tuple of (float, float)
        Share of the voxels of the fixed and of the moving image that show something of their own, and distance of the
        control points of such places; empty for none.
    """

    shape: tuple[int, ...]
    seed: int
    peak: float
    control_spacing: float
    angles: tuple[float, ...]
    translation: tuple[float, ...]
    regions: int
    region_spacing: float
    tubes: float
    body: bool
    objects: tuple[ObjectRecord, ...]
    fixed_levels: tuple[float, ...]
    moving_levels: tuple[float, ...]
    texture: tuple[float, ...]
    texture_spacing: float
    bias: tuple[float, float]
    noise: tuple[float, float]
    blur: float
    stage_one: StageOneRecord | None = None
    placing: PlacingRecord | None = None
    organs: tuple[OrganRecord, ...] = ()
    thickness: tuple[tuple[int, float], ...] = ()
    unlike: tuple[tuple[float, float], ...] = ()

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.shape)

    @property
    def margin(self) -> int:
        """Voxels by which the canvas exceeds the images at every side, so that no displaced point leaves it."""
        motions = [item.motion for item in self.objects] + [item.motion for item in self.organs]
        own = max((sum(m * m for m in motion) ** 0.5 for motion in motions), default=0.0)
        background = self.peak if self.stage_one is None else self.stage_one.beyond
        return int(background + own) + 3


@dataclass(frozen=True)
class GeneratedPair:
    """A pair with its truth.

    Attributes
    ----------
    fixed, moving : (B, 1, *S) tensor
        Intensities in [0, 1].
    fixed_labels, moving_labels : (B, 1, *S) int64 tensor
        Regions and objects, 0 is the outside of the body; or the labels of the map that was given.
    truth : (B, D, *S) tensor
        Exact pull-back field on the fixed grid, in voxels.
    visible : (B, 1, *S) bool tensor
        Fixed voxels whose counterpart lies inside the moving image and is not hidden there by an object.
    """

    fixed: Tensor
    moving: Tensor
    fixed_labels: Tensor
    moving_labels: Tensor
    truth: Tensor
    visible: Tensor

    def to(self, device: torch.device | str) -> GeneratedPair:
        """Return the pair on another device."""
        return GeneratedPair(**{name: value.to(device) for name, value in vars(self).items()})
