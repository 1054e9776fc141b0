"""Settings of generated image pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_ran.config.base import FrozenConfig


class StageOneConfig(FrozenConfig):
    """Ranges of the deformations of the paper's first training stage; lengths are shares of the mean side (geometric).

    Attributes
    ----------
    rotation : float
        Largest angle in radians, about an axis of any direction through the image's middle. The appendix says pi / 4,
        the released code pi.
    translation : (float, float)
        Length of the translation.
    plate : (float, float)
        Largest displacement of a thin-plate spline through control points.
    bumps : (float, float)
        Largest displacement of a sum of Gaussian bumps.
    seeds : int
        Number of bumps.
    width : (float, float)
        Standard deviation of the bumps; never less than 1.5 times their largest displacement, so that nothing folds.
    beyond : float
        Points that would lie further outside the image than this are held there, in voxels.
    """

    rotation: float = Field(default=0.7853981633974483, ge=0)
    translation: tuple[float, float] = (0.0, 0.1)
    plate: tuple[float, float] = (0.0, 0.08)
    bumps: tuple[float, float] = (0.0, 0.08)
    seeds: int = Field(default=20, ge=1)
    width: tuple[float, float] = (0.07, 0.2)
    beyond: float = Field(default=5.0, ge=0)


class PairConfig(FrozenConfig):
    """Ranges from which generated pairs are drawn; each pair is (lowest, highest).

    Attributes
    ----------
    shapes : tuple of shapes
        Image shapes, all 2-D or all 3-D; one is drawn for each batch.
    deformation : {"spline", "paper"}
        Deformation of the background: a cubic B-spline with a little rotation and translation, whose largest
        displacement is `peak`; or the paper's, see `stage_one`.
    peak : (float, float)
        Largest background displacement of the spline as a share of the mean side (geometric).
    stage_one : StageOneConfig
        Ranges of the paper's deformation.
    still : float
        Probability of a pair without any motion.
    regions : (int, int)
        Number of background regions.
    objects : (int, int)
        Number of objects (ellipsoids with a core); in label maps, of organs that may move on their own.
    cavities : (int, int)
        Number of walled cavities whose content slides as a whole along the wall.
    sliding : float
        Probability that an object or organ has a motion of its own.
    along : float
        Probability that such a motion slips along the border and leaves the border where it is; otherwise the object
        moves as a whole over what lies behind it.
    slip : (float, float)
        Length of an own motion as a share of the mean side (geometric).
    mapped : float
        With label maps: probability that a pair shows one; the others show random anatomy.
    groups : tuple of tuples of int
        With label maps: labels that move together. Each label moves by itself when empty.
    body : float
        Probability that the outside of a body is empty.
    surround : float
        With label maps: probability that unlabelled space is filled with random regions instead of being empty.
    zoom : (float, float)
        With label maps: extent of the image relative to the largest image of this shape inside the map.
    mirror : float
        With label maps: probability of a reflection along each axis.
    other_contrast : float
        Probability that the two images have unrelated contrasts (as two modalities have).
    texture, bias, noise : (float, float)
        Standard deviation of the texture inside regions, of the log bias field, and of the noise; images lie in [0, 1].
    blur : (float, float)
        Standard deviation of the blur in voxels, common to both images.
    thickness : (float, float)
        Width of the acquired voxels along one axis, drawn for each image, in voxels of the image; 1 changes nothing.
    unlike : (float, float)
        Share of each image's voxels inside the body that show something of their own, to which nothing in the other
        image corresponds, as between two subjects. The displacement there is that of the tissue around.
    """

    shapes: tuple[tuple[int, ...], ...] = ((40, 48, 40),)
    deformation: Literal["spline", "paper"] = "spline"
    peak: tuple[float, float] = (0.01, 0.125)
    stage_one: StageOneConfig = Field(default_factory=StageOneConfig)
    still: float = 0.04
    regions: tuple[int, int] = (5, 14)
    objects: tuple[int, int] = (1, 5)
    cavities: tuple[int, int] = (0, 0)
    sliding: float = 0.35
    along: float = 0.0
    slip: tuple[float, float] = (0.02, 0.1)
    mapped: float = 1.0
    groups: tuple[tuple[int, ...], ...] = ()
    body: float = 0.5
    surround: float = 1.0
    zoom: tuple[float, float] = (0.7, 1.0)
    mirror: float = 0.0
    other_contrast: float = 0.0
    texture: tuple[float, float] = (0.01, 0.08)
    bias: tuple[float, float] = (0.0, 0.15)
    noise: tuple[float, float] = (0.0, 0.03)
    blur: tuple[float, float] = (0.4, 0.9)
    thickness: tuple[float, float] = (1.0, 1.0)
    unlike: tuple[float, float] = (0.0, 0.0)
