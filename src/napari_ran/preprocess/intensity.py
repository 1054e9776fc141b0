"""Map intensities to [0, 1]: CT windows, MRI percentiles, or the whole range; and choose among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from napari_ran.data import Image
from napari_ran.errors import InputError
from napari_ran.preprocess.lungs import shows_lungs
from napari_ran.types import Intensity

Kind = Literal["ct-soft", "ct-lung", "mri", "minmax"]

CT_WINDOWS: dict[str, tuple[float, float]] = {"ct-soft": (-100.0, 300.0), "ct-lung": (-1000.0, 200.0)}
"""Windows in HU: soft tissue as in the paper; air to soft tissue for lungs, so that the chest wall still shows."""

LUNG_SHARE = 0.2
"""Share of the non-air volume that must look like lung (-950 to -500 HU) for the lung window to be chosen."""

_PERCENTILES = (0.005, 0.995)
_MOST_SAMPLES = 2_000_000


@dataclass(frozen=True)
class Window:
    """The intensities that become 0 and 1; what lies outside is clipped."""

    low: float
    high: float

    def apply(self, values: Tensor) -> Tensor:
        """Map a tensor of intensities to [0, 1]."""
        return ((values - self.low) / (self.high - self.low)).clamp_(0, 1)


@dataclass(frozen=True)
class IntensityChoice:
    """How the intensities of a pair are mapped.

    Attributes
    ----------
    fixed_kind, moving_kind : str
        The mapping of each image; equal unless only one of them is CT.
    fixed, moving : Window
        The windows.
    lungs : bool
        Whether both images show lungs.
    reason : str
        One sentence that says what was chosen and why.
    """

    fixed_kind: Kind
    moving_kind: Kind
    fixed: Window
    moving: Window
    lungs: bool
    reason: str

    @property
    def preset(self) -> str:
        """The key of what the instance optimisation takes for granted about such images."""
        return "ct-lung" if self.lungs else self.fixed_kind


def choose_intensity(fixed: Image, moving: Image, wanted: Intensity = "auto") -> IntensityChoice:
    """Choose the mapping of both images of a pair.

    ``auto`` takes a CT window for values in Hounsfield units (the lung window where much of the body is lung), the
    whole range for images that were already scaled to 0..1 or to all of 8 bits, and MRI percentiles otherwise.

    Raises
    ------
    InputError
        An image is constant, or shows nothing within a window that was asked for.
    """
    samples = {"fixed": _sample(fixed), "moving": _sample(moving)}
    for argument, values in samples.items():
        if float(values.min()) == float(values.max()):
            raise InputError(
                argument,
                f"the image is constant ({float(values[0]):g} everywhere)",
                "Give an image that shows something",
            )
    if wanted == "auto":
        kinds, reason = _automatic(fixed, moving, samples)
    else:
        kinds, reason = (wanted, wanted), f"Intensities: '{wanted}' as asked for"
    windows = (_window(kinds[0], samples["fixed"]), _window(kinds[1], samples["moving"]))
    if kinds == ("minmax", "minmax"):
        windows = _shared(*windows)
    for argument, window in zip(samples, windows, strict=True):
        _refuse_blank(argument, samples[argument], window, wanted)
    lungs = kinds == ("ct-lung", "ct-lung")
    if not lungs and not set(kinds) & set(CT_WINDOWS) and shows_lungs(fixed) and shows_lungs(moving):
        lungs, reason = True, f"{reason}; both show lungs, which MIND compares"
    return IntensityChoice(kinds[0], kinds[1], *windows, lungs, reason)


def _automatic(fixed: Image, moving: Image, samples: dict[str, Tensor]) -> tuple[tuple[Kind, Kind], str]:
    ct = {name: _is_ct(image, samples[name]) for name, image in (("fixed", fixed), ("moving", moving))}
    shares = {name: _lung_share(samples[name]) for name in samples if ct[name]}
    if shares:
        share = min(shares.values())
        kind: Kind = "ct-lung" if share >= LUNG_SHARE else "ct-soft"
        low, high = CT_WINDOWS[kind]
        window = f"the {'lung' if kind == 'ct-lung' else 'soft-tissue'} window {low:g} to {high:g} HU is used"
        why = f"{100 * share:.0f} % of the body looks like lung, so {window}"
        if len(shares) == 2:
            return (kind, kind), f"Intensities: both images are in Hounsfield units and {why}"
        only = next(iter(shares))
        kinds: tuple[Kind, Kind] = (kind, "mri") if only == "fixed" else ("mri", kind)
        return kinds, f"Intensities: only the {only} image is in Hounsfield units ({why}), percentiles for the other"
    if all(_is_scaled(values) for values in samples.values()):
        reason = "Intensities: both images are already scaled (0 to 1, or 8 bits), so the whole range is used"
        return ("minmax", "minmax"), reason
    reason = "Intensities: not Hounsfield units, so the 0.5 and 99.5 percentiles of the foreground are used"
    return ("mri", "mri"), reason


def _is_ct(image: Image, values: Tensor) -> bool:
    """Say whether the values look like Hounsfield units: air far below zero and soft tissue around it."""
    modality = image.metadata.get("modality")
    if modality is not None:
        return bool(modality == "CT")
    soft = float(((values > -150) & (values < 250)).float().mean())
    return float(values.min()) <= -300 and float(values.max()) >= 100 and float(values.min()) >= -5000 and soft >= 0.03


def _lung_share(values: Tensor) -> float:
    """Return the share of what is not air that has the density of inflated lung."""
    body = values > -950
    return float((body & (values < -500)).sum() / body.sum().clamp(min=1))


def _is_scaled(values: Tensor) -> bool:
    low, high = float(values.min()), float(values.max())
    whole = bool((values == values.round()).all())
    return (low >= 0 and 0.98 <= high <= 1 and not whole) or (whole and low >= 0 and 250 <= high <= 255)


def _window(kind: Kind, values: Tensor) -> Window:
    if kind in CT_WINDOWS:
        return Window(*CT_WINDOWS[kind])
    if kind == "minmax":
        return Window(float(values.min()), float(values.max()))
    # the background of most images is exactly their smallest value; it would swamp the percentiles
    foreground = values[values > values.min()]
    low, high = (float(torch.quantile(foreground, q)) for q in _PERCENTILES)
    return Window(low, high) if high > low else Window(float(values.min()), float(values.max()))


def _shared(first: Window, second: Window) -> tuple[Window, Window]:
    """Return one window for both when their ranges agree, so that equal values stay equal."""
    overlap = min(first.high, second.high) - max(first.low, second.low)
    union = Window(min(first.low, second.low), max(first.high, second.high))
    return (union, union) if overlap > 0.5 * (union.high - union.low) else (first, second)


def _refuse_blank(argument: str, values: Tensor, window: Window, wanted: Intensity) -> None:
    if bool((values <= window.low).all()) or bool((values >= window.high).all()):
        raise InputError(
            argument,
            f"its values ({float(values.min()):g} to {float(values.max()):g}) all lie outside the window "
            f"{window.low:g} to {window.high:g}",
            "Set intensity='mri' or 'minmax'" if wanted != "auto" else "Set intensity='mri'",
        )


def _sample(image: Image) -> Tensor:
    """Return the values, or an even sample of them where there are millions; the extremes are always in it."""
    values = image.tensor.flatten().cpu()
    if values.numel() <= _MOST_SAMPLES:
        return values
    # a stride without a common factor with the axes' lengths would be ideal; an odd one is even enough for statistics
    stride = (values.numel() // _MOST_SAMPLES) | 1
    low, high = values.aminmax()
    return torch.cat([values[::stride], low[None], high[None]])
