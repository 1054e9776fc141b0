"""The Residual Aligner Network, top to bottom: encoder, skips, and an aligner at every level, coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_ran.config import RANConfig
from napari_ran.errors import InputError
from napari_ran.functional import cropped, upsample_field
from napari_ran.models.ablation import Ablation
from napari_ran.models.aligner import Carried, ResidualAligner, SharedConvolutions
from napari_ran.models.blocks import (
    Decoder,
    Encoder,
    Skip,
    convolution,
    full_precision,
    initialise,
    is_large,
    make_room,
    precision,
    repeat,
    set_centre_tap,
    widened,
)
from napari_ran.models.outputs import DirectionOutput, Encoded, LevelInfo, LevelOutput, LevelStep, ModelOutput
from napari_ran.steps import last
from napari_ran.theory import capture_ranges

_EXACT = 8  # levels of this voxel size and more are computed in single precision
_LARGEST = 1e6
"""Intensities beyond this are refused: they belong in [0, 1], and their squares must not overflow on the way."""


def create_model(name_or_config: str | RANConfig = "RAN3", ndim: Literal[2, 3] = 3, seed: int = 0) -> RAN:
    """Build a network that starts at the identity.

    Parameters
    ----------
    name_or_config : str or RANConfig
        Name of a preset (see `RANConfig.preset`) or a config.
    ndim : {2, 3}
        Number of spatial axes of a preset; a config says its own.
    seed : int
        Seed of the weights. The global random state is neither used nor changed.
    """
    config = RANConfig.preset(name_or_config, ndim) if isinstance(name_or_config, str) else name_or_config
    return RAN(config, seed)


class RAN(nn.Module):
    """Residual Aligner Network: two images in, the displacement fields of both directions out.

    Parameters
    ----------
    config : RANConfig
        Structure.
    seed : int
        Seed of the weights.
    """

    def __init__(self, config: RANConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        encoded, decoded = config.encoder_channels, config.decoder_channels

        self.encoder = Encoder(config)
        self.skips = nn.ModuleDict()
        if config.skip_channels is not None:
            for stage in sorted({stage for entering in config.skips for stage in entering}):
                self.skips[str(stage)] = Skip(config, encoded[stage - 1], config.skip_channels)

        self.decoders = nn.ModuleList()
        for level, entering in enumerate(config.skips):
            channels = sum(config.skip_channels or encoded[stage - 1] for stage in entering)
            channels += decoded[level - 1] if level else 0
            self.decoders.append(Decoder(config, channels, decoded[level], doubled=self.doubles(level)))

        self.aligners = nn.ModuleList(ResidualAligner(config, level) for level in range(config.levels))
        copies = 1 if config.shared else config.levels
        self.shared = nn.ModuleList(SharedConvolutions(config) for _ in range(copies))
        self.displacement = convolution(config.ndim, decoded[-1] + config.ndim, config.ndim)
        self._start_at_identity(seed)

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.config.ndim

    @property
    def multiple(self) -> int:
        """Images are padded inside the network to a multiple of this along every axis."""
        return self.config.multiple

    @property
    def level_info(self) -> tuple[LevelInfo, ...]:
        """What each level is, coarse to fine."""
        c = self.config
        return tuple(
            LevelInfo(level, pool, dilation, reach, channels, c.heads, c.multiple)
            for level, (pool, dilation, reach, channels) in enumerate(
                zip(c.pools, c.dilations, capture_ranges(c), c.decoder_channels, strict=True)
            )
        )

    def forward(
        self,
        moving: Tensor,
        fixed: Tensor,
        keep_levels: bool = False,
        both: bool = True,
        ablation: Ablation | None = None,
    ) -> ModelOutput:
        """Register `moving` to `fixed`.

        Parameters
        ----------
        moving, fixed : (B, 1, *S) tensor
            Images on one grid with intensities in [0, 1]. Any shape of at least two voxels along every axis.
        keep_levels : bool
            Keep what every level computed. It changes nothing in the fields.
        both : bool
            Also return the inverse field. Without it the last level computes the fixed image's direction alone.
        ablation : Ablation, optional
            What to switch off; nothing when left out.

        Raises
        ------
        InputError
            The images have another number of axes, channels, shape, type or device than expected, or are not finite;
            or the ablation names a part that is not there.
        """
        return last(self.iterate(moving, fixed, keep_levels, both, ablation))

    def iterate(
        self,
        moving: Tensor,
        fixed: Tensor,
        keep_levels: bool = False,
        both: bool = True,
        ablation: Ablation | None = None,
    ) -> Generator[LevelStep, None, ModelOutput]:
        """Do what `forward` does, yielding after each level; the generator returns the output. Closing it cancels."""
        if ablation is not None:
            ablation.check(self.config)
        output = yield from self.decode(self.encode(moving, fixed), keep_levels, both, ablation)
        return output

    def encode(self, moving: Tensor, fixed: Tensor) -> Encoded:
        """Return what the encoder makes of the images: the part of `forward` that no level changes.

        See `forward` for the parameters and the errors.
        """
        images = self._stacked(moving, fixed)
        return Encoded(self._stages(images), tuple(moving.shape[2:]), moving.shape[0])

    def decode(
        self,
        encoded: Encoded,
        keep_levels: bool = False,
        both: bool = True,
        ablation: Ablation | None = None,
        after: Sequence[LevelOutput] = (),
    ) -> Generator[LevelStep, None, ModelOutput]:
        """Run the levels on encoded images, yielding after each; the generator returns the output.

        Parameters
        ----------
        encoded : Encoded
            From `encode`, of this network.
        keep_levels, both, ablation
            As in `forward`.
        after : sequence of LevelOutput
            The first levels of this pair, kept by this network with nothing off. Those that the ablation leaves as they
            are will not be computed again, and of the first one that it changes only what changes.

        Raises
        ------
        InputError
            The ablation names a part that is not there, or `after` does not fit.
        """
        off = ablation or Ablation()
        off.check(self.config)
        self._check_kept(after, encoded, both)
        start, last = min(len(after), off.first_level), self.config.levels - 1
        kept = list(after[:start]) if keep_levels else []
        features, carried = self._continued(after[start - 1] if start else None, both)
        known = _stacked_level(after[start]) if start < len(after) and after[start].inverse is not None else None
        # levels that are off up to the end need not run, unless they are to be kept
        needed = self.config.levels if keep_levels else max(off.levels_left(self.config.levels), start, 1)
        for level in range(start, needed):
            own = self._features(level, features, encoded.stages) if known is None else known.features
            if carried is not None and self.doubles(level):
                carried = carried.doubled()
            wanted = range(encoded.pairs if not both and level == last else 0, 2 * encoded.pairs)
            passed_on = []
            for part in self._parts(own, wanted, keep_levels):
                if level == last:
                    make_room(own)
                other = _opposite(own, part, encoded.pairs)
                found = self._align(
                    level, own[part], other, carried and carried.take(part), off, known and known.take(part)
                )
                if keep_levels:
                    kept.append(self._record(level, found, encoded))
                passed_on.append((found.refined, found.field, found.logits))
                del other, found
            features, field, logits = (
                one[0] if len(one) == 1 else torch.cat(one) for one in zip(*passed_on, strict=True)
            )
            carried, known = Carried(field, logits), None
            del own, passed_on  # a caller that waits at the yield keeps no more than the next level needs
            yield LevelStep(level, self.config.levels)

        if off.output and carried is not None:
            field = upsample_field(
                carried.field if both else carried.field[-encoded.pairs :], self.config.pools[needed - 1]
            )
        else:
            field = self._finish(features, carried)
        field = cropped(field, encoded.shape)
        if not both:
            return ModelOutput(field.contiguous(), None, tuple(kept))
        forward, inverse = field[encoded.pairs :].contiguous(), field[: encoded.pairs].contiguous()
        return ModelOutput(forward, inverse, tuple(kept))

    def _parts(self, own: Tensor, wanted: range, keep_levels: bool) -> list[slice]:
        """Return which directions of a level to compute at a time: one where each takes much memory on the way."""
        if keep_levels or not is_large(own):
            return [slice(wanted.start, wanted.stop)]
        return [slice(number, number + 1) for number in wanted]

    def _align(
        self,
        level: int,
        own: Tensor,
        other: Tensor,
        carried: Carried | None,
        off: Ablation,
        known: DirectionOutput | None,
    ) -> DirectionOutput:
        """Return what a level finds; `known` is what it found with nothing off, if that is known."""
        (aligner, shared), ablated = self.aligner_at(level), off.at(level)
        if level in off.levels:
            return aligner.pass_over(own, carried)
        if known is not None and ablated is not None:
            return aligner.revise(known, other, carried, shared, ablated)
        with precision(self.config.pools[level] >= _EXACT, own.device):
            found: DirectionOutput = aligner(own, other, carried, shared, ablated)
        return found

    def _check_kept(self, after: Sequence[LevelOutput], encoded: Encoded, both: bool) -> None:
        cure = "Give the first levels of this pair, kept with both directions"
        if [level.level for level in after] != list(range(min(len(after), self.config.levels))):
            raise InputError("after", "the levels are not the network's first ones in their order", cure)
        for info, level in zip(self.level_info, after, strict=False):
            found = level.forward
            expected = (encoded.pairs, info.channels, *info.shape_for(encoded.shape))
            if tuple(found.features.shape) != expected or level.image_shape != encoded.shape:
                problem = f"level {level.level} has features of {tuple(found.features.shape)}, expected {expected}"
                raise InputError("after", problem, cure)
            if level.inverse is None and (both or level.level < self.config.levels - 1):
                raise InputError("after", f"level {level.level} was kept for one direction only", cure)

    def _continued(self, level: LevelOutput | None, both: bool) -> tuple[Tensor | None, Carried | None]:
        """Return the features and what is carried on behind a kept level."""
        if level is None:
            return None, None
        alone = not both and level.level == self.config.levels - 1
        found = level.forward if alone else _stacked_level(level)
        return found.refined, Carried(found.field, found.logits)

    def _stacked(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return both images as one checked and padded batch (2 B, 1, *P), the moving ones first."""
        weight = self.displacement.weight
        if weight.dtype in (torch.float16, torch.bfloat16):
            raise InputError(
                "model", f"its weights are {weight.dtype}", "Keep them float32 and use torch.autocast instead"
            )
        for name, image in (("moving", moving), ("fixed", fixed)):
            self._check(name, image)
        if moving.shape != fixed.shape:
            raise InputError(
                "moving",
                f"must have the shape of fixed, got {tuple(moving.shape)} and {tuple(fixed.shape)}",
                "Resample it to the fixed grid",
            )
        images = torch.cat([moving, fixed]).to(weight.dtype)
        ends = [-n % self.config.multiple for n in images.shape[2:]]
        # zeros at the end of each axis: to the convolutions, an image ends there like anywhere else
        return F.pad(images, [pad for end in reversed(ends) for pad in (0, end)])

    def _check(self, name: str, image: Tensor) -> None:
        ndim = self.config.ndim
        if not isinstance(image, Tensor):
            raise InputError(name, f"must be a tensor, got {type(image).__name__}", "Use torch.as_tensor")
        shape = tuple(image.shape)
        if image.ndim != ndim + 2 or image.shape[1] != 1 or image.shape[0] == 0:
            axes = ", ".join("XYZ"[:ndim])
            raise InputError(name, f"must have shape (B, 1, {axes}), got {shape}", f"Give one channel and {ndim} axes")
        if min(shape[2:]) < 2:
            raise InputError(
                name,
                f"must have at least two voxels along every axis, got {shape}",
                "Use a 2-D network for a single slice",
            )
        if not image.is_floating_point():
            raise InputError(name, f"must be floating point in [0, 1], got {image.dtype}", "Scale it and call .float()")
        if image.device != self.displacement.weight.device:
            raise InputError(
                name,
                f"is on {image.device}, the network on {self.displacement.weight.device}",
                "Move one with .to(device)",
            )
        peak = image.abs().max().item()  # NaN if there is one
        if not math.isfinite(peak):
            raise InputError(name, "holds NaN or infinite values", "Replace them, for example with torch.nan_to_num")
        if peak > _LARGEST:
            raise InputError(name, f"reaches {peak:.3g}, which overflows in the network", "Scale intensities to [0, 1]")

    def _stages(self, images: Tensor) -> dict[int, Tensor]:
        """Return what each encoder stage passes on, by stage number."""
        outputs = dict(enumerate(self.encoder(images), start=1))
        return {int(stage): skip(outputs[int(stage)]) for stage, skip in self.skips.items()} or outputs

    def _features(self, level: int, features: Tensor | None, stages: dict[int, Tensor]) -> Tensor:
        """Return the features (2 B, C, *S) of a level from those of the level before and its skips."""
        grid = self.config.pools[max(level - 1, 0)]  # voxel size where they are joined
        inputs = [repeat(stages[stage], 2**stage // grid) for stage in self.config.skips[level]]
        inputs = inputs if features is None else [features, *inputs]
        exact = self.config.pools[level] >= _EXACT
        with precision(exact, inputs[0].device):
            decoded: Tensor = self.decoders[level]([widened(x) for x in inputs] if exact else inputs)
        return decoded

    def aligner_at(self, level: int) -> tuple[ResidualAligner, SharedConvolutions]:
        """Return a level's aligner and the shared convolutions that it uses."""
        shared = self.shared[level % len(self.shared)]
        return cast(ResidualAligner, self.aligners[level]), cast(SharedConvolutions, shared)

    def doubles(self, level: int) -> bool:
        """Whether a level has half the voxel size of the one before."""
        return level > 0 and self.config.pools[level - 1] != self.config.pools[level]

    def _record(self, level: int, found: DirectionOutput, encoded: Encoded) -> LevelOutput:
        """Return what a level found, by direction."""
        pairs = encoded.pairs
        alone = found.field.shape[0] == pairs
        return LevelOutput(
            level,
            self.config.pools[level],
            shape=tuple(found.field.shape[2:]),
            image_shape=encoded.shape,
            forward=found if alone else found.take(slice(pairs, None)),
            inverse=None if alone else found.take(slice(pairs)),
        )

    def _finish(self, features: Tensor | None, carried: Carried | None) -> Tensor:
        """Return the field (B, D, *P) from the last features and the last field by one convolution."""
        if features is None or carried is None:
            raise ValueError("there is no level to finish")
        make_room(features)
        with full_precision(features.device):
            field: Tensor = self.displacement(torch.cat([widened(features), carried.field], dim=1))
            return field

    def _start_at_identity(self, seed: int) -> None:
        """Draw the weights so that every level starts as a residual one and the field near zero."""
        generator = torch.Generator().manual_seed(seed)
        initialise(self, generator)
        for part in self.modules():
            if isinstance(part, SharedConvolutions | ResidualAligner):
                part.start_at_identity()
        channels = self.config.decoder_channels[-1]
        nn.init.normal_(self.displacement.weight, std=1e-3, generator=generator)
        for component in range(self.config.ndim):
            set_centre_tap(self.displacement, component, channels + component, 1)


def _stacked_level(level: LevelOutput) -> DirectionOutput:
    """Return both directions of a level as the one batch that the network works on, the moving images first."""
    return level.forward if level.inverse is None else level.inverse.joined(level.forward)


def _opposite(own: Tensor, part: slice, pairs: int) -> Tensor:
    """Return the features of the other image of a part of the batch (2 B, C, *S)."""
    numbers = [(number + pairs) % len(own) for number in range(len(own))[part]]
    others = [own[number : number + 1] for number in numbers]
    return others[0] if len(others) == 1 else torch.cat(others)
