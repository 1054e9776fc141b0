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
        ("", "holds no pair"),
        ("fixed,moving\n", "holds no pair"),
        ("fixed,moved\na,b\n", "unknown column 'moved'"),
        ("fixed,moving\n\nfixed.nii.gz,\n", "line 3 lacks"),
        ("fixed,moving\nfixed.nii.gz,moving.nii.gz,x\n", "line 2 has more values than there are columns"),
        ("fixed,moving\nnone.nii.gz,moving.nii.gz\nfixed.nii.gz,empty.nii.gz\n", r"2 files .*: .*none.*, .*empty"),
        ("fixed,moving\nfixed.nii.gz,moving.nii.gz\nfixed.nii.gz,moving.nii.gz\n", "two cases are called"),
    ],
)
def test_bad_lists(listed: Path, text: str, words: str) -> None:
    listed.write_text(text)
    (listed.parent / "empty.nii.gz").touch()
    with pytest.raises(InputError, match=words):
        read_cases(listed)


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_cases(tmp_path / "none.csv")
