"""Gzip files that are packed on several threads: what every reader finds in them, and how little they take."""

from __future__ import annotations

import errno
import gzip
import io
import os
import tracemalloc
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from napari_ran.data import DisplacementField, Grid, Image, Labels
from napari_ran.errors import OutputError
from napari_ran.io import gzip_writing as module
from napari_ran.io import load_field, load_image, load_labels, save_field, save_image, save_labels
from napari_ran.io.gzip_writing import BLOCK, packing
from napari_ran.writing import replacing

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=BLOCK // 4).astype(np.float32).tobytes()
CONTENTS = {
    "nothing": b"",
    "a byte": b"a",
    "one block": NOISE,
    "one block and a byte": NOISE + b"a",
    "blocks of many kinds": bytes(BLOCK) + NOISE * 2 + b"repeats " * BLOCK,
}


def packed(path: Path, content: bytes, piece: int = BLOCK) -> bytes:
    with packing(path) as stream:
        for start in range(0, len(content), piece):
            stream.write(content[start : start + piece])
            assert stream.tell() == min(start + piece, len(content))
    return path.read_bytes()


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_it_is_one_ordinary_member(tmp_path: Path, content: bytes) -> None:
    """Some readers, such as a browser's, take a second member for junk."""
    file = packed(tmp_path / "a.gz", content)
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert reader.decompress(file) == content
    assert reader.eof
    assert reader.unused_data == b""
    assert gzip.decompress(file) == content


def test_the_bytes_depend_on_the_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = CONTENTS["blocks of many kinds"]
    files = set()
    for number, (threads, piece) in enumerate([(1, BLOCK), (2, 999_983), (5, len(content))]):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        files.add(packed(tmp_path / f"{number}.gz", content, piece))
    assert len(files) == 1


def test_a_file_is_hardly_larger_than_from_one_piece(tmp_path: Path) -> None:
    smooth = np.sin(np.arange(3 * BLOCK // 4, dtype=np.float32) / 500)
    whole = np.rint(smooth * 100)
    rim = bytes(BLOCK // 3)
    for content in (smooth.tobytes(), whole.tobytes(), NOISE * 3, rim * 9, (rim + NOISE[: BLOCK // 3] + rim) * 3):
        assert len(packed(tmp_path / "a.gz", content)) < 1.03 * len(gzip.compress(content, 1)) + 500


def test_few_blocks_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    whole = NOISE * 64
    tracemalloc.start()
    with packing(tmp_path / "a.gz") as stream:
        stream.write(whole)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * BLOCK


def test_every_reader_finds_every_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, oblique_grids: dict[int, tuple[Grid, Grid]]
) -> None:
    monkeypatch.setattr(module, "BLOCK", 1000)
    grid = oblique_grids[3][0]
    image = Image(torch.from_numpy(RNG.normal(size=(1, *grid.shape)).astype(np.float32)), grid)
    labels = Labels(torch.from_numpy(RNG.integers(0, 300, grid.shape)), grid)
    field = DisplacementField(torch.from_numpy(RNG.normal(size=(3, *grid.shape)).astype(np.float32)), grid)
    one, two, three = (tmp_path / name for name in ("image.nii.gz", "labels.nii.gz", "disp.nii.gz"))
    assert torch.equal(load_image(save_image(image, one)).tensor, image.tensor)
    assert torch.equal(load_labels(save_labels(labels, two)).tensor, labels.tensor)
    assert torch.equal(load_field(save_field(field, three)).tensor, field.tensor)
    for path, values in ((one, image.array), (two, labels.array), (three, np.moveaxis(field.tensor.numpy(), 0, -1))):
        np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), values)
        read = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        np.testing.assert_array_equal(read.T, values)
        assert path.read_bytes().count(b"\0\0\xff\xff") > 5  # where a block ends


def test_nothing_is_written_backwards(tmp_path: Path) -> None:
    with packing(tmp_path / "a.gz") as stream:
        stream.write(b"abc")
        assert stream.seek(3) == 3
        with pytest.raises(io.UnsupportedOperation, match="from start to end"):
            stream.seek(0)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"abc"


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), MemoryError()], ids=repr)
def test_a_fault_in_a_thread_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def fail(block: bytes) -> bytes:
        raise fault

    monkeypatch.setattr(module, "_packed", fail)
    kind = OutputError if isinstance(fault, OSError) else MemoryError
    with pytest.raises(kind), replacing(tmp_path / "a.gz") as part:
        packed(part, NOISE * 20)
    assert list(tmp_path.iterdir()) == []
