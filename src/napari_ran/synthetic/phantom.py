"""A made-up thorax and abdomen whose organs slide against the body wall and against each other.

The mathematics. Points are voxel coordinates relative to the grid's middle; ``r`` is the position divided by half the
grid's size, the last axis ``z`` runs along the body, and ``q = r_xy / b(r_z)`` are cross-section coordinates
straightened by the barrel profile ``b(t) = 1 - bulge t**2``.

- The body has three parts: the wall W, outside the cavity ``|q / radii| < 1``, and inside it the organs' sides A and B,
  divided by the surface ``q_0 = split(q_1)``. None of the three conditions contains ``z`` once ``q`` is known.
- The slide of part P moves a point along its own line of constant ``q``: ``z -> z + s_P w(r_z)``,
  ``xy -> xy b(r_z') / b(r_z)``, with ``w(t) = cos(pi t / 2)**2`` inside the grid and ``s_W = 0``. As ``q`` does not
  change, each boundary surface is mapped onto itself by both of its sides: they slide, without gap or overlap.
- A common smooth displacement ``c`` (sines that fade to zero at the faces of the grid) comes first, so that the
  boundaries also change their shape and place.
- The material ``M_P``, intensity as a function of position, is analytic: organ levels with smooth edges, ribs, spheres,
  and a texture made of plane waves. The moving image is ``M_P(y)`` and the fixed image ``M_P(slide_P(x + c(x)))``.

So ``y = slide_P(x + c(x))``, with the part P at ``x + c(x)``, is the exact point-wise truth in closed form, no image is
interpolated, and the texture moves with the tissue on both sides of a boundary. At a boundary both images blend the
parts over about a voxel, as a scanner would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks
from napari_ran.synthetic.deformations import centred_grid, uniform
from napari_ran.synthetic.slip import Interface, SlipReport, measure_slip, tangential, zero_crossings

NAMES = {1: "liver", 2: "spleen", 3: "right lung", 4: "left lung"}
"""The phantom's labels."""

_EDGE = 0.5
"""Half width of blended edges, in voxels."""


@dataclass(frozen=True, eq=False)
class PhantomPair:
    """A pair with its truth.

    Attributes
    ----------
    fixed, moving : Image
        Intensities in [0, 1].
    fixed_labels, moving_labels : Labels
        The organs, with names.
    fixed_landmarks, moving_landmarks : Landmarks
        Middles of small spheres inside the parts, point by point.
    truth : DisplacementField
        Exact field on the fixed grid.
    interface : Interface
        Points of the boundaries along which the parts slide.
    """

    fixed: Image
    moving: Image
    fixed_labels: Labels
    moving_labels: Labels
    fixed_landmarks: Landmarks
    moving_landmarks: Landmarks
    truth: DisplacementField
    interface: Interface

    def slip(self, field: DisplacementField) -> SlipReport:
        """Return the share of the slip that `field` (on the fixed grid) recovers, and its error inside the organs."""
        return measure_slip(field, self.truth, self.interface, self.fixed_labels.array > 0)


def sliding_phantom(
    seed: int = 0, shape: tuple[int, ...] = (96, 80, 64), spacing: Sequence[float] = (1.5, 1.5, 2.0)
) -> PhantomPair:
    """Make the 3-D phantom pair; see the module's text for the mathematics.

    Parameters
    ----------
    seed : int
        Other seeds vary the geometry, the motion and the texture. The global random state is not used.
    shape : tuple of int
        Number of voxels. The slip grows with the last axis: about 7 voxels for 64.
    spacing : sequence of float
        Voxel size in mm.
    """
    grid = Grid.from_spacing(
        tuple(shape), list(spacing), [-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True)]
    )
    return _make(_Anatomy.draw(grid.shape, seed), grid, seed)


def phantom_2d(seed: int = 0, shape: tuple[int, ...] = (112, 80), spacing: Sequence[float] = (1.5, 1.5)) -> PhantomPair:
    """Make a 2-D phantom pair, the coronal counterpart of `sliding_phantom`: the parts slide along the last axis.

    Parameters
    ----------
    seed : int
        Other seeds vary the geometry, the motion and the texture.
    shape : tuple of int
        Number of pixels.
    spacing : sequence of float
        Pixel size in mm.
    """
    return sliding_phantom(seed, shape, spacing)


