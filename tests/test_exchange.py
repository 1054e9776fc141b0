"""Images of any type, labels, points and surfaces follow a transform; and the commands that carry and export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import napari_ran as ran
from napari_ran.applying import apply_files, kind_of
from napari_ran.cli import main
from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks, Surface
from napari_ran.errors import InputError
from napari_ran.exchange import Transform
from napari_ran.io import (
    Volumes,
    load_field,
    load_labels,
    load_landmarks,
    load_surface,
    load_volumes,
    save_field,
    save_image,
    save_labels,
    save_landmarks,
    save_surface,
    save_volumes,
)
from napari_ran.steps import last
from napari_ran.transform import warp_image

Grids = dict[int, tuple[Grid, Grid]]
MakeField = Callable[..., DisplacementField]
MakeImage = Callable[..., Image]

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=float)
FACES = np.array([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6]])


@pytest.fixture
def found(oblique_grids: Grids, smooth_field: MakeField) -> Transform:
    """A gentle transform between two oblique grids."""
    fixed, moving = oblique_grids[3]
    return Transform(smooth_field(fixed, size=0.6), None, moving)


def in_the_middle(grid: Grid, points: np.ndarray) -> np.ndarray:
    """Points of the unit cube brought into the middle of a grid, in mm."""
    return grid.to_world((np.array(grid.shape) - 1) * (0.35 + 0.3 * points))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, np.int64, bool])
@pytest.mark.parametrize("rest", [(), (3,), (1, 2)])
def test_every_channel_and_time_point_moves_and_keeps_its_type(
    tmp_path: Path, dtype: type, rest: tuple[int, ...], found: Transform, smooth_image: MakeImage
) -> None:
    moving = found.moving
    assert moving is not None
    channels = [smooth_image(moving, seed=seed).array * 0.5 + 100 for seed in range(int(np.prod(rest)))]
    values = np.stack(channels, -1).reshape(*moving.shape, *rest) if rest else channels[0]
    stored = (values > 100) if dtype is bool else values.astype(dtype)
    path = save_volumes(Volumes(stored, moving), tmp_path / "moving.nii.gz")
    (target,) = last(apply_files(found, [path], tmp_path / "out"))
    result = nib.load(target)
    assert result.shape == (*found.field.grid.shape, *rest)
    expected_type = {bool: np.uint8, np.int64: np.int32}.get(dtype, dtype)
    assert result.get_data_dtype() == expected_type
    first = Image(torch.from_numpy(stored[(..., *(0,) * len(rest))].astype(np.float32)), moving)
    exact = warp_image(first, found.field).array
    here = np.asarray(result.dataobj)[(..., *(0,) * len(rest))]
    if dtype is bool:
        assert np.array_equal(here > 0, exact > 0.5)
    else:
        np.testing.assert_allclose(here, exact, atol=0.51 if np.issubdtype(dtype, np.integer) else 1e-3)
    np.testing.assert_allclose(result.affine, found.field.grid.affine, atol=1e-4)


def test_colours_in_a_vector_image_move(tmp_path: Path, found: Transform, smooth_image: MakeImage) -> None:
    assert found.moving is not None
    colours = np.stack([smooth_image(found.moving, seed=seed).array for seed in range(3)], -1)
    path = save_volumes(Volumes(colours, found.moving), tmp_path / "colours.mha")
    assert sitk.ReadImage(str(path)).GetNumberOfComponentsPerPixel() == 3
    (target,) = last(apply_files(found, [path], tmp_path / "out"))
    result = load_volumes(target)
    expected = warp_image(Image(torch.from_numpy(colours[..., 2].copy()), found.moving), found.field).array
    np.testing.assert_allclose(result.values[..., 2], expected, atol=1e-3)


def test_labels_by_gaussian_are_smoother_and_stay_where_they_were(found: Transform) -> None:
    assert found.moving is not None
    grid = Grid(found.moving.shape, found.moving.affine)
    x = np.stack(np.indices(grid.shape), -1) - (np.array(grid.shape) - 1) / 2
    ball = np.linalg.norm(x * grid.spacing, axis=-1) < 9
    noise = np.random.default_rng(0).random(grid.shape) < 0.04
    labels = Labels(torch.from_numpy(np.where(ball ^ noise, 7, 2).astype(np.int32)), grid, names={7: "ball"})
    nearest, gaussian = found.apply(labels), found.apply(labels, "gaussian")
    fixed = found.field.grid
    reached = grid.to_voxel(
        found.field.map_points(fixed.to_world(np.stack(np.indices(fixed.shape), -1).reshape(-1, 3)))
    )
    centred = (reached - (np.array(grid.shape) - 1) / 2) * grid.spacing
    truth = np.where(np.linalg.norm(centred, axis=1) < 9, 7, 2).reshape(fixed.shape)
    covered = nearest.array > 0
    wrong = [float((one.array != truth)[covered].mean()) for one in (nearest, gaussian)]
    assert wrong[1] < 0.5 * wrong[0]
    assert set(gaussian.ids) <= {2, 7}
    assert gaussian.names == {7: "ball"}
    with pytest.raises(InputError, match="unknown: 'cubic'"):
        found.apply(labels, "cubic")  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["brain.stl", "brain.obj", "brain.ply", "brain.vtk", "brain.npz"])
def test_a_surface_goes_the_way_of_its_points(tmp_path: Path, name: str, found: Transform) -> None:
    assert found.moving is not None
    fixed = found.field.grid
    vertices = found.field.map_points(in_the_middle(fixed, CUBE))  # where they lie in the moving image
    path = save_surface(Surface(vertices, FACES), tmp_path / name)
    steps = list(apply_files(found, [path], tmp_path / "out"))
    assert steps[-1].warning == ""
    carried = load_surface(tmp_path / "out" / name)
    corners = carried.vertices[carried.faces] if name.endswith("stl") else carried.vertices
    expected = in_the_middle(fixed, CUBE)
    expected = expected[FACES] if name.endswith("stl") else expected  # STL does not share its vertices
    if name.endswith("stl"):
        corners, expected = (np.sort(one.reshape(-1, 3), axis=0) for one in (corners, expected))
    np.testing.assert_allclose(corners, expected, atol=0.02 * found.moving.spacing.min())


def test_files_of_surfaces_are_lps_unless_they_say_otherwise(tmp_path: Path) -> None:
    path = save_surface(Surface(CUBE + 5, FACES), tmp_path / "cube.obj")
    np.testing.assert_allclose(load_surface(path, "ras").vertices, (CUBE + 5) * [-1, -1, 1], atol=1e-6)
    path.write_text("# SPACE=RAS\n" + path.read_text())
    np.testing.assert_allclose(load_surface(path).vertices, (CUBE + 5) * [-1, -1, 1], atol=1e-6)
    with pytest.raises(InputError, match="it has no triangles"):
        Surface(CUBE, np.empty((0, 3), int))
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\n")
    with pytest.raises(InputError, match="triangles"):
        load_surface(tmp_path / "points.obj")
    (tmp_path / "torn.stl").write_bytes(b"solid nothing\nfacet")
    with pytest.raises(InputError, match=r"torn\.stl"):
        load_surface(tmp_path / "torn.stl")
    with pytest.raises(InputError, match="a triangle names a vertex that is not there"):
        Surface(CUBE, FACES + 4)


def test_points_travel_by_the_inverse_and_say_where_they_leave_the_field(tmp_path: Path, found: Transform) -> None:
    assert found.moving is not None
    inside = in_the_middle(found.field.grid, CUBE)
    there = found.field.map_points(inside)
    path = save_landmarks(Landmarks(np.vstack([there, [[500.0, 500, 500]]])), tmp_path / "points.csv")
    steps = list(apply_files(found, [path], tmp_path / "out"))
    assert "1 of 9 points lie outside" in steps[-1].warning
    np.testing.assert_allclose(load_landmarks(tmp_path / "out" / "points.csv").points[:-1], inside, atol=0.02)


def test_a_registration_is_a_transform_that_is_saved_and_read(tmp_path: Path) -> None:
    made = ran.phantom_2d()
    result = ran.register(made.fixed, made.moving, weights="none", instance={"similarity": "mse", "steps": 5})
    direct, read = Transform.of(result), Transform.load(result.save(tmp_path / "result"))
    torch.testing.assert_close(read.field.tensor, direct.field.tensor, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(direct.opposite().field.tensor, result.inverse_field.tensor)
    torch.testing.assert_close(read.opposite().field.tensor, result.inverse_field.tensor, atol=1e-4, rtol=1e-4)
    assert torch.equal(direct.apply(made.moving).tensor, result.warped.tensor)
    finer = made.fixed.grid.with_spacing(made.fixed.grid.spacing / 2)
    assert read.on(finer).apply(made.moving).grid == finer


def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path: Path, found: Transform) -> None:
    assert found.moving is not None
    path = save_image(Image(torch.zeros(1, *found.moving.shape), found.moving), tmp_path / "a.nii.gz")
    out = tmp_path / "out"
    with pytest.raises(InputError, match="there is no such file"):
        last(apply_files(found, [path, tmp_path / "b.nii.gz"], out))
    with pytest.raises(InputError, match=r"two files would become a\.nii\.gz"):
        last(apply_files(found, [path, path], out))
    with pytest.raises(InputError, match="would replace the file that it comes from"):
        last(apply_files(found, [path], tmp_path))
    assert not out.exists()
    flat = save_image(Image(torch.zeros(1, 8, 9), Grid.from_spacing((8, 9), (1.0, 1.0))), tmp_path / "flat.nii.gz")
    with pytest.raises(InputError, match=r"flat\.nii\.gz.*expected 3 dimensions, got 2"):
        last(apply_files(found, [flat], out))
    with pytest.raises(InputError, match=r"there is no field\.h5"):
        Transform.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("t1.nii.gz", "image"), ("t1_seg.nii.gz", "labels"), ("a.fcsv", "points"), ("a.stl", "surface")],
)
def test_names_say_what_files_are(name: str, kind: str) -> None:
    assert kind_of(Path(name)) == kind


# ---------------------------------------------------------------- commands


def test_apply_and_export_as_commands(
    tmp_path: Path, found: Transform, smooth_image: MakeImage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found.moving is not None
    field = save_field(found.field, tmp_path / "field.h5")
    moving = save_image(smooth_image(found.moving), tmp_path / "moving.nii.gz")
    fixed = save_image(smooth_image(found.field.grid), tmp_path / "fixed.nii.gz")
    organs = Labels(torch.from_numpy((smooth_image(found.moving).array > 0).astype(np.int32)), found.moving)
    labels = save_labels(organs, tmp_path / "organs_seg.nii.gz")
    out = tmp_path / "out"
    assert main(["apply", str(field), str(moving), str(labels), "-o", str(out), "--moving", str(moving)]) == 0
    assert np.array_equal(load_labels(out / "organs_seg.nii.gz").array, found.apply(organs).array)
    expected = found.apply(smooth_image(found.moving)).array
    np.testing.assert_allclose(ran.load_image(out / "moving.nii.gz").array, expected, atol=1e-3)
    assert "organs_seg.nii.gz ->" in capsys.readouterr().err

    for name, extra in (("1Warp.nii.gz", []), ("disp.nii.gz", []), ("fsl.nii.gz", ["--format", "fsl"])):
        assert main(["export", str(field), str(tmp_path / name), "--moving", str(moving), *extra]) == 0
        again = load_field(tmp_path / name, moving=found.moving)
        torch.testing.assert_close(again.tensor, found.field.tensor, atol=2e-4, rtol=1e-4)
    assert "Written" in capsys.readouterr().out
    back = ["export", str(field), str(tmp_path / "back.h5"), "--moving", str(moving), "--inverse"]
    assert main(back) == 0
    inverse = load_field(tmp_path / "back.h5")
    assert inverse.grid == found.moving
    voxels = np.stack(np.indices(found.moving.shape), -1).reshape(-1, 3)[::97]  # there it is not interpolated
    points = found.moving.to_world(voxels.astype(float))
    np.testing.assert_allclose(found.field.map_points(inverse.map_points(points)), points, atol=0.03)

    sitk.WriteTransform(sitk.TranslationTransform(3, (2.0, 0.0, 0.0)), str(tmp_path / "shift.tfm"))
    assert main(["apply", str(tmp_path / "shift.tfm"), str(moving), "-o", str(out)]) == 2
    assert "Say the fixed image" in capsys.readouterr().err.replace("\n", " ")
    other = ["apply", str(tmp_path / "shift.tfm"), str(moving), "-o", str(tmp_path / "shifted"), "--fixed", str(fixed)]
    assert main(other) == 0
    assert main(["export", str(field), str(tmp_path / "x.nii.gz")]) == 2
    assert "does not say which format" in capsys.readouterr().err.replace("\n", " ")
