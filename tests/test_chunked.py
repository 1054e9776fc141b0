"""Images larger than memory follow a transform chunk by chunk, as they would as a whole."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import closing
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from napari_ran import chunked
from napari_ran.applying import apply_files, kind_of
from napari_ran.cli import main
from napari_ran.data import DisplacementField, Grid
from napari_ran.errors import InputError
from napari_ran.exchange import Transform
from napari_ran.io import Volumes, load_image, load_labels, load_volumes, save_field, save_volumes, zarr_writing
from napari_ran.io.zarr_images import ZarrImage, open_zarr
from napari_ran.io.zarr_writing import along_the_world
from napari_ran.steps import last

MakeField = Callable[..., DisplacementField]
FIXED = Grid((24, 20, 16), np.array([[-1.0, 0, 0, 12], [0, 1.25, 0, -9], [0, 0, 1.5, 3], [0, 0, 0, 1]]))
SHAPE, SCALE, START = (22, 30, 34), (1.2, 0.9, 0.7), (2.0, -16.0, -13.0)
"""Of the moving image, along z, y, x, in mm."""


def written(path: Path, values: np.ndarray, axes: str = "zyx", version: str = "0.4", **more: Any) -> Path:
    """Write an image by Zarr itself."""
    kinds = {"t": "time", "c": "channel"}
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    chunks = tuple(1 if name in kinds else min(9, n) for name, n in zip(axes, values.shape, strict=True))
    group.create_array("0", data=values, chunks=chunks)
    rest = len(axes) - 3
    image = {
        "axes": [
            {"name": name, "type": kinds[name]}
            if name in kinds
            else {"name": name, "type": "space", "unit": "micrometer"}
            for name in axes
        ],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [
                    {"type": "scale", "scale": [2.0] * rest + [1000 * s for s in SCALE]},
                    {"type": "translation", "translation": [0.0] * rest + [1000 * s for s in START]},
                ],
            }
        ],
    }
    said = {"multiscales": [{"version": "0.4"} | image], **more}
    if version == "0.5":
        said = {"ome": {"version": "0.5", "multiscales": [image], **more}}
    group.update_attributes(said)
    return path


def blobs(*rest: int, dtype: Any = np.float32) -> np.ndarray:
    """Smooth values around 100, (*rest, z, y, x)."""
    coarse = torch.randn((int(np.prod(rest)) or 1, 1, 5, 6, 6), generator=torch.Generator().manual_seed(1))
    fine = torch.nn.functional.interpolate(coarse, SHAPE, mode="trilinear", align_corners=True)
    values = 120 + 40 * fine.numpy().reshape(*rest, *SHAPE)
    return np.clip(values, 1, 250).astype(dtype)


@pytest.fixture
def found(smooth_field: MakeField) -> Transform:
    return Transform(smooth_field(FIXED, size=1.5))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small images be of many parts."""
    monkeypatch.setattr(chunked, "BOX_VOXELS", 2000)
    monkeypatch.setattr(zarr_writing, "BLOCK_VOXELS", 2000)