@dataclass(frozen=True, eq=False)
class _Waves:
    """A sum of plane waves of unit standard deviation: directions and frequencies (K, D), phases (K)."""

    frequencies: Tensor
    phases: Tensor

    @classmethod
    def draw(cls, ndim: int, count: int, wavelength: tuple[float, float], generator: torch.Generator) -> _Waves:
        direction = torch.randn(count, ndim, generator=generator)
        length = torch.empty(count, 1).uniform_(*wavelength, generator=generator)
        frequencies = 2 * math.pi * direction / direction.norm(dim=1, keepdim=True) / length
        return cls(frequencies, torch.rand(count, generator=generator) * 2 * math.pi)

    def __call__(self, points: Tensor) -> Tensor:
        """Evaluate at points (D, N) in voxels."""
        total, points = torch.zeros(points.shape[1]), points.float()
        for frequency, phase in zip(self.frequencies, self.phases, strict=True):
            total += torch.cos(frequency @ points + phase)
        return total * math.sqrt(2 / len(self.phases))


@dataclass(frozen=True, eq=False)
class _Anatomy:
    """Everything that was drawn for one phantom; positions in voxels from the grid's middle, as float64 (D, N)."""

    shape: tuple[int, ...]
    bulge: float
    radii: Tensor
    split: tuple[float, float]
    slides: tuple[float, float, float]
    bend: Tensor
    domes: tuple[float, float]
    ribs: tuple[float, float]
    textures: tuple[_Waves, ...]
    vessels: tuple[tuple[_Waves, _Waves], ...]

    @classmethod
    def draw(cls, shape: tuple[int, ...], seed: int) -> _Anatomy:
        generator = torch.Generator().manual_seed(seed)

        between = partial(uniform, generator)
        ndim, slip = len(shape), between(0.105, 0.115) * shape[-1]
        return cls(
            shape=shape,
            bulge=between(0.15, 0.25),
            radii=torch.tensor([between(0.68, 0.74), between(0.62, 0.7)][: ndim - 1], dtype=torch.float64),
            split=(between(0.05, 0.18), between(-0.2, 0.2)),
            slides=(0.0, slip, between(0.38, 0.48) * slip),
            bend=torch.randn(ndim, ndim, generator=generator, dtype=torch.float64).clamp(-1.5, 1.5)
            * 0.012
            * min(shape),
            domes=(between(0.1, 0.25), between(-0.1, 0.05)),
            ribs=(0.2, between(0.0, 0.2)),
            textures=tuple(_Waves.draw(ndim, 24, (4.5, 13.0), generator) for _ in range(3)),
            vessels=tuple(
                (_Waves.draw(ndim, 8, (14.0, 26.0), generator), _Waves.draw(ndim, 8, (14.0, 26.0), generator))
                for _ in range(3)
            ),
        )

    @property
    def half(self) -> Tensor:
        """Half the grid's size in voxels, (D, 1)."""
        return torch.tensor(self.shape, dtype=torch.float64)[:, None] / 2

    def barrel(self, along: Tensor) -> Tensor:
        """Radius profile b of the relative position along the body."""
        return 1 - self.bulge * along.clamp(-1, 1) ** 2

    def section(self, points: Tensor) -> Tensor:
        """Straightened cross-section coordinates q, (D - 1, N)."""
        relative = points / self.half
        return relative[:-1] / self.barrel(relative[-1])

    def cavity(self, points: Tensor) -> Tensor:
        """Distance into the cavity in voxels (approximately), positive inside."""
        q = self.section(points)
        scale = float((self.radii * self.half[:-1, 0]).mean())
        radius = torch.linalg.vector_norm(q / self.radii[:, None], dim=0)
        depth: Tensor = (1 - radius) * scale * self.barrel((points / self.half)[-1])
        return depth

    def side(self, points: Tensor) -> Tensor:
        """Distance from the boundary between the sides in voxels (approximately), positive on side A."""
        q = self.section(points)
        across = q[1] if len(q) > 1 else torch.zeros_like(q[0])
        level = self.split[0] + self.split[1] * across + 0.25 * across**2
        return (level - q[0]) * self.half[0, 0]

    def parts(self, points: Tensor) -> Tensor:
        """Share (3, N) of wall, side A and side B at each point; they add up to one."""
        inside = torch.sigmoid(self.cavity(points) / (0.5 * _EDGE))
        a = torch.sigmoid(self.side(points) / (0.5 * _EDGE))
        return torch.stack([1 - inside, inside * a, inside * (1 - a)])

    def part(self, points: Tensor) -> Tensor:
        """Which of the three parts each point belongs to, (N,)."""
        within = torch.where(self.side(points) > 0, 1, 2)
        return torch.where(self.cavity(points) > 0, within, 0)

    def common(self, points: Tensor) -> Tensor:
        """Apply the common smooth displacement: x + c(x)."""
        relative = (points / self.half).clamp(-1, 1)
        fade = (torch.cos(math.pi / 2 * relative) ** 2).prod(dim=0)
        waves = torch.stack([torch.sin(1.2 * relative[j] + 0.7 * (j + 1)) for j in range(len(relative))])
        return points + fade * (self.bend @ waves)

    def slide(self, points: Tensor, part: int) -> Tensor:
        """Slide points as a part does."""
        along = (points / self.half)[-1]
        fade = torch.where(along.abs() < 1, torch.cos(math.pi / 2 * along) ** 2, 0.0)
        moved = points[-1] + self.slides[part] * fade
        ratio = self.barrel(moved / self.half[-1]) / self.barrel(along)
        return torch.cat([points[:-1] * ratio, moved[None]])

    def to_moving(self, points: Tensor) -> Tensor:
        """Map fixed to moving positions, exactly; both (D, N)."""
        reference = self.common(points)
        part = self.part(reference)
        result = reference.clone()
        for index in (1, 2):
            chosen = part == index
            result[:, chosen] = self.slide(reference[:, chosen], index)
        return result

    def dome(self, points: Tensor, part: int) -> Tensor:
        """Height above the boundary between the organ below and the lung above, in voxels."""
        q = self.section(points)
        height = self.domes[part - 1] - 0.9 * (q[0] - (-0.3 if part == 1 else 0.45)) ** 2
        if len(q) > 1:
            height = height - 0.5 * q[1] ** 2
        return points[-1] - height * self.half[-1]

    def organs(self, points: Tensor) -> Tensor:
        """Label of each material point."""
        part = self.part(points)
        labels = torch.zeros(points.shape[1], dtype=torch.int32)
        for index in (1, 2):
            above = self.dome(points, index) > 0
            deep = points[-1] < -0.78 * self.half[-1]
            found = torch.where(above, index + 2, torch.where(deep, 0, index)).int()
            labels = torch.where(part == index, found, labels)
        return labels

    def material(self, points: Tensor, part: int, spheres: Tensor) -> Tensor:
        """Intensity of a part's material at points (D, N)."""
        grain = self.textures[part](points)
        lines = torch.stack([wave(points) for wave in self.vessels[part]]).square().sum(dim=0)
        vessel = torch.exp(-lines / 0.06)
        if part:
            above = _soft(self.dome(points, part))
            deep = _soft(-0.78 * self.half[-1] - points[-1])
            organ, lung = ((0.78, 0.18), (0.62, 0.3))[part - 1]
            level = above * lung + (1 - above) * ((1 - deep) * organ + deep * 0.5)
            value = level + (0.045 + 0.015 * (1 - above)) * grain + (0.3 * above - 0.25 * (1 - above)) * vessel
        else:
            value = self._wall(points, grain, vessel)
        for centre in spheres.T:
            distance = (points - centre[:, None]).norm(dim=0)
            value = value + (0.2 if float(centre[0]) > 0 else -0.2) * _soft(2.2 - distance)
        return value

    def _wall(self, points: Tensor, grain: Tensor, vessel: Tensor) -> Tensor:
        relative = points / self.half
        q = relative[:-1] / (1 - 0.5 * self.bulge * relative[-1:].clamp(-1, 1) ** 2)
        radius = (q / torch.tensor([0.93, 0.9][: len(q)], dtype=q.dtype)[:, None]).norm(dim=0)
        body = _soft((1 - radius) * float(self.half[:-1].mean()))
        # ribs: arches in the wall at regular heights, just outside the cavity
        pitch, phase = self.ribs
        slope = relative[-1] + (0.25 * relative[1] if len(q) > 1 else 0.0)
        height = ((slope / pitch + phase) % 1 - 0.5) * pitch * self.half[-1]
        depth = -self.cavity(points) - 0.065 * float(self.half[:-1].mean())
        rib = torch.exp(-((height / 1.6) ** 2) - (depth / 1.6) ** 2)
        return body * (0.46 + 0.05 * grain + 0.1 * vessel + 0.45 * rib)


