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


def check(first: int, count: int, folder: Path) -> None:
    tallies = fuzz([(family, first, count) for family in FAMILIES], folder)
    assert {family: tally.defects for family, tally in tallies.items() if tally.defects} == {}
    assert all(tally.tried == count for tally in tallies.values())
    ends = sum((tally.ends for tally in tallies.values()), start=type(next(iter(tallies.values())).ends)())
    assert ends["refused"] > count  # the damage reaches the readers
    assert ends["read"] > count


def test_two_hundred_damaged_files(folder: Path) -> None:
    check(0, 10, folder)


@pytest.mark.slow
def test_eight_hundred_more(folder: Path) -> None:
    check(10_000, 40, folder)


def test_what_was_found_before(folder: Path) -> None:
    """Cases that once crashed, hung or took memory, by family and seed."""
    found = {"NRRD": 26, "NRRD, raw": 6, "MHA, raw": 140, "field, ITK .h5": 102, "surfaces": 93, "weights": 116}
    plan = [(family, seed, 1) for family, seed in found.items()]
    tallies = fuzz([*plan, ("surfaces", 94, 1), ("checkpoints", 45, 1), ("list, Learn2Reg", 6, 1)], folder)
    assert [case for tally in tallies.values() for case in tally.defects] == []
    assert sum(tally.tried for tally in tallies.values()) == 9
