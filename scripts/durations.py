"""Print how long the tests of each module take, longest first.

``pytest --junitxml=report.xml`` writes the report, ``python scripts/durations.py report.xml`` reads it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree


def durations(report: Path) -> list[tuple[str, int, float]]:
    """Return the name, the number of tests and the seconds of every module of a report, longest first."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):
        module = case.get("classname", "").split(".Test")[0]
        found[module.removeprefix("tests.").replace(".", "/") + ".py"].append(float(case.get("time", 0)))
    return sorted(((name, len(times), sum(times)) for name, times in found.items()), key=lambda one: -one[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="what pytest --junitxml wrote")
    rows = durations(parser.parse_args().report)
    width = max(len(name) for name, *_ in rows)
    for name, count, seconds in rows:
        print(f"{name:{width}} {count:5d} tests {seconds:8.1f} s")
    print(f"{'all':{width}} {sum(row[1] for row in rows):5d} tests {sum(row[2] for row in rows):8.1f} s")


if __name__ == "__main__":
    main()