def sizes_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of values of every box that is read."""
    read, sizes = ZarrImage.read, []

    def counted(self: ZarrImage, *arguments: Any) -> np.ndarray:
        values = read(self, *arguments)
        sizes.append(values.size)
        return values

    monkeypatch.setattr(ZarrImage, "read", counted)
    return sizes


def as_a_whole(transform: Transform, path: Path, grid: Grid | None = None) -> Volumes:
    on = along_the_world(transform.field.grid if grid is None else grid)
    return load_volumes(path).map(transform.on(on).apply)


IMAGES = product([("zyx", ()), ("tczyx", (2, 3)), ("czyx", (2,))], [np.uint8, np.int16, np.float32])


@pytest.mark.parametrize(
    ("axes", "rest", "dtype", "version"),
    # either version comes with every set of axes and with every type
    [(*axes, dtype, version) for (axes, dtype), version in zip(IMAGES, cycle(["0.4", "0.5"]), strict=False)],
)
def test_an_image_in_chunks_is_the_image_as_a_whole(
    tmp_path: Path, found: Transform, axes: str, rest: tuple[int, ...], dtype: type, version: str
) -> None:
    path = written(tmp_path / "a.ome.zarr", blobs(*rest, dtype=dtype), axes, version, omero={"channels": []})
    steps = list(apply_files(found, [path], tmp_path / "out"))
    assert steps[-1].path == tmp_path / "out" / "a.ome.zarr"
    assert steps[-2].done == steps[-2].parts > 10
    assert [step.done for step in steps[:-1]] == sorted(step.done for step in steps[:-1])
    made, expected = load_volumes(tmp_path / "out" / "a.ome.zarr"), as_a_whole(found, path)
    assert made.grid == expected.grid
    assert made.dtype == dtype
    assert made.values.shape == (*expected.grid.shape, *rest)
    off = np.abs(made.values.astype(float) - expected.values.astype(float))
    assert off.max() <= (1 if np.issubdtype(dtype, np.integer) else 0.01)  # a half may be rounded either way
    assert (off > 0.01).mean() < 1e-3
    stored = open_zarr(tmp_path / "out" / "a.ome.zarr")
    assert (stored.version, stored.attributes) == (version, {"omero": {"channels": []}})
    assert [(axis.name, axis.scale) for axis in stored.axes[: len(rest)]] == [(name, 2.0) for name in axes[:-3]]
    assert {axis.unit for axis in stored.axes[len(rest) :]} == {"micrometer"}


@pytest.mark.parametrize(("method", "dtype"), [("nearest", np.uint8), ("nearest", np.int32), ("gaussian", np.uint8)])
def test_labels_in_chunks_are_the_labels_as_a_whole(tmp_path: Path, found: Transform, method: Any, dtype: type) -> None:
    values = ((blobs() > 120) * 3 + (blobs() > 150) * 4).astype(dtype)
    path = written(tmp_path / "organs_seg.zarr", values)
    (target,) = last(apply_files(found, [path], tmp_path / "out", labels=method))
    assert target.name == "organs_seg.ome.zarr"
    made = load_volumes(target)
    expected = found.on(along_the_world(FIXED)).apply(load_labels(path), method)
    assert made.dtype == dtype
    assert set(np.unique(made.values)) == {0, 3, 7}
    assert (made.values != expected.array).mean() < 1e-3  # what lies between two voxels may go to either


def test_labels_of_64_bits_survive(tmp_path: Path) -> None:
    values = np.full(SHAPE, 2**63 + 5, np.uint64)
    path = written(tmp_path / "cells.zarr", values, **{"image-label": {"version": "0.4"}})
    assert kind_of(path) == "labels"
    (target,) = last(apply_files(Transform(DisplacementField.identity(FIXED)), [path], tmp_path / "out"))
    assert set(np.unique(load_volumes(target).values)) == {0, 2**63 + 5}


def test_a_finer_reference_is_reached_in_chunks_too(tmp_path: Path, found: Transform) -> None:
    """The field is interpolated to the voxels of each chunk; it never lies as a whole on the fine grid."""
    path = written(tmp_path / "a.zarr", blobs(dtype=np.int16))
    fine = Grid.from_spacing((60, 50, 40), (-0.5, -0.6, 0.7), (14, 17, 2))
    (target,) = last(apply_files(found, [path], tmp_path / "out", grid=fine))
    made, expected = load_volumes(target), as_a_whole(found, path, fine)
    assert made.grid == fine
    assert np.abs(made.values - expected.values).max() <= 1
    assert (made.values != expected.values).mean() < 1e-3


def test_what_lies_beside_the_image_takes_its_smallest_value(tmp_path: Path, found: Transform) -> None:
    path = written(tmp_path / "a.zarr", blobs())
    far = Grid.from_spacing((20, 20, 20), (-1, -1, 1), (500, 500, 500))
    (target,) = last(apply_files(found, [path], tmp_path / "out", grid=far))
    assert np.unique(load_volumes(target).values).tolist() == [blobs().min()]


def test_a_coarse_result_reads_no_large_box(tmp_path: Path, found: Transform, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sizes = written(tmp_path / "a.zarr", blobs()), sizes_read(monkeypatch)
    coarse = Grid.from_spacing((6, 6, 6), (-4, -4, 4), (11, 11, 4))
    (target,) = last(apply_files(found, [path], tmp_path / "out", grid=coarse))
    assert max(sizes) <= 2000 < np.prod(SHAPE)
    np.testing.assert_allclose(load_volumes(target).values, as_a_whole(found, path, coarse).values, atol=0.01)


def test_memory_stays_far_below_the_size_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image and the result have 4 million voxels each; neither is ever held."""
    monkeypatch.setattr(chunked, "BOX_VOXELS", 1 << 16)
    monkeypatch.setattr(zarr_writing, "BLOCK_VOXELS", 1 << 15)
    shape, size = (96, 200, 200), 1.0
    group = zarr.open_group(str(tmp_path / "big.zarr"), mode="w", zarr_format=2)
    array = group.create_array("0", shape=shape, chunks=(32, 32, 32), dtype="uint16")
    array[30:60, 60:140, 60:140] = 1000
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    changes = [{"type": "scale", "scale": [size] * 3}]
    data_sets = [{"path": "0", "coordinateTransformations": changes}]
    group.update_attributes({"multiscales": [{"version": "0.4", "axes": axes, "datasets": data_sets}]})
    grid = open_zarr(tmp_path / "big.zarr").grid
    coarse = grid.with_shape((10, 10, 10))
    transform = Transform(DisplacementField(torch.full((3, 10, 10, 10), 0.1), coarse))  # 2 mm in x and y
    sizes = sizes_read(monkeypatch)
    tracemalloc.start()
    try:
        (target,) = last(apply_files(transform, [tmp_path / "big.zarr"], tmp_path / "out", grid=grid))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(sizes) <= chunked.BOX_VOXELS
    assert peak < np.prod(shape)  # half of the image's bytes; Python's and numpy's, not torch's
    middle = np.asarray(open_zarr(target).array[48])
    assert (middle[100] == 1000).sum() == 80
    assert np.flatnonzero(middle[100])[0] == 58


