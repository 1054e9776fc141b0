"""Every format against the tools that it is for, on grids that are oblique, anisotropic and not the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from napari_ran.data import DisplacementField, Grid, Image
from napari_ran.errors import InputError
from napari_ran.io import load_field, save_field, save_image
from napari_ran.io.field_nifti import fsl_matrix
from napari_ran.io.fields import FORMATS
from napari_ran.io.geometry import itk_image
from napari_ran.transform import warp_image

SIGNS = {2: np.array([-1.0, -1.0]), 3: np.array([-1.0, -1.0, 1.0])}
Grids = dict[int, tuple[Grid, Grid]]
MakeField = Callable[..., DisplacementField]
MakeImage = Callable[..., Image]

AFFINE = np.array([[1.1, 0.1, -0.05, 3], [-0.12, 0.95, 0.1, -2], [0.02, -0.1, 1.05, 4], [0, 0, 0, 1.0]])


def affine_of(ndim: int) -> np.ndarray:
    """An affine that is well conditioned around the grids of the tests."""
    matrix = np.eye(ndim + 1)
    matrix[:-1, :-1] = AFFINE[:ndim, :ndim]
    centre = np.array([-10.0, 7.0, 120.0][:ndim])
    matrix[:-1, -1] = AFFINE[:ndim, 3] + centre - matrix[:-1, :-1] @ centre
    return matrix


def whole_field(grid: Grid, make: MakeField) -> DisplacementField:
    """A smooth field with an affine behind it."""
    inner = make(grid)
    points = grid.to_world(np.stack(np.indices(grid.shape), -1).reshape(-1, grid.ndim))
    matrix = affine_of(grid.ndim)
    reached = inner.map_points(points) @ matrix[:-1, :-1].T + matrix[:-1, -1]
    voxels = grid.to_voxel(reached) - grid.to_voxel(points)
    return DisplacementField(torch.from_numpy(voxels.T.reshape(grid.ndim, *grid.shape).copy()), grid)


def interior(grid: Grid, count: int = 60) -> np.ndarray:
    """World points well inside the outermost voxel centres."""
    rng = np.random.default_rng(3)
    return grid.to_world(rng.uniform(0.5, np.array(grid.shape) - 1.5, (count, grid.ndim)))


def by_itk(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    sign = SIGNS[points.shape[1]]
    return np.array([sign * np.array(transform.TransformPoint((sign * point).tolist())) for point in points])


def close(theirs: np.ndarray, ours: np.ndarray, grid: Grid) -> None:
    assert np.abs(theirs - ours).max() < 0.01 * grid.spacing.min()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("format", FORMATS)
def test_round_trip(tmp_path: Path, ndim: int, format: str, oblique_grids: Grids, smooth_field: MakeField) -> None:
    fixed, moving = oblique_grids[ndim]
    field = whole_field(fixed, smooth_field)
    path = tmp_path / FORMATS[format].suggestion
    if ndim not in FORMATS[format].dimensions:
        with pytest.raises(InputError, match=f"'{format}' cannot hold a field of {ndim} axes"):
            save_field(field, path, format, moving=moving)
        assert not path.exists()
        return
    save_field(field, path, format, moving=moving)
    again = load_field(path, moving=moving)
    np.testing.assert_allclose(again.grid.affine, fixed.affine, atol=1e-4)
    torch.testing.assert_close(again.tensor, field.tensor, atol=2e-4, rtol=1e-4)
    explicit = load_field(path, format, moving=moving)
    assert torch.equal(explicit.tensor, again.tensor)


# ---------------------------------------------------------------- ITK, SimpleITK


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_composite_maps_points_as_the_whole_and_goes_on_as_its_affine(
    tmp_path: Path, ndim: int, oblique_grids: Grids, smooth_field: MakeField
) -> None:
    grid = oblique_grids[ndim][0]
    field, matrix = whole_field(grid, smooth_field), affine_of(ndim)
    path = save_field(field, tmp_path / "field.h5", affine=matrix)
    transform = sitk.CompositeTransform(sitk.ReadTransform(str(path)))
    assert transform.GetNumberOfTransforms() == 2
    points = interior(grid)
    close(by_itk(transform, points), field.map_points(points), grid)
    far = grid.to_world(np.array([[-40.0] * ndim, [60.0] * ndim]))
    np.testing.assert_allclose(by_itk(transform, far), far @ matrix[:-1, :-1].T + matrix[:-1, -1], atol=1e-6)
    again = load_field(path)
    torch.testing.assert_close(again.tensor, field.tensor, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", ["field.nrrd", "field.mha"])
def test_a_vector_image_is_what_itk_makes_a_transform_of(
    tmp_path: Path, ndim: int, name: str, oblique_grids: Grids, smooth_field: MakeField
) -> None:
    grid = oblique_grids[ndim][0]
    field = whole_field(grid, smooth_field)
    image = sitk.ReadImage(str(save_field(field, tmp_path / name)), sitk.sitkVectorFloat64)
    points = interior(grid)
    close(by_itk(sitk.DisplacementFieldTransform(image), points), field.map_points(points), grid)
    if name.endswith("nrrd"):
        header = (tmp_path / name).read_bytes()[:600].decode("latin-1")
        assert "kinds: vector domain domain" in header
        assert ndim == 2 or "space: left-posterior-superior" in header


def test_itk_reads_the_nifti_dialects_as_the_same_field(
    tmp_path: Path, oblique_grids: Grids, smooth_field: MakeField
) -> None:
    """ITK turns vectors of the intent "displacement" from RAS to LPS, as 3D Slicer relies on, and no others."""
    grid = oblique_grids[3][0]
    field = whole_field(grid, smooth_field)
    points = interior(grid)
    for format in ("ants", "slicer"):
        path = save_field(field, tmp_path / f"{format}.nii.gz", format)
        image = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
        close(by_itk(sitk.DisplacementFieldTransform(image), points), field.map_points(points), grid)
    assert int(nib.load(tmp_path / "ants.nii.gz").header["intent_code"]) == 1007
    assert int(nib.load(tmp_path / "slicer.nii.gz").header["intent_code"]) == 1006


def test_transforms_of_other_tools_are_read(tmp_path: Path, oblique_grids: Grids) -> None:
    fixed, sign, matrix = oblique_grids[3][0], SIGNS[3], affine_of(3)
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((sign[:, None] * matrix[:-1, :-1] * sign).ravel().tolist())
    affine.SetTranslation((sign * matrix[:-1, -1]).tolist())
    for name in ("affine.tfm", "affine.mat"):
        sitk.WriteTransform(affine, str(tmp_path / name))
        with pytest.raises(InputError, match=r"has no grid of its own\. Say the fixed image"):
            load_field(tmp_path / name)
        points = interior(fixed)
        mapped = load_field(tmp_path / name, fixed=fixed).map_points(points)
        close(points @ matrix[:-1, :-1].T + matrix[:-1, -1], mapped, fixed)
    spline = sitk.BSplineTransformInitializer(itk_image(np.zeros(fixed.shape, np.float32), fixed), [4, 4, 4])
    rng = np.random.default_rng(0)
    spline.SetParameters(rng.normal(0, 2, len(spline.GetParameters())).tolist())
    both = sitk.CompositeTransform(3)
    both.AddTransform(affine)
    both.AddTransform(spline)
    sitk.WriteTransform(both, str(tmp_path / "both.h5"))
    voxels = np.random.default_rng(1).integers(0, np.array(fixed.shape), (40, 3))
    points = fixed.to_world(voxels.astype(float))  # at voxels there is no interpolation
    close(by_itk(both, points), load_field(tmp_path / "both.h5", fixed=fixed).map_points(points), fixed)
    with pytest.raises(InputError, match="the transform is 3-D, the grid 2-D"):
        load_field(tmp_path / "both.h5", fixed=oblique_grids[2][0])


# ---------------------------------------------------------------- ANTs

ANTS = """
import ants, json, sys
import pandas as pd
for folder in sys.argv[1:]:
    ndim = int(folder[-1])
    fixed, moving = (ants.image_read(f"{folder}/{name}.nii.gz", dimension=ndim) for name in ("fixed", "moving"))
    points = pd.DataFrame(json.load(open(f"{folder}/points.json")), columns=list("xyz")[:ndim])
    for name in ("field.h5", "1Warp.nii.gz"):
        transform = [f"{folder}/{name}"]
        warped = ants.apply_transforms(fixed, moving, transform, interpolator="linear")
        ants.image_write(warped, f"{folder}/{name[:5]}-by-ants.nii.gz")
        found = ants.apply_transforms_to_points(ndim, points, transform)
        json.dump(found.values.tolist(), open(f"{folder}/{name[:5]}-by-ants.json", "w"))
