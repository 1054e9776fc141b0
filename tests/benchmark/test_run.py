from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

import napari_ran as ran
from napari_ran.benchmark import BenchmarkStep, RowResult, run_benchmark
from napari_ran.cli import main
from napari_ran.config import BenchmarkConfig
from napari_ran.steps import last

FIRST = {
    "model": {"ndim": 2},
    "data": {"source": "generated", "generated": {"shapes": [[32, 32]]}},
    "validation": {"every": 2, "pairs": 1},
    "budget": {"steps": 2},
}


@pytest.fixture
def settings(listed: Path) -> Path:
    """A benchmark of two trained systems, bundled weights, no network, and demons."""
    lines = [line.rsplit(",", 1)[0] for line in listed.read_text().splitlines()]
    listed.write_text("\n".join(lines) + "\n")  # without the fields
    folder = listed.parent
    (folder / "first.yaml").write_text(yaml.safe_dump(FIRST))
    (folder / "second.yaml").write_text(yaml.safe_dump(FIRST | {"model": {"ndim": 2, "start": "previous"}}))
    content = {
        "name": "Phantom twice",
        "cases": listed.name,
        "training": ["first.yaml", "second.yaml"],
        "systems": [
            "VM1",
            {"name": "one head", "training": {"model": {"preset": "RAN3 with one head"}}},
            {"name": "bundled", "weights": "general-2d"},
            {"name": "no network", "weights": "none"},
        ],
        "peers": [{"tool": "demons", "options": {"iterations": 10}}],
        "registration": {"affine": "none", "instance": {"steps": 3, "search": 2}},
    }
    (folder / "benchmark.yaml").write_text(yaml.safe_dump(content))
    return folder / "benchmark.yaml"


def followed(config: BenchmarkConfig, folder: Path, only: tuple[str, ...] = ()) -> tuple[list[str], list[RowResult]]:
    """Run a benchmark; return what was said of work, not of results, and the rows."""
    steps: list[BenchmarkStep] = []
    rows = last(run_benchmark(config, folder, only), steps.append)
    return [f"{step.row}: {step.message}" for step in steps if step.result is None], rows


