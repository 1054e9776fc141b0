"""The pair at several resolutions: features, weights, and the terms that compare them."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import torch
from torch import Tensor

from napari_ran import functional, losses
from napari_ran.config import InstanceConfig
from napari_ran.errors import InputError
from napari_ran.instance.guide import Guide
from napari_ran.instance.regular import Regulariser
from napari_ran.instance.search import displacements, pool_to
from napari_ran.instance.similarity import Measure, informative
from napari_ran.instance.terms import Term

MIND_RADIUS = 1
MIND_DILATION = 2

DENSE = 1_000_000
"""Largest number of voxels of which every one gets its own displacement when the config leaves that open."""

SMALL = 150_000
"""Largest number of voxels of an image that holds few voxels of motion, and needs little search and few steps."""

SPARSE = 20
"""An image is large for local NCC where it has more than so many times the voxels that are compared in a step."""

FEW_STEPS, STEPS = 30, 60
"""Most steps per level for small and for other images when the config leaves that open."""

_SLAB = 600_000
"""Voxels whose descriptors are computed at once, so that a cancel is answered soon and memory stays bounded."""

_LAYER = 8
"""Rows at a time from which a large image's typical difference is taken."""


def control_factor(voxels: int) -> int:
    """Return how many voxels of the working grid lie between two of the control grid, where that is left open."""
    return 1 if voxels <= DENSE else 2


def grid_at(factor: float, shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, ...]:
    """Return the shape of the grid whose voxels are `factor` times the finest spacing; coarser axes stay."""
    pitch = factor * min(spacing)
    return tuple(
        max(min(n, 4), round(n * size / pitch)) if pitch > size else n for n, size in zip(shape, spacing, strict=True)
    )


