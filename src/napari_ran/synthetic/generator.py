"""Random anatomy-like image pairs with their exact displacement field, in 2-D and 3-D.

How a pair is made. A *canvas* larger than the images holds a background of random regions (blobs, tubes, ellipsoids
with a core, the outside of a body), a texture, and separate objects with a motion of their own. The moving image is the
canvas's middle. The fixed image reads the same canvas at displaced points, ``fixed[x] = canvas[x + u(x)]`` with
``u = u_background`` outside the objects and ``u = u_background + motion_j`` inside object ``j``. The pull-back field
``u`` is therefore exact by construction, also at the border and across the discontinuities; where an object of the
moving image hides the background, the field is still the background's. Bias field and noise come last, image by image.

Random numbers are drawn in one place, `draw_pair`, and applied in another, `render_pair`: the record reproduces its
pair exactly, and the global random state is never touched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.config import PairConfig
from napari_ran.synthetic.deformations import centred_grid, rotation_matrix, smooth_field, spline_noise


@dataclass(frozen=True)
class ObjectRecord:
    """One ellipsoid: middle, half axes and own motion in voxels (D,), rotation in radians, size of its core."""

    centre: tuple[float, ...]
    radii: tuple[float, ...]
    angles: tuple[float, ...]
    core: float
    motion: tuple[float, ...]


@dataclass(frozen=True)
class PairRecord:
    """Everything that was drawn for one pair; see `render_pair`. Lengths are in voxels, intensities in [0, 1]."""

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

    @property
    def ndim(self) -> int:
        """Number of spatial dimensions."""
        return len(self.shape)

    @property
    def margin(self) -> int:
        """Voxels by which the canvas exceeds the images at every side, so that no displaced point leaves it."""
        own = max((sum(m * m for m in item.motion) ** 0.5 for item in self.objects), default=0.0)
        return int(self.peak + own) + 3


@dataclass(frozen=True)
class GeneratedPair:
    """A pair with its truth.

    Attributes
    ----------
    fixed, moving : (B, 1, *S) tensor
        Intensities in [0, 1].
    fixed_labels, moving_labels : (B, 1, *S) int64 tensor
        Regions and objects; 0 is the outside of the body.
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


def draw_pair(config: PairConfig, generator: torch.Generator, shape: Sequence[int] | None = None) -> PairRecord:
    """Draw the parameters of one pair; `shape` defaults to one of the config's shapes."""

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    def vector(length: float) -> tuple[float, ...]:
        direction = torch.randn(ndim, generator=generator)
        return tuple((direction * (length / float(direction.norm().clamp_min(1e-6)))).tolist())

    shape = tuple(shape or config.shapes[integer(0, len(config.shapes) - 1)])
    ndim, side = len(shape), math.prod(shape) ** (1 / len(shape))
    still = uniform(0, 1) < config.still
    peak = 0.0 if still else side * uniform(*config.peak)
    control_spacing = max(uniform(0.2, 0.6) * side, 2.5 * peak)
    turn = 1.0 if ndim == 2 else 0.6
    angles = tuple(uniform(-turn, turn) * 2 * peak / side for _ in range(2 * ndim - 3))
    translation = vector(uniform(0, 0.6) * peak)
    objects = []
    for _ in range(integer(*config.objects)):
        slides = uniform(0, 1) < config.sliding and not still
        objects.append(
            ObjectRecord(
                centre=tuple(uniform(-0.35, 0.35) * n for n in shape),
                radii=tuple(uniform(0.1, 0.28) * side for _ in shape),
                angles=tuple(uniform(-1.5, 1.5) for _ in range(2 * ndim - 3)),
                core=uniform(0.3, 0.75),
                motion=vector(uniform(*config.slip) * side) if slides else (0.0,) * ndim,
            )
        )
    regions = integer(*config.regions)
    levels = regions + 2 + 2 * len(objects)
    fixed_levels = tuple(torch.rand(levels, generator=generator).mul(0.85).add(0.1).tolist())
    unrelated = tuple(torch.rand(levels, generator=generator).mul(0.85).add(0.1).tolist())
    grain = uniform(*config.texture)
    return PairRecord(
        shape=shape,
        seed=int(torch.randint(0, 2**62, (), generator=generator)),
        peak=peak,
        control_spacing=control_spacing,
        angles=angles,
        translation=translation,
        regions=regions,
        region_spacing=max(5.0, uniform(0.1, 0.25) * side),
        tubes=uniform(0.1, 0.35),
        body=uniform(0, 1) < config.body,
        objects=tuple(objects),
        fixed_levels=fixed_levels,
        moving_levels=unrelated if uniform(0, 1) < config.other_contrast else fixed_levels,
        texture=tuple((torch.rand(levels, generator=generator) * 2 * grain).tolist()),
        texture_spacing=uniform(1.2, 3.0),
        bias=(uniform(*config.bias), uniform(*config.bias)),
        noise=(uniform(*config.noise), uniform(*config.noise)),
        blur=uniform(*config.blur),
    )