def test_a_benchmark_in_pieces(settings: Path) -> None:
    config, folder = BenchmarkConfig.from_yaml(settings), settings.parent / "out"
    said, rows = followed(config, folder, ("VM1", "start"))
    assert [result.row.name for result in rows] == ["start", "VM1", "VM1 + field"]
    assert any("training: part 2 of 2, step 2, 100%" in text for text in said)
    assert (rows[0].parameters, rows[1].parameters) == (None, rows[2].parameters)

    said, rows = followed(config, folder)
    names = [
        "start", "VM1", "VM1 + field", "one head", "one head + field", "bundled",
        "bundled + field", "no network + field", "demons",
    ]  # fmt: skip
    assert [result.row.name for result in rows] == names
    assert not [text for text in said if text.startswith(("VM1", "start"))]  # nothing is made twice
    assert not [result.failure for result in rows if result.failure]
    scores = {result.row.name: result.scores[0] for result in rows}
    assert scores["start"].mean("dice") == pytest.approx(scores["start"].mean("dice_before"))
    assert scores["demons"].mean("dice") > scores["start"].mean("dice")  # type: ignore[operator]
    assert scores["bundled"].mean("dice") > scores["start"].mean("dice")  # type: ignore[operator]

    table = (folder / "table.md").read_text()
    assert table.startswith("# Phantom twice")
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[4:13]] == names
    assert "corrected by Holm's method" in table
    assert (folder / "table.tex").read_text().count(r" \\") == len(names) + 1
    assert (folder / "boxes.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "table.csv").open() as file:
        found = {row["row"]: row for row in csv.DictReader(file)}
    assert float(found["demons"]["dice"]) == pytest.approx(scores["demons"].mean("dice"))
    assert found["demons"]["dice_cases"] == "2"
    with (folder / "comparisons.csv").open() as file:
        assert [row["two"] for row in csv.DictReader(file)] == [name for name in names if name not in ("start", "VM1")]

    said, again = followed(config, folder)
    assert not said
    assert [result.scores for result in again] == [result.scores for result in rows]


def test_what_fails_is_told_by_its_row(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = yaml.safe_load(settings.read_text())
    content["systems"] = [{"name": "VM1", "training": {"optimiser": {"rate": 1e30, "not_finite": 1, "warmup": 0}}}]
    content["training"] = ["first.yaml"]
    content["peers"] = [
        {"tool": "demons", "name": "crashing", "options": {"sigmas": 1}},
        {"tool": "demons", "options": {"iterations": 5}},
    ]
    first = FIRST | {"budget": {"steps": 30}}
    (settings.parent / "first.yaml").write_text(yaml.safe_dump(first))
    settings.write_text(yaml.safe_dump(content))
    folder = settings.parent / "out"
    _, rows = followed(BenchmarkConfig.from_yaml(settings), folder)
    failures = {result.row.name: result.failure for result in rows}
    assert "diverged" in str(failures["VM1"])
    assert "diverged" in str(failures["VM1 + field"])
    assert "crashing" not in str(failures["demons"])
    assert failures["demons"] is None
    assert "sigmas" in str(failures["crashing"])
    table = (folder / "table.md").read_text()
    assert "| VM1 |" in table
    assert "Failed:" in table


def test_a_stopped_training_goes_on(settings: Path) -> None:
    config, folder = BenchmarkConfig.from_yaml(settings), settings.parent / "out"
    steps = run_benchmark(config, folder, ("VM1",))
    for step in steps:
        if "part 2 of 2, step 1," in step.message:
            steps.close()
    said, rows = followed(config, folder, ("VM1",))
    assert not any("part 1" in text for text in said)
    assert any("part 2 of 2, step 2," in text for text in said)
    assert [result.row.name for result in rows] == ["VM1", "VM1 + field"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"systems": ["VM9"]}, "no system 'VM9'"),
        ({"systems": ["VM1", "VM1"]}, "two entries are called 'VM1'"),
        ({"systems": ["VM1"], "training": []}, "'VM1' has no weights and no training"),
        ({"systems": [{"name": "mine", "weights": "nowhere.safetensors"}]}, "nowhere.safetensors"),
        ({"systems": [], "peers": []}, "nothing to compare"),
        ({"peers": ["ant"]}, "no tool 'ant'"),
        ({"reference": "VM2"}, "no row 'VM2'"),
        ({"cases": "nowhere.csv"}, "no such file"),
        ({"training": ["nowhere.yaml"]}, "nowhere.yaml"),
        ({"mode": ["none"]}, "modes"),
    ],
)
def test_bad_settings_are_refused_before_anything_starts(
    settings: Path, change: dict[str, object], message: str
) -> None:
    settings.write_text(yaml.safe_dump(yaml.safe_load(settings.read_text()) | change))
    folder = settings.parent / "out"
    with pytest.raises(ran.InputError, match=message):
        last(run_benchmark(BenchmarkConfig.from_yaml(settings), folder))
    assert not folder.exists()


def test_an_unknown_row_is_refused(settings: Path) -> None:
    with pytest.raises(ran.InputError, match="there is no 'RAN9'"):
        last(run_benchmark(BenchmarkConfig.from_yaml(settings), settings.parent / "out", ("RAN9",)))


def test_the_command_prints_the_table_and_says_by_its_code_whether_a_row_failed(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(settings.read_text())
    content["peers"] = [
        {"tool": "demons", "options": {"iterations": 5}},
        {"tool": "demons", "name": "bad", "options": {"x": 1}},
    ]
    settings.write_text(yaml.safe_dump(content))
    command = ["benchmark", str(settings), "-o", str(settings.parent / "out"), "--only"]
    assert main([*command, "start, demons"]) == 0
    printed = capsys.readouterr()
    assert "# Phantom twice" in printed.out
    assert "| demons |" in printed.out
    assert "demons: done" in printed.err
    assert main([*command, "bad", "--quiet"]) == 1
    assert "| demons |" in (settings.parent / "out" / "table.md").read_text()  # finished before
    assert main([*command, "RAN9"]) == 2
    assert "there is no 'RAN9'" in capsys.readouterr().err
