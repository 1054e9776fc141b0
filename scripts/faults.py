"""Try faults in large numbers, and print the table of ``docs/faults.md``: cases tried and survived.

``python scripts/faults.py`` takes about an hour on two processors; ``--files 100 --kills 10`` a few minutes. ``--only
files`` or ``--only runs`` does one half. What did not survive is listed below the table, with the seed that makes it
again, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "faults"))

from faulty import disks, kills
from faulty.families import FAMILIES
from faulty.forks import Forks
from faulty.fuzz import fuzz

Row = tuple[str, int, int, list[str]]
"""What was tried, cases, survivors, and what happened to the others."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500, help="damaged files of each family")
    parser.add_argument("--kills", type=int, default=30, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("files", "runs"))
    parser.add_argument("families", nargs="*", help="families of files; all by default")
    given = parser.parse_args()
    rows: list[Row] = []
    print("| Case | Tried | Survived |\n|---|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for part in ([] if given.only == "runs" else [files]) + ([] if given.only == "files" else [runs]):
            for row in part(Path(folder), given):
                rows.append(row)
                print(f"| {row[0]} | {row[1]} | {row[2]} |", flush=True)
    print(f"| **All** | **{sum(row[1] for row in rows)}** | **{sum(row[2] for row in rows)}** |")
    for row in rows:
        for fault in row[3]:
            print(f"{row[0]}: {fault}")
    return int(any(row[1] != row[2] for row in rows))


def files(folder: Path, given: argparse.Namespace) -> Iterator[Row]:
    for family in given.families or FAMILIES:
        tally = fuzz([(family, given.seed, given.files)], folder / "files")[family]
        yield f"Damaged files: {family}", tally.tried, tally.survived, [str(case) for case in tally.defects]


def runs(folder: Path, given: argparse.Namespace) -> Iterator[Row]:
    rng, number = Random(given.seed), given.kills
    (folder / "workplace").mkdir()
    with Forks() as forks:
        place = kills.Workplace(folder / "workplace", forks)
        whole = forks.run(*place.command("other", folder / "whole" / "out"), within=str(folder / "whole"))
        writing = [(rng.randint(1, whole.operations + 30), None) for _ in range(number)]
        computing = [(None, rng.uniform(0, whole.seconds)) for _ in range(number)]
        yield row("register, killed while it writes", kills.register_killed(place, folder / "a", writing))
        yield row("register, killed at any moment", kills.register_killed(place, folder / "b", computing))
        pairs = sorted({rng.randint(1, 80) for _ in range(number)})
        yield row("batch: a pair, killed while it writes", kills.pair_killed(place, folder / "c", pairs))
        operations = [(rng.randint(1, 90), None) for _ in range(number)]
        yield row("train, killed while it writes", kills.train_killed(forks, folder / "d", operations))
        moments = [(None, rng.uniform(0, 1.0)) for _ in range(number)]
        yield row("train, killed at any moment", kills.train_killed(forks, folder / "e", moments))
        yield row("register, twice in one folder", kills.register_twice(place, folder / "f", number // 2, rng))
        yield row("train, twice in one folder", kills.train_twice(forks, folder / "g", number // 2, rng))
        try:
            with disks.small_disk(folder / "disk") as disk:
                names, rounds = list(disks.commands(place, disk)), max(2, number // 5)
                for name in names:
                    yield row(f"{name}, disk full", disks.disk_full(place, disk, [name], rounds, rng))
                found = disks.training_on_a_full_disk(forks, folder, disk, rounds, rng)
                yield row("train, disk full", found)
                yield row("all of them, disk read-only", disks.disk_read_only(place, disk, names))
        except disks.CannotMount as reason:
            print(f"No small disk can be mounted here, so full ones are left out: {reason}", file=sys.stderr)


def row(title: str, count: kills.Count) -> Row:
    return title, count.tried, count.survived, count.faults


if __name__ == "__main__":
    sys.exit(main())
