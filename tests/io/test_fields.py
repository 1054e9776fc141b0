"""Fields written for other tools, against what SimpleITK makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.errors import InputError, OutputError
from napari_ran.io import load_field, save_field, save_image
from napari_ran.io.geometry import itk_image
from napari_ran.transform import warp_image

SIGNS = {2: np.array([-1.0, -1.0]), 3: np.array([-1.0, -1.0, 1.0])}
Grids = dict[int, tuple[Grid, Grid]]
MakeField = Callable[..., DisplacementField]
MakeImage = Callable[..., Image]


def interior(grid: Grid, count: int = 60) -> np.ndarray:
    """World points well inside the outermost voxel centres."""
    rng = np.random.default_rng(3)
    return grid.to_world(rng.uniform(0.5, np.array(grid.shape) - 1.5, (count, grid.ndim)))


@pytest.mark.parametrize("ndim", [2, 3])
def test_itk_maps_points_as_we_do(tmp_path: Path, ndim: int, oblique_grids: Grids, smooth_field: MakeField) -> None:
    field = smooth_field(oblique_grids[ndim][0])
    transform = sitk.ReadTransform(str(save_field(field, tmp_path / "field.h5")))
    sign = SIGNS[ndim]
    for point, ours in zip(points := interior(field.grid), field.map_points(points), strict=True):
        theirs = sign * np.array(transform.TransformPoint((sign * point).tolist()))
        assert np.abs(theirs - ours).max() < 0.01 * field.grid.spacing.min()
        assert np.abs(ours - point).max() > 1e-3


@pytest.mark.parametrize("ndim", [2, 3])
def test_itk_resamples_as_we_do(
    tmp_path: Path, ndim: int, oblique_grids: Grids, smooth_field: MakeField, smooth_image: MakeImage
) -> None:
    field, moving = smooth_field(oblique_grids[ndim][0]), smooth_image(oblique_grids[ndim][1])
    transform = sitk.ReadTransform(str(save_field(field, tmp_path / "field.h5")))
    reference = itk_image(np.zeros(field.grid.shape, np.float32), field.grid)
    outside = float(moving.tensor.min())
    theirs = sitk.Resample(itk_image(moving.array, moving.grid), reference, transform, sitk.sitkLinear, outside)
    theirs_array = sitk.GetArrayFromImage(theirs).T
    ours = warp_image(moving, field).array
    reached = moving.grid.to_voxel(
        field.map_points(field.grid.to_world(np.stack(np.indices(field.grid.shape), -1).reshape(-1, ndim)))
    )
    away = (
        np.abs(reached + 0.5 - np.round(np.clip((reached + 0.5) / moving.grid.shape, 0, 1)) * moving.grid.shape) > 0.05
    ).all(1)
    clear = away.reshape(field.grid.shape)  # on the faces themselves rounding decides what is inside
    assert clear.mean() > 0.9
    assert np.abs(ours - theirs_array)[clear].max() < 0.01 * np.ptp(moving.array)


def test_itk_resamples_the_written_nifti(
    tmp_path: Path, oblique_grids: Grids, smooth_field: MakeField, smooth_image: MakeImage
) -> None:
    field, moving = smooth_field(oblique_grids[3][0]), smooth_image(oblique_grids[3][1])
    image = sitk.ReadImage(str(save_image(moving, tmp_path / "moving.nii.gz")))
    reference = sitk.ReadImage(str(save_image(smooth_image(field.grid), tmp_path / "fixed.nii.gz")))
    transform = sitk.ReadTransform(str(save_field(field, tmp_path / "field.h5")))
    theirs = sitk.GetArrayFromImage(
        sitk.Resample(image, reference, transform, sitk.sitkLinear, float(moving.tensor.min()))
    ).T
    difference = np.abs(warp_image(moving, field).array - theirs)
    assert np.median(difference) < 1e-3 * np.ptp(moving.array)
    assert np.quantile(difference, 0.98) < 0.01 * np.ptp(moving.array)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", ["field.h5", "disp_fixed_moving.nii.gz", "disp.nii"])
def test_round_trip(tmp_path: Path, ndim: int, name: str, oblique_grids: Grids, smooth_field: MakeField) -> None:
    field = smooth_field(oblique_grids[ndim][0])
    again = load_field(save_field(field, tmp_path / name))
    assert again.grid == field.grid
    torch.testing.assert_close(again.tensor, field.tensor, atol=1e-4, rtol=1e-4)


def test_learn2reg_layout_and_meaning(
    tmp_path: Path, oblique_grids: Grids, smooth_field: MakeField, smooth_image: MakeImage
) -> None:
    """Learn2Reg's own formula, moving[x + disp[x]] in voxels, gives our warped image when both share a grid."""
    from scipy.ndimage import map_coordinates

    grid = oblique_grids[3][0]
    field, moving = smooth_field(grid), smooth_image(grid)
    displacement = nib.load(save_field(field, tmp_path / "disp_0001_0002.nii.gz")).get_fdata()
    assert displacement.shape == (*grid.shape, 3)
    identity = np.stack(np.indices(grid.shape))
    theirs = map_coordinates(moving.array, identity + np.moveaxis(displacement, -1, 0), order=1, mode="nearest")
    reached = np.moveaxis(identity, 0, -1) + displacement
    inside = ((reached >= 0) & (reached <= np.array(grid.shape) - 1)).all(-1)
    np.testing.assert_allclose(warp_image(moving, field).array[inside], theirs[inside], atol=1e-2)


