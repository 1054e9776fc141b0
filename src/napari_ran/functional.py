"""Pure operations on displacement fields as tensors, in 2-D and 3-D alike.

Contract: a field ``u`` of shape (B, D, *S) is in voxels of its own grid, channel ``i`` is the displacement along array
axis ``i``, and it pulls back: ``warped[x] = image[x + u(x)]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ran.types import Interpolation, Padding

_MODES = {2: "bilinear", 3: "trilinear"}

_LEAST_POINTS = 4096
_MOST_GRADIENTS = 4

SLAB = 2**20
"""Where no gradient is wanted, large grids are computed in slabs of about so many voxels.

What is made on the way then takes a bounded memory, which the allocator keeps from slab to slab, where larger blocks
would go back to the system and come back page by page.
"""


def voxel_grid(shape: Sequence[int], like: Tensor, rows: slice = slice(None)) -> Tensor:
    """Return the voxel coordinates of a grid, (1, D, *S), on the device and in the dtype of `like`.

    Of the first axis only `rows` come out, such as one of `slabs`.
    """
    first, *others = _axes(shape, like)
    first = first[rows]
    return torch.stack([along.expand(len(first), *shape[1:]) for along in (first, *others)])[None]


def _axes(shape: Sequence[int], like: Tensor) -> list[Tensor]:
    """Return the voxel coordinates along each axis, which together spread over a grid: (n, 1, 1), (n, 1), (n)."""
    numbers = (torch.arange(n, device=like.device, dtype=like.dtype) for n in shape)
    return [along.view(-1, *[1] * (len(shape) - 1 - axis)) for axis, along in enumerate(numbers)]


def slabs(shape: Sequence[int], voxels: int | None = None) -> Iterator[slice]:
    """Yield slices along the first axis of a grid, each of about so many voxels; of `SLAB` when left out."""
    voxels = SLAB if voxels is None else voxels
    thickness = max(1, voxels // math.prod(shape[1:]))
    return (slice(start, min(start + thickness, shape[0])) for start in range(0, shape[0], thickness))


def in_slabs(
    function: Callable[..., Tensor],
    tensors: Sequence[Tensor | None],
    ndim: int,
    reach: int = 0,
    count: int | None = None,
) -> Tensor:
    """Apply a function of tensors that share their last `ndim` axes, slab by slab along the first of these.

    Parameters
    ----------
    function : callable
        Takes the tensors; its value at a voxel depends on voxels up to `reach` away, and at the ends on their being
        the ends.
    tensors : sequence of Tensor or None
        ``(..., *S)`` each.
    ndim : int
        Number of axes in S.
    reach : int
        In voxels.
    count : int, optional
        How many slabs there should be, that of `slab_count` when left out; fewer where they would be thin, and one
        where a gradient is wanted.
    """
    axis = -ndim
    given = [tensor for tensor in tensors if tensor is not None]
    size = given[0].shape[axis]
    count = min(slab_count(given[0].shape[axis:]) if count is None else count, size // max(4 * reach, 1))
    if count < 2 or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)):
        return function(*tensors)
    whole: Tensor | None = None
    for start, end in pairwise(size * number // count for number in range(count + 1)):
        low, high = max(start - reach, 0), min(end + reach, size)
        slab = [None if tensor is None else tensor.narrow(axis, low, high - low) for tensor in tensors]
        made = function(*slab).narrow(axis, start - low, end - start)
        if whole is None:
            shape = list(made.shape)
            shape[axis] = size
            whole = made.new_empty(shape)
        whole.narrow(axis, start, end - start).copy_(made)
    assert whole is not None
    return whole


def slab_count(shape: Sequence[int]) -> int:
    """Return into how many slabs of about `SLAB` voxels a grid is divided."""
    return round(math.prod(shape) / SLAB)


def mapped(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply a homogeneous matrix (D + 1, D + 1) to coordinates (D, *S)."""
    return torch.einsum("ij,j...->i...", matrix[:-1, :-1], points) + matrix[:-1, -1].view(-1, *[1] * (points.ndim - 1))


