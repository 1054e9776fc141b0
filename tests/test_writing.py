"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from napari_ran.errors import InputError, OutputError
from napari_ran.writing import replacing


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "figures.nii.gz"
    path.write_text("what was there")
    return path


def test_a_written_file_takes_the_place_of_the_old_one(kept: Path) -> None:
    with replacing(kept) as part:
        assert part.name == kept.name  # writers choose the format by it
        part.write_text("new")
        assert kept.read_text() == "what was there"
        assert list(kept.parent.glob("*.gz")) == [kept]
    assert kept.read_text() == "new"
    assert list(kept.parent.iterdir()) == [kept]


def test_what_was_there_is_moved_where_it_is_wanted(kept: Path) -> None:
    with replacing(kept, previous=kept.with_name("previous"), durable=True) as part:
        part.write_text("new")
    assert kept.read_text() == "new"
    assert kept.with_name("previous").read_text() == "what was there"


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("itk: no\n  way.")])
def test_what_was_there_stays_when_writing_fails(kept: Path, fault: Exception) -> None:
    reason = "No space left on device" if isinstance(fault, OSError) else "way"

    def write() -> None:
        with replacing(kept, "the map", previous=kept.with_name("previous")) as part:
            part.write_text("half of")
            raise fault

    with pytest.raises(OutputError, match=rf"the map could not be written \({reason}\)") as found:
        write()
    assert ("Free some space" in found.value.cure) == isinstance(fault, OSError)
    assert kept.read_text() == "what was there"
    assert list(kept.parent.iterdir()) == [kept]


def test_a_file_that_does_not_reach_the_disk_replaces_nothing(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("napari_ran.writing.os.fsync", full)
    with (
        pytest.raises(OutputError, match=r"No space left on device.*Look elsewhere"),
        replacing(kept, cure="Look elsewhere", previous=kept.with_name("previous"), durable=True) as part,
    ):
        part.write_text("new")
    assert list(kept.parent.iterdir()) == [kept]
    assert kept.read_text() == "what was there"


def test_other_errors_keep_their_words(kept: Path) -> None:
    with pytest.raises(InputError, match="no such grid"), replacing(kept):
        raise InputError("grid", "there is no such grid", "Choose another")
    with pytest.raises(KeyboardInterrupt), replacing(kept):
        raise KeyboardInterrupt
    assert list(kept.parent.iterdir()) == [kept]


def test_a_missing_folder_is_said_or_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    with pytest.raises(OutputError, match=r"the folder .*b does not exist\)"), replacing(path):
        pytest.fail("there is nowhere to write")
    with replacing(path, make_folder=True) as part:
        part.write_text("new")
    assert path.read_text() == "new"
    with pytest.raises(OutputError, match="could not be written"), replacing(path / "c", make_folder=True):
        pytest.fail("a file is no folder")


def test_what_killed_writers_left_is_removed_when_it_is_old(kept: Path) -> None:
    old, young, other = (kept.parent / f".{name}.part" for name in (f"{kept.name}-a", f"{kept.name}-b", "else-a"))
    for part in (old, young, other):
        part.mkdir()
        (part / kept.name).write_text("half")
    for part in (old, other):
        os.utime(part, (time.time() - 9000, time.time() - 9000))
    with replacing(kept) as part:
        part.write_text("new")
    assert sorted(kept.parent.iterdir()) == sorted([kept, young, other])


def test_a_folder_that_a_killed_process_had_put_aside_comes_back(tmp_path: Path) -> None:
    target, part = tmp_path / "a.zarr", tmp_path / ".a.zarr-abcdefgh.part"
    (part / "a.zarr.old").mkdir(parents=True)
    (part / "a.zarr.old" / "kept").touch()
    os.utime(part, (time.time() - 60, time.time() - 60))
    with pytest.raises(OutputError), replacing(target):
        raise OSError(errno.ENOSPC, "")
    assert (target / "kept").exists()
    with replacing(target) as made:
        made.mkdir()
    assert list(target.iterdir()) == []
