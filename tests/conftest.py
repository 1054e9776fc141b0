from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import napari_ran as ran
from napari_ran import functional
from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.io import save_field, save_image, save_labels, save_landmarks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with slow tests first: beside each other, none of them is left for the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real volumes; the test is skipped where there is none."""
    folder = os.environ.get("NAPARI_RAN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("NAPARI_RAN_DATA does not name a folder of real volumes")
    return Path(folder)


def _oblique(
    shape: tuple[int, ...], spacing: tuple[float, ...], angles: tuple[float, ...], centre: tuple[float, ...]
) -> Grid:
    """Make a grid turned in every coordinate plane, so that no axis stays aligned."""
    ndim, turn = len(shape), np.eye(len(shape))
    planes = [(i, j) for i in range(ndim) for j in range(i + 1, ndim)]
    for (i, j), angle in zip(planes, angles, strict=True):
        plane = np.eye(ndim)
        plane[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = turn @ plane
    affine = np.eye(ndim + 1)
    affine[:-1, :-1] = turn * spacing
    affine[:-1, -1] = centre - affine[:-1, :-1] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


@pytest.fixture(scope="session")
def oblique_grids() -> dict[int, tuple[Grid, Grid]]:
    """By dimension, two different oblique, anisotropic, non-square grids that share most of their space."""
    return {
        2: (_oblique((21, 30), (1.5, 0.8), (0.4,), (-10, 7)), _oblique((40, 36), (1.2, 1.6), (-0.3,), (-12, 9))),
        3: (
            _oblique((18, 14, 22), (1.1, 2.3, 0.8), (0.4, -0.3, 0.6), (-10, 7, 120)),
            _oblique((30, 26, 20), (1.2, 1.3, 2.2), (-0.3, 0.2, 0.3), (-12, 9, 117)),
        ),
    }


@pytest.fixture(scope="session")
def smooth_field() -> Callable[..., DisplacementField]:
    """Make a smooth random field of about `size` voxels: ``smooth_field(grid, seed=0, size=1.5)``."""

    def make(grid: Grid, seed: int = 0, size: float = 1.5) -> DisplacementField:
        coarse = torch.randn((1, grid.ndim, *[4] * grid.ndim), generator=torch.Generator().manual_seed(seed))
        return DisplacementField(size * functional.resize(coarse, grid.shape)[0], grid)

    return make


@pytest.fixture(scope="session")
def smooth_image() -> Callable[..., Image]:
    """Make a smooth random image of values around -100..100: ``smooth_image(grid, seed=1)``."""

    def make(grid: Grid, seed: int = 1, name: str = "moving") -> Image:
        coarse = torch.randn((1, 1, *[6] * grid.ndim), generator=torch.Generator().manual_seed(seed))
        return Image(50 * functional.resize(coarse, grid.shape)[0], grid, name)

    return make


@pytest.fixture(scope="session")
def inspectable() -> Any:
    """A tiny phantom pair, registered with everything that an inspection can show: levels, labels, landmarks."""
    import napari_ran as ran

    pair = ran.sliding_phantom(shape=(24, 20, 16))
    names = ("fixed_labels", "moving_labels", "fixed_landmarks", "moving_landmarks")
    given: dict[str, Any] = {name: getattr(pair, name) for name in names}
    instance = {"steps": 4, "search": 0}
    return ran.register(pair.fixed, pair.moving, affine="none", instance=instance, keep_levels=True, **given)


@pytest.fixture(scope="session")
def inspectable_folder(inspectable: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as `Registration.save` writes it; do not write to it."""
    return Path(inspectable.save(tmp_path_factory.mktemp("inspectable") / "saved"))


@pytest.fixture(scope="session")
def quick_report() -> Iterator[None]:
    """Let a report draw fewer pairs of points and coarser pictures than one for readers, for the sake of time."""
    from napari_ran.webpage import page, sections

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "PAIRS", 50_000)
        patch.setattr(sections, "LEVEL_PAIRS", 20_000)
        patch.setattr(page, "DOTS_PER_INCH", 40)
        yield


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of the same pair twice: *found* comes with its exact field, *still* with one that does nothing."""
    made = ran.phantom_2d()
    files = {"fixed": "fixed.nii.gz", "moving": "moving.nii.gz"}
    save_image(made.fixed, tmp_path / files["fixed"])
    save_image(made.moving, tmp_path / files["moving"])
    for side in ("fixed", "moving"):
        files[f"{side}_labels"], files[f"{side}_landmarks"] = f"{side}-labels.nii.gz", f"{side}.csv"
        save_labels(getattr(made, f"{side}_labels"), tmp_path / files[f"{side}_labels"])
        save_landmarks(getattr(made, f"{side}_landmarks"), tmp_path / files[f"{side}_landmarks"])
    save_field(made.truth, tmp_path / "truth.h5")
    save_field(ran.DisplacementField.identity(made.fixed.grid), tmp_path / "still.h5")
    with (tmp_path / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["name", *files, "field"])
        writer.writeheader()
        writer.writerow({"name": "found", **files, "field": "truth.h5"})
        writer.writerow({"name": "still", **files, "field": "still.h5"})
    return tmp_path / "cases.csv"