def within(points: Tensor, shape: Sequence[int]) -> Tensor:
    """Return which voxel coordinates (D, *S) lie inside a grid of `shape`, the outer voxels' faces included, (*S)."""
    upper = torch.tensor(shape, dtype=points.dtype, device=points.device).view(-1, *[1] * (points.ndim - 1)) - 0.5
    return ((points >= -0.5) & (points <= upper)).all(dim=0)


def sample(
    image: Tensor, coordinates: Tensor, interpolation: Interpolation = "linear", padding: Padding = "zeros"
) -> Tensor:
    """Sample an image at voxel coordinates.

    Parameters
    ----------
    image : (B, C, *S) tensor
        The image that is read.
    coordinates : (B, D, *T) tensor
        Where to read it, in voxels of `image`, along its array axes. ``T`` has D axes and may differ from ``S``.
    interpolation : {"linear", "nearest"}
        Linear, or the value of the nearest voxel.
    padding : {"zeros", "border"}
        Outside the image: zero with a linear fade over one voxel, or the value at the border.

    Returns
    -------
    (B, C, *T) tensor
        Some finite value of the image where a coordinate is not a number.
    """
    shape = image.shape[2:]
    scale = torch.tensor([2 / max(n - 1, 1) for n in shape], device=image.device, dtype=coordinates.dtype)
    # an axis of a single voxel has no extent: its coordinate 0 becomes the centre
    offset = torch.tensor([1.0 if n > 1 else 0.0 for n in shape], device=image.device, dtype=coordinates.dtype)
    normalised = coordinates.movedim(1, -1) * scale - offset
    if len(shape) == 2:  # torch's 2-D kernel reads outside its memory where a coordinate is not a number
        normalised = normalised.nan_to_num(nan=0.0)
    return grid_sample(image, normalised.flip(-1), interpolation, padding)  # it counts axes from the last


def grid_sample(
    image: Tensor,
    normalised: Tensor,
    interpolation: Interpolation = "linear",
    padding: Padding = "zeros",
    align_corners: bool = True,
) -> Tensor:
    """Do what torch's function of this name does, on all cores: on the processor that divides 3-D work by batch only.

    Parameters
    ----------
    image : (B, C, *S) tensor
        What is read.
    normalised : (B, *T, D) tensor
        Where, from -1 to 1, axes from the last.
    interpolation, padding
        As for `sample`.
    align_corners : bool
        Whether -1 and 1 are the outermost voxels' centres, or their faces.
    """
    mode = "bilinear" if interpolation == "linear" else "nearest"
    parts = _parts(image, normalised)
    if parts == 1:
        return F.grid_sample(image, normalised, mode=mode, padding_mode=padding, align_corners=align_corners)
    points = normalised.reshape(parts, 1, 1, -1, 3)
    found = F.grid_sample(
        image.expand(parts, *image.shape[1:]), points, mode=mode, padding_mode=padding, align_corners=align_corners
    )
    return found.transpose(0, 1).reshape(1, image.shape[1], *normalised.shape[1:-1])


def _parts(image: Tensor, normalised: Tensor) -> int:
    """Return into how many equal parts to divide the points: one where nothing would be gained, or none is equal."""
    threads, number = torch.get_num_threads(), normalised.shape[1:-1].numel()
    if image.device.type != "cpu" or image.ndim != 5 or len(image) > 1 or threads == 1 or number < _LEAST_POINTS:
        return 1
    if image.requires_grad and torch.is_grad_enabled():
        threads = min(threads, _MOST_GRADIENTS)  # each part has a gradient of the whole image
    return next((n for n in range(threads, 4 * threads) if number % n == 0), 1)


