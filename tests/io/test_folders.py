"""A folder is filled with everything or nothing; what lay there is replaced, removed or left as it should be."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from napari_ran.errors import OutputError
from napari_ran.io import folders
from napari_ran.io.folders import NOTE, filling, settled


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    write(folder, a="old a", b="theirs", sub__c="old c", sub__d="theirs", gone__deep__e="old e")
    return folder


def test_a_new_folder_is_made(tmp_path: Path) -> None:
    with filling(tmp_path / "x" / "out") as new:
        write(new, a="1", sub__b="2")
    assert content(tmp_path) == {"x/out/a": "1", "x/out/sub/b": "2"}


def test_files_of_the_same_names_are_replaced_and_others_stay(target: Path) -> None:
    with filling(target) as new:
        write(new, a="new a", sub__c="new c", sub__f="new f")
    assert content(target) == {
        "a": "new a", "b": "theirs", "sub/c": "new c", "sub/d": "theirs", "sub/f": "new f", "gone/deep/e": "old e",
    }  # fmt: skip
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_what_is_obsolete_goes_with_the_folders_that_it_leaves_empty(target: Path) -> None:
    with filling(target, obsolete=["a", "sub/c", "gone/deep/e", "never/there"]) as new:
        write(new, sub__c="new c")
    assert content(target) == {"b": "theirs", "sub/c": "new c", "sub/d": "theirs"}
    assert not (target / "gone").exists()


def test_an_obsolete_folder_goes_whole_and_can_come_back(target: Path) -> None:
    with filling(target, obsolete=["sub"]) as new:
        write(new, sub__f="new f")
    assert content(target / "sub") == {"f": "new f"}


def test_files_and_folders_can_take_each_other_s_place(target: Path) -> None:
    with filling(target) as new:
        write(new, a__inside="new", sub="a file")
    assert content(target) == {"a/inside": "new", "b": "theirs", "sub": "a file", "gone/deep/e": "old e"}


@pytest.mark.parametrize("which", range(1, 9))
def test_a_failure_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch, target: Path, which: int) -> None:
    before, moves, replace = content(target), [], folders.os.replace

    def failing(here: Path, there: Path) -> None:
        moves.append(here)
        if len(moves) == which:
            raise OSError(28, "No space left on device")
        replace(here, there)

    monkeypatch.setattr(folders.os, "replace", failing)
    with (
        pytest.raises(OutputError, match="No space left on device"),
        filling(target, obsolete=["gone/deep/e", "sub"]) as new,
    ):
        write(new, a="new a", made__h="new h", sub__c="new c", zone="z", zz="zz", zzz="zzz")
    assert content(target) == before
    assert sorted(path.name for path in target.iterdir()) == ["a", "b", "gone", "sub"]
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_an_error_inside_the_block_leaves_everything_as_it_was(target: Path) -> None:
    before = content(target)

    def fail() -> None:
        with filling(target, obsolete=["a"]) as new:
            write(new, a="new a")
            raise KeyError("something else")

    with pytest.raises(KeyError):
        fail()
    assert content(target) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process that is ended is forked")
@pytest.mark.parametrize("which", range(1, 13))
def test_a_process_that_ends_in_the_middle_mixes_nothing(target: Path, which: int) -> None:
    before, made = content(target), {"a": "new a", "sub/c": "new c", "sub/f": "new f", "zone": "z"}
    after = {"b": "theirs", "sub/d": "theirs", **made}

    def fill() -> None:
        with filling(target, obsolete=["gone/deep/e", "zone"]) as new:
            write(new, a="new a", sub__c="new c", sub__f="new f", zone="z")

    child = os.fork()
    if not child:
        moves, replace = [], os.replace

        def ending(here: Path, there: Path) -> None:
            moves.append(here)
            if len(moves) == which:
                os._exit(0)
            replace(here, there)

        os.replace = ending  # type: ignore[assignment]
        try:
            fill()
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    found = content(settled(target))
    assert {name: text for name, text in found.items() if not name.startswith(".")} in (before, after)
    assert (found.keys() == after.keys()) or which <= 1 or which > 8
    fill()
    assert content(target) == after
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_an_interrupt_in_the_middle_leaves_everything_as_it_was(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    before, replace, moves = content(target), os.replace, []

    def interrupted(here: Path, there: Path) -> None:
        moves.append(here)
        if len(moves) == 4:
            raise KeyboardInterrupt
        replace(here, there)

    monkeypatch.setattr(folders.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), filling(target) as new:
        write(new, a="new a", sub__c="new c")
    assert content(target) == before


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_makes_is_not(target: Path) -> None:
    with filling(target) as living:
        dead = target / ".out-deadbeef"
        (dead / "new").mkdir(parents=True)
        (dead / "owner").write_text('{"pid": 1, "started": 0.0, "host": "' + os.uname().nodename + '"}')
        young, other = target.parent / ".out-madejust", target.parent / ".out-b-someones"
        young.mkdir()
        other.mkdir()
        os.utime(other, (1, 1))
        with filling(target) as new:
            write(new, a="second")
        assert not dead.exists()
        assert young.exists()
        assert other.exists()
        assert living.exists()
        os.utime(young, (time.time() - 9, time.time() - 9))
        write(living, a="first")
    assert content(target)["a"] == "first"
    with filling(target) as new:
        write(new, a="third")
    assert sorted(path.name for path in target.parent.iterdir()) == [".out-b-someones", "out"]
    assert not (target / NOTE).exists()


def test_an_error_names_the_place_that_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as found, filling(tmp_path / "out") as new:
        raise OutputError(str(new / "field.h5"), "the file could not be written", "Free some space")
    assert found.value.path == str(tmp_path / "out" / "field.h5")
