from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from napari_ran.cases import CaseScore, LabelScore, summarise, write_tables
from napari_ran.cli import main

SCORES = [
    CaseScore(
        name="a",
        labels={1: LabelScore(dice_before=0.2, dice=0.8, hd=4, hd95=3, asd=1), 7: LabelScore(dice_before=0.4, dice=0)},
        label_names={1: "liver"},
        folding_percent=0.5,
        unmatched=(9,),
    ),
    CaseScore(name="b", folding_percent=1.5, seconds=3.0),
]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_tables(tmp_path: Path) -> None:
    files = write_tables(SCORES, tmp_path / "out")
    assert [file.name for file in files] == ["cases.csv", "labels.csv", "summary.json", "summary.md"]
    first, second = rows(files[0])
    assert float(first["dice"]) == pytest.approx(0.4)  # a vanished label counts as 0
    assert float(first["hd"]) == 4  # and has no surface
    assert (first["seconds"], second["dice"], second["seconds"]) == ("", "", "3.0")
    assert [(row["case"], row["label"], row["name"], row["hd"]) for row in rows(files[1])] == [
        ("a", "1", "liver", "4.0"),
        ("a", "7", "", ""),
    ]
    summary = {one["measure"]: one for one in json.loads(files[2].read_text())}
    assert summary["Folding"]["cases"] == 2
    assert summary["Folding"]["interval"]["mean"] == 1
    assert summary["Dice"]["cases"] == 1
    assert "Landmark error" not in summary
    text = files[3].read_text()
    assert "| Folding | % | 2 | 1.000 [0.500, 1.500] |" in text
    assert "- a: 9" in text
    assert [one.measure for one in summarise(SCORES)][:2] == ["Dice before", "Dice"]


def test_the_command(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = listed.parent / "out"
    assert main(["evaluate", str(listed), "-o", str(out)]) == 0
    text = capsys.readouterr().out
    assert "Landmark error" in text
    assert "Hausdorff distance, 95 %" in text
    assert "summary.md" in text
    assert len(rows(out / "cases.csv")) == 2
    assert main(["evaluate", str(listed), "-o", str(out), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    (listed.parent / "truth.h5").unlink()
    assert main(["evaluate", str(listed), "-o", str(out)]) == 2
    assert "a file is missing or empty: " in capsys.readouterr().err
