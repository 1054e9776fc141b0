"""Random anatomy-like image pairs with their exact displacement field, in 2-D and 3-D.

How a pair is made. A *canvas* larger than the images holds an anatomy: random regions (blobs, tubes, ellipsoids with a
core, walled cavities, the outside of a body) or a part of a given label map in such surroundings, and a texture. The
moving image is the canvas's middle. The fixed image reads the same canvas at displaced points, ``fixed[x] =
canvas[x + u(x)]``. A smooth deformation moves everything; then

* regions that slip along their border carry their points on, within the region: the field jumps along the border, and
  nothing is hidden or uncovered;
* loose objects move as a whole: ``u = u_background + motion_j`` inside object ``j``; where an object of the moving
  image hides the background, the field is still the background's.

The pull-back field ``u`` is therefore exact by construction, also at borders and across discontinuities. What one image
shows and the other does not, bias field, thick slices and noise come last, image by image.

Random numbers are drawn in one place, `draw_pair`, and applied in another, `render_pair`: the record reproduces its
pair exactly, and the global random state is never touched. Contrasts are random per label as in SynthMorph (Hoffmann et
al., IEEE TMI 2022), shared by both images or drawn for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.config import PairConfig
from napari_ran.errors import InputError
from napari_ran.synthetic import anatomy
from napari_ran.synthetic.appearance import acquire, paint, with_own
from napari_ran.synthetic.deformations import column, smooth_field, spline_noise
from napari_ran.synthetic.drawing import draw_pair
from napari_ran.synthetic.records import GeneratedPair, ObjectRecord, OrganRecord, PairRecord, PlacingRecord
from napari_ran.synthetic.sliding import slip
from napari_ran.synthetic.stage_one import stage_one_field


@dataclass(frozen=True)
class _Loose:
    """An object that moves over what lies behind it: where it is on the canvas, its labels there, and its motion."""

    mask: Tensor
    labels: Tensor
    motion: tuple[float, ...]


@dataclass
class _Canvas:
    """Labels without the loose objects, those objects from the lowest up, and the regions that slip with motions."""

    labels: Tensor
    loose: list[_Loose]
    slipping: list[tuple[Tensor, tuple[float, ...]]]


def render_pair(record: PairRecord, label_maps: Sequence[Tensor] = ()) -> GeneratedPair:
    """Make the pair of a record, batch size 1, on the CPU; the same record always gives the same pair.

    Parameters
    ----------
    record : PairRecord
        What `draw_pair` has drawn.
    label_maps : sequence of (1, 1, *S) int tensors
        The sequence that was given to `draw_pair`.

    Raises
    ------
    InputError
        The record's label map is missing.
    """
    generator = torch.Generator().manual_seed(record.seed)
    size = tuple(n + 2 * record.margin for n in record.shape)
    labels = anatomy.background(record, size, generator)
    texture = spline_noise(size, record.texture_spacing, 1, generator)
    wobble = 1 + 0.12 * spline_noise(size, max(2.0, 0.15 * min(record.shape)), 1, generator)
    spline = smooth_field(
        record.shape, record.peak, record.control_spacing, generator, record.angles, record.translation
    )
    field = spline if record.stage_one is None else stage_one_field(record.stage_one, record.shape)
    canvas = _Canvas(labels, [], [])
    if record.placing is not None:
        _place(canvas, record, record.placing, label_maps)
    _put_objects(canvas, record, wobble)

    here = F.voxel_grid(record.shape, field) + record.margin
    field = field + _slip(here + field, canvas)
    truth, fixed_labels, visible, moving_labels = _where_from(canvas, record, here, field)
    fixed = _fixed_image(canvas, record, texture, here + field)
    moving = _middle(paint(record, moving_labels, texture, record.moving_levels), record.margin)
    moving_labels = _middle(moving_labels, record.margin)
    images = [fixed, moving]
    for i, (share, spacing) in enumerate(record.unlike):
        images[i] = with_own(images[i], (fixed_labels, moving_labels)[i] > 0, share, spacing, generator)
    thick = record.thickness or (None, None)
    images = [acquire(image, record.bias[i], record.noise[i], generator, thick[i]) for i, image in enumerate(images)]
    return GeneratedPair(
        fixed=images[0],
        moving=images[1],
        fixed_labels=_named(fixed_labels, record),
        moving_labels=_named(moving_labels, record),
        truth=truth.contiguous(),
        visible=visible,
    )


def generate_batch(
    config: PairConfig, seed: int, index: int, size: int = 1, label_maps: Sequence[Tensor] = ()
) -> GeneratedPair:
    """Return batch number `index` of the endless sequence that `seed` names; no other state is involved."""
    generator = generator_for(seed, index)
    first = draw_pair(config, generator, label_maps=label_maps)
    records = [first, *(draw_pair(config, generator, first.shape, label_maps) for _ in range(size - 1))]
    pairs = [render_pair(record, label_maps) for record in records]
    return GeneratedPair(**{name: torch.cat([vars(pair)[name] for pair in pairs]) for name in vars(pairs[0])})


def generator_for(seed: int, index: int) -> torch.Generator:
    """Return the random numbers of one place in the sequence that `seed` names."""
    return torch.Generator().manual_seed((seed * 2_654_435_761 + index) % 2**63)


def without_motion(record: PairRecord) -> PairRecord:
    """Return a record of such anatomy at rest: the fixed image then shows what the moving image shows."""
    still = (0.0,) * record.ndim
    objects = tuple(replace(item, motion=still) for item in record.objects)
    organs = tuple(replace(item, motion=still) for item in record.organs)
    return replace(record, peak=0.0, stage_one=None, objects=objects, organs=organs, unlike=())


def _place(canvas: _Canvas, record: PairRecord, placing: PlacingRecord, label_maps: Sequence[Tensor]) -> None:
    """Put the label map over the background; its labels follow those of the background."""
    if placing.number >= len(label_maps):
        problem = f"label map {placing.number} is wanted, and {len(label_maps)} are given"
        raise InputError("label_maps", problem, "Give the label maps with which the pair was drawn")
    first = record.regions + 1
    found = anatomy.placed(placing, label_maps[placing.number], canvas.labels.shape[2:])
    behind = canvas.labels if placing.surround else torch.zeros_like(canvas.labels)
    canvas.labels = torch.where(found > 0, found + first, behind)
    for item in record.organs:
        if not any(item.motion):
            continue
        values = torch.tensor([placing.labels.index(label) + 1 + first for label in item.labels])
        mask = torch.isin(canvas.labels, values)
        if item.along:
            canvas.slipping.append((mask, item.motion))
        else:
            canvas.loose.append(_Loose(mask, canvas.labels, item.motion))
            canvas.labels = anatomy.without(canvas.labels, mask)


def _put_objects(canvas: _Canvas, record: PairRecord, wobble: Tensor) -> None:
    first = record.regions + 2 + (len(record.placing.labels) if record.placing else 0)
    for index, item in enumerate(record.objects):
        value = first + 2 * index
        waviness = (2 + wobble) / 3 if item.hollow else wobble  # large shapes would look crumpled
        distance = anatomy.ellipsoid(item, canvas.labels.shape[2:]) * waviness
        inside = distance < 1
        if item.hollow:
            canvas.labels = torch.where(~inside & (distance < anatomy.WALL), value, canvas.labels)
        else:
            own = torch.where(distance < item.core, value + 1, value)
            if any(item.motion) and not item.along:
                canvas.loose.append(_Loose(inside, own, item.motion))
                continue
            canvas.labels = torch.where(inside, own, canvas.labels)
        if item.along and any(item.motion):
            canvas.slipping.append((inside, item.motion))


def _slip(points: Tensor, canvas: _Canvas) -> Tensor:
    """Return how far the points (1, D, *S) move on within regions that slip; the last put owns what several cover."""
    shift = torch.zeros_like(points)
    for mask, motion in reversed(canvas.slipping):
        moved = slip(points, mask, motion) - points
        shift = torch.where((shift != 0).any(dim=1, keepdim=True), shift, moved)
    return shift


def _where_from(
    canvas: _Canvas, record: PairRecord, here: Tensor, field: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return truth, fixed labels, visible fixed voxels and the moving labels on the whole canvas.

    Labels and motion come first; everything else follows from where each fixed voxel comes from.
    """
    fixed_labels = F.sample(canvas.labels.double(), (here + field).double(), "nearest", "border").long()
    moving_labels, truth = canvas.labels, field
    owner = torch.full_like(fixed_labels, -1)
    seen = torch.full(canvas.labels.shape, -1)
    for index, item in enumerate(canvas.loose):
        own = field + column(item.motion)
        # one lookup of the mask and the label together keeps them consistent
        packed = torch.where(item.mask, item.labels, -1)
        found = F.sample(packed.double() + 1, (here + own).double(), "nearest", "zeros").long() - 1
        fixed_labels = torch.where(found >= 0, found, fixed_labels)
        truth = torch.where(found >= 0, own, truth)
        owner = torch.where(found >= 0, index, owner)
        moving_labels = torch.where(item.mask, item.labels, moving_labels)
        seen = torch.where(item.mask, index, seen)
    return truth, fixed_labels, _visible(record, here + truth, seen, owner), moving_labels


