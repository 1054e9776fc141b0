from __future__ import annotations

from pathlib import Path

import pytest

from napari_ran import InputError
from napari_ran.cases import read_cases


def test_files_are_named_relative_to_the_list(listed: Path) -> None:
    cases = read_cases(listed)
    assert [case.name for case in cases] == ["found", "still"]
    assert cases[0].field == listed.parent / "truth.h5"
    assert cases[1].fixed_labels == listed.parent / "fixed-labels.nii.gz"
    listed.write_text("fixed, moving\nfixed.nii.gz, moving.nii.gz\n")
    only = read_cases(listed)[0]
    assert (only.name, only.field, only.moving_labels) == ("fixed-moving", None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no case"),
        ("fixed,moving\n", "holds no case"),
        ("fixed,moved\na,b\n", "unknown column 'moved'"),
        ("fixed,moving\nfixed.nii.gz,\n", "line 2 lacks"),
        ("fixed,moving\nnone.nii.gz,moving.nii.gz\nfixed.nii.gz,gone.nii.gz\n", r"2 files are missing: .*none.*gone"),
        ("fixed,moving\nfixed.nii.gz,moving.nii.gz\nfixed.nii.gz,moving.nii.gz\n", "two cases are called"),
    ],
)
def test_bad_lists(listed: Path, text: str, words: str) -> None:
    listed.write_text(text)
    with pytest.raises(InputError, match=words):
        read_cases(listed)


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_cases(tmp_path / "none.csv")
