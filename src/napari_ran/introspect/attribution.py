"""How the displacement of a voxel came about: an exact sum of one contribution per head and carried part.

A level's field is made by two convolutions with a leaky rectifier in between, from the heads' weighted displacements
and the carried field (the accumulator, Eq. 11). Once it is known which side of the rectifier every hidden value fell on
(its gate), the field is a linear function of these inputs, and so a sum with one term per input channel. The terms are
exact for this input with its gates frozen. They do not say what the network would have found without a head: that
would also move the gates, the masks and all that follows. `ablation` answers that question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ran.errors import InputError
from napari_ran.introspect.quantities import DIRECTIONS
from napari_ran.introspect.trace import NetworkTrace
from napari_ran.models.aligner import Carried, Proposal, ResidualAligner, SharedConvolutions
from napari_ran.models.blocks import Conv2d, Conv3d, channels_last
from napari_ran.models.outputs import DirectionOutput, LevelOutput

MAP_VALUES = 1 << 25
"""A whole map is worked out in slabs of about this many hidden values."""

_CONVOLVE = {2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True, eq=False)
class Attribution:
    """What the field of one level is made of at N voxels, in voxels of the level's grid, double precision.

    Attributes
    ----------
    level : int
        The level.
    voxels : (N, D) int64 tensor
        Where, in voxels of the level's grid.
    residual : (N, M, D) tensor
        What each head's residual, weighted by mask and confidence, contributes.
    residual_mean : (N, D) tensor
        What the plain mean over the heads' residuals contributes.
    carried : (N, M, D) tensor or None
        What the field of the level before, weighted by each head's mask and the previous confidence, contributes; None
        at level 0.
    carried_mean : (N, D) tensor or None
        What the field of the level before contributes unweighted; None at level 0.
    bias : (N, D) tensor
        The biases of both convolutions; it differs between voxels and components as their gates do.
    clamp : (N, D) tensor
        What keeping the field within twice the grid's extent took away; zero almost always.
    total : (N, D) tensor
        The sum of all these.
    field : (N, D) tensor
        The level's field as the network computed it, equal to `total` up to rounding.
    """

    level: int
    voxels: Tensor
    residual: Tensor
    residual_mean: Tensor
    carried: Tensor | None
    carried_mean: Tensor | None
    bias: Tensor
    clamp: Tensor
    total: Tensor
    field: Tensor


@dataclass(frozen=True, eq=False)
class OutputAttribution:
    """What the final field is made of at N voxels of the image grid, in voxels of it, double precision.

    Attributes
    ----------
    voxels : (N, D) int64 tensor
        Where, in voxels of the image grid.
    features : (N, D) tensor
        What the last features contribute.
    carried : (N, D) tensor
        What the last level's field contributes (also across components and from the neighbours).
    bias : (N, D) tensor
        The bias of the convolution.
    total : (N, D) tensor
        The sum of all these.
    field : (N, D) tensor
        The final field as the network computed it, equal to `total` up to rounding.
    """

    voxels: Tensor
    features: Tensor
    carried: Tensor
    bias: Tensor
    total: Tensor
    field: Tensor


def attribute(
    trace: NetworkTrace, level: int, voxels: Tensor, direction: str = "forward", before: bool = False
) -> Attribution:
    """Decompose a level's field at some voxels; only their neighbourhood of 5 voxels a side is worked out.

    Parameters
    ----------
    trace : NetworkTrace
        With its levels.
    level : int
        Which level, 0 is the coarsest.
    voxels : (N, D) integer tensor
        Where, in voxels of the level's grid.
    direction : {"forward", "inverse"}
        On the fixed image's grid, or on the (aligned) moving image's.
    before : bool
        Decompose what the network computed before it was fitted to this pair (instance mode "network").

    Raises
    ------
    InputError
        There is no such level, direction or pass, or a voxel lies outside the level's grid.
    """
    trace = _pass(trace, before)
    model, levels = trace.aligners, trace.levels
    found = _direction(levels, level, direction)
    voxels = _checked(voxels, found.field.shape[2:])
    aligner, shared = model.aligner_at(level)
    carried = None
    if level:
        factor = 2 if model.doubles(level) else 1
        carried = factor * _patches(_direction(levels, level - 1, direction).field, voxels, 2, factor)
    near = _neighbours(voxels, 2, found.field.shape[2:])
    proposal = Proposal(
        _taken(found.residual_heads, near),
        found.logits,  # plays no part here
        _taken(found.masks, near),
        None if found.confidence is None else _taken(found.confidence, near),
        None if found.previous_confidence is None else _taken(found.previous_confidence, near),
        None,
    )
    _, inside = _neighbours(voxels, 1, found.field.shape[2:])
    inside = inside[:, None].double().repeat_interleave(voxels.shape[1], 0)
    terms = _local_terms(aligner, shared, _stacked(aligner.weighted(proposal, carried)), inside)
    terms = terms.view(*voxels.shape, terms.shape[1]).transpose(1, 2)  # (N, inputs and bias, D)

    heads = proposal.heads.shape[1]
    unclamped = terms.sum(dim=1)
    clamp = _clamp_term(unclamped, found.field.shape[2:])
    return Attribution(
        level,
        voxels,
        residual=terms[:, :heads],
        residual_mean=terms[:, heads],
        carried=None if carried is None else terms[:, heads + 1 : -2],
        carried_mean=None if carried is None else terms[:, -2],
        bias=terms[:, -1],
        clamp=clamp,
        total=unclamped + clamp,
        field=_patches(found.field, voxels, 0).flatten(1),
    )


def attribute_output(
    trace: NetworkTrace, voxels: Tensor, direction: str = "forward", before: bool = False
) -> OutputAttribution:
    """Decompose the final field at some voxels (N, D) of the image grid; see `attribute` for the rest.

    The last convolution is linear, so this needs no gates.
    """
    trace = _pass(trace, before)
    found = _direction(trace.levels, len(trace.levels) - 1, direction)
    final = trace.output.field if direction == "forward" else trace.output.inverse_field
    if final is None:
        raise InputError("direction", "the inverse field was not computed", "Use direction='forward'")
    voxels = _checked(voxels, final.shape[2:])
    convolution, channels = trace.aligners.displacement, found.refined.shape[1]
    weight, bias = (value.double() for value in _values(convolution))
    patches = [_patches(part, voxels, 1) for part in (found.refined, found.field)]
    features, carried = (
        torch.einsum("nc...,oc...->no", patch, part)
        for patch, part in zip(patches, (weight[:, :channels], weight[:, channels:]), strict=True)
    )
    biases = bias.expand_as(features)
    at_voxels = _patches(final, voxels, 0).flatten(1)
    return OutputAttribution(voxels, features, carried, biases, features + carried + biases, at_voxels)


def attribution_map(trace: NetworkTrace, level: int, direction: str = "forward", before: bool = False) -> Tensor:
    """Decompose a level's field everywhere.

    Parameters
    ----------
    trace : NetworkTrace
        One pass of a network with everything that it computed.
    level : int
        Which level, from 0.
    direction : {"forward", "inverse"}
        Which field: the fixed grid's, or the moving grid's.
    before : bool
        Decompose what the network computed before it was fitted to this pair (instance mode "network").

    Returns
    -------
    (2 (M + 1) + 1, D, *S) float32 tensor
        In the order of the accumulator's inputs: each head's residual, their mean, the carried field by each head's
        mask, the carried field itself; then the biases together with what clamping took away. ``M + 2`` entries at
        level 0, which carries nothing. On the level's whole grid, padding included, in voxels of it; the sum over the
        first axis is the level's field.
    """
    trace = _pass(trace, before)
    model, levels = trace.aligners, trace.levels
    found = _direction(levels, level, direction)
    aligner, shared = model.aligner_at(level)
    carried = None
    if level:
        earlier = _direction(levels, level - 1, direction)
        carried = Carried(earlier.field, earlier.logits)
        carried = carried.doubled() if model.doubles(level) else carried
    proposal, shape = Proposal.of(found), found.field.shape[2:]
    ndim, hidden = len(shape), aligner.field_join.out_channels
    result = torch.empty((aligner.field_join.in_channels + 1, ndim, *shape))
    thickness = max(1, MAP_VALUES // (ndim * hidden * max(1, shape[1:].numel())))
    for start in range(0, shape[0], thickness):
        stop = min(start + thickness, shape[0])
        first, last = max(start - 2, 0), min(stop + 2, shape[0])  # two convolutions reach two rows further

        def rows(values: Tensor | None, first: int = first, last: int = last) -> Tensor | None:
            axis = 0 if values is None else values.ndim - ndim
            return None if values is None else values.narrow(axis, first, last - first)

        part = Proposal(*(rows(values) for values in proposal))  # type: ignore[arg-type]  # tensors stay tensors
        inputs = _stacked(aligner.weighted(part, None if carried is None else rows(carried.field)))
        around = [2, 2] * (ndim - 1) + [2 - (start - first), 2 - (last - stop)]
        inside = torch.ones_like(inputs[:1, :1])
        inputs, inside = F.pad(inputs, around), F.pad(inside, around)
        centre = [slice(None)] * 2 + [slice(1, -1)] * ndim
        terms = _map_terms(aligner, shared, inputs, inside[tuple(centre)])
        result[:, :, start:stop] = torch.stack(list(terms))
    result[-1] += _clamp_term(result.sum(dim=0).flatten(1).T, shape).T.view(ndim, *shape)
    return result


def _local_terms(aligner: ResidualAligner, shared: SharedConvolutions, inputs: Tensor, inside: Tensor) -> Tensor:
    """Return the terms at the centres of patches, (P, Z + 1): one for each input and one for the biases.

    Parameters
    ----------
    aligner, shared
        Of the level.
    inputs : (P, Z, *5s) tensor
        What the accumulator reads, zero outside the grid; one patch for each voxel and component.
    inside : (P, 1, *3s) tensor
        1 where the hidden layer has a voxel; the second convolution finds zeros elsewhere.
    """
    ndim = inputs.ndim - 2
    (weight, bias), (readout, last_bias) = (
        tuple(value.double() for value in _values(layer)) for layer in (aligner.field_join, shared.field)
    )
    windows = inputs
    for axis in range(2, 2 + ndim):
        windows = windows.unfold(axis, 3, 1)
    windows = windows.flatten(2 + ndim).flatten(2, 1 + ndim)  # (P, Z, 3**D places, 3**D taps)
    hidden = torch.einsum("pzat,hzt->pzha", windows, weight.flatten(2))
    gates = _gates(hidden.sum(dim=1) + bias[:, None], aligner.slope) * inside.flatten(2)
    passed_on = gates * readout[0].flatten(1)  # (P, H, 3**D): the weight of each hidden value in the field
    terms = torch.einsum("pzha,pha->pz", hidden, passed_on)
    biases = torch.einsum("pha,h->p", passed_on, bias) + last_bias
    return torch.cat([terms, biases[:, None]], dim=1)


def _map_terms(
    aligner: ResidualAligner, shared: SharedConvolutions, inputs: Tensor, inside: Tensor
) -> Iterator[Tensor]:
    """Yield the terms (P, *S), one for each input and one for the biases; see `_local_terms`.

    `inputs` (P, Z, *S + 4) and `inside` (1, 1, *S + 2) reach two voxels and one beyond the voxels asked for.
    """
    convolve = _CONVOLVE[inputs.ndim - 2]
    weight, bias = _values(aligner.field_join)
    readout, last_bias = _values(shared.field)
    readout = channels_last(readout)
    gates = channels_last(_gates(convolve(channels_last(inputs), channels_last(weight), bias), aligner.slope) * inside)
    for channel in range(inputs.shape[1]):
        one = slice(channel, channel + 1)
        hidden = channels_last(convolve(channels_last(inputs[:, one]), channels_last(weight[:, one])))
        yield convolve(hidden.mul_(gates), readout)[:, 0]
    yield convolve(gates * bias.view(1, -1, *[1] * (inputs.ndim - 2)), readout, last_bias)[:, 0]


def _gates(hidden: Tensor, slope: float) -> Tensor:
    """Return the factor that the leaky rectifier applies to each value."""
    return torch.where(hidden > 0, 1.0, slope).to(hidden.dtype)


def _stacked(parts: list[Tensor]) -> Tensor:
    """Return the accumulator's inputs (B D, Z, *S), components folded into the batch as the network does."""
    return torch.cat([part.transpose(1, 2) for part in parts], dim=2).flatten(0, 1)


