"""Disks that are full or may not be written to: small file systems in memory, for those who may mount them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import torch

import napari_ran as ran
from napari_ran.train.checkpoint import read_checkpoint

from . import samples
from .forks import Ended, Forks
from .kills import Count, Workplace, left_behind

SIZE = 8 * 2**20


class CannotMount(Exception):  # noqa: N818  # a reason to skip, not an error
    """This machine does not let this user mount file systems."""


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Yield a file system of 8 MiB, mounted at a new folder.

    Raises
    ------
    CannotMount
        With the reason.
    """
    place.mkdir(parents=True)
    _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    """Let nobody write to a file system for a while."""
    _mount("-o", "remount,ro", str(disk))
    try:
        yield
    finally:
        _mount("-o", "remount,rw", str(disk))


def _mount(*arguments: str) -> None:
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotMount(str(error)) from None
    if done.returncode:
        raise CannotMount(done.stderr.strip())


@contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """Leave so many bytes of a file system free for a while."""
    free = os.statvfs(disk)
    ballast = disk.parent / disk.name / "ballast"
    ballast.write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - left)))
    try:
        yield
    finally:
        ballast.unlink()


def refused_well(ended: Ended, disk: Path) -> str:
    """Return what is wrong with the refusal of a run that could not write; nothing if it succeeded."""
    if ended.code == 0:
        return ""
    words = ended.words.strip()
    clear = ended.code == 2 and len(words.splitlines()) == 1 and str(disk) in words
    cure = any(word in words for word in ("space", "Choose", "choose"))
    return "" if clear and cure else f"code {ended.code}: {words}"


def commands(place: Workplace, disk: Path) -> dict[str, tuple[list[str], Path]]:
    """Return what writes results, by name: the command, and the folder it writes to."""
    made, image = str(place.folder / "quick"), str(place.files["moving"])
    settings = str(place.folder / "quick.yaml")
    return {
        "register": (place.command("quick", disk / "out"), disk / "out"),
        "pair of a cohort": (["pair", str(place.listed), str(disk / "cohort"), settings], disk / "cohort"),
        "apply": (["apply", made, image, "-o", str(disk / "applied"), "--quiet"], disk / "applied"),
        "apply, OME-Zarr": (
            ["apply", made, image, "-o", str(disk / "zarr"), "--to", "zarr", "--quiet"], disk / "zarr",
        ),
        "export": (["export", made, str(disk / "1Warp.nii.gz"), "--quiet"], disk / "1Warp.nii.gz"),
        "report": (["inspect", made, "-o", str(disk / "report"), "--quiet"], disk / "report"),
    }  # fmt: skip


def _holds(path: Path) -> dict[str, bytes]:
    """Return the content of every file at or below a path, hidden ones too."""
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return {str(one.relative_to(path.parent)): one.read_bytes() for one in files}


def disk_full(place: Workplace, disk: Path, names: Sequence[str], rounds: int, rng: Random) -> Count:
    """Let the disk be full at random points of writing: it is said, and what was there is there still."""
    count = Count()
    for name in names:
        command, out = commands(place, disk)[name]
        whole = place.forks.run(*command)
        assert whole.code == 0, whole.words
        before = _holds(out)
        needed = sum(len(content) for content in before.values())
        for number in range(rounds):
            fresh = number % 2 == 1
            if fresh:
                shutil.rmtree(out) if out.is_dir() else out.unlink()
            left = rng.randrange(int(1.2 * needed) + 8192)
            with filled(disk, left):
                ended = place.forks.run(*command)
            there = _holds(out) if out.exists() else {}
            kept = ended.code == 0 or there == ({} if fresh else before)
            problems = refused_well(ended, disk), "" if kept else f"changed: {sorted(there)}", left_behind(disk)
            count.case(f"{name} with {left} bytes left", *problems)
            if fresh or ended.code == 0:
                again = place.forks.run(*command)
                assert again.code == 0, again.words
                before = _holds(out)
        shutil.rmtree(out) if out.is_dir() else out.unlink()
    return count


def disk_read_only(place: Workplace, disk: Path, names: Sequence[str]) -> Count:
    """Write to a disk that may not be written to: it is refused before the work, or after it, in one sentence."""
    count = Count()
    for name in names:
        command, out = commands(place, disk)[name]
        place.forks.run(*command)
        before = _holds(out)
        with read_only(disk):
            ended = place.forks.run(*command)
        problem = "it says that all is well" if ended.code == 0 and _holds(out) != before else ""
        count.case(f"{name}, read-only", problem, refused_well(ended, disk), "" if _holds(out) == before else "changed")
    return count


def training_on_a_full_disk(forks: Forks, scratch: Path, disk: Path, rounds: int, rng: Random) -> Count:
    """Train while the disk is full from the start or soon after: it ends or goes on, and resuming loses nothing."""
    count = Count()
    settings = scratch / "full.yaml"
    often = {"every": 2, "save_every": 1, "pairs": 1}
    samples.tiny_training(budget={"steps": 6}, validation=often).to_yaml(settings)
    command = ["train", str(settings), "--quiet", "--resume", "-o"]
    ended = forks.run(*command, str(scratch / "whole-training"))
    assert ended.code == 0, ended.words
    whole = read_checkpoint(scratch / "whole-training" / "last.ckpt")["average"]
    size = sum(len(content) for content in _holds(scratch / "whole-training").values())
    for number in range(rounds):
        out = disk / f"run-{number}"
        left = rng.randrange(size)
        with filled(disk, left):
            ended = forks.run(*command, str(out))
        again = forks.run(*command, str(out))
        problem = again.words.strip()
        if not again.code:
            found = read_checkpoint(out / "last.ckpt")["average"]
            problem = "" if all(torch.equal(value, found[name]) for name, value in whole.items()) else "other weights"
            ran.load_weights(out / "best.safetensors")
        count.case(f"training with {left} bytes left", refused_well(ended, disk), problem, left_behind(disk))
        shutil.rmtree(out)
    return count
