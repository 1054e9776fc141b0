from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_ran import Grid, Image
from napari_ran.io import save_image
from napari_ran.io.layers import image_from_layer, layer_affine
from napari_ran.io.placement import misplaced

OBLIQUE = np.array([[1.1, 0.2, 0, 5], [-0.2, 1.0, 0.3, -7], [0.1, -0.2, 2.0, 11], [0, 0, 0, 1]])


@pytest.fixture(params=["nii.gz", "nrrd"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Grid, Path]:
    grid = Grid((6, 7, 5), OBLIQUE)
    return grid, save_image(Image(np.zeros(grid.shape, np.float32), grid), tmp_path / f"brain.{request.param}")


def test_where_the_file_says(file: tuple[Grid, Path]) -> None:
    assert misplaced(*file) == ""


def test_axes_may_be_turned_over_and_permuted(file: tuple[Grid, Path]) -> None:
    grid, path = file
    turned = np.array([[0, 1, 0, 0], [-1, 0, 0, 6], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    assert misplaced(Grid((7, 6, 5), grid.affine @ turned), path) == ""


def test_a_reader_that_shows_ras_as_it_is_is_named(tmp_path: Path) -> None:
    grid = Grid((6, 7, 5), np.diag([1.0, 1.5, 2.0, 1.0]))
    path = save_image(Image(np.zeros(grid.shape, np.float32), grid), tmp_path / "brain.nii.gz")
    seen = image_from_layer(np.zeros((5, 7, 6), np.float32), np.diag([2.0, 1.5, 1.0, 1.0]), "brain")
    assert "RAS coordinates were LPS" in misplaced(seen.grid, path, "brain")
    assert "'brain'" in misplaced(seen.grid, path, "brain")


def test_a_reader_that_shows_the_coordinates_of_itk_agrees(tmp_path: Path) -> None:
    grid = Grid((6, 7, 5), np.diag([-1.0, -1.5, 2.0, 1.0]))  # direction of ITK: identity
    path = save_image(Image(np.zeros(grid.shape, np.float32), grid), tmp_path / "brain.nrrd")
    image = sitk.ReadImage(str(path))
    scale, translate = image.GetSpacing()[::-1], image.GetOrigin()[::-1]
    matrix = layer_affine({"scale": scale, "translate": translate}, 3)  # what napari-itk-io makes of it
    seen = image_from_layer(sitk.GetArrayFromImage(image), matrix, "brain")
    assert misplaced(seen.grid, path, "brain") == ""


def test_an_image_that_was_moved(file: tuple[Grid, Path]) -> None:
    grid, path = file
    moved = grid.affine.copy()
    moved[1, 3] += 3
    assert "up to 3 mm away" in misplaced(Grid(grid.shape, moved), path)


def test_what_cannot_be_told_is_not_said(file: tuple[Grid, Path], tmp_path: Path) -> None:
    grid, path = file
    assert misplaced(Grid((6, 7, 4), grid.affine), path) == ""  # a part of it
    assert misplaced(grid, tmp_path / "gone.nii.gz") == ""
    (tmp_path / "notes.nii.gz").write_bytes(b"no image")
    assert misplaced(grid, tmp_path / "notes.nii.gz") == ""
