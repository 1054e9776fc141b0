"""The choice of how intensities become 0 to 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_ran.data import Grid, Image
from napari_ran.errors import InputError
from napari_ran.io import load_image
from napari_ran.preprocess import IntensityChoice, choose_intensity

SHAPE = (20, 22, 18)
GRID = Grid.from_spacing(SHAPE, 2.0)
AIR, LUNG, SOFT, BONE = -1000, -800, 40, 700


def ct(lung: float, seed: int = 0) -> Image:
    """A body in air, of which a share is lung and a little is bone."""
    rng = np.random.default_rng(seed)
    values = np.full(SHAPE, AIR) + rng.normal(0, 10, SHAPE)
    body = rng.random((16, 18, 18))
    values[2:18, 2:20] = np.where(body < lung, LUNG, np.where(body > 0.97, BONE, SOFT)) + rng.normal(0, 10, body.shape)
    return Image(values, GRID, "ct")


def mri(high: float, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    values = np.zeros(SHAPE)
    values[3:17, 3:19] = rng.gamma(4, high / 16, (14, 16, 18))
    return Image(values, GRID, "mri")


def scaled(high: float, whole: bool) -> Image:
    values = np.random.default_rng(0).random(SHAPE)
    values = high * (values - values.min()) / np.ptp(values)
    return Image(values.round() if whole else values, GRID)


def kinds(choice: IntensityChoice) -> tuple[str, str]:
    return choice.fixed_kind, choice.moving_kind


def test_soft_tissue_ct() -> None:
    choice = choose_intensity(ct(0.1), ct(0.05, seed=1))
    assert kinds(choice) == ("ct-soft", "ct-soft")
    assert (choice.fixed.low, choice.fixed.high) == (-100, 300)
    assert "Hounsfield" in choice.reason
    assert "-100 to 300 HU" in choice.reason


def test_lung_ct() -> None:
    choice = choose_intensity(ct(0.5), ct(0.4, seed=1))
    assert kinds(choice) == ("ct-lung", "ct-lung")
    assert "40 % of the body looks like lung" in choice.reason


def test_a_pair_shares_its_window() -> None:
    """One image with much lung and one with little are still mapped alike."""
    choice = choose_intensity(ct(0.5), ct(0.05))
    assert kinds(choice) == ("ct-soft", "ct-soft")
    assert choice.fixed == choice.moving


def test_mri_takes_percentiles_of_each_image() -> None:
    choice = choose_intensity(mri(500), mri(3000))
    assert kinds(choice) == ("mri", "mri")
    for window, image in ((choice.fixed, mri(500)), (choice.moving, mri(3000))):
        foreground = image.array[image.array > 0]
        assert (window.low, window.high) == pytest.approx(tuple(np.percentile(foreground, (0.5, 99.5))), rel=1e-3)
    assert choice.moving.high > 4 * choice.fixed.high


@pytest.mark.parametrize(("high", "whole"), [(1.0, False), (255, True)])
def test_scaled_images_keep_their_whole_range(high: float, whole: bool) -> None:
    choice = choose_intensity(scaled(high, whole), scaled(high, whole))
    assert kinds(choice) == ("minmax", "minmax")
    assert (choice.fixed.low, choice.fixed.high) == (0, high)
    assert "already scaled" in choice.reason


def test_minmax_is_shared_where_ranges_agree() -> None:
    a, b, c = (
        Image(np.linspace(low, high, 7920).reshape(SHAPE), GRID) for low, high in ((0, 90), (10, 100), (0, 9000))
    )
    shared = choose_intensity(a, b, "minmax")
    assert shared.fixed == shared.moving
    assert (shared.fixed.low, shared.fixed.high) == (0, 100)
    own = choose_intensity(a, c, "minmax")
    assert (own.fixed.high, own.moving.high) == (90, 9000)


def test_ct_and_mri_are_mapped_apart() -> None:
    choice = choose_intensity(ct(0.1), mri(500))
    assert kinds(choice) == ("ct-soft", "mri")
    assert "only the fixed image is in Hounsfield units" in choice.reason
    assert kinds(choose_intensity(mri(500), ct(0.1))) == ("mri", "ct-soft")


def test_the_modality_of_dicom_counts() -> None:
    """A CT without air and a phase image that reaches below zero: the header knows better than the values."""
    inside = Image(np.random.default_rng(0).normal(60, 30, SHAPE), GRID, metadata={"modality": "CT"})
    assert kinds(choose_intensity(inside, inside)) == ("ct-soft", "ct-soft")
    phase = Image(ct(0.1).array, GRID, metadata={"modality": "MR"})
    assert kinds(choose_intensity(phase, phase)) == ("mri", "mri")


def test_windows_clip() -> None:
    choice = choose_intensity(ct(0.1), ct(0.1))
    mapped = choice.fixed.apply(ct(0.1).tensor)
    assert float(mapped.min()) == 0
    assert float(mapped.max()) == 1
    assert float(choice.fixed.apply(Image(np.full(SHAPE, 100.0), GRID).tensor).mean()) == pytest.approx(0.5)


@pytest.mark.parametrize(("which", "argument"), [(0, "fixed"), (1, "moving")])
def test_constant_images_are_refused(which: int, argument: str) -> None:
    pair = [ct(0.1), ct(0.1)]
    pair[which] = Image(np.full(SHAPE, 7.0), GRID)
    with pytest.raises(InputError, match=rf"{argument}: the image is constant \(7 everywhere\)"):
        choose_intensity(*pair)


def test_a_window_that_shows_nothing_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"moving: its values .* all lie outside the window -100 to 300.*intensity='mri'"
    ):
        choose_intensity(ct(0.1), Image(mri(500).array + 400, GRID), "ct-soft")


def test_a_large_image_is_judged_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_ran.preprocess import intensity

    whole = choose_intensity(mri(500), mri(500)).fixed
    monkeypatch.setattr(intensity, "_MOST_SAMPLES", 2000)
    sampled = choose_intensity(mri(500), mri(500)).fixed
    assert sampled.high == pytest.approx(whole.high, rel=0.1)
    assert choose_intensity(mri(500), mri(500), "minmax").fixed.high == float(mri(500).tensor.max())


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("fixed", "moving", "kind"),
    [
        ("lung_elastix/3DCT_lung_baseline.mha", "lung_elastix/3DCT_lung_followup.mha", "ct-lung"),
        ("abdomen_ct/ircad01_ct_2mm.nii.gz", "abdomen_ct/ircad17_ct_2mm.nii.gz", "ct-soft"),
        ("lung_dirlab/case_001/T00.nii.gz", "lung_dirlab/case_001/T50.nii.gz", "minmax"),
        ("hippocampus/images/hippocampus_001.nii.gz", "hippocampus/images/hippocampus_003.nii.gz", "mri"),
        ("cardiac/patient001_frame01_image.nii.gz", "cardiac/patient001_frame12_image.nii.gz", "mri"),
    ],
)
def test_real_pairs(real_data: Path, fixed: str, moving: str, kind: str) -> None:
    choice = choose_intensity(load_image(real_data / fixed), load_image(real_data / moving))
    assert kinds(choice) == (kind, kind)
