"""Lungs are found by their shape, whatever the units; other anatomy is not taken for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import napari_ran as ran
from napari_ran.preprocess.intensity import choose_intensity
from napari_ran.preprocess.lungs import shows_lungs

SHAPE = (40, 36, 32)


def image(values: NDArray[np.float32]) -> ran.Image:
    noise = np.random.default_rng(0).normal(0, 0.01, values.shape)
    return ran.Image(np.clip(values + noise, 0, 1).astype(np.float32)[None], ran.Grid(values.shape, np.eye(4)))


def chest(axes: tuple[int, int, int] = (0, 1, 2)) -> NDArray[np.float32]:
    """An elliptic body with two dark lungs."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    values = np.where((x / 0.95) ** 2 + (y / 0.85) ** 2 < 1, 0.7, 0.0)
    for side in (-1, 1):
        values[((x - 0.42 * side) / 0.3) ** 2 + (y / 0.5) ** 2 + (z / 0.85) ** 2 < 1] = 0.15
    return values.transpose(axes).astype(np.float32)


def head() -> NDArray[np.float32]:
    """A bright ball with a thin dark shell (skull) and small dark ventricles."""
    grids = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt(sum(g**2 for g in grids))
    values = np.where(radius < 0.92, 0.7, 0.0)
    values[(radius > 0.78) & (radius < 0.84)] = 0.1
    values[radius < 0.2] = 0.1
    return values.astype(np.float32)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_chest_shows_lungs_in_any_order_of_the_axes(axes: tuple[int, int, int]) -> None:
    assert shows_lungs(image(chest(axes)))


def test_a_hollow_tube_does_not_show_lungs() -> None:
    x, y, _ = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.hypot(x / 0.95, y / 0.85)
    assert not shows_lungs(image(np.where((radius < 1) & (radius > 0.6), 0.7, 0.1).astype(np.float32)))


def test_units_do_not_matter() -> None:
    grid = ran.Grid(SHAPE, np.eye(4))
    assert shows_lungs(ran.Image((1700 * chest() + 3)[None], grid))


def test_a_head_a_solid_body_and_noise_do_not_show_lungs() -> None:
    solid = chest()
    solid[solid == np.float32(0.15)] = 0.7
    noise = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    assert not any(shows_lungs(image(values)) for values in (head(), solid, noise))


def test_slices_and_thin_volumes_are_never_lungs() -> None:
    assert not shows_lungs(ran.Image(chest()[None, :, :, 16], ran.Grid(SHAPE[:2], np.eye(3))))
    assert not shows_lungs(ran.Image(chest()[None, :, :, 12:20], ran.Grid((40, 36, 8), np.eye(4))))


def test_scaled_chests_are_compared_as_lungs_and_the_reason_says_so() -> None:
    scaled = chest() / 0.7
    choice = choose_intensity(image(scaled), image(scaled))
    assert choice.lungs
    assert choice.preset == "ct-lung"
    assert choice.fixed_kind == "minmax"
    assert "both show lungs" in choice.reason
    other = choose_intensity(image(scaled), image(head() / 0.7))
    assert not other.lungs
    assert other.preset == "minmax"


@pytest.mark.realdata
def test_real_chests_and_other_anatomy(real_data: Path) -> None:
    chests = [real_data / "lung_dirlab" / "case_001" / f"{phase}.nii.gz" for phase in ("T00", "T50")]
    chests += [real_data / "lung_elastix" / f"3DCT_lung_{name}.mha" for name in ("baseline", "followup")]
    others = sorted((real_data / "hippocampus" / "images").glob("*.nii.gz"))[:168:20]
    others += sorted((real_data / "cardiac").glob("*_image.nii.gz"))
    assert all(shows_lungs(ran.load_image(path)) for path in chests)
    assert not any(shows_lungs(ran.load_image(path)) for path in others)