def test_stopping_leaves_what_was_there(tmp_path: Path, found: Transform) -> None:
    path = written(tmp_path / "a.zarr", blobs())
    out = tmp_path / "out"
    with closing(apply_files(found, [path], out)) as steps:
        while next(steps).done < 5:
            pass
        assert any(out.iterdir())
    assert list(out.iterdir()) == []
    last(apply_files(found, [path], out))
    before = load_volumes(out / "a.ome.zarr").values
    with closing(apply_files(found.opposite(), [path], out)) as steps:
        while next(steps).done < 5:
            pass
    np.testing.assert_array_equal(load_volumes(out / "a.ome.zarr").values, before)
    last(apply_files(Transform(DisplacementField.identity(FIXED)), [path], out))
    assert (load_volumes(out / "a.ome.zarr").values != before).any()
    assert [one.name for one in out.iterdir()] == ["a.ome.zarr"]


def test_a_value_that_is_not_finite_is_refused_and_nothing_is_left(tmp_path: Path, found: Transform) -> None:
    values = blobs()
    values[5, 5, 5] = np.nan
    path = written(tmp_path / "a.zarr", values)
    with pytest.raises(InputError, match=r"a\.zarr: the image holds NaN"):
        last(apply_files(found, [path], tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []


def test_what_cannot_be_is_refused(tmp_path: Path, found: Transform) -> None:
    path = written(tmp_path / "a.ome.zarr", blobs())
    turned = Grid((9, 9, 9), np.array([[0.9, 0.3, 0, 0], [-0.3, 0.9, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]]))
    with pytest.raises(InputError, match="reference: its axes are turned"):
        last(apply_files(found, [path], tmp_path / "out", grid=turned))
    with pytest.raises(InputError, match="would replace the file that it comes from"):
        last(apply_files(found, [path], tmp_path))
    with pytest.raises(InputError, match=r"to: unknown: 'png'\. Use"):
        last(apply_files(found, [path], tmp_path / "out", to="png"))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / "a.ome.zarr").mkdir(parents=True)
    (tmp_path / "out" / "a.ome.zarr" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="something else is in the place of the result"):
        last(apply_files(found, [path], tmp_path / "out"))
    assert (tmp_path / "out" / "a.ome.zarr" / "thesis.txt").read_text() == "mine"
    flat = Transform(DisplacementField.identity(Grid.from_spacing((9, 9))))
    with pytest.raises(InputError, match="expected 2 dimensions, got 3"):
        last(apply_files(flat, [path], tmp_path / "flat"))


def test_formats_are_chosen(tmp_path: Path, found: Transform) -> None:
    moving = open_zarr(written(tmp_path / "a.ome.zarr", blobs(dtype=np.int16))).grid
    values = blobs(2, dtype=np.int16)
    nifti = save_volumes(Volumes(np.moveaxis(values, 0, -1).transpose(2, 1, 0, 3), moving), tmp_path / "b.nii.gz")
    files = [tmp_path / "a.ome.zarr", nifti]
    to_zarr = last(apply_files(found, files, tmp_path / "zarr", to="zarr"))
    to_nifti = last(apply_files(found, files, tmp_path / "nifti", to="nifti"))
    assert [path.name for path in to_zarr] == ["a.ome.zarr", "b.ome.zarr"]
    assert [path.name for path in to_nifti] == ["a.nii.gz", "b.nii.gz"]
    assert [axis.name for axis in open_zarr(to_zarr[1]).axes] == ["t", "z", "y", "x"]
    for one, other in zip(to_zarr, to_nifti, strict=True):
        a, b = load_volumes(one), load_volumes(other)
        assert a.grid.shape == b.grid.shape
        turned = b.values[:, ::-1]  # the fixed grid counts y the other way
        assert np.abs(a.values.astype(int) - turned).max() <= 1


def test_the_command_takes_a_reference_whose_voxels_it_does_not_read(
    tmp_path: Path, found: Transform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    field = save_field(found.field, tmp_path / "field.h5")
    path = written(tmp_path / "a.ome.zarr", blobs())
    monkeypatch.setattr(ZarrImage, "read_all", lambda self: pytest.fail("the whole was read"))
    out = tmp_path / "out"
    assert main(["apply", str(field), str(path), "-o", str(out), "--reference", str(path)]) == 0
    assert open_zarr(out / "a.ome.zarr").grid == open_zarr(path).grid
    assert "a.ome.zarr ->" in capsys.readouterr().err
    monkeypatch.undo()
    plain = load_image(path)
    expected = found.on(plain.grid).apply(plain).array
    np.testing.assert_allclose(load_image(out / "a.ome.zarr").array, expected, atol=0.02)
    assert main(["apply", str(field), str(path), "-o", str(out), "--to", "nifti"]) == 0
    assert (out / "a.nii.gz").is_file()