"""


@pytest.fixture(scope="module")
def by_ants(
    tmp_path_factory: pytest.TempPathFactory, oblique_grids: Grids, smooth_field: MakeField, smooth_image: MakeImage
) -> Path:
    """Folders 2 and 3, by dimension, with what ANTs makes of an image and of points by either of our files."""
    pytest.importorskip("ants")
    place = tmp_path_factory.mktemp("ants")
    for ndim, (fixed, moving) in oblique_grids.items():
        folder = place / str(ndim)
        folder.mkdir()
        save_image(smooth_image(moving), folder / "moving.nii.gz")
        save_image(smooth_image(fixed), folder / "fixed.nii.gz")
        for name in ("field.h5", "1Warp.nii.gz"):
            save_field(whole_field(fixed, smooth_field), folder / name, affine=affine_of(ndim))
        (folder / "points.json").write_text(json.dumps((interior(fixed) * SIGNS[ndim]).tolist()))
    subprocess.run([sys.executable, "-c", ANTS, *map(str, place.iterdir())], check=True, timeout=300)
    return place


@pytest.mark.parametrize("name", ["field.h5", "1Warp.nii.gz"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_ants_warps_as_we_do(
    by_ants: Path, name: str, ndim: int, oblique_grids: Grids, smooth_field: MakeField, smooth_image: MakeImage
) -> None:
    fixed, moving = oblique_grids[ndim]
    field, image = whole_field(fixed, smooth_field), smooth_image(moving)
    found = np.array(json.loads((by_ants / str(ndim) / f"{name[:5]}-by-ants.json").read_text()))[:, :ndim] * SIGNS[ndim]
    close(found, field.map_points(interior(fixed)), fixed)
    theirs = np.squeeze(nib.load(by_ants / str(ndim) / f"{name[:5]}-by-ants.nii.gz").get_fdata())
    reached = moving.to_voxel(field.map_points(fixed.to_world(np.stack(np.indices(fixed.shape), -1).reshape(-1, ndim))))
    inside = ((reached > 0.1) & (reached < np.array(moving.shape) - 1.1)).all(1).reshape(fixed.shape)
    assert inside.mean() > 0.3
    ours = warp_image(image, field).array
    assert np.abs(ours - theirs)[inside].max() < 0.01 * np.ptp(image.array)


# ---------------------------------------------------------------- FSL


def straight(flip: bool) -> Grid:
    """A grid along the axes of the world, whose first axis runs right or left."""
    affine = np.diag([-1.5 if flip else 1.5, 0.8, 2.0, 1.0])
    affine[:3, 3] = (20, -13, 7)
    return Grid((18, 26, 14), affine)


@pytest.mark.parametrize("flip", [False, True])
def test_nitransforms_reads_the_fsl_warp_as_the_same_field(tmp_path: Path, flip: bool, smooth_field: MakeField) -> None:
    """It takes the warp for one between images of one grid, whose axes are those of the world."""
    nonlinear = pytest.importorskip("nitransforms.nonlinear")
    grid = straight(flip)
    field = smooth_field(grid)
    path = save_field(field, tmp_path / "warp.nii.gz", "fsl", moving=grid)
    theirs = nonlinear.DenseFieldTransform.from_filename(path, fmt="fsl")
    voxels = np.random.default_rng(1).integers(0, np.array(grid.shape), (40, 3)).astype(float)
    points = grid.to_world(voxels)
    close(np.asarray(theirs.map(points)), field.map_points(points), grid)


@pytest.mark.parametrize("flips", [(1, 1), (1, -1), (-1, 1)])
def test_an_fsl_warp_leads_from_fsl_s_coordinates_to_fsl_s_coordinates(
    tmp_path: Path, flips: tuple[int, int], oblique_grids: Grids, smooth_field: MakeField
) -> None:
    """By the definition of applywarp --rel: mm from the corner, the first axis turned where the determinant is > 0."""
    grids = []
    for grid, flip in zip(oblique_grids[3], flips, strict=True):
        affine = np.array(grid.affine)
        affine[:, 0] *= flip
        grids.append(Grid(grid.shape, affine))
    fixed, moving = grids
    assert np.sign(np.linalg.det(fixed.affine)) == np.sign(np.linalg.det(oblique_grids[3][0].affine)) * flips[0]
    field = smooth_field(fixed)
    path = save_field(field, tmp_path / "warp.nii.gz", "fsl", moving=moving)
    file = nib.load(path)
    assert int(file.header["intent_code"]) == 2006
    relative = file.get_fdata()

    def fsl(grid: Grid, voxel: np.ndarray) -> np.ndarray:
        counted = voxel.copy()
        if np.linalg.det(grid.affine) > 0:
            counted[0] = grid.shape[0] - 1 - counted[0]
        return counted * grid.spacing

    for voxel in np.random.default_rng(1).integers(0, np.array(fixed.shape), (20, 3)):
        there = fsl(fixed, voxel.astype(float)) + relative[tuple(voxel)]
        world = field.map_points(fixed.to_world(voxel[None].astype(float)))
        np.testing.assert_allclose(there, fsl(moving, moving.to_voxel(world)[0]), atol=2e-3)
        np.testing.assert_allclose(fsl_matrix(fixed)[:3] @ [*voxel, 1], fsl(fixed, voxel.astype(float)))


# ---------------------------------------------------------------- what is refused


def test_what_a_file_does_not_say_is_asked_for(tmp_path: Path, oblique_grids: Grids, smooth_field: MakeField) -> None:
    fixed, moving = oblique_grids[3]
    field = smooth_field(fixed)
    for format in ("ants", "slicer"):
        path = save_field(field, tmp_path / "some.nii.gz", format)
        file = nib.load(path)
        file.header.set_intent("none")
        nib.save(nib.Nifti1Image(file.get_fdata(), file.affine, file.header), tmp_path / "unsaid.nii.gz")
        with pytest.raises(InputError, match=r"LPS \(ants\) or RAS \(slicer\).*Say the format"):
            load_field(tmp_path / "unsaid.nii.gz")
        again = load_field(tmp_path / "unsaid.nii.gz", format)
        torch.testing.assert_close(again.tensor, field.tensor, atol=2e-4, rtol=1e-4)
    save_field(field, tmp_path / "warp4d.nii.gz", "fsl", moving=moving)
    with pytest.raises(InputError, match="moving: an FSL warp depends on the moving image's grid"):
        load_field(tmp_path / "warp4d.nii.gz")
    with pytest.raises(InputError, match="moving: an FSL warp depends"):
        save_field(field, tmp_path / "other.nii.gz", "fsl")
    assert not (tmp_path / "other.nii.gz").exists()
    with pytest.raises(InputError, match="format: unknown: 'mni'"):
        save_field(field, tmp_path / "a.h5", "mni")
    with pytest.raises(InputError, match="format: unknown: 'mni'"):
        load_field(tmp_path / "warp4d.nii.gz", "mni")
    with pytest.raises(InputError, match=r"a file of the format 'ants' ends in \.nii\.gz or \.nii"):
        save_field(field, tmp_path / "a.h5", "ants")


def test_an_image_is_no_field(tmp_path: Path, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    path = save_image(smooth_image(oblique_grids[3][0]), tmp_path / "image.nrrd")
    with pytest.raises(InputError, match="expected an image of vectors, got 1 value per voxel"):
        load_field(path)
    spline = nib.Nifti1Image(np.zeros((5, 6, 7, 3), np.float32), np.eye(4))
    spline.header.set_intent(2008, allow_unknown=True)
    nib.save(spline, tmp_path / "spline.nii.gz")
    with pytest.raises(InputError, match="convertwarp"):
        load_field(tmp_path / "spline.nii.gz", moving=oblique_grids[3][0])