def _clamp_term(field: Tensor, shape: Sequence[int]) -> Tensor:
    """Return what has to be added to a field (N, D) to keep it within twice the extent of a grid."""
    bound = torch.tensor([2 * n - 1 for n in shape], dtype=field.dtype)
    return torch.maximum(torch.minimum(field, bound), -bound) - field


def _patches(values: Tensor, voxels: Tensor, radius: int, factor: int = 1) -> Tensor:
    """Return the neighbourhoods (N, C, *(2 radius + 1)) of voxels (N, D) in (1, C, *S), double, zero outside.

    `factor` is the voxel size of `values` in the voxels that are asked for.
    """
    return _taken(values, _neighbours(voxels, radius, [n * factor for n in values.shape[2:]], factor))


def _neighbours(
    voxels: Tensor, radius: int, shape: Sequence[int], factor: int = 1
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return where neighbourhoods of voxels (N, D) are found along each axis, and which of it (N, *) is in the grid."""
    ndim, offsets = voxels.shape[1], torch.arange(-radius, radius + 1)
    indices, inside = [], torch.ones((), dtype=torch.bool)
    for axis, size in enumerate(shape):
        along = [1] * ndim
        along[axis] = len(offsets)
        index = (voxels[:, axis, None] + offsets).view(len(voxels), *along)
        inside = inside & (index >= 0) & (index < size)
        indices.append(index.clamp(0, size - 1) // factor)
    return tuple(indices), inside


def _taken(values: Tensor, near: tuple[tuple[Tensor, ...], Tensor]) -> Tensor:
    """Return the neighbourhoods (N, *C, *T) of `_neighbours` in (1, *C, *S), double, zero outside."""
    indices, inside = near
    channels = values.ndim - 1 - len(indices)
    everything: tuple[slice | Tensor, ...] = (slice(None),) * channels
    found = values[0].detach()[everything + indices].movedim(channels, 0)
    return found.double() * inside.view(len(inside), *[1] * channels, *inside.shape[1:])


def _checked(voxels: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the voxels (N, D) as integers on the CPU, all of them inside a grid."""
    voxels = torch.as_tensor(voxels).cpu()
    if voxels.ndim != 2 or voxels.shape[1] != len(shape) or voxels.is_floating_point() or voxels.is_complex():
        problem = f"expected integers of shape (N, {len(shape)}), got {voxels.dtype} of {tuple(voxels.shape)}"
        raise InputError("voxels", problem, "Give one row of voxel indices per point")
    if bool(((voxels < 0) | (voxels >= torch.tensor(shape))).any()):
        raise InputError("voxels", f"one lies outside the grid of {tuple(shape)}", "Give voxels of the level's grid")
    return voxels.long()


def _direction(levels: Sequence[LevelOutput], level: int, direction: str) -> DirectionOutput:
    """Return what a level found in one direction."""
    if not 0 <= level < len(levels):
        raise InputError("level", f"there is no level {level}", f"Levels are counted from 0 to {len(levels) - 1}")
    if direction not in DIRECTIONS:
        raise InputError("direction", f"expected 'forward' or 'inverse', got {direction!r}", "Use one of the two")
    found = levels[level].forward if direction == "forward" else levels[level].inverse
    if found is None:
        raise InputError("direction", f"level {level} was not kept in this direction", "Use direction='forward'")
    return found


def _pass(trace: NetworkTrace, before: bool) -> NetworkTrace:
    """Return the pass that is asked for: the result's, or the one before the network was fitted to this pair."""
    if not before:
        return trace
    earlier = trace.as_it_was
    if earlier is None:
        raise InputError("before", "the network was not fitted to this pair", "Use before=False")
    return earlier


def _values(layer: Conv2d | Conv3d) -> tuple[Tensor, Tensor]:
    """Return a convolution's weight and bias without gradients."""
    if layer.bias is None:
        raise ValueError("the network's convolutions have biases")
    return layer.weight.detach(), layer.bias.detach()
