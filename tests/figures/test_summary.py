from __future__ import annotations

import subprocess
import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ran import figures
from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.figures.planes import intensity_bounds, planes_through, scaled

OBLIQUE = Grid(
    (18, 15, 10),
    np.array([[-1.2, 0.2, 0.1, 5], [0.3, 1.6, -0.3, -7], [0.0, 0.4, 2.4, 3], [0, 0, 0, 1]]),
)
PLANE = Grid.from_spacing((24, 17), (0.7, 1.3))


def noise(grid: Grid, seed: int) -> Image:
    return Image(torch.rand(grid.shape, generator=torch.Generator().manual_seed(seed)), grid)


def panel(figure, name: str):
    """The top panel of a column, by the name that its heading carries."""
    return next(ax for ax in figure.axes if ax.title.get_gid() == name)


def picture(figure, name: str) -> np.ndarray:
    return np.asarray(panel(figure, name).images[0].get_array())


@pytest.mark.parametrize(("grid", "rows"), [(OBLIQUE, 3), (PLANE, 1)], ids=["3d", "2d"])
def test_one_page_with_a_row_per_plane(grid: Grid, rows: int, tmp_path: Path) -> None:
    image, voxel = noise(grid, 0), np.array(grid.shape) // 3
    figure = figures.summary(
        image, image, image, DisplacementField.identity(grid), title="a pair", position=grid.to_world(voxel)
    )
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 7 * rows
    for ax, plane in zip(panels[::7], planes_through(grid, voxel), strict=True):
        assert ax.get_ylabel() == plane.name
        drawn = np.asarray(ax.images[0].get_array())
        assert drawn == pytest.approx(scaled(plane.of(image.array), intensity_bounds(image)))
    assert "a pair" in [text.get_text() for text in figure.texts]
    figure.savefig(tmp_path / "summary.png")
    assert (tmp_path / "summary.png").stat().st_size > 10_000


@pytest.mark.parametrize("flips", product((1, -1), repeat=3))
@pytest.mark.parametrize("order", permutations(range(3)))
def test_planes_are_cut_as_in_radiology_whatever_the_array_order(flips, order) -> None:
    ras = np.zeros((12, 10, 8), np.float32)
    ras[8:11, 6:9, 5:7] = 1  # towards right, anterior, superior
    ras[5:7, 4:6, 3:5] = 0.2
    array, affine = ras, np.diag([1.0, 2.0, 3.0, 1.0])
    for axis, sign in enumerate(flips):
        if sign < 0:
            array, step = np.flip(array, axis), affine[:3, axis].copy()
            affine[:3, 3] += step * (ras.shape[axis] - 1)
            affine[:3, axis] = -step
    array, affine = array.transpose(order), affine[:, [*order, 3]]
    grid = Grid(array.shape, affine)
    planes = planes_through(grid, grid.to_voxel(np.array([9.0, 14, 15])))
    assert [plane.name for plane in planes] == ["axial", "coronal", "sagittal"]
    axial, coronal, sagittal = (plane.of(array) for plane in planes)
    assert [plane.shape for plane in (axial, coronal, sagittal)] == [(10, 12), (8, 12), (8, 10)]
    assert axial[:5, :6].mean() > 0.1 > axial[5:].mean()  # anterior up, right on the left
    assert coronal[:4, :6].mean() > 0.1 > coronal[4:].mean()  # superior up
    assert sagittal[:4, :5].mean() > 0.1 > sagittal[4:].mean()  # anterior on the left


def test_pixels_keep_the_physical_aspect() -> None:
    image = noise(Grid.from_spacing((20, 10), (1.0, 3.0)), 0)
    figure = figures.summary(image, image, image, DisplacementField.identity(image.grid))
    left, right, bottom, top = panel(figure, "fixed").images[0].get_extent()
    assert (right - left, bottom - top) == (20.0, 30.0)


def test_moving_is_shown_where_it_lies_in_the_world() -> None:
    fixed = noise(PLANE, 0)
    part = Grid((12, 9), PLANE.affine @ np.array([[1, 0, 4], [0, 1, 5], [0, 0, 1.0]]))
    moving = Image(fixed.tensor[:, 4:16, 5:14], part)
    figure = figures.summary(fixed, moving, fixed, DisplacementField.identity(PLANE))
    inside = np.zeros(PLANE.shape, bool)
    inside[4:16, 5:14] = True
    inside = inside[::-1, ::-1].T  # as the picture shows it
    shown = picture(figure, "moving")
    assert np.corrcoef(shown[inside], picture(figure, "fixed")[inside])[0, 1] > 0.99
    assert not shown[~inside].any()


def test_folds_are_painted_where_they_are() -> None:
    field = torch.zeros((2, *PLANE.shape))
    field[0, 10:12] = torch.tensor([3.0, -3.0])[:, None]
    figure = figures.summary(noise(PLANE, 0), noise(PLANE, 1), noise(PLANE, 1), DisplacementField(field, PLANE))
    determinant, folds = (np.ma.asarray(im.get_array()) for im in panel(figure, "jacobian").images)
    assert determinant.min() < 0
    assert np.array_equal(~np.ma.getmaskarray(folds), np.asarray(determinant) <= 0)
    rgba = panel(figure, "jacobian").images[1].to_rgba(folds)
    assert rgba[~np.ma.getmaskarray(folds)][0].tolist() == [0, 0, 0, 1]


def test_jacobian_of_a_plane_equals_the_whole_volume() -> None:
    torch.manual_seed(0)
    field = DisplacementField(torch.randn((3, *OBLIQUE.shape)) * 0.2, OBLIQUE)
    whole = field.jacobian_determinant.numpy()
    for plane in planes_through(OBLIQUE, np.array([0, 7, 9])):  # faces included
        assert plane.jacobian(field) == pytest.approx(plane.of(whole), abs=1e-5)


def test_displacement_is_shown_in_millimetres() -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = [3, 4, 0]
    image = noise(OBLIQUE, 0)
    figure = figures.summary(image, image, image, DisplacementField.from_world_map(OBLIQUE, matrix))
    assert picture(figure, "displacement") == pytest.approx(5.0, abs=1e-4)
    assert len(panel(figure, "displacement").collections) == 2  # lines along both axes


def test_other_contrast_gets_a_checkerboard() -> None:
    fixed = noise(PLANE, 0)
    inverted = Image(1 - fixed.tensor, PLANE)
    field = DisplacementField.identity(PLANE)
    assert panel(figures.summary(fixed, fixed, fixed, field), "after").get_title() == "Difference after"
    assert panel(figures.summary(fixed, inverted, inverted, field), "after").get_title() == "Checkerboard after"


def test_a_constant_image_and_a_tiny_one_can_be_drawn(tmp_path: Path) -> None:
    grid = Grid.from_spacing((2, 3, 2))
    image = Image(torch.ones(grid.shape), grid)
    figures.summary(image, image, image, DisplacementField.identity(grid)).savefig(tmp_path / "tiny.png")
    assert (tmp_path / "tiny.png").exists()


def test_drawing_needs_neither_a_screen_nor_pyplot() -> None:
    code = (
        "import sys, torch; from napari_ran import figures; from napari_ran.data import *; "
        "g = Grid.from_spacing((8, 9)); i = Image(torch.rand(8, 9), g); "
        "figures.summary(i, i, i, DisplacementField.identity(g)); print('matplotlib.pyplot' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