def _soft(distance: Tensor) -> Tensor:
    """Return a smooth step over about a voxel of a distance in voxels."""
    return torch.sigmoid(distance / (0.5 * _EDGE)).float()


def _make(anatomy: _Anatomy, grid: Grid, seed: int) -> PhantomPair:
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    points = centred_grid(grid.shape, torch.float64)[0].flatten(1)
    reference = anatomy.common(points)
    target = anatomy.to_moving(points)
    marks = _marks(anatomy, points, generator)
    spheres = anatomy.to_moving(marks)

    def image(at: Tensor, place: Callable[[Tensor, int], Tensor], name: str) -> Image:
        value = torch.zeros(at.shape[1])
        for part, share in enumerate(anatomy.parts(at)):
            chosen = share > 1e-3
            own = spheres[:, anatomy.part(spheres) == part]
            value[chosen] += share[chosen].float() * anatomy.material(place(at[:, chosen], part), part, own)
        value += 0.012 * torch.randn(value.shape, generator=generator)
        return Image(value.clamp(0, 1).reshape(grid.shape), grid, name, {"modality": "phantom", "seed": seed})

    middle = (torch.tensor(grid.shape, dtype=torch.float64) - 1)[:, None] / 2
    truth = DisplacementField((target - points).reshape(grid.ndim, *grid.shape), grid)
    return PhantomPair(
        fixed=image(reference, anatomy.slide, "phantom fixed"),
        moving=image(points, lambda at, part: at, "phantom moving"),
        fixed_labels=Labels(anatomy.organs(target).reshape(grid.shape), grid, "phantom fixed organs", dict(NAMES)),
        moving_labels=Labels(anatomy.organs(points).reshape(grid.shape), grid, "phantom moving organs", dict(NAMES)),
        fixed_landmarks=Landmarks.from_voxels((marks + middle).T.numpy(), grid, "phantom fixed landmarks"),
        moving_landmarks=Landmarks.from_voxels((spheres + middle).T.numpy(), grid, "phantom moving landmarks"),
        truth=truth,
        interface=_interface(anatomy, grid, points, reference),
    )


