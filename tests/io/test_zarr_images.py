"""OME-Zarr images of both versions: where their voxels lie, what is refused, and what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_ran.data import Grid
from napari_ran.errors import InputError
from napari_ran.io import load_image, load_labels, load_volumes
from napari_ran.io import zarr_images as module
from napari_ran.io.images import load_grid
from napari_ran.io.zarr_images import is_zarr, open_zarr, zarr_name
from napari_ran.io.zarr_writing import Layout, ZarrWriter, along_the_world, blocks_of

VERSIONS = pytest.mark.parametrize("version", ["0.4", "0.5"])
RNG = np.random.default_rng(0)
KINDS = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def ome_zarr(
    path: Path,
    values: np.ndarray,
    scale: tuple[float, ...],
    translation: tuple[float, ...] | None = None,
    axes: str = "zyx",
    unit: str = "micrometer",
    version: str = "0.4",
    chunks: tuple[int, ...] | None = None,
    levels: int = 1,
    more: dict[str, Any] | None = None,
) -> Path:
    """Write an image by Zarr itself, with as many resolutions, each of every second voxel."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    data_sets = []
    for level in range(levels):
        step = tuple(slice(None, None, 2**level) if name in "zyx" else slice(None) for name in axes)
        part = values[step]
        size = None if chunks is None else tuple(min(a, b) for a, b in zip(chunks, part.shape, strict=True))
        group.create_array(f"s{level}", data=np.ascontiguousarray(part), chunks=size or "auto")
        factors = [s * (2**level if name in "zyx" else 1) for s, name in zip(scale, axes, strict=True)]
        changes: list[dict[str, Any]] = [{"type": "scale", "scale": factors}]
        if translation is not None:
            changes.append({"type": "translation", "translation": list(translation)})
        data_sets.append({"path": f"s{level}", "coordinateTransformations": changes})
    listed = [
        {"name": name, "type": KINDS[name]} | ({"unit": unit} if KINDS[name] == "space" and unit else {})
        for name in axes
    ]
    image = {"axes": listed, "datasets": data_sets}
    if version == "0.5":
        group.update_attributes({"ome": {"version": version, "multiscales": [image], **(more or {})}})
    else:
        group.update_attributes({"multiscales": [{"version": version} | image], **(more or {})})
    return path


VALUES = RNG.integers(0, 2000, (5, 6, 7)).astype(np.uint16)  # z, y, x


@VERSIONS
def test_size_place_and_unit_are_what_the_axes_say(tmp_path: Path, version: str) -> None:
    path = ome_zarr(tmp_path / "a.ome.zarr", VALUES, (2000, 500, 400), (10_000, 20_000, 30_000), version=version)
    image = load_image(path)
    assert image.grid.shape == (7, 6, 5)
    np.testing.assert_allclose(image.grid.spacing, (0.4, 0.5, 2))
    np.testing.assert_allclose(image.grid.origin, (-30, -20, 10))  # x to the left, y to the back
    np.testing.assert_array_equal(image.array, VALUES.T)
    assert (image.name, image.metadata["format"]) == ("a", f"OME-Zarr {version}")
    assert image.metadata["warnings"] == ()
    np.testing.assert_array_equal(load_labels(path).array, VALUES.T)
    assert load_grid(path) == image.grid


def test_the_world_is_that_of_itk(tmp_path: Path) -> None:
    """The same numbers as spacing and origin of an ITK image mean the same place."""
    import SimpleITK as sitk

    itk = sitk.GetImageFromArray(VALUES)
    itk.SetSpacing((0.4, 0.5, 2))
    itk.SetOrigin((30, 20, 10))
    sitk.WriteImage(itk, str(tmp_path / "a.mha"))
    path = ome_zarr(tmp_path / "a.zarr", VALUES, (2, 0.5, 0.4), (10, 20, 30), unit="millimeter")
    assert load_image(tmp_path / "a.mha").grid == load_image(path).grid