def search_grids(shape: Sequence[int], spacing: Sequence[float], radius: int) -> list[tuple[tuple[int, ...], int]]:
    """Return the two grids of the discrete search, coarse to fine, and how many of their voxels each reaches."""
    voxels = math.prod(shape)
    coarse = min(6, max(2, round(voxels ** (1 / len(shape)) / 24)))
    fine = min(1 if voxels <= SMALL else 2, radius)
    return [(grid_at(coarse, shape, spacing), radius), (grid_at(max(1, coarse // 2), shape, spacing), fine)]


def search_tables(shape: Sequence[int], spacing: Sequence[float], radius: int) -> list[tuple[int, int]]:
    """Return the voxels of each grid that is searched, and the displacements that each of them tries."""
    grids = search_grids(shape, spacing, radius) if radius else []
    return [(math.prod(grid), displacements(grid, reach)) for grid, reach in grids]


class Pyramid:
    """A pair of images, made comparable at any resolution.

    Displacements are in mm along the array axes throughout.

    Parameters
    ----------
    fixed, moving : (1, 1, *S) tensors
        Intensities in [0, 1] on the working grid.
    spacing : sequence of D floats
        Its voxel size in mm.
    measure : {"ncc", "mse", "mind"}
        What is compared.
    config : InstanceConfig
        With no value left out.

    Attributes
    ----------
    guides : tuple of Guide
        What leads the fit beside the images.
    """

    def __init__(
        self, fixed: Tensor, moving: Tensor, spacing: Sequence[float], measure: Measure, config: InstanceConfig
    ) -> None:
        self.fixed, self.moving = fixed, moving
        self.guides: tuple[Guide, ...] = ()
        self.compare_by(measure, config)
        self.shape = tuple(fixed.shape[2:])
        self.ndim = len(self.shape)
        self.spacing = tuple(float(s) for s in spacing)
        self.generator = torch.Generator().manual_seed(0)
        self._weight = self._looked_at = informative(fixed)
        self._moving_mask: Tensor | None = None
        self._features: dict[str, tuple[Tensor, Tensor]] = {"intensity": (fixed, moving)}

    def compare_by(self, measure: Measure, config: InstanceConfig) -> None:
        """Compare by another measure from now on, with the config that goes with it."""
        self.measure, self.config = measure, config

    @property
    def small(self) -> bool:
        """Whether the images hold few voxels of motion."""
        return self.fixed.numel() <= SMALL

    @property
    def steps(self) -> int:
        """Most steps of each level of the refinement."""
        return self.config.steps or (FEW_STEPS if self.small else STEPS)

    def shape_at(self, factor: float) -> tuple[int, ...]:
        """Return the shape of the grid whose voxels are `factor` times the finest; see `grid_at`."""
        return grid_at(factor, self.shape, self.spacing)

    def spacing_at(self, shape: Sequence[int]) -> tuple[float, ...]:
        """Return the voxel size in mm of a grid of `shape` on the working grid's box."""
        return tuple(s * n / m for s, n, m in zip(self.spacing, self.shape, shape, strict=True))

    def to_voxels(self, field: Tensor, shape: Sequence[int]) -> Tensor:
        """Convert (1, D, ...) from mm to voxels of the grid of `shape`."""
        return field / self._per_axis(self.spacing_at(shape), field)

    def to_mm(self, field: Tensor, shape: Sequence[int]) -> Tensor:
        """Convert (1, D, ...) from voxels of the grid of `shape` to mm."""
        return field * self._per_axis(self.spacing_at(shape), field)

    def _per_axis(self, values: Sequence[float], like: Tensor) -> Tensor:
        return torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, *[1] * (like.ndim - 2))

    def describe(self) -> Generator[str, None, None]:
        """Compute the MIND descriptors at full resolution, in slabs."""
        if "mind" in self._features:
            return
        described = []
        for image, name in ((self.fixed, "fixed"), (self.moving, "moving")):
            rows = max(1, _SLAB * self.shape[0] // image.numel())
            halo = MIND_RADIUS + MIND_DILATION
            typical = _typical(image)
            channels = 4 if self.ndim == 2 else 12
            whole = image.new_empty((1, channels, *self.shape))
            for start in range(0, self.shape[0], rows):
                stop = min(start + rows, self.shape[0])
                low, high = max(0, start - halo), min(self.shape[0], stop + halo)
                part = losses.mind_ssc(image[:, :, low:high], MIND_RADIUS, MIND_DILATION, typical)
                whole[:, :, start:stop] = part[:, :, start - low : stop - low]
                yield f"describing the {name} image"
            described.append(whole)
        self._features["mind"] = (described[0], described[1])

    def look_only(self, fixed: Tensor | None, moving: Tensor | None) -> None:
        """Compare only where masks (1, 1, *S) of the images are 1; `follow` says where the moving one's lies.

        Raises
        ------
        InputError
            Nothing is left.
        """
        if fixed is not None:
            self._looked_at = self._looked_at * fixed
        self._moving_mask = moving
        self.follow(None)
        if not bool(self._weight.any()):
            problem = "nothing that varies is left to compare where both masks are"
            raise InputError("fixed_mask", problem, "Check that the masks lie on their images, or give none")

    def follow(self, control: Tensor | None) -> None:
        """Bring the moving image's mask to the fixed image by a field (1, D, *K) in mm, or leave it where it is."""
        mask = self._moving_mask
        if mask is None:
            self._weight = self._looked_at
            return
        if control is not None:
            mask = functional.warp(mask, self.field_at_full_resolution(control), padding="border")
        kept = self._looked_at * (mask > 0.5)
        if control is None or bool(kept.any()):
            self._weight = kept

    def release(self) -> None:
        """Forget the descriptors when they are not what is compared."""
        if self.measure != "mind":
            self._features.pop("mind", None)

    def features(self, name: str, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the features of both images on the grid of `shape`."""
        fixed, moving = self._features[name]
        return pool_to(fixed, shape), pool_to(moving, shape)

    def weight(self, shape: Sequence[int]) -> Tensor:
        """Return how much each voxel of the grid of `shape` counts, (1, 1, *shape)."""
        return pool_to(self._weight, shape)

    def term(self, shape: Sequence[int]) -> Term:
        """Return the similarity term on the grid of `shape`."""
        fixed, moving = self.features("mind" if self.measure == "mind" else "intensity", shape)
        window = self._window if self.measure == "ncc" else 0
        points = self.config.points if window else -(-self.config.points // 2)
        return Term(fixed, moving, self.weight(shape), window, points, self.generator)

    def last_term(self, usual: Term) -> Term:
        """Return what the last level compares by: the usual term, or at single voxels where its blocks are too few.

        Of a large image the blocks of one step hold so few voxels that most of the field would follow one or two of
        them. As many voxels anywhere, each normalised by the box around it, reach all of it.
        """
        if self.measure != "ncc" or self.fixed.numel() <= SPARSE * self.config.points:
            return usual
        fixed, moving = (losses.locally_normalised(image, self._window) for image in (self.fixed, self.moving))
        return Term(fixed, moving, self._weight, 0, self.config.points, self.generator)

    @property
    def _window(self) -> int:
        return int(self.config.window or 5)

    def control_shape(self, factor: float) -> tuple[int, ...]:
        """Return the shape of the control grid of a level that sees voxels `factor` times as large."""
        finest = self.config.control or control_factor(self.fixed.numel())
        return self.shape_at(max(finest, factor))

    def edge_weight(self, shape: Sequence[int]) -> Tensor | None:
        """Return the weight of Eq. 13 on the grid of `shape`; None where smoothing is the same everywhere."""
        scale = float(self.config.edge_scale or 0)
        return losses.edge_weight(pool_to(self.fixed, shape), scale) if scale else None

    def regulariser(self, shape: Sequence[int]) -> Regulariser:
        """Return what keeps fields on the grid of `shape` smooth and free of folds."""
        smoothness, fold_penalty = float(self.config.smoothness or 0), float(self.config.fold_penalty)
        return Regulariser(smoothness, fold_penalty, self.edge_weight(shape), self.spacing_at(shape))

    def field_at_full_resolution(self, control: Tensor) -> Tensor:
        """Return a control grid's field (1, D, *K) in mm as (1, D, *S) in voxels of the working grid."""
        return functional.resize(self.to_voxels(control, self.shape), self.shape)


def _typical(image: Tensor) -> float:
    """Return what `losses.mind_ssc` takes as typical, for a large image (1, 1, *S) from layers some way apart."""
    size = image.shape[2]
    apart = image.numel() // _SLAB * _LAYER
    if apart <= _LAYER or size <= 2 * _LAYER:
        return losses.mind_typical(image, MIND_DILATION)
    layers = [image[:, :, start : start + _LAYER] for start in range((apart - _LAYER) // 2, size - _LAYER + 1, apart)]
    return sum(losses.mind_typical(layer, MIND_DILATION) for layer in layers) / len(layers)