def _marks(anatomy: _Anatomy, points: Tensor, generator: torch.Generator, count: int = 24) -> Tensor:
    """Draw fixed positions (D, N) of spheres: inside the sides, off the boundaries, and apart from each other."""
    candidates = points[:, torch.randperm(points.shape[1], generator=generator)[:20_000]]
    target = anatomy.to_moving(candidates)
    clear = min(4.0, 0.1 * min(anatomy.shape))
    above = torch.where(anatomy.side(target) > 0, anatomy.dome(target, 1), anatomy.dome(target, 2))
    free = (anatomy.cavity(target) > clear) & (anatomy.side(target).abs() > clear) & (above.abs() > clear)
    free &= (target[-1] / anatomy.half[-1]).abs() < 0.68
    chosen: list[Tensor] = []
    for candidate in candidates[:, free].T:
        if all(float((candidate - other).norm()) > 2 * clear for other in chosen):
            chosen.append(candidate)
        if len(chosen) == count:
            break
    return torch.stack(chosen, dim=1)


def _interface(anatomy: _Anatomy, grid: Grid, points: Tensor, reference: Tensor) -> Interface:
    """Find where the boundaries cross the grid's lines, and the exact jump of the displacement there."""
    offset = 1.5 * float(grid.spacing[:-1].mean())
    cavity = anatomy.cavity(reference).reshape(grid.shape).numpy()
    side = anatomy.side(reference).reshape(grid.shape).numpy()
    middle = (np.asarray(grid.shape) - 1) / 2

    def displacement(world: NDArray[np.float64]) -> NDArray[np.float64]:
        at = torch.from_numpy((grid.to_voxel(world) - middle).T.copy())
        return np.asarray((anatomy.to_moving(at) - at).T.numpy() @ grid.affine[:-1, :-1].T)

    parts = []
    for name, level, clear in (
        ("wall - side A", cavity, side > 3),
        ("wall - side B", cavity, side < -3),
        ("side A - side B", side, cavity > 3),
    ):
        voxels = zero_crossings(level)
        nearest = tuple(np.rint(voxels).astype(int).T)
        gradient = np.stack([slope[nearest] for slope in np.gradient(level)], axis=1)
        normal = gradient @ np.linalg.inv(grid.affine[:-1, :-1])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        world = grid.to_world(voxels)
        jump = displacement(world + offset * normal) - displacement(world - offset * normal)
        jump = tangential(jump, normal)
        length = np.linalg.norm(jump, axis=1)
        keep = clear[nearest] & (length > 0.3 * length.max())  # the slip fades towards the ends of the body
        parts.append(Interface(world[keep], normal[keep], jump[keep], offset, (name,) * int(keep.sum())))
    return Interface.joined(parts)