def test_transformations_of_the_whole_come_after_those_of_a_resolution(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr", VALUES, (2, 1, 1), (1, 0, 0), unit="millimeter")
    group = zarr.open_group(str(path), mode="r+")
    image = dict(group.attrs["multiscales"][0])
    image["coordinateTransformations"] = [
        {"type": "identity"},
        {"type": "scale", "scale": [3, 1, 1]},
        {"type": "translation", "translation": [5, 0, 0]},
    ]
    group.update_attributes({"multiscales": [image]})
    grid = load_grid(path)
    assert (grid.spacing[2], grid.origin[2]) == (6, 8)


def test_resolutions_and_label_maps_are_chosen_by_their_path(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.ome.zarr", VALUES, (2, 1, 1), unit="millimeter", levels=2)
    ome_zarr(path / "labels" / "organs", VALUES % 3, (2, 1, 1), unit="millimeter", more={"image-label": {}})
    coarse = load_image(path / "s1")
    np.testing.assert_array_equal(coarse.array, VALUES[::2, ::2, ::2].T)
    np.testing.assert_allclose(coarse.grid.spacing, (2, 2, 4))
    organs = open_zarr(path / "labels" / "organs")
    assert organs.is_labels
    assert organs.name == "a-labels-organs"
    assert zarr_name(path / "s1") == "a-s1"
    np.testing.assert_array_equal(load_labels(path / "labels" / "organs").array, (VALUES % 3).T)


def test_a_plane_is_2d(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr", VALUES[None, None, :1], (1, 1, 5, 2, 3), axes="tczyx", unit="millimeter")
    image = load_image(path)
    assert image.grid.shape == (7, 6)
    np.testing.assert_allclose(image.grid.spacing, (3, 2))
    np.testing.assert_array_equal(image.array, VALUES[0].T)
    flat = ome_zarr(tmp_path / "b.zarr", VALUES[0], (2, 3), axes="yx", unit="millimeter")
    assert load_grid(flat) == image.grid


def test_channels_and_time_points_are_kept_apart(tmp_path: Path) -> None:
    values = RNG.integers(0, 9, (2, 3, 4, 5, 6)).astype(np.int16)
    path = ome_zarr(tmp_path / "a.zarr", values, (1, 1, 1, 1, 1), axes="tczyx")
    volumes = load_volumes(path)
    assert volumes.rest == (2, 3)
    np.testing.assert_array_equal(volumes.values[..., 1, 2], values[1, 2].T)
    np.testing.assert_array_equal(
        open_zarr(path).read((1, 2), (slice(1, 4), slice(5), slice(2, 3))), values[1, 2, 2:3, :5, 1:4].T
    )
    with pytest.raises(InputError, match=r"a\.zarr: expected one channel and time point, got 6 \(axes t, c\)"):
        load_image(path)


def test_axes_may_lie_in_another_order(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr", VALUES, (2, 0.5, 0.4), (10, 20, 30), axes="xyz", unit="millimeter")
    grid = load_grid(path)
    assert grid.shape == (7, 6, 5)  # reversed, as every array
    np.testing.assert_allclose(grid.to_world((1, 2, 3)), (-(10 + 3 * 2), -(20 + 2 * 0.5), 30 + 0.4))


def test_a_length_without_unit_is_said(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "a.zarr", VALUES, (2, 1, 1), unit="")
    assert "mm is assumed" in load_image(path).metadata["warnings"][0]


def test_too_large_an_image_names_a_coarser_resolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ome_zarr(tmp_path / "a.zarr", VALUES, (2, 1, 1), levels=2)
    monkeypatch.setattr(module, "free_memory", lambda device: 1000)
    with pytest.raises(InputError, match=r"do not fit into memory .*Give a coarser resolution, such as .*a\.zarr/s1"):
        load_image(path)
    monkeypatch.setattr(module, "free_memory", lambda device: 10)
    with pytest.raises(InputError, match="Give a part of it"):
        load_image(path / "s1")


def test_what_does_not_say_where_it_lies_is_refused(tmp_path: Path) -> None:
    bare = tmp_path / "bare.zarr"
    zarr.open_group(str(bare), mode="w").create_array("a", data=VALUES)
    with pytest.raises(InputError, match=r"bare\.zarr: its attributes describe no image"):
        load_image(bare)
    old = ome_zarr(tmp_path / "old.zarr", VALUES, (1, 1, 1))
    zarr.open_group(str(old), mode="r+").update_attributes({"multiscales": [{"version": "0.1", "datasets": []}]})
    with pytest.raises(InputError, match=r"version 0\.1\. Write it again as OME-Zarr 0\.4 or 0\.5"):
        load_image(old)
    with pytest.raises(InputError, match="its unit 'second' is no length"):
        load_image(ome_zarr(tmp_path / "c.zarr", VALUES, (1, 1, 1), unit="second"))
    with pytest.raises(InputError, match=r"its scale .* is unusable"):
        load_image(ome_zarr(tmp_path / "d.zarr", VALUES, (0, 1, 1)))
    with pytest.raises(InputError, match="complex64"):
        load_image(ome_zarr(tmp_path / "e.zarr", VALUES.astype(np.complex64), (1, 1, 1)))
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InputError, match=r"empty\.zarr: the file cannot be read"):
        load_image(tmp_path / "empty.zarr")
    many = tmp_path / "many.zarr"
    zarr.open_group(str(many), mode="w", zarr_format=2).update_attributes({"bioformats2raw.layout": 3})
    ome_zarr(many / "0", VALUES, (1, 1, 1))
    with pytest.raises(InputError, match=r"collection of images\. Give one image in it, such as .*many\.zarr/0"):
        load_image(many)
    np.testing.assert_array_equal(load_image(many / "0").array, VALUES.T)


# ---- writing


@VERSIONS
@pytest.mark.parametrize("labels", [False, True])
def test_what_is_written_is_read_back_at_every_resolution(tmp_path: Path, version: str, labels: bool) -> None:
    grid = along_the_world(Grid.from_spacing((300, 70, 20), (0.5, 0.5, 3), (5, 6, 7)))
    values = RNG.integers(0, 9, (2, *grid.shape)).astype(np.int16)
    layout = Layout(np.dtype(np.int16), (2,), (module.Axis("c", "channel"),), None, "micrometer", version, {}, labels)
    writer = ZarrWriter(tmp_path / "a.ome.zarr", grid, layout)
    assert sum(np.prod([part.stop - part.start for part in box]) for box in writer.blocks) == np.prod(grid.shape)
    for box in writer.blocks:
        for channel in range(2):
            writer.write((channel,), box, values[(channel, *box)])
    assert len(list(writer.coarsen())) == writer.parts > 0
    image = open_zarr(tmp_path / "a.ome.zarr")
    assert (image.version, image.grid, len(image.levels)) == (version, grid, 2)
    assert [axis.name for axis in image.axes] == ["c", "z", "y", "x"]
    assert {axis.unit for axis in image.axes} == {"", "micrometer"}
    np.testing.assert_array_equal(image.read((1,), tuple(slice(n) for n in grid.shape)), values[1])
    coarse = load_volumes(tmp_path / "a.ome.zarr" / "1")
    assert coarse.grid.shape == (150, 35, 20)
    if labels:
        np.testing.assert_array_equal(coarse.values[..., 1], values[1, ::2, ::2])
        np.testing.assert_allclose(coarse.grid.origin, grid.origin)
    else:
        mean = np.rint(values[1].reshape(150, 2, 35, 2, 20).mean((1, 3)))
        np.testing.assert_array_equal(coarse.values[..., 1], mean)
        assert coarse.grid == grid.with_shape((150, 35, 20))


def test_an_odd_last_voxel_stands_for_itself(tmp_path: Path) -> None:
    grid = along_the_world(Grid.from_spacing((257, 3)))
    values = np.arange(257 * 3, dtype=np.float32).reshape(257, 3)
    writer = ZarrWriter(tmp_path / "a.zarr", grid, Layout(np.dtype(np.float32)))
    for box in writer.blocks:
        writer.write((), box, values[box])
    list(writer.coarsen())
    coarse = load_image(tmp_path / "a.zarr" / "1")
    assert coarse.grid.shape == (129, 2)
    np.testing.assert_allclose(coarse.array[-1, -1], values[-1, -1])
    np.testing.assert_allclose(coarse.array[0, 0], values[:2, :2].mean())


def test_any_order_and_direction_of_axes_can_be_held_but_no_turn() -> None:
    affine = np.array([[0, 0, 2.0, 5], [-1.5, 0, 0, 6], [0, 3, 0, 7], [0, 0, 0, 1]])
    grid = Grid((4, 5, 6), affine)
    same = along_the_world(grid)
    assert same.shape == (6, 4, 5)
    np.testing.assert_allclose(same.spacing, (2, 1.5, 3))
    assert (np.diag(same.affine)[:3] * (-1, -1, 1) > 0).all()
    corners = [grid.to_world(np.array(one) * (3, 4, 5)) for one in np.ndindex(2, 2, 2)]
    again = [same.to_world(np.array(one) * (5, 3, 4)) for one in np.ndindex(2, 2, 2)]
    np.testing.assert_allclose(sorted(map(tuple, corners)), sorted(map(tuple, again)))
    tilted = affine.copy()
    tilted[0, 0] = 0.2
    with pytest.raises(InputError, match="reference: its axes are turned against the world's"):
        along_the_world(Grid((4, 5, 6), tilted))


@pytest.mark.parametrize(
    ("shape", "chunks"), [((50, 40, 30), (1, 20, 30)), ((700, 900), None), ((130, 3, 5), (64, 64, 64))]
)
def test_blocks_are_whole_chunks_and_cover_the_image_once(
    shape: tuple[int, ...], chunks: tuple[int, ...] | None
) -> None:
    seen = np.zeros(shape, int)
    for box in blocks_of(shape, chunks, 4000):
        seen[box] += 1
        for part, size in zip(box, chunks or (1024,) * len(shape), strict=True):
            assert part.start % size == 0
    assert (seen == 1).all()


def test_folders_are_told_by_name_or_by_their_files(tmp_path: Path) -> None:
    path = ome_zarr(tmp_path / "plain", VALUES, (1, 1, 1), version="0.5")
    assert is_zarr(path)
    assert is_zarr("gone.ome.zarr")
    assert not is_zarr(tmp_path)
    assert zarr_name(path) == "plain"
