"""TIFF images of microscopes and ImageJ: their voxel sizes, axes, compressions, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

import napari_ran as ran
from napari_ran.applying import apply_files
from napari_ran.errors import InputError
from napari_ran.io import load_image, load_volumes
from napari_ran.io.tiff_images import read_tiff

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 60_000, (5, 7, 9), dtype=np.uint16)  # (z, y, x), as stored


def written(path: Path, values: np.ndarray = STACK, **kwargs: Any) -> Path:
    tifffile.imwrite(path, values, photometric="minisblack", **kwargs)
    return path


def test_imagej_says_the_voxel_size(tmp_path: Path) -> None:
    path = written(
        tmp_path / "cells.tif",
        imagej=True,
        resolution=(1 / 0.5, 1 / 0.4),
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
    )
    image = load_image(path)
    np.testing.assert_allclose(image.grid.spacing, [0.5e-3, 0.4e-3, 2e-3])
    np.testing.assert_array_equal(image.array, STACK.T)
    assert not image.metadata.get("warnings")


def test_ome_says_the_voxel_size_in_its_own_units(tmp_path: Path) -> None:
    sizes = {"PhysicalSizeX": 300.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.3, "PhysicalSizeZ": 1.5}
    path = written(tmp_path / "cells.ome.tif", ome=True, metadata={"axes": "ZYX", **sizes})
    image = load_image(path)
    np.testing.assert_allclose(image.grid.spacing, [0.3e-3, 0.3e-3, 1.5e-3])
    np.testing.assert_array_equal(image.array, STACK.T)
    assert image.name == "cells"


def test_the_place_is_where_itk_reads_it(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", resolution=(5.0, 4.0), resolutionunit="CENTIMETER")
    one, other = load_image(path).grid, sitk.ReadImage(str(path))
    np.testing.assert_allclose(one.spacing[:2], other.GetSpacing()[:2], rtol=1e-6)
    corner = np.array(other.TransformIndexToPhysicalPoint((3, 2, 0))) * [-1, -1, 1]
    np.testing.assert_allclose(one.to_world(np.array([[3.0, 2.0, 0.0]]))[0], corner, rtol=1e-6)


def test_slices_without_a_distance_are_as_far_apart_as_pixels(tmp_path: Path) -> None:
    image = read_tiff(written(tmp_path / "a.tif", resolution=(5.0, 5.0), resolutionunit="CENTIMETER"))
    np.testing.assert_allclose(image.grid.spacing, 2.0)
    assert "how far apart its slices are" in image.warnings[0]


@pytest.mark.parametrize("resolution", [(72, 72), (96, 96), (300, 300)])
def test_a_screen_resolution_is_no_voxel_size(tmp_path: Path, resolution: tuple[int, int]) -> None:
    image = read_tiff(written(tmp_path / "a.tif", resolution=resolution, resolutionunit="INCH"))
    np.testing.assert_array_equal(image.grid.spacing, 1.0)
    assert "1 mm is assumed" in image.warnings[0]


@pytest.mark.parametrize("compressor", ["LZW", "Deflate", "PackBits"])
def test_compressions(tmp_path: Path, compressor: str) -> None:
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "a.tif"))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(sitk.GetImageFromArray(STACK))
    assert tifffile.TiffFile(tmp_path / "a.tif").pages.first.compression != 1
    np.testing.assert_array_equal(load_image(tmp_path / "a.tif").array, STACK.T)


def test_a_plane_in_time_is_a_series_of_2d_images(tmp_path: Path) -> None:
    """And no volume: frames do not follow each other in space."""
    path = written(tmp_path / "beat.tif", imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(InputError, match=r"got 5 \(axes T\)"):
        load_image(path)
    volumes = load_volumes(path)
    assert (volumes.grid.shape, volumes.rest, volumes.kinds) == ((9, 7), (5,), "T")
    np.testing.assert_array_equal(volumes.values[..., 3], STACK[3].T)


def test_time_points_and_channels_are_carried_into_every_format(tmp_path: Path) -> None:
    """A shift by one voxel, of a 2-D series with two channels."""
    series = RNG.integers(0, 200, (4, 2, 16, 20), dtype=np.uint8)
    path = written(tmp_path / "beat.tif", series, imagej=True, metadata={"axes": "TCYX"})
    grid = load_volumes(path).grid
    shift = np.zeros((2, *grid.shape), np.float32)
    shift[0] = 1
    transform = ran.Transform(ran.DisplacementField(shift, grid))  # type: ignore[arg-type]  # made into a tensor
    for to in ("nifti", "zarr"):
        steps = list(apply_files(transform, [path], tmp_path / to, to=to))  # type: ignore[arg-type]
        made = load_volumes(steps[-1].path or "")
        assert made.dtype == np.uint8
        stored = series.transpose(3, 2, 0, 1)
        np.testing.assert_array_equal(made.values.reshape(stored.shape)[:-1], stored[1:])


def test_what_is_no_grey_image_is_refused(tmp_path: Path) -> None:
    colours = RNG.integers(0, 255, (7, 9, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "colour.tif", colours, photometric="rgb")
    with pytest.raises(InputError, match="got 3 \\(colours or vectors\\)"):
        load_image(tmp_path / "colour.tif")
    assert load_volumes(tmp_path / "colour.tif").rest == (3,)
    (tmp_path / "none.tif").write_bytes(b"II*\0 no more than this")
    with pytest.raises(InputError, match="cannot be read"):
        load_image(tmp_path / "none.tif")


def test_the_second_image_is_said_to_be_left_out(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        writer.write(STACK, photometric="minisblack")
        writer.write(STACK[0, :4], photometric="minisblack")
    image = read_tiff(tmp_path / "two.tif")
    np.testing.assert_array_equal(image.values, STACK.T)
    assert any("2 images" in warning for warning in image.warnings)