def warp(image: Tensor, field: Tensor, interpolation: Interpolation = "linear", padding: Padding = "zeros") -> Tensor:
    """Return ``image[x + field(x)]``: (B, C, *S) warped by (B, D, *S), both on one grid.

    See `sample` for the interpolation and what lies outside.
    """
    first, *others = _axes(field.shape[2:], field)

    def read(part: Tensor, rows: Tensor) -> Tensor:
        points = torch.stack([part[:, axis] + place for axis, place in enumerate((rows, *others))], 1)
        return sample(image, points, interpolation, padding)

    whole = torch.is_grad_enabled() and image.requires_grad
    return in_slabs(read, [field, first], field.ndim - 2, count=1 if whole else None)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the field that applies `inner` first and `outer` at the point reached.

    ``x -> y + outer(y)`` with ``y = x + inner(x)``; so ``warp(warp(image, outer), inner)`` is close to
    ``warp(image, compose(outer, inner))``, with one interpolation instead of two. Both (B, D, *S), in voxels.
    """
    return inner + warp(outer, inner, padding="border")


def invert(
    field: Tensor, initial: Tensor | None = None, iterations: int = 50, tolerance: float = 1e-3
) -> tuple[Tensor, float]:
    """Invert a field by fixed-point iteration, ``v(y) <- -u(y + v(y))``.

    Parameters
    ----------
    field : (B, D, *S) tensor
        The field ``u`` in voxels.
    initial : (B, D, *S) tensor, optional
        Where to start, such as a network's other direction.
    iterations : int
        Largest number of iterations.
    tolerance : float
        Stop when no voxel changes by more than this, in voxels.

    Returns
    -------
    inverse : (B, D, *S) tensor
        The field ``v`` with ``v(y) + u(y + v(y)) = 0`` up to the residual.
    residual : float
        Largest ``|v(y) + u(y + v(y))|`` in voxels; it stays large where the field folds.
    """
    inverse = -field if initial is None else initial
    grid, opposite = voxel_grid(field.shape[2:], field), -field
    update = sample(opposite, grid + inverse, padding="border")
    residual = _largest_difference(update, inverse)
    for _ in range(iterations):
        if residual < tolerance:
            break
        inverse = update
        update = sample(opposite, grid + inverse, padding="border")
        residual = _largest_difference(update, inverse)
    return inverse, residual


def _largest_difference(one: Tensor, other: Tensor) -> float:
    low, high = torch.aminmax((one - other).detach())
    return max(-float(low), float(high))


def resize(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize (B, C, *S) linearly to another spatial shape over the same box (outer faces coincide)."""
    if tuple(image.shape[2:]) == tuple(shape):
        return image
    return F.interpolate(image, size=tuple(shape), mode=_MODES[image.ndim - 2], align_corners=False)