def test_learn2reg_header_is_the_fixed_grid(tmp_path: Path, oblique_grids: Grids, smooth_field: MakeField) -> None:
    field = smooth_field(oblique_grids[3][0])
    affine = nib.load(save_field(field, tmp_path / "disp.nii.gz")).affine
    np.testing.assert_allclose(affine, field.grid.affine, atol=1e-4)


@pytest.mark.parametrize("name", ["moved.nii.gz", "field.tif", "field"])
def test_unknown_format_is_refused(tmp_path: Path, name: str, oblique_grids: Grids, smooth_field: MakeField) -> None:
    with pytest.raises(InputError, match=r"disp\*\.nii\.gz"):
        save_field(smooth_field(oblique_grids[3][0]), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_one_error(tmp_path: Path, oblique_grids: Grids, smooth_field: MakeField) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        save_field(smooth_field(oblique_grids[3][0]), tmp_path / "nowhere" / "field.h5")


def test_other_transforms_are_refused(tmp_path: Path) -> None:
    sitk.WriteTransform(sitk.AffineTransform(3), str(tmp_path / "affine.h5"))
    with pytest.raises(InputError, match="expected a displacement field, got AffineTransform"):
        load_field(tmp_path / "affine.h5")


def test_other_nifti_is_refused(tmp_path: Path, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    save_image(smooth_image(oblique_grids[3][0]), tmp_path / "disp.nii.gz")
    with pytest.raises(InputError, match=r"\(X, Y, Z, 3\)"):
        load_field(tmp_path / "disp.nii.gz")


def test_ants_field_is_not_mistaken_for_voxels(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((5, 6, 7, 1, 3), np.float32), np.eye(4))
    image.header.set_intent("vector")
    nib.save(image, tmp_path / "Warp.nii.gz")
    assert float(load_field(tmp_path / "Warp.nii.gz").tensor.abs().max()) == 0
    with pytest.raises(InputError, match="vector"):
        load_field(tmp_path / "Warp.nii.gz", "learn2reg")


@pytest.mark.parametrize("name", ["field.h5", "disp.nii.gz"])
def test_truncated_field_is_one_error(tmp_path: Path, name: str, oblique_grids: Grids, smooth_field: MakeField) -> None:
    path = save_field(smooth_field(oblique_grids[3][0]), tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=f"{name}.*cannot be read"):
        load_field(path)


def test_missing_field_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_field(tmp_path / "field.h5")
    (tmp_path / "field.tif").write_text("x")
    with pytest.raises(InputError, match=r"cannot read a field from a '\.tif' file"):
        load_field(tmp_path / "field.tif")
