"""Damaged files of every kind end in words or in something sound: no crash, no hang, no stray exception or memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from faulty.families import FAMILIES
from faulty.fuzz import fuzz


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sound samples are, made once."""
    return tmp_path_factory.mktemp("samples")


FOUND = {
    "NRRD": [26], "NRRD, raw": [6], "MHA, raw": [140], "field, ITK .h5": [102], "surfaces": [93, 94], "weights": [116],
    "checkpoints": [45], "list, Learn2Reg": [6],
}  # fmt: skip
"""Cases that once crashed, hung or took memory, by family and seed."""


def check(first: int, count: int, folder: Path, *more: tuple[str, int, int]) -> None:
    tallies = fuzz([*((family, first, count) for family in FAMILIES), *more], folder)
    assert {family: tally.defects for family, tally in tallies.items() if tally.defects} == {}
    expected = {family: count + sum(part[2] for part in more if part[0] == family) for family in FAMILIES}
    assert {family: tally.tried for family, tally in tallies.items()} == expected
    ends = sum((tally.ends for tally in tallies.values()), start=type(next(iter(tallies.values())).ends)())
    assert ends["refused"] > count  # the damage reaches the readers
    assert ends["read"] > count


def test_two_hundred_damaged_files_and_what_was_found_before(folder: Path) -> None:
    check(0, 10, folder, *((family, seed, 1) for family, seeds in FOUND.items() for seed in seeds))


@pytest.mark.slow
def test_eight_hundred_more(folder: Path) -> None:
    check(10_000, 40, folder)
