"""One Residual Aligner: from the features of two images and the field so far to a better field (Sec. 2.4, Fig. 2).

The aligner sees its image ("own") and the other one. The field lives on the own image's grid and says where in the
other image to look. ``B`` may hold both images of every pair: then both directions come from one call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_ran.config import RANConfig
from napari_ran.functional import upsample_field, warp
from napari_ran.models.ablation import LevelAblation
from napari_ran.models.blocks import (
    Norm,
    added,
    convolution,
    full_precision,
    in_slabs,
    joined,
    rectified,
    repeat,
    set_centre_tap,
    widened,
)
from napari_ran.models.outputs import DirectionOutput

_ACCUMULATOR_REACH = 2  # voxels: two convolutions of 3


class Carried(NamedTuple):
    """What a level hands to the next one: a field (B, D, *S) in voxels of its grid and logits (B, M, *S)."""

    field: Tensor
    logits: Tensor

    def doubled(self) -> Carried:
        """Return both on the grid of half the voxel size."""
        return Carried(upsample_field(self.field), repeat(self.logits, 2))

    def take(self, batch: slice) -> Carried:
        """Return a part of the batch."""
        return Carried(self.field[batch], self.logits[batch])


class Proposal(NamedTuple):
    """What an aligner has found before it accumulates: the fields of a `DirectionOutput` of the same names."""

    heads: Tensor
    logits: Tensor
    masks: Tensor
    confidence: Tensor | None
    previous_confidence: Tensor | None
    attributes: Tensor | None

    @classmethod
    def of(cls, found: DirectionOutput) -> Proposal:
        """Return the part of a level's output that was there before the field."""
        return cls(
            found.residual_heads,
            found.logits,
            found.masks,
            found.confidence,
            found.previous_confidence,
            found.attributes,
        )

    def without(self, off: LevelAblation) -> Proposal:
        """Return the proposal with the parts replaced that are off."""
        confidence, previous = off.confidences(self.confidence, self.previous_confidence)
        return Proposal(
            off.without_heads(self.heads),
            self.logits,
            off.without_heads(self.masks),
            confidence,
            previous,
            None if off.feedback else self.attributes,
        )


class SharedConvolutions(nn.Module):
    """The convolutions that all levels have in common, so that heads and masks mean the same at every level."""

    def __init__(self, config: RANConfig) -> None:
        super().__init__()
        ndim, width, heads = config.ndim, config.regressor_width, config.heads
        self.slope, self.coarsest = config.aligner_slope, config.pools[0]
        self.heads_in = convolution(ndim, width, config.head_width)
        self.heads_out = convolution(ndim, config.head_width, heads * ndim, kernel=1)
        self.scores_in = convolution(ndim, width, width)
        self.scores_out = convolution(ndim, width, heads, kernel=1)
        self.attributes = convolution(ndim, width, heads, kernel=1) if config.feedback else None
        self.logits = convolution(ndim, width, heads)
        self.field = convolution(ndim, width, 1)

    def start_at_identity(self) -> None:
        """Read the field from the accumulator's first two channels; see `ResidualAligner.start_at_identity`.

        The heads start at a hundredth of a voxel or so of the image, whatever the voxel size of the levels.
        """
        gain = 1 / (1 + self.slope)  # a leaky rectifier f of slope s has f(x) - f(-x) = (1 + s) x
        with torch.no_grad():
            self.heads_out.weight *= 0.01 / self.coarsest
            self.field.weight *= 0.05
        set_centre_tap(self.field, 0, 0, gain)
        set_centre_tap(self.field, 0, 1, -gain)


class Regressor(nn.Module):
    """Compare the own features with the aligned other ones."""

    def __init__(self, config: RANConfig, channels: int, dilation: int) -> None:
        super().__init__()
        ndim, width = config.ndim, config.regressor_width
        self.slope = config.aligner_slope
        self.own_norm = Norm(config, channels)
        self.other_norm = Norm(config, channels)
        self.enter = convolution(ndim, 2 * channels, width, dilation=dilation)
        self.middle = convolution(ndim, width, width, dilation=dilation)
        self.leave = convolution(ndim, width, width)

    def forward(self, own: Tensor, aligned: Tensor) -> Tensor:
        """Return the joint features (B, i, *S) of two times (B, C, *S)."""
        start = rectified(self.enter(joined([self.own_norm(own), self.other_norm(aligned)])), self.slope)
        return rectified(added(start, self.leave, rectified(self.middle(start), self.slope)), self.slope)


