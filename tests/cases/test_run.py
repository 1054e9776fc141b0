from __future__ import annotations

import os
from pathlib import Path

import pytest

import napari_ran as ran
from napari_ran.cases import CaseStep, read_cases, score_cases
from napari_ran.steps import last

QUICK = ran.RegistrationConfig(weights="none", affine="none").replace(instance={"steps": 5, "search": 2})


def made_anew(steps: list[CaseStep]) -> list[str]:
    return [step.name for step in steps if step.message == "reading"]


def test_fields_are_scored_and_finished_cases_kept(listed: Path) -> None:
    cases, folder = read_cases(listed), listed.parent / "out"
    steps = list(score_cases(cases, folder))
    found, still = (step.score for step in steps if step.score is not None)
    assert (found.name, still.name) == ("found", "still")
    assert found.mean("dice") > 0.9 > still.mean("dice")  # type: ignore[operator]
    assert found.tre.mean < 0.1 * still.tre.mean  # type: ignore[union-attr]
    assert still.mean("dice") == pytest.approx(still.mean("dice_before"))
    assert still.folding_percent == 0

    again = list(score_cases(cases, folder))
    assert made_anew(again) == []
    assert [step.score for step in again] == [found, still]
    os.utime(listed.parent / "still.h5", (1, 1))
    (folder / "cases" / "found.json").write_text("broken")
    assert made_anew(list(score_cases(cases, folder))) == ["found", "still"]


def test_pairs_without_a_field_are_registered_and_a_stopped_run_goes_on(listed: Path) -> None:
    lines = [line.rsplit(",", 1)[0] for line in listed.read_text().splitlines()]
    listed.write_text("\n".join(lines) + "\n")
    cases, folder = read_cases(listed), listed.parent / "out"
    run = score_cases(cases, folder, QUICK)
    for step in run:
        if step.number == 2 and step.message.startswith("instance"):
            run.close()  # in the middle of the second case
    steps: list[CaseStep] = []
    scores = last(score_cases(cases, folder, QUICK), steps.append)
    assert made_anew(steps) == ["still"]
    assert scores[0].labels == scores[1].labels  # the same pair
    assert scores[0].seconds is not None
    assert scores[0].seconds > 0
    assert scores[0].mean("dice") > scores[0].mean("dice_before")  # type: ignore[operator]
    assert made_anew(list(score_cases(cases, folder, QUICK.replace(intensity="minmax")))) == ["found", "still"]


def test_a_bad_case_is_named(listed: Path) -> None:
    (listed.parent / "still.h5").write_text("nothing")
    with pytest.raises(ran.InputError, match=r"case still: .*still\.h5"):
        last(score_cases(read_cases(listed), listed.parent / "out"))
    assert (listed.parent / "out" / "cases" / "found.json").exists()


def test_measures_of_the_released_code_on_request(listed: Path) -> None:
    cases, folder = read_cases(listed), listed.parent / "out"
    plain = last(score_cases(cases, folder))
    assert plain[0].paper_detj is None
    released = last(score_cases(cases, folder, paper=True))
    assert released[0].mean("paper_dice") == pytest.approx(plain[0].mean("dice"), abs=1e-6)
    assert released[0].mean("paper_hd") is not None
    assert 0 < released[0].paper_detj < plain[0].negative_in_tissue  # the exact field slips: it folds at the borders
    assert last(score_cases(cases, folder))[0] == plain[0]
