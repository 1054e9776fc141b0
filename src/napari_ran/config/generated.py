"""Settings of generated image pairs."""

from __future__ import annotations

from napari_ran.config.base import FrozenConfig


class PairConfig(FrozenConfig):
    """Ranges from which generated pairs are drawn; each pair is (lowest, highest).

    Attributes
    ----------
    shapes : tuple of shapes
        Image shapes, all 2-D or all 3-D; one is drawn for each batch.
    peak : (float, float)
        Largest background displacement as a share of the mean side (geometric).
    still : float
        Probability of a pair without any motion.
    regions : (int, int)
        Number of background regions.
    objects : (int, int)
        Number of objects (ellipsoids with a core).
    sliding : float
        Probability that an object has a motion of its own.
    slip : (float, float)
        Length of an object's own motion as a share of the mean side (geometric).
    body : float
        Probability that the outside of a body is empty.
    other_contrast : float
        Probability that the two images have unrelated contrasts (as two modalities have).
    texture, bias, noise : (float, float)
        Standard deviation of the texture inside regions, of the log bias field, and of the noise; images lie in [0, 1].
    blur : (float, float)
        Standard deviation of the blur in voxels, common to both images.
    """

    shapes: tuple[tuple[int, ...], ...] = ((40, 48, 40),)
    peak: tuple[float, float] = (0.01, 0.125)
    still: float = 0.04
    regions: tuple[int, int] = (5, 14)
    objects: tuple[int, int] = (1, 5)
    sliding: float = 0.35
    slip: tuple[float, float] = (0.02, 0.1)
    body: float = 0.5
    other_contrast: float = 0.0
    texture: tuple[float, float] = (0.01, 0.08)
    bias: tuple[float, float] = (0.0, 0.15)
    noise: tuple[float, float] = (0.0, 0.03)
    blur: tuple[float, float] = (0.4, 0.9)
