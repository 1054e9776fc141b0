"""Whatever type, byte order and layout in memory an image comes in, the registration is the same in every bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch
import zarr
from numpy.typing import NDArray

import napari_ran as ran
from napari_ran.config import RegistrationConfig
from napari_ran.data import DisplacementField, Grid
from napari_ran.io import image_from_layer, labels_from_layer, load_image, load_labels
from napari_ran.transform import warp_image, warp_labels

Array = NDArray[Any]
SHAPE = (22, 18)
GRID = Grid.from_spacing(SHAPE, (1.5, 1.0))
TYPES = ["i1", "u1", "i2", ">i2", "u2", ">u2", "i4", ">i4", "u4", "i8", "u8", "f2", ">f2", "f4", ">f4", "f8", ">f8"]
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "Fortran order": np.asfortranarray,
    "every second of a larger one": lambda v: np.repeat(np.repeat(v, 2, 0), 2, 1)[::2, ::2],
    "negative strides": lambda v: v[::-1, ::-1].copy()[::-1, ::-1],
    "axes exchanged": lambda v: np.ascontiguousarray(v.T).T,
    "not to be written to": lambda v: np.frombuffer(v.tobytes(), v.dtype).reshape(v.shape),
    "not aligned": lambda v: np.frombuffer(b"x" + v.tobytes(), v.dtype, offset=1).reshape(v.shape),
}
QUICK = RegistrationConfig(device="cpu", affine="rigid", instance={"levels": 2, "steps": 4, "search": 1})


def wave(shift: float, shape: tuple[int, ...] = SHAPE) -> Array:
    """Whole numbers from 0 to 100, which every type holds exactly."""
    x = np.indices(shape).astype(float)
    values = np.sin((x[0] + shift) / 2.5) * np.cos(x[1] / 2.2)
    return np.asarray((50 + 50 * (values * np.cos(x[2] / 3) if len(shape) == 3 else values)).round())


def field_of(fixed: ran.Image, moving: ran.Image) -> torch.Tensor:
    return ran.register(fixed, moving, QUICK).field.tensor


@pytest.fixture(scope="module")
def expected() -> torch.Tensor:
    found = field_of(ran.Image(wave(0).astype(np.float32), GRID), ran.Image(wave(1).astype(np.float32), GRID))
    assert float(found.abs().max()) > 0.5
    return found


@pytest.mark.parametrize("dtype", TYPES)
def test_registrations_of_any_type_are_equal(dtype: str, expected: torch.Tensor) -> None:
    fixed, moving = (ran.Image(wave(shift).astype(dtype), GRID) for shift in (0, 1))
    assert torch.equal(field_of(fixed, moving), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_registrations_of_any_layout_are_equal(layout: str, expected: torch.Tensor) -> None:
    fixed, moving = (ran.Image(LAYOUTS[layout](wave(shift).astype("i2")), GRID) for shift in (0, 1))
    assert torch.equal(field_of(fixed, moving), expected)


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_registrations_of_tensors_are_equal(kind: torch.dtype, expected: torch.Tensor) -> None:
    """Transposed too, so that they are not contiguous."""
    fixed, moving = (ran.Image(torch.from_numpy(wave(shift)).T.contiguous().T.to(kind), GRID) for shift in (0, 1))
    assert torch.equal(field_of(fixed, moving), expected)


def test_two_values_as_booleans_or_numbers_are_equal() -> None:
    found = []
    for kind in (bool, np.uint8, np.float32):
        fixed, moving = (ran.Image((wave(shift) > 50).astype(kind), GRID) for shift in (0, 1))
        found.append(field_of(fixed, moving))
    assert all(torch.equal(other, found[0]) for other in found[1:])


def test_a_scale_in_double_precision_moves_the_last_bits_only() -> None:
    """Measured: at most 0.00003 voxels. The other mappings find a foreground, which may gain or lose a voxel."""
    config = QUICK.replace(intensity="minmax")
    found = [
        ran.register(*(ran.Image(scaled(wave(shift)), GRID) for shift in (0, 1)), config).field.tensor
        for scaled in (lambda v: v, lambda v: v / 3 + 1000, lambda v: v / 4 + 1024)
    ]
    assert float((found[1] - found[0]).abs().max()) < 1e-3
    assert torch.equal(found[2], found[0])  # exact in single precision too


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("dtype", ["i1", ">u2", "f2", ">f8"])
def test_warps_of_any_type_and_layout_are_equal(ndim: int, dtype: str, oblique_grids: Any, smooth_field: Any) -> None:
    fixed, moving = oblique_grids[ndim]
    field: DisplacementField = smooth_field(fixed)
    values = wave(0.5, moving.shape)
    wanted = warp_image(ran.Image(values.astype(np.float32), moving), field).tensor
    labels = warp_labels(ran.Labels(values.astype(np.int32), moving), field).tensor
    assert float(wanted.max()) > 50
    for layout in (np.asfortranarray, lambda v: v[::-1].copy()[::-1], lambda v: np.ascontiguousarray(v.T).T):
        made = layout(values.astype(dtype))
        assert torch.equal(warp_image(ran.Image(made, moving), field).tensor, wanted)
        assert torch.equal(warp_labels(ran.Labels(made, moving), field).tensor, labels)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_network_reads_any_layout(ndim: int) -> None:
    """Channels innermost, or every second voxel of a larger image: the same to the last bits of a convolution."""
    model = ran.load_weights("general-2d" if ndim == 2 else "general-3d").eval()
    shape = (32, 24, 16)[:ndim]
    images = [torch.rand((1, 1, *shape), generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    last = torch.channels_last if ndim == 2 else torch.channels_last_3d
    with torch.no_grad():
        wanted = model(*images).field
        for layout in (
            lambda image: image.repeat_interleave(2, -1)[..., ::2],
            lambda image: image.transpose(2, 3).contiguous().transpose(2, 3),
            lambda image: image.contiguous(memory_format=last),
        ):
            assert float((model(*map(layout, images)).field - wanted).abs().max()) < 1e-4
        doubled = model(*(image.double() for image in images)).field
    assert torch.equal(doubled, wanted)


def _nifti(values: Array, path: Path) -> Path:
    header = nib.Nifti1Header(endianness=">" if values.dtype.byteorder == ">" else "<")
    header.set_data_dtype(values.dtype)
    nib.save(nib.Nifti1Image(values, np.diag([1.5, 1.0, 2.0, 1]), header), path)
    return path


def _itk(values: Array, path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(values.astype(values.dtype.newbyteorder("=")).T), str(path))
    return path


def _tiff(values: Array, path: Path) -> Path:
    order = ">" if values.dtype.byteorder == ">" else "<"
    tifffile.imwrite(path, values.T, byteorder=order, metadata={"axes": "ZYX"}, ome=False, imagej=False)
    return path


def _zarr(values: Array, path: Path) -> Path:
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale = {"type": "scale", "scale": [2.0, 1.0, 1.5]}
    levels = [{"path": "0", "coordinateTransformations": [scale]}]
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=np.ascontiguousarray(values.T))
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    return path


WRITERS = {".nii.gz": _nifti, ".mha": _itk, ".nrrd": _itk, ".tif": _tiff, ".ome.zarr": _zarr}
READ = [
    (suffix, kind)
    for suffix in WRITERS
    for kind in ("i1", "u1", "i2", ">i2", "u2", ">u2", "i4", ">i4", "f4", ">f4", "f8", ">f8")
    if not (suffix in (".mha", ".nrrd") and kind.startswith(">"))  # big-endian ones are made by hand below
]


@pytest.mark.parametrize(("suffix", "kind"), READ)
def test_every_reader_gives_equal_values(tmp_path: Path, suffix: str, kind: str) -> None:
    values = wave(0, (7, 6, 5))
    path = WRITERS[suffix](values.astype(kind), tmp_path / f"image{suffix}")
    np.testing.assert_array_equal(load_image(path).array, values)
    np.testing.assert_array_equal(load_labels(path).array, values)


@pytest.mark.parametrize("kind", [">i2", ">u2", ">i4", ">f4", ">f8"])
def test_big_endian_itk_files_give_equal_values(tmp_path: Path, kind: str) -> None:
    values = wave(0, (7, 6, 5))
    names = {"i2": ("short", "SHORT"), "u2": ("unsigned short", "USHORT"), "i4": ("int", "INT")}
    nrrd, meta = (names | {"f4": ("float", "FLOAT"), "f8": ("double", "DOUBLE")})[kind[1:]]
    stored = values.astype(kind).T.tobytes()
    header = f"NRRD0004\ntype: {nrrd}\ndimension: 3\nspacings: 1 1 1\nsizes: 7 6 5\nendian: big\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + stored)
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\nElementSpacing = 1 1 1\n"
        f"DimSize = 7 6 5\nElementType = MET_{meta}\nElementDataFile = LOCAL\n"
    )
    (tmp_path / "a.mha").write_bytes(header.encode() + stored)
    for name in ("a.nrrd", "a.mha"):
        np.testing.assert_array_equal(load_image(tmp_path / name).array, values)


@pytest.mark.parametrize("dtype", [*TYPES, "bool"])
def test_layers_of_any_type_give_equal_values(dtype: str) -> None:
    values = wave(0, (5, 6, 7)) > 50 if dtype == "bool" else wave(0, (5, 6, 7))
    for layout in (np.asfortranarray, lambda v: v[::-1, :, ::-1].copy()[::-1, :, ::-1], lambda v: v):
        data = layout(values.astype(dtype))
        np.testing.assert_array_equal(image_from_layer(data, np.eye(4)).array, values.T)
        np.testing.assert_array_equal(labels_from_layer(data, np.eye(4)).array, values.T)
