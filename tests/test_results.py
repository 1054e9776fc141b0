from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import napari_ran as ran
from napari_ran.errors import OutputError

FILES = {"inverse_field.h5", "warped.nii.gz", "field.h5", "disp.nii.gz", "report.json", "settings.yaml", "summary.png"}


@pytest.fixture(scope="module")
def result() -> ran.Registration:
    pair = ran.sliding_phantom(shape=(24, 20, 16))
    config = ran.RegistrationConfig(weights="none", affine="none", instance="none")  # type: ignore[arg-type]
    return ran.register(pair.fixed, pair.moving, config, moving_labels=pair.moving_labels)


def test_everything_is_written_and_reads_back(result: ran.Registration, tmp_path: Path) -> None:
    folder = result.save(tmp_path / "deep" / "result")
    assert {path.name for path in folder.iterdir()} == FILES | {"warped_labels.nii.gz"}
    assert np.allclose(ran.load_image(folder / "warped.nii.gz").array, result.warped.array)
    assert np.array_equal(ran.load_labels(folder / "warped_labels.nii.gz").array, result.warped_labels.array)
    assert ran.RegistrationConfig.from_yaml(folder / "settings.yaml") == result.config
    assert json.loads((folder / "report.json").read_text())["complete"] is True
    assert not list((tmp_path / "deep").glob(".*")), "no staging folder is left"


def test_a_second_save_replaces_its_own_files_only(result: ran.Registration, tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "notes.txt").write_text("mine")
    (tmp_path / "result" / "report.json").write_text("old")
    result.save(tmp_path / "result")
    assert (tmp_path / "result" / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "result" / "report.json").read_text())["complete"] is True


def test_a_folder_that_cannot_be_made_is_one_error(result: ran.Registration, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="could not be written"):
        result.save(tmp_path / "file" / "result")
    with pytest.raises(OutputError, match="could not be written"):
        result.save(tmp_path / "file")
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


def test_a_failure_in_the_middle_leaves_the_folder_as_it_was(
    result: ran.Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "warped.nii.gz").write_text("old")

    def no_space(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", no_space)
    with pytest.raises(OutputError, match="No space left on device"):
        result.save(tmp_path / "result")
    assert (tmp_path / "result" / "warped.nii.gz").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_levels_are_written_where_they_were_kept(tmp_path: Path) -> None:
    pair = ran.phantom_2d(shape=(32, 24))
    result = ran.register(pair.fixed, pair.moving, affine="none", instance="none", keep_levels=True)
    folder = result.save(tmp_path / "result")
    assert {path.name for path in folder.iterdir()} == FILES | {"levels"}
    assert (folder.stat().st_mode & 0o700) == 0o700
    loaded = ran.Inspection.load(folder)
    assert len(loaded.stages) == len(result.levels) + 1
    assert not list(tmp_path.glob(".*")), "no staging folder is left"


def test_a_new_folder_is_as_open_as_any_other(result: ran.Registration, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert result.save(tmp_path / "result").stat().st_mode == (tmp_path / "plain").stat().st_mode
