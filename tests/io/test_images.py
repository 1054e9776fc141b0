"""Images and label maps from and to files: geometry, number types, and everything that can be wrong with a file.

Long, as one reader has to do with many formats that share their grids and their faults.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from napari_ran.data import Grid, Image, Labels
from napari_ran.errors import InputError, OutputError
from napari_ran.io import load_image, load_labels, save_image, save_labels
from napari_ran.io.geometry import itk_image

NDIMS = pytest.mark.parametrize("ndim", [2, 3])
Grids = dict[int, tuple[Grid, Grid]]
MakeImage = Callable[..., Image]
RNG = np.random.default_rng(0)
VALUES = RNG.integers(0, 200, (5, 6, 7))


@contextmanager
def little_space(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def nifti(path: Path, values: np.ndarray, affine: np.ndarray | None = None, **header: object) -> Path:
    image = nib.Nifti1Image(values, np.diag([1.5, 2, 2.5, 1]) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


# ---- geometry


@NDIMS
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd"])
def test_round_trip(tmp_path: Path, ndim: int, suffix: str, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    image = smooth_image(oblique_grids[ndim][0])
    again = load_image(save_image(image, tmp_path / f"image{suffix}"))
    assert again.grid == image.grid
    np.testing.assert_array_equal(again.array, image.array)
    assert again.name == "image"
    assert again.metadata["warnings"] == ()
    assert [p.name for p in tmp_path.iterdir()] == [f"image{suffix}"]


@NDIMS
def test_itk_and_nibabel_see_the_same_world(
    tmp_path: Path, ndim: int, oblique_grids: Grids, smooth_image: MakeImage
) -> None:
    """A volume that ITK itself writes as NIfTI and as MHA is one volume in one place."""
    image = smooth_image(oblique_grids[ndim][0])
    for name in ("a.nii.gz", "a.mha", "a.nrrd"):
        sitk.WriteImage(itk_image(image.array, image.grid), str(tmp_path / name))
        again = load_image(tmp_path / name)
        assert again.grid == image.grid, name
        np.testing.assert_array_equal(again.array, image.array)


def test_lps_becomes_ras(tmp_path: Path) -> None:
    itk = sitk.GetImageFromArray(VALUES.astype(np.int16).T)
    itk.SetOrigin((10, 20, 30))
    itk.SetSpacing((1, 2, 3))
    sitk.WriteImage(itk, str(tmp_path / "a.mha"))
    grid = load_image(tmp_path / "a.mha").grid
    np.testing.assert_allclose(grid.affine, [[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])


def test_sform_comes_before_qform_and_either_will_do(tmp_path: Path, oblique_grids: Grids) -> None:
    affine = oblique_grids[3][0].affine
    image = nib.Nifti1Image(VALUES.astype(np.int16), None)
    image.set_qform(affine, code=1)
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "q.nii")
    np.testing.assert_allclose(load_image(tmp_path / "q.nii").grid.affine, affine, atol=1e-4)
    shifted = affine.copy()
    shifted[:3, 3] += 5
    image.set_sform(shifted, code=2)
    nib.save(image, tmp_path / "s.nii")
    np.testing.assert_allclose(load_image(tmp_path / "s.nii").grid.affine, shifted, atol=1e-4)


def test_a_sheared_grid_survives(tmp_path: Path) -> None:
    affine = np.diag([1.5, 2, 2.5, 1])
    affine[0, 1] = 0.4  # a tilted gantry
    image = Image(VALUES, Grid(VALUES.shape, affine))
    for name in ("a.nii.gz", "a.nrrd"):
        assert load_image(save_image(image, tmp_path / name)).grid == image.grid


@pytest.mark.parametrize(("unit", "factor"), [("micron", 0.001), ("meter", 1000.0), ("mm", 1.0), ("unknown", 1.0)])
def test_other_units_become_millimetres(tmp_path: Path, unit: str, factor: float) -> None:
    image = nib.Nifti1Image(VALUES.astype(np.int16), np.diag([5, 5, 8, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    loaded = load_image(tmp_path / "a.nii")
    np.testing.assert_allclose(loaded.grid.spacing, np.array([5, 5, 8]) * factor)
    assert any("converted to mm" in text for text in loaded.metadata["warnings"]) == (factor != 1)


def test_a_header_without_orientation_is_used_with_a_warning(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VALUES.astype(np.int16), None)
    image.header.set_zooms((1.5, 2, 2.5))
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "a.nii")
    loaded = load_image(tmp_path / "a.nii")
    np.testing.assert_allclose(loaded.grid.spacing, (1.5, 2, 2.5))
    assert "no orientation" in loaded.metadata["warnings"][0]


@pytest.mark.parametrize("size", [0.0, np.nan, np.inf])
def test_a_header_without_orientation_or_size_is_refused(tmp_path: Path, size: float) -> None:
    image = nib.Nifti1Image(VALUES.astype(np.int16), None)
    path = tmp_path / "a.nii"
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[80:84] = np.float32(size).tobytes()  # pixdim[1]
    raw[252:256] = bytes(4)  # qform_code, sform_code
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"a\.nii: the voxel size in the header is unusable"):
        load_image(path)


# ---- slices and extra axes


@pytest.mark.parametrize(("single", "kept"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
def test_a_volume_of_one_slice_is_a_2d_image(tmp_path: Path, single: int, kept: tuple[int, int]) -> None:
    values = VALUES.take([3], axis=single).astype(np.int16)
    affine = np.diag([1.5, 2, 2.5, 1])
    affine[:3, 3] = (-10, 20, 30)
    image = load_image(nifti(tmp_path / "a.nii.gz", values, affine))
    np.testing.assert_array_equal(image.array, values.squeeze(single))
    np.testing.assert_allclose(image.grid.spacing, np.diag(affine)[list(kept)])
    np.testing.assert_allclose(image.grid.origin, affine[list(kept), 3])
    assert image.metadata["warnings"] == ()


def test_a_tilted_slice_keeps_its_size_and_says_so(tmp_path: Path, oblique_grids: Grids) -> None:
    affine = oblique_grids[3][0].affine
    values = VALUES[:, :, :1].astype(np.int16)
    image = load_image(nifti(tmp_path / "a.nii.gz", values, affine))
    assert image.grid.shape == (5, 6)
    np.testing.assert_allclose(image.grid.spacing, oblique_grids[3][0].spacing[:2], rtol=1e-5)
    assert abs(image.grid.direction[:, 0] @ image.grid.direction[:, 1]) < 1e-5
    assert "tilted" in image.metadata["warnings"][0]


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 1, 1), (5, 6, 7, 1), (5, 6, 7, 1, 1)])
def test_empty_axes_are_dropped(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = RNG.integers(0, 9, shape).astype(np.uint8)
    image = load_image(nifti(tmp_path / "a.nii.gz", values))
    assert image.grid.shape == tuple(n for n in shape if n > 1)
    np.testing.assert_array_equal(image.array, values.squeeze())


def test_a_4d_itk_image_of_one_volume(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(VALUES.astype(np.float32).T)]), str(tmp_path / "a.nrrd"))
    assert load_image(tmp_path / "a.nrrd").grid.shape == VALUES.shape


# ---- number types


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<u2", "<i4", ">i4", "<f4", ">f4", "<f8", ">f8", "i1"])
def test_any_number_type_gives_equal_values(tmp_path: Path, dtype: str) -> None:
    values = (VALUES // 2).astype(dtype)
    header = nib.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(values.dtype)
    nib.save(nib.Nifti1Image(values, np.eye(4), header), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(load_image(tmp_path / "a.nii.gz").array, VALUES // 2)
    np.testing.assert_array_equal(load_labels(tmp_path / "a.nii.gz").array, VALUES // 2)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_any_number_type_through_itk(tmp_path: Path, kind: type) -> None:
    for name in ("a.mha", "a.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(VALUES.astype(kind).T), str(tmp_path / name))
        np.testing.assert_array_equal(load_image(tmp_path / name).array, VALUES)


def test_scaled_integers_are_unscaled(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VALUES.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(2.0, -1024.0)
    nib.save(image, tmp_path / "a.nii.gz")
    stored = nib.load(tmp_path / "a.nii.gz")
    assert stored.dataobj.slope == 2
    np.testing.assert_allclose(load_image(tmp_path / "a.nii.gz").array, stored.get_fdata(), rtol=1e-6)


@pytest.mark.parametrize(
    ("ids", "kind"), [([0, 255], np.uint8), ([0, 2035], np.int16), ([-1, 3], np.int16), ([0, 70000], np.int32)]
)
def test_labels_are_stored_in_few_bytes(tmp_path: Path, ids: list[int], kind: type, oblique_grids: Grids) -> None:
    grid = oblique_grids[3][0]
    labels = Labels(np.resize(ids, grid.shape), grid)
    path = save_labels(labels, tmp_path / "labels.nii.gz")
    assert nib.load(path).get_data_dtype() == kind
    np.testing.assert_array_equal(load_labels(path).array, labels.array)


def test_fractions_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.nii\.gz: expected whole numbers"):
        load_labels(nifti(tmp_path / "a.nii.gz", VALUES + np.float32(0.25)))


# ---- pictures


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_pictures(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VALUES[0].astype(np.uint8).T), str(tmp_path / f"a{suffix}"))
    image = load_image(tmp_path / f"a{suffix}")
    assert image.grid.shape == (6, 7)
    np.testing.assert_array_equal(image.array, VALUES[0])


def test_a_tiff_stack(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VALUES.astype(np.uint16).T), str(tmp_path / "a.tiff"))
    np.testing.assert_array_equal(load_image(tmp_path / "a.tiff").array, VALUES)


def test_a_picture_without_size_says_so(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VALUES[0].astype(np.uint8).T), str(tmp_path / "a.png"))
    assert "1 mm is assumed" in load_image(tmp_path / "a.png").metadata["warnings"][0]


def test_colour_pictures_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((6, 7, 3), np.uint8), isVector=True), str(tmp_path / "a.png"))
    with pytest.raises(InputError, match=r"expected one value per voxel, got 3 .*grey"):
        load_image(tmp_path / "a.png")


# ---- DICOM


def write_series(
    folder: Path, values: np.ndarray, affine: np.ndarray, uid: str = "1.2.3", skip: tuple[int, ...] = ()
) -> None:
    """Write slices (Z, Y, X) as a DICOM series; `affine` is LPS."""
    folder.mkdir(exist_ok=True)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    direction = affine[:3, :3] / spacing
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(len(values)):
        if z in skip:
            continue
        image = sitk.GetImageFromArray(values[z : z + 1].astype(np.int16))
        image.SetSpacing(spacing.tolist())
        position = affine[:3, :3] @ (0, 0, z) + affine[:3, 3]
        tags = {
            "0008|0060": "CT",
            "0020|000e": uid,
            "0020|000d": "1.2",
            "0008|0018": f"{uid}.{z + 1}",
            "0020|0013": str(z + 1),
            "0020|0032": "\\".join(f"{v:.6f}" for v in position),
            "0020|0037": "\\".join(f"{v:.9f}" for v in direction[:, :2].T.ravel()),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"IM{len(values) - z:04d}{uid[-1]}.dcm"))  # names against the order in space
        writer.Execute(image)


def test_a_dicom_series_is_one_volume(tmp_path: Path, oblique_grids: Grids) -> None:
    lps = np.diag([-1, -1, 1, 1]) @ oblique_grids[3][0].affine
    if np.linalg.det(lps[:3, :3]) < 0:
        lps[:3, 2] *= -1
    write_series(tmp_path / "scan", VALUES - 1024, lps)
    image = load_image(tmp_path / "scan")
    np.testing.assert_allclose(image.grid.affine, np.diag([-1, -1, 1, 1]) @ lps, atol=1e-3)
    np.testing.assert_array_equal(image.array, VALUES.transpose(2, 1, 0) - 1024)
    assert image.metadata["modality"] == "CT"
    assert image.metadata["warnings"] == ()


def test_the_longest_of_several_series(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", VALUES[:2], np.eye(4), uid="1.2.4")
    write_series(tmp_path / "scan", VALUES, np.eye(4), uid="1.2.3")
    image = load_image(tmp_path / "scan")
    assert image.grid.shape == VALUES.shape[::-1]
    assert "2 series: the longest one (5 slices)" in image.metadata["warnings"][0]


def test_a_missing_slice_is_said(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", VALUES, np.diag([1, 1, 2, 1]), skip=(2,))
    assert "not evenly spaced (steps of 2 to 4 mm)" in load_image(tmp_path / "scan").metadata["warnings"][0]


def test_a_single_dicom_slice(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", VALUES[:1], np.diag([1, 2, 1, 1]))
    for source in (tmp_path / "scan", next((tmp_path / "scan").iterdir())):
        image = load_image(source)
        np.testing.assert_array_equal(image.array, VALUES[0].T)
        assert image.metadata["modality"] == "CT"


def test_a_folder_without_dicom(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path.name}: the folder holds no DICOM series"):
        load_image(tmp_path)


# ---- what is refused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((5, 6, 7, 2), np.uint8), r"shape \(5, 6, 7, 2\) \(several time points"),
        (np.zeros((5, 6, 1, 2), np.uint8), "several time points"),
        (np.zeros((5, 6, 7), np.complex64), "expected real numbers, got values of type complex64"),
        (np.zeros((5, 6, 7), [("R", "u1"), ("G", "u1"), ("B", "u1")]), r"got colours \(R, G, B\)"),
        (np.zeros((5, 1, 1), np.uint8), "at least two axes"),
        (np.where(VALUES == 3, np.nan, VALUES), "NaN or infinite"),
        (np.where(VALUES == 3, np.inf, VALUES), "NaN or infinite"),
    ],
)
def test_nifti_of_other_things_is_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    path = nifti(tmp_path / "a.nii.gz", values)
    with pytest.raises(InputError, match=rf"a\.nii\.gz: .*{message}"):
        load_image(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.float32), isVector=True),
            "got 3 .colours or vectors",
        ),
        (lambda: sitk.RealAndImaginaryToComplex(*[sitk.GetImageFromArray(np.zeros((4, 5, 6)))] * 2), "real numbers"),
        (lambda: sitk.GetImageFromArray(np.zeros((2, 4, 5, 6), np.float32), isVector=False), "several time points"),
    ],
)
def test_itk_images_of_other_things_are_refused(tmp_path: Path, make: Callable[[], sitk.Image], message: str) -> None:
    sitk.WriteImage(make(), str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match=rf"a\.nrrd: .*{message}"):
        load_image(tmp_path / "a.nrrd")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.nii\.gz: there is no such file or folder\. Check the path"):
        load_image(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd", "a.png", "a.dcm", "a.xyz", "plain"])
@pytest.mark.parametrize("content", [b"", b"not an image at all\n" * 40])
def test_files_that_are_no_images(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: the file (is empty|cannot be read)"):
        load_image(tmp_path / name)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.97])
def test_truncated_files(tmp_path: Path, suffix: str, part: float, oblique_grids: Grids) -> None:
    grid = oblique_grids[3][0]
    noise = Image(np.random.default_rng(1).standard_normal(grid.shape), grid)
    path = save_image(noise, tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(InputError, match=r"cannot be read .*truncated"):
        load_image(path)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".tif", ".png"])
def test_truncated_uncompressed_files(tmp_path: Path, suffix: str) -> None:
    values = RNG.integers(0, 255, (40, 50) if suffix == ".png" else (20, 30, 40)).astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path), useCompression=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="cannot be read"):
        load_image(path)


@pytest.mark.parametrize("which", [0, 2])
def test_a_truncated_dicom_slice_is_said(tmp_path: Path, which: int) -> None:
    """The reader leaves such a slice out in silence, and at the end of a series no gap shows."""
    write_series(tmp_path / "scan", np.resize(VALUES, (4, 40, 50)), np.eye(4))
    broken = sorted((tmp_path / "scan").iterdir())[which]
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    warnings = load_image(tmp_path / "scan").metadata["warnings"]
    assert f"1 DICOM files could not be read and are left out, such as {broken.name}" in warnings[0]


# ---- writing


def test_unknown_suffix_for_writing(tmp_path: Path, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    with pytest.raises(InputError, match=r"cannot write a '\.jpg' file"):
        save_image(smooth_image(oblique_grids[3][0]), tmp_path / "a.jpg")


def test_channels_are_not_written(tmp_path: Path) -> None:
    image = Image(np.zeros((2, 5, 6, 7)), Grid.from_spacing((5, 6, 7)))
    with pytest.raises(InputError, match="expected one channel to write, got 2"):
        save_image(image, tmp_path / "a.nii.gz")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".nrrd"])
def test_no_space_left_loses_nothing(tmp_path: Path, suffix: str) -> None:
    """The write fails half-way: one error, the old file untouched, no remains."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"what the user had")
    noise = np.random.default_rng(1).standard_normal((30, 30, 30))
    with little_space(20_000), pytest.raises(OutputError, match="could not be written"):
        save_image(Image(noise, Grid.from_spacing(noise.shape)), path)
    assert path.read_bytes() == b"what the user had"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way(tmp_path: Path, oblique_grids: Grids, smooth_image: MakeImage) -> None:
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(OutputError, match="could not be written"):
        save_image(smooth_image(oblique_grids[3][0]), tmp_path / "a.nii.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


# ---- real files


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("path", "shape", "spacing"),
    [
        ("abdomen_ct/ircad01_ct_2mm.nii.gz", (146, 146, 103), (2, 2, 2)),
        ("abdomen_labels/0001.nii.gz", (192, 160, 256), (2, 2, 2)),
        ("brain_t1/vxm_test_t1.nii.gz", (160, 192, 224), (1, 1, 1)),
        ("cardiac/patient001_frame01_image.nii.gz", (216, 256, 10), (1.5, 1.5, 10)),
        ("lung_dirlab/case_001/T00.nii.gz", (160, 128, 160), (2, 2, 2)),
        ("lung_elastix/3DCT_lung_baseline.mha", (115, 157, 129), (1.366, 1.366, 2.5)),
        ("ct2d_head/CT_2D_head_fixed.mha", (256, 256), (1, 1)),
        ("hippocampus/images/hippocampus_001.nii.gz", (35, 51, 35), (1, 1, 1)),
    ],
)
def test_real_images(real_data: Path, path: str, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    image = load_image(real_data / path)
    assert image.grid.shape == shape
    np.testing.assert_allclose(image.grid.spacing, spacing, rtol=1e-4)
    assert image.tensor.std() > 0
    assert image.metadata["warnings"] == ()


@pytest.mark.realdata
def test_real_labels_lie_on_their_image(real_data: Path) -> None:
    for image, labels, ids in (
        ("hippocampus/images/hippocampus_001.nii.gz", "hippocampus/labels/hippocampus_001.nii.gz", [1, 2]),
        ("lung_elastix/3DCT_lung_baseline.mha", "lung_elastix/3DCT_lung_baseline_mask.mha", [1]),
    ):
        loaded = load_labels(real_data / labels)
        assert loaded.ids == ids
        assert loaded.grid == load_image(real_data / image).grid
