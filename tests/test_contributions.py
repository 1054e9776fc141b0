from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import napari_ran as ran
from napari_ran.applying import apply_files
from napari_ran.contributions import (
    HEAD_CT_MR,
    HEAD_SLICES,
    fetch_layers,
    get_reader,
    read,
    sample_phantom,
    sample_phantom_2d,
    write_image,
    write_labels,
    write_points,
)
from napari_ran.data import Grid, Image, Labels, Landmarks
from napari_ran.downloads import RemoteFile
from napari_ran.errors import InputError
from napari_ran.io import load_image, load_labels, load_landmarks, save_image, save_labels
from napari_ran.io.layers import layer_affine, to_layer_data

RNG = np.random.default_rng(0)
OBLIQUE = Grid(
    (5, 6, 7),
    np.array([[1.2, 0.3, 0.0, 5], [-0.2, 0.8, 0.4, -7], [0.1, -0.2, 2.5, 11], [0, 0, 0, 1]]),
)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return save_image(Image(RNG.normal(size=OBLIQUE.shape), OBLIQUE), tmp_path / "scan.nii.gz")


def test_the_reader_knows_its_files(scan: Path, tmp_path: Path) -> None:
    assert get_reader(str(scan)) is not None
    assert get_reader([str(scan), str(scan)]) is not None
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader(str(tmp_path)) is None  # a folder without DICOM files
    assert get_reader([]) is None


def test_an_image_comes_in_world_coordinates(scan: Path) -> None:
    [(data, kwargs, kind)] = read(str(scan))
    image = load_image(scan)
    assert kind == "image"
    assert kwargs["units"] == ("mm",) * 3
    # array index (1, 2, 3) in our order is (3, 2, 1) in napari's; its world is (z, y, x) with y and x in LPS signs
    world = kwargs["affine"] @ [3, 2, 1, 1]
    x, y, z = OBLIQUE.to_world([1, 2, 3])
    np.testing.assert_allclose(world[:3], [z, -y, -x], atol=1e-4)
    assert data[3, 2, 1] == image.array[1, 2, 3]


def test_two_files_are_two_layers(scan: Path) -> None:
    assert len(read([str(scan), str(scan)])) == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("case_seg.nii.gz", "labels"),
        ("organ-labels.nii.gz", "labels"),
        ("label001.nii.gz", "labels"),
        ("thorax.nii.gz", "image"),
        ("segregated.nii.gz", "image"),
    ],
)
def test_label_maps_are_told_by_name_and_values(tmp_path: Path, name: str, kind: str) -> None:
    save_labels(Labels(RNG.integers(0, 5, OBLIQUE.shape), OBLIQUE), tmp_path / name)
    assert read(str(tmp_path / name))[0][2] == kind


def test_a_name_alone_makes_no_label_map(tmp_path: Path) -> None:
    save_image(Image(RNG.normal(size=OBLIQUE.shape), OBLIQUE), tmp_path / "soft_seg.nii.gz")
    assert read(str(tmp_path / "soft_seg.nii.gz"))[0][2] == "image"


def test_a_dicom_folder_is_one_volume(tmp_path: Path) -> None:
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for index in range(3):
        image = sitk.GetImageFromArray(RNG.integers(0, 99, (4, 5)).astype(np.int16))
        tags = {"0020|000e": "1.2.3", "0008|0060": "CT", "0020|0013": str(index)}
        tags |= {"0020|0032": f"0\\0\\{2 * index}", "0020|0037": "1\\0\\0\\0\\1\\0", "0008|0018": f"1.2.3.{index}"}
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(tmp_path / f"{index}.dcm"))
        writer.Execute(image)
    reader = get_reader(str(tmp_path))
    assert reader is not None
    assert reader(str(tmp_path))[0][0].shape == (3, 4, 5)


def test_a_damaged_file_is_named_with_a_cure(tmp_path: Path) -> None:
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"not a volume")
    with pytest.raises(InputError, match="broken"):
        read(str(broken))


def test_layers_are_written_where_they_lie(tmp_path: Path) -> None:
    image = Image(RNG.normal(size=OBLIQUE.shape), OBLIQUE)
    data, kwargs, _ = to_layer_data(image)
    write_image(str(tmp_path / "out.nii.gz"), data, kwargs)
    back = load_image(tmp_path / "out.nii.gz")
    assert back.grid == OBLIQUE
    np.testing.assert_allclose(back.array, image.array, rtol=1e-6)

    labels = Labels(RNG.integers(0, 5, OBLIQUE.shape), OBLIQUE)
    data, kwargs, _ = to_layer_data(labels)
    write_labels(str(tmp_path / "out_labels.nii.gz"), data, kwargs)
    np.testing.assert_array_equal(load_labels(tmp_path / "out_labels.nii.gz").array, labels.array)

    points = Landmarks(RNG.normal(size=(4, 3)))
    data, kwargs, _ = to_layer_data(points)
    write_points(str(tmp_path / "out.csv"), data, kwargs)
    np.testing.assert_allclose(load_landmarks(tmp_path / "out.csv").points, points.points, atol=1e-9)


