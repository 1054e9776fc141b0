from __future__ import annotations

from pathlib import Path

from napari_ran.cases import read_cases
from napari_ran.config.training import DataSettings
from napari_ran.io.pair_lists import FILES, read_pair_list
from napari_ran.train.subjects import find_cohort


def test_one_list_serves_scoring_and_training(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / f"{name}.nii.gz").write_bytes(b"something")
    path = tmp_path / "pairs.csv"
    path.write_text(f"name,{','.join(FILES)}\nfirst,{','.join(f'{name}.nii.gz' for name in FILES)}\n")
    everything = {name: tmp_path / f"{name}.nii.gz" for name in FILES}
    assert read_pair_list(path) == [("first", everything)]
    (case,) = read_cases(path)
    assert (case.name, case.files) == ("first", everything)
    cohort = find_cohort(DataSettings(source="pairs", path=str(path)))
    assert cohort.pairs == ((0, 1),)
    for side, subject in zip(("fixed", "moving"), cohort.subjects, strict=True):
        assert [subject.image, subject.labels, subject.landmarks] == [
            everything[side + kind] for kind in ("", "_labels", "_landmarks")
        ]
