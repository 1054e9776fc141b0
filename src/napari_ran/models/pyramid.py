"""Dual-stream pyramid registration (Hu et al., MICCAI 2019; DPRn): a field at every level of a feature pyramid.

Both images pass through one U-net of residual blocks, the backbone of RAN0. From the coarsest level on, the features of
the other image are warped by the field so far, compared with the own ones, and the residual field is composed with it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_ran.config import RANConfig
from napari_ran.functional import compose, upsample_field, warp
from napari_ran.models.blocks import Decoder, Encoder, convolution, full_precision, initialise, precision, widened
from napari_ran.models.outputs import DirectionOutput, LevelInfo, LevelOutput
from napari_ran.models.pairwise import Fields, PairNetwork
from napari_ran.theory import capture_ranges

WIDTH = 24
"""Most hidden channels of an estimator; with it DPRn has 0.61 million parameters (the paper: 0.62)."""

_EXACT = 4  # levels of this voxel size and more are computed in single precision
_SLOPE = 0.2
_FIELD_START = 1e-5  # standard deviation of the last filters, so that training starts at the identity


class Estimator(nn.Module):
    """Regress the residual field from the own features and the aligned other ones by convolutions.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    channels : int
        Channels of the features.
    """

    def __init__(self, ndim: int, channels: int) -> None:
        super().__init__()
        width = min(channels, WIDTH)
        self.enter = convolution(ndim, 2 * channels, width)
        self.middle = convolution(ndim, width, width)
        self.leave = convolution(ndim, width, ndim)

    def forward(self, own: Tensor, aligned: Tensor) -> Tensor:
        """Return the residual field (B, D, *S) in voxels of the level from two times (B, C, *S)."""
        x = F.leaky_relu(self.enter(torch.cat([own, aligned], dim=1)), _SLOPE)
        x = F.leaky_relu(self.middle(x), _SLOPE)
        with full_precision(x.device):
            residual: Tensor = self.leave(widened(x))
        return residual


class PyramidNetwork(PairNetwork):
    """A feature pyramid with an estimator at every level.

    Parameters
    ----------
    ndim : {2, 3}
        Number of spatial axes.
    estimator : callable
        Called with `ndim` and the channels of a level; returns a module like `Estimator`, whose last convolution is
        called ``leave``. By default the paper's DPRn.
    seed : int
        Seed of the weights.

    Attributes
    ----------
    config : RANConfig
        Its backbone and levels: those of a RAN0 of one head, without confidence and feedback.
    """

    def __init__(self, ndim: int = 3, estimator: Callable[[int, int], nn.Module] = Estimator, seed: int = 0) -> None:
        super().__init__()
        alone = {"heads": 1, "confidence": False, "feedback": False}
        self.config = RANConfig.preset("RAN0", 2 if ndim == 2 else 3).replace(**alone)
        encoded, decoded = self.config.encoder_channels, self.config.decoder_channels
        self.ndim, self.multiple = ndim, self.config.multiple
        self.encoder = Encoder(self.config)
        self.decoders = nn.ModuleList(
            Decoder(
                self.config,
                sum(encoded[stage - 1] for stage in entering) + (decoded[level - 1] if level else 0),
                decoded[level],
                doubled=level > 0,
            )
            for level, entering in enumerate(self.config.skips)
        )
        self.estimators = nn.ModuleList(estimator(ndim, channels) for channels in decoded)
        generator = torch.Generator().manual_seed(seed)
        initialise(self, generator)
        for name, parameter in self.estimators.named_parameters():
            if name.endswith("leave.weight"):
                nn.init.normal_(parameter, std=_FIELD_START, generator=generator)

    @property
    def level_info(self) -> tuple[LevelInfo, ...]:
        """What each level is, coarse to fine."""
        c = self.config
        values = zip(c.pools, capture_ranges(c), c.decoder_channels, strict=True)
        return tuple(LevelInfo(k, pool, 1, reach, n, 1, c.multiple) for k, (pool, reach, n) in enumerate(values))

    def solve(self, moving: Tensor, fixed: Tensor, shape: tuple[int, ...], keep_levels: bool, both: bool) -> Fields:
        """Return the fields (B, D, *P) of padded images (B, 1, *P), and the levels on request."""
        pairs = moving.shape[0]
        first = 0 if both else pairs
        levels: list[LevelOutput] = []
        field: Tensor | None = None
        for level, features in enumerate(self._features(torch.cat([moving, fixed]))):
            own, other = features[first:], torch.cat([features[pairs:], features[:pairs]])[first:]
            with full_precision(own.device):
                carried = None if field is None else upsample_field(field)
                aligned = other if carried is None else warp(widened(other), carried, padding="border").to(own.dtype)
            with precision(self._exact(level), own.device):
                residual = self.estimators[level](own, aligned)
            with full_precision(own.device):
                field = residual if carried is None else compose(carried, residual)
            if keep_levels:
                levels.append(self._record(level, field, residual, own, shape, pairs))
        assert field is not None
        return (field[pairs:], field[:pairs], tuple(levels)) if both else (field, None, tuple(levels))

    def _features(self, images: Tensor) -> list[Tensor]:
        """Return the features of each level, coarse to fine."""
        stages = self.encoder(images)
        features: list[Tensor] = []
        for level, (decoder, entering) in enumerate(zip(self.decoders, self.config.skips, strict=True)):
            inputs = [*features[-1:], *(stages[stage - 1] for stage in entering)]
            with precision(self._exact(level), images.device):
                features.append(decoder([widened(x) for x in inputs] if self._exact(level) else inputs))
        return features

    def _exact(self, level: int) -> bool:
        return self.config.pools[level] >= _EXACT

    def _record(
        self, level: int, field: Tensor, residual: Tensor, features: Tensor, shape: tuple[int, ...], pairs: int
    ) -> LevelOutput:
        """Return what a level found: one head, whose mask is one everywhere."""
        even = torch.zeros_like(field[:, :1])
        found = DirectionOutput(
            field, residual[:, None], even, even + 1, None, None, None, features=features, refined=features
        )
        alone = field.shape[0] == pairs
        return LevelOutput(
            level,
            self.config.pools[level],
            shape=tuple(field.shape[2:]),
            image_shape=shape,
            forward=found if alone else found.take(slice(pairs, None)),
            inverse=None if alone else found.take(slice(pairs)),
        )