def test_the_whole_transform_of_a_layer_is_used() -> None:
    from napari.layers import Image as Layer

    layer = Layer(
        np.zeros((3, 4, 5)),
        scale=(2, 1, 0.5),
        translate=(1, 2, 3),
        rotate=(10, 20, 30),
        shear=(0.1, 0.2, 0.3),
        affine=np.array([[1, 0.1, 0, 4], [0, 1, 0, 5], [0, 0, 1, 6], [0, 0, 0, 1.0]]),
    )
    _, meta, _ = layer.as_layer_data_tuple()
    for point in ([0, 0, 0], [1, 2, 3]):
        world = layer_affine(meta, 3) @ [*point, 1]
        np.testing.assert_allclose(world[:3], layer.data_to_world(point), atol=1e-9)


def test_micrometres_become_millimetres() -> None:
    affine = layer_affine({"scale": (200.0, 100.0), "units": ("micrometer", "micrometer")}, 2)
    np.testing.assert_allclose(np.diag(affine), [0.2, 0.1, 1])
    with pytest.raises(InputError, match="measured in second"):
        layer_affine({"units": ("second", "mm"), "name": "movie"}, 2)


@pytest.mark.parametrize(
    ("sample", "ndim"), [pytest.param(sample_phantom, 3, marks=pytest.mark.slow), (sample_phantom_2d, 2)]
)
def test_a_phantom_is_a_whole_experiment(sample: Callable[[], list[Any]], ndim: int) -> None:
    layers = {kwargs["name"]: (data, kwargs, kind) for data, kwargs, kind in sample()}
    kinds = [kind for _, _, kind in layers.values()]
    assert kinds == ["image", "image", "labels", "labels", "points", "points", "vectors"]
    assert [name for name, (_, kwargs, _) in layers.items() if kwargs["visible"]] == ["phantom fixed", "phantom moving"]
    assert layers["phantom fixed"][0].ndim == ndim
    assert len({tuple(kwargs["units"]) for _, kwargs, _ in layers.values()}) == 1
    assert layers["phantom fixed landmarks"][0].shape == layers["phantom moving landmarks"][0].shape


def test_samples_become_layers_by_their_names(tmp_path: Path) -> None:
    path = save_image(Image(RNG.normal(size=(6, 7)), Grid.from_spacing((6, 7), 2.0)), tmp_path / "slice.mha")
    kept = RemoteFile("slice.mha", "https://example.org", "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest())
    layers = fetch_layers({"one": kept, "other": kept}, tmp_path)  # what is in the cache is not fetched
    assert [(data.shape, kwargs["name"], kind) for data, kwargs, kind in layers] == [
        ((7, 6), "one", "image"),
        ((7, 6), "other", "image"),
    ]


def test_public_files_are_pinned() -> None:
    for file in (HEAD_SLICES | HEAD_CT_MR).values():
        algorithm, _, digest = file.digest.partition(":")
        assert len(digest) == {"sha256": 64, "sha512": 128}[algorithm]
        assert file.url.startswith("https://")


@pytest.mark.realdata
def test_the_pinned_slices_are_the_known_ones(real_data: Path) -> None:
    for file in HEAD_SLICES.values():
        content = (real_data / "ct2d_head" / file.name).read_bytes()
        assert file.digest == "sha256:" + hashlib.sha256(content).hexdigest()


def test_time_points_and_channels_become_layers(tmp_path: Path) -> None:
    """Of a NIfTI series and of an OME-Zarr image with two channels, in napari itself."""
    from napari.layers import Layer

    values, affine = RNG.integers(0, 90, (5, 6, 7, 3)).astype(np.int16), np.diag([-2.0, -2.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "beat.nii.gz")
    [(data, kwargs, kind)] = read(str(tmp_path / "beat.nii.gz"))
    layer = Layer.create(data, kwargs, kind)
    np.testing.assert_array_equal(layer.data, values.T)
    assert layer.axis_labels == ("t", "z", "y", "x")
    np.testing.assert_allclose(layer.affine.linear_matrix, np.diag([1, 3, 2, 2]))

    list(apply_files(unmoved((5, 6, 7), affine), [tmp_path / "beat.nii.gz"], tmp_path / "made", to="zarr"))
    folder = str(tmp_path / "made" / "beat.ome.zarr")
    assert get_reader(folder) is not None
    [(data, _, _)] = read(folder)
    np.testing.assert_array_equal(data, values.T)

    nib.save(nib.Nifti1Image(values[:, :, :, None, :2], affine), tmp_path / "stains.nii.gz")
    layers = [Layer.create(*layer) for layer in read(str(tmp_path / "stains.nii.gz"))]
    assert [layer.name for layer in layers] == ["stains 1", "stains 2"]
    np.testing.assert_array_equal(layers[1].data[0], values[..., 1].T)


def test_ome_zarr_labels_are_labels(tmp_path: Path) -> None:
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    nib.save(
        nib.Nifti1Image(np.eye(5, dtype=np.int16)[..., None] + np.zeros(4, np.int16), affine),
        tmp_path / "organs.nii.gz",
    )
    made = list(
        apply_files(unmoved((5, 5, 4), affine), [tmp_path / "organs.nii.gz"], tmp_path / "made", "labels", to="zarr")
    )
    assert read(str(made[-1].path))[0][2] == "labels"
    assert get_reader(str(tmp_path / "made" / "none.ome.zarr")) is None


def unmoved(shape: tuple[int, ...], affine: np.ndarray) -> ran.Transform:
    return ran.Transform(ran.DisplacementField(np.zeros((3, *shape), np.float32), ran.Grid(shape, affine)))  # type: ignore[arg-type]