def render_pair(record: PairRecord) -> GeneratedPair:
    """Make the pair of a record, batch size 1, on the CPU; the same record always gives the same pair."""
    generator = torch.Generator().manual_seed(record.seed)
    margin, ndim = record.margin, record.ndim
    canvas = tuple(n + 2 * margin for n in record.shape)

    labels = _background(record, canvas, generator)
    texture = spline_noise(canvas, record.texture_spacing, 1, generator)
    wobble = 1 + 0.12 * spline_noise(canvas, max(2.0, 0.15 * min(record.shape)), 1, generator)
    field = smooth_field(
        record.shape, record.peak, record.control_spacing, generator, record.angles, record.translation
    )
    here = F.voxel_grid(record.shape, field) + margin

    loose: list[tuple[Tensor, Tensor, tuple[float, ...]]] = []
    for index, item in enumerate(record.objects):
        value = record.regions + 2 + 2 * index
        distance = _ellipsoid(item, canvas) * wobble
        paint = torch.where(distance < item.core, value + 1, value)
        if any(item.motion):
            loose.append((distance < 1, paint, item.motion))
        else:
            labels = torch.where(distance < 1, paint, labels)

    # labels and motion first, then everything else follows from where each fixed voxel comes from
    fixed_labels = F.sample(labels.double(), (here + field).double(), "nearest", "border").long()
    moving_labels, truth = labels, field
    owner = torch.full_like(fixed_labels, -1)
    seen = torch.full(labels.shape, -1)
    for index, (mask, paint, motion) in enumerate(loose):
        own = field + torch.tensor(motion).view(1, ndim, *[1] * ndim)
        # one lookup of the mask and the label together keeps them consistent
        packed = torch.where(mask, paint, -1)
        found = F.sample(packed.double() + 1, (here + own).double(), "nearest", "zeros").long() - 1
        fixed_labels = torch.where(found >= 0, found, fixed_labels)
        truth = torch.where(found >= 0, own, truth)
        owner = torch.where(found >= 0, index, owner)
        moving_labels = torch.where(mask, paint, moving_labels)
        seen = torch.where(mask, index, seen)

    fixed = _fixed_image(record, labels, loose, texture, here, field)
    moving = _middle(_paint(record, moving_labels, texture, record.moving_levels), margin)
    images = [_acquire(image, record.bias[i], record.noise[i], generator) for i, image in enumerate((fixed, moving))]
    return GeneratedPair(
        fixed=images[0],
        moving=images[1],
        fixed_labels=fixed_labels,
        moving_labels=_middle(moving_labels, margin),
        truth=truth.contiguous(),
        visible=_visible(record, here + truth, seen, owner),
    )


def generate_batch(config: PairConfig, seed: int, index: int, size: int = 1) -> GeneratedPair:
    """Return batch number `index` of the endless sequence that `seed` names; no other state is involved."""
    generator = torch.Generator().manual_seed((seed * 2_654_435_761 + index) % 2**63)
    first = draw_pair(config, generator)
    records = [first, *(draw_pair(config, generator, first.shape) for _ in range(size - 1))]
    pairs = [render_pair(record) for record in records]
    return GeneratedPair(**{name: torch.cat([vars(pair)[name] for pair in pairs]) for name in vars(pairs[0])})


def without_motion(record: PairRecord) -> PairRecord:
    """Return the record of the same anatomy at rest: the fixed image then shows what the moving image shows."""
    objects = tuple(replace(item, motion=(0.0,) * record.ndim) for item in record.objects)
    return replace(record, peak=0.0, objects=objects)