def resize_labels(labels: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize label maps (B, C, *S) to another shape over the same box; every voxel takes the nearest one's label."""
    return F.interpolate(labels.float(), size=tuple(shape), mode="nearest-exact").to(labels.dtype)


def resize_field(field: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize a field (B, D, *S) to another grid over the same box; displacements follow the voxel size."""
    ratio = [new / old for new, old in zip(shape, field.shape[2:], strict=True)]
    scale = torch.tensor(ratio, device=field.device, dtype=field.dtype).view(1, -1, *[1] * len(ratio))
    # whichever has fewer voxels is scaled
    return resize(field * scale, shape) if math.prod(ratio) > 1 else resize(field, shape) * scale


def upsample_field(field: Tensor, factor: int = 2) -> Tensor:
    """Repeat each voxel `factor` times along every axis and scale the displacement alike (one octave up)."""
    return F.interpolate(field, scale_factor=float(factor), mode="nearest") * factor


def cropped(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a view of (..., *S) that ends at `shape` along the spatial axes, as an image does before its padding."""
    for axis, size in enumerate(shape, start=values.ndim - len(shape)):
        values = values.narrow(axis, 0, size)
    return values


def jacobian(field: Tensor) -> Tensor:
    """Return the Jacobian matrix of ``x + u(x)``, (B, D, D, *S).

    Entry (i, j) is the derivative of component i along axis j. Central differences, one-sided at the faces; an axis of
    one voxel has derivative zero.
    """
    ndim = field.shape[1]
    columns = [
        torch.gradient(field, dim=axis + 2)[0] if field.shape[axis + 2] > 1 else torch.zeros_like(field)
        for axis in range(ndim)
    ]
    matrix = torch.stack(columns, dim=2)
    identity = torch.eye(ndim, device=field.device, dtype=field.dtype).view(1, ndim, ndim, *[1] * ndim)
    return matrix + identity


def jacobian_determinant(field: Tensor) -> Tensor:
    """Return the determinant of the Jacobian of ``x + u(x)``, (B, *S); values at or below zero are folds."""
    if field.requires_grad and torch.is_grad_enabled():
        return determinant(jacobian(field))
    return torch.stack([in_slabs(_determinant_at, [one], len(one), reach=1) for one in field])


def _determinant_at(field: Tensor) -> Tensor:
    """Return the determinants (*S) of a field (D, *S), without a gradient."""
    columns = [slopes(field, axis) for axis in range(len(field))]
    for axis, column in enumerate(columns):
        column[axis] += 1
    return determinant_of(columns)


def slopes(field: Tensor, axis: int) -> Tensor:
    """Return the slopes of a field (D, *S) along an axis, as in `jacobian` but without a gradient and in few passes."""
    n = field.shape[axis + 1]
    if n == 1:
        return torch.zeros_like(field)
    found = torch.empty_like(field)
    first, last = field.narrow(axis + 1, 0, 1), field.narrow(axis + 1, n - 1, 1)
    torch.sub(field.narrow(axis + 1, 1, 1), first, out=found.narrow(axis + 1, 0, 1))
    torch.sub(last, field.narrow(axis + 1, n - 2, 1), out=found.narrow(axis + 1, n - 1, 1))
    if n > 2:
        inner = found.narrow(axis + 1, 1, n - 2)
        torch.sub(field.narrow(axis + 1, 2, n - 2), field.narrow(axis + 1, 0, n - 2), out=inner).mul_(0.5)
    return found


def determinant(m: Tensor) -> Tensor:
    """Return the determinants (B, *S) of 2 x 2 or 3 x 3 matrices (B, D, D, *S), spelt out: faster than `torch.det`."""
    # selected one by one, each entry would get a gradient as large as all matrices
    return determinant_of([column.unbind(1) for column in m.unbind(2)])


def determinant_of(columns: Sequence[Sequence[Tensor] | Tensor]) -> Tensor:
    """Return the determinants of 2 x 2 or 3 x 3 matrices, given column by column."""
    if len(columns) == 2:
        (a, b), (c, d) = columns
        return _cross(a, d, b, c)
    (a, b, c), (d, e, f), (g, h, i) = columns
    return torch.addcmul(_cross(a, _cross(e, i, f, h), d, _cross(b, i, c, h)), g, _cross(b, f, c, e))


def _cross(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Return ``a * b - c * d`` in two passes."""
    return torch.addcmul(a * b, c, d, value=-1)


def lengths(vectors: Tensor) -> Tensor:
    """Return the Euclidean lengths (*S) of vectors (D, *S), several times as fast as `torch.linalg.vector_norm`."""
    total = vectors[0].square()
    for component in vectors[1:]:
        total = total.addcmul(component, component)
    return total.sqrt_()


def gaussian_smooth(image: Tensor, sigma: float | Sequence[float]) -> Tensor:
    """Smooth (B, C, *S) by a separable Gaussian with standard deviation `sigma` in voxels (one, or one per axis).

    The faces are repeated outwards; an axis with sigma 0 is left as it is.
    """
    ndim = image.ndim - 2
    sigmas = [float(sigma)] * ndim if isinstance(sigma, int | float) else [float(s) for s in sigma]
    reach = _gaussian_radius(sigmas[0]) if sigmas[0] > 0 else 0
    return in_slabs(partial(_smoothed, sigmas=sigmas), [image], ndim, reach)


def _gaussian_radius(sigma: float) -> int:
    """Return how many voxels away a Gaussian is cut off."""
    return max(1, int(3 * sigma + 0.5))


def _smoothed(image: Tensor, sigmas: Sequence[float]) -> Tensor:
    ndim, channels = image.ndim - 2, image.shape[1]
    for axis, width in enumerate(sigmas):
        if width <= 0:
            continue
        radius = _gaussian_radius(width)
        offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
        kernel = torch.exp(-0.5 * (offsets / width) ** 2)
        shape = [1] * ndim
        shape[axis] = 2 * radius + 1
        kernel = (kernel / kernel.sum()).view(1, 1, *shape).expand(channels, 1, *shape)
        pad = [0] * (2 * ndim)
        pad[2 * (ndim - 1 - axis)] = pad[2 * (ndim - 1 - axis) + 1] = radius
        convolve = F.conv2d if ndim == 2 else F.conv3d
        image = convolve(F.pad(image, pad, mode="replicate"), kernel, groups=channels)
    return image