class ResidualAligner(nn.Module):
    """Resampler, regressor, accumulator and feedback of one level.

    Parameters
    ----------
    config : RANConfig
        Structure of the network.
    level : int
        Which level this is; level 0 has no field to start from.
    """

    def __init__(self, config: RANConfig, level: int) -> None:
        super().__init__()
        ndim, width, heads = config.ndim, config.regressor_width, config.heads
        channels = config.decoder_channels[level]
        carried = level > 0
        self.heads, self.slope = heads, config.aligner_slope
        self.resample = convolution(ndim, channels, channels, kernel=1)
        self.regressor = Regressor(config, channels, config.dilations[level])
        self.scores_norm = Norm(config, width)
        self.scores_join = convolution(ndim, 2 * heads if carried else heads, width)
        self.logits_norm = Norm(config, width)
        self.confidence = convolution(ndim, heads, 1, kernel=1) if config.confidence else None
        self.field_join = convolution(ndim, 2 * (heads + 1) if carried else heads + 1, width)
        self.attributes_norm = Norm(config, heads) if config.feedback else None
        self.feedback = convolution(ndim, channels + heads, channels, kernel=1) if config.feedback else None

    def start_at_identity(self) -> None:
        """Make the level a residual one: its field is the carried one plus the mean head, up to small weights.

        Two channels of the accumulator carry the sum and its negative through the rectifier, the other weights are
        scaled down, and confidences start near one (a rectified confidence that starts below zero would never learn).
        """
        mean_head, carried_field = self.heads, 2 * self.heads + 1
        sources = [mean_head] if self.field_join.in_channels == self.heads + 1 else [mean_head, carried_field]
        with torch.no_grad():
            self.field_join.weight *= 0.3
            self.field_join.weight[:2] = 0
            if self.confidence is not None and self.confidence.bias is not None:
                self.confidence.weight *= 0.1
                self.confidence.bias.fill_(1)
        for source in sources:
            set_centre_tap(self.field_join, 0, source, 1)
            set_centre_tap(self.field_join, 1, source, -1)

    def forward(
        self,
        own: Tensor,
        other: Tensor,
        carried: Carried | None,
        shared: SharedConvolutions,
        ablated: LevelAblation | None = None,
    ) -> DirectionOutput:
        """Align the other image's features to the own ones.

        Parameters
        ----------
        own, other : (B, C, *S) tensor
            Features of this level.
        carried : Carried or None
            Field and logits of the level before on this level's grid; None at level 0.
        shared : SharedConvolutions
            The convolutions that levels have in common.
        ablated : LevelAblation, optional
            What is off; nothing when left out.
        """
        return self._settle(self._propose(own, other, carried, shared), own, other, carried, shared, ablated)

    def revise(
        self,
        found: DirectionOutput,
        other: Tensor,
        carried: Carried | None,
        shared: SharedConvolutions,
        ablated: LevelAblation,
    ) -> DirectionOutput:
        """Return what `forward` would with `ablated`, from what it `found` for the same features with nothing off."""
        return self._settle(Proposal.of(found), found.features, other, carried, shared, ablated)

    def pass_over(self, own: Tensor, carried: Carried | None) -> DirectionOutput:
        """Return the output of a level that is off: what came in goes on, zeros where nothing did."""
        ndim, blank = own.ndim - 2, widened(own[:, :1]).detach()
        heads = blank.new_zeros((own.shape[0], self.heads, ndim, *own.shape[2:]))
        field, logits = carried or (heads[:, 0], heads[:, :, 0])
        return DirectionOutput(field, heads, logits, heads[:, :, 0], None, None, None, features=own, refined=own)

    def _propose(self, own: Tensor, other: Tensor, carried: Carried | None, shared: SharedConvolutions) -> Proposal:
        """Return what the heads propose, how sure they are, and the attributes for the feedback."""
        field, logits = carried or (None, None)
        aligned = self.resample(other)
        if field is not None:
            aligned = _look_up(aligned, field)
        joint = self.regressor(own, aligned)
        del aligned

        heads = shared.heads_out(rectified(shared.heads_in(joint), self.slope))
        heads = widened(heads).view(heads.shape[0], self.heads, -1, *heads.shape[2:])
        scores = shared.scores_out(rectified(self.scores_norm(shared.scores_in(joint), in_place=True), self.slope))

        attributes = self._attributes(joint, shared)
        del joint
        new_logits = self._logits(scores, logits, shared)
        masks = torch.softmax(widened(new_logits), dim=1)
        confidence = self._confidence(scores)
        previous = None if logits is None else self._confidence(logits)
        return Proposal(heads, new_logits, masks, confidence, previous, attributes)

    def _settle(
        self,
        proposal: Proposal,
        own: Tensor,
        other: Tensor,
        carried: Carried | None,
        shared: SharedConvolutions,
        ablated: LevelAblation | None,
    ) -> DirectionOutput:
        """Return the level's output: the field that the accumulator makes of the proposal, and refined features."""
        if ablated is not None:
            proposal = proposal.without(ablated)
        field = self._accumulate(proposal, None if carried is None else carried.field, shared)
        refined = self._refined(own, other, field, proposal.attributes)
        heads, logits, masks, confidence, previous, attributes = proposal
        return DirectionOutput(field, heads, logits, masks, confidence, previous, attributes, own, refined)

    @classmethod
    def weighted(cls, proposal: Proposal, carried: Tensor | None) -> list[Tensor]:
        """Return what enters the accumulator, (B, M or 1, D, *S) each: heads, their mean; carried field, itself."""
        parts = cls._weighted(proposal.heads, proposal.masks, proposal.confidence)
        if carried is not None:
            parts += cls._weighted(carried[:, None], proposal.masks, proposal.previous_confidence)
        return parts

    def _logits(self, scores: Tensor, carried: Tensor | None, shared: SharedConvolutions) -> Tensor:
        """Return the weights of the heads from the new scores and the carried logits, all (B, M, *S)."""
        known = self.scores_join(scores if carried is None else joined([scores, carried.to(scores.dtype)]))
        logits: Tensor = shared.logits(rectified(self.logits_norm(known, in_place=True), self.slope))
        return logits

    def _confidence(self, scores: Tensor) -> Tensor | None:
        """Return the confidence (B, 1, *S) that scores (B, M, *S) stand for."""
        if self.confidence is None:
            return None
        return widened(F.relu(self.confidence(F.leaky_relu(scores, self.slope))))

    @staticmethod
    def _weighted(heads: Tensor, masks: Tensor, confidence: Tensor | None) -> list[Tensor]:
        """Return displacements (B, M or 1, D, *S) weighted by masks (B, M, *S) and confidence, and their plain mean."""
        weights = masks if confidence is None else masks * confidence
        return [weights[:, :, None] * heads, heads.mean(dim=1, keepdim=True)]

    def _accumulate(self, proposal: Proposal, carried: Tensor | None, shared: SharedConvolutions) -> Tensor:
        """Return the field (B, D, *S) from weighted displacements, the masks having chosen (Eq. 11).

        Every component of the displacement goes through the same filters, one after another: this is where the network
        is largest. Single precision throughout, as half precision would round a displacement of 20 voxels to steps of
        an eighth.
        """

        def component(heads: Tensor, carried: Tensor | None, *rest: Any) -> Tensor:
            parts = self.weighted(Proposal(heads, *rest), carried)
            return self._component([part[:, :, 0] for part in parts], shared)

        heads, components = proposal.heads, []
        with full_precision(heads.device):
            for axis in range(heads.shape[2]):
                one = slice(axis, axis + 1)
                along = (heads[:, :, one], None if carried is None else carried[:, one], *proposal[1:])
                components.append(in_slabs(component, along, heads.ndim - 3, _ACCUMULATOR_REACH))
            return _clamped(torch.cat(components, dim=1))

    def _component(self, parts: list[Tensor], shared: SharedConvolutions) -> Tensor:
        """Return one component (B, 1, *S) of the field from that of the weighted displacements (B, m, *S)."""
        component: Tensor = shared.field(rectified(self.field_join(joined(parts)), self.slope))
        return component

    def _attributes(self, joint: Tensor, shared: SharedConvolutions) -> Tensor | None:
        """Return the attributes (B, M, *S) that the feedback reads beside the features; None without one."""
        if self.attributes_norm is None or shared.attributes is None:
            return None
        return rectified(self.attributes_norm(shared.attributes(joint)), self.slope)

    def _refined(self, own: Tensor, other: Tensor, field: Tensor, attributes: Tensor | None) -> Tensor:
        """Return the features (B, C, *S) refined by what the field brought over; the own ones without attributes."""
        if self.feedback is None or attributes is None:
            return own
        brought = joined([_look_up(other, field), attributes.to(other.dtype)])
        refined: Tensor = own + rectified(self.feedback(brought), self.slope)
        return refined


def _look_up(features: Tensor, field: Tensor) -> Tensor:
    """Return the features (B, C, *S) seen through a field in voxels; coordinates and weights in single precision."""
    with full_precision(features.device):
        return warp(widened(features), widened(field)).to(features.dtype)


def _clamped(field: Tensor) -> Tensor:
    """Return the field (B, D, *S) with each component within twice the grid's extent; nothing is seen beyond."""
    bounds = torch.tensor([2 * n - 1 for n in field.shape[2:]], device=field.device, dtype=field.dtype)
    bounds = bounds.view(1, -1, *[1] * (field.ndim - 2))
    return torch.maximum(torch.minimum(field, bounds), -bounds)