def _middle(volume: Tensor, margin: int) -> Tensor:
    """Cut the canvas's margin off a volume (1, C, *canvas)."""
    for axis in range(2, volume.ndim):
        volume = volume.narrow(axis, margin, volume.shape[axis] - 2 * margin)
    return volume.contiguous()


def _visible(record: PairRecord, target: Tensor, seen: Tensor, owner: Tensor) -> Tensor:
    """Which fixed voxels are seen in the moving image: same object (`seen` on the canvas, `owner` here), and inside."""
    found = F.sample(seen.double() + 1, target.double(), "nearest", "zeros").long() - 1
    limits = column([n - 1 + record.margin for n in record.shape])
    outside = ((target < record.margin) | (target > limits)).any(dim=1, keepdim=True)
    return (found == owner) & ~outside


def _fixed_image(canvas: _Canvas, record: PairRecord, texture: Tensor, points: Tensor) -> Tensor:
    """Read the painted layers at the displaced points: the background, then each loose object over it."""
    image = F.sample(paint(record, canvas.labels, texture, record.fixed_levels), points, padding="border")
    for item in canvas.loose:
        own = points + column(item.motion)
        layer = paint(record, item.labels, texture, record.fixed_levels)
        alpha = F.gaussian_smooth(item.mask.float(), record.blur)
        opacity = F.sample(alpha, own, padding="border")
        image = image * (1 - opacity) + F.sample(layer, own, padding="border") * opacity
    return image


def _named(labels: Tensor, record: PairRecord) -> Tensor:
    """Return a given map's own labels and 0 elsewhere; random anatomy keeps its numbers."""
    if record.placing is None:
        return labels
    first = record.regions + 2
    table = torch.zeros(first + len(record.placing.labels) + 2 * len(record.objects), dtype=torch.long)
    table[first : first + len(record.placing.labels)] = torch.tensor(record.placing.labels)
    return table[labels]


__all__ = [
    "GeneratedPair",
    "ObjectRecord",
    "OrganRecord",
    "PairRecord",
    "draw_pair",
    "generate_batch",
    "generator_for",
    "render_pair",
    "without_motion",
]