def _background(record: PairRecord, canvas: Sequence[int], generator: torch.Generator) -> Tensor:
    """Label map (1, 1, *canvas): 0 outside the body, 1..regions blobs, regions + 1 tubes."""
    scores = spline_noise(canvas, record.region_spacing, record.regions, generator)
    scores = scores + 0.35 * spline_noise(canvas, max(2.0, 0.4 * record.region_spacing), record.regions, generator)
    labels = 1 + scores.argmax(dim=1, keepdim=True)
    lines = spline_noise(canvas, 1.3 * record.region_spacing, 2, generator)
    labels = torch.where(lines.norm(dim=1, keepdim=True) < record.tubes, record.regions + 1, labels)
    if record.body:
        half = torch.tensor(record.shape).view(1, -1, *[1] * record.ndim) * 0.46
        radius = (centred_grid(canvas) / half).norm(dim=1, keepdim=True)
        wavy = radius * (1 + 0.06 * spline_noise(canvas, 0.3 * min(record.shape), 1, generator))
        labels = torch.where(wavy < 1.05, labels, 0)
    return labels


def _middle(volume: Tensor, margin: int) -> Tensor:
    """Cut the canvas's margin off a volume (1, C, *canvas)."""
    for axis in range(2, volume.ndim):
        volume = volume.narrow(axis, margin, volume.shape[axis] - 2 * margin)
    return volume.contiguous()


def _visible(record: PairRecord, target: Tensor, seen: Tensor, owner: Tensor) -> Tensor:
    """Which fixed voxels are seen in the moving image: same object (`seen` on the canvas, `owner` here), and inside."""
    found = F.sample(seen.double() + 1, target.double(), "nearest", "zeros").long() - 1
    limits = torch.tensor(record.shape).view(1, -1, *[1] * record.ndim) - 1 + record.margin
    outside = ((target < record.margin) | (target > limits)).any(dim=1, keepdim=True)
    return (found == owner) & ~outside


def _ellipsoid(item: ObjectRecord, canvas: Sequence[int]) -> Tensor:
    """Relative radius (1, 1, *canvas): below 1 inside the ellipsoid."""
    ndim = len(canvas)
    shift = torch.tensor(item.centre).view(1, ndim, *[1] * ndim)
    local = torch.einsum("ij,bj...->bi...", rotation_matrix(item.angles), centred_grid(canvas) - shift)
    relative = local / torch.tensor(item.radii).view(1, ndim, *[1] * ndim)
    radius: Tensor = torch.linalg.vector_norm(relative, dim=1, keepdim=True)
    return radius


def _paint(record: PairRecord, labels: Tensor, texture: Tensor, levels: Sequence[float]) -> Tensor:
    """Intensities of a label map: a level and a share of the texture per label, then the common blur."""
    level = torch.tensor((0.02, *levels[1:]) if record.body else tuple(levels))
    grain = torch.tensor((0.0, *record.texture[1:]) if record.body else record.texture)
    return F.gaussian_smooth(level[labels] + grain[labels] * texture, record.blur)


def _fixed_image(
    record: PairRecord,
    labels: Tensor,
    loose: list[tuple[Tensor, Tensor, tuple[float, ...]]],
    texture: Tensor,
    here: Tensor,
    field: Tensor,
) -> Tensor:
    """Read the painted layers at the displaced points: the background, then each loose object over it."""
    ndim = record.ndim
    image = F.sample(_paint(record, labels, texture, record.fixed_levels), here + field, padding="border")
    for mask, paint, motion in loose:
        own = here + field + torch.tensor(motion).view(1, ndim, *[1] * ndim)
        layer = _paint(record, paint, texture, record.fixed_levels)
        alpha = F.gaussian_smooth(mask.float(), record.blur)
        opacity = F.sample(alpha, own, padding="border")
        image = image * (1 - opacity) + F.sample(layer, own, padding="border") * opacity
    return image


def _acquire(image: Tensor, bias: float, noise: float, generator: torch.Generator) -> Tensor:
    """Put a bias field and noise on an image; both are drawn even when they vanish, to keep the order of draws."""
    slow = spline_noise(image.shape[2:], 0.5 * min(image.shape[2:]), 1, generator)
    grain = torch.randn(image.shape, generator=generator)
    return (image * torch.exp(bias * slow.clamp(-2, 2)) + noise * grain).clamp(0, 1)
