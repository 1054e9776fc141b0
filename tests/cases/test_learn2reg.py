"""Learn2Reg's files and rules, against its formulas written out here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

import napari_ran as ran
from napari_ran.cases import read_cases, score_cases, with_fields
from napari_ran.cli import main
from napari_ran.steps import last

SHAPE = (20, 18, 16)
HEADERS = np.diag([2.0, 1.0, 1.0, 1.0]), np.array([[2.0, 0, 0, 9], [0, 1, 0, -4], [0, 0, 1, 2], [0, 0, 0, 1]])


def save(path: Path, values: Any, header: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, header), path)


@pytest.fixture
def challenge(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A data set of one pair whose headers differ, and a field in voxels with a header of its own."""
    random = np.random.default_rng(0)
    files = {}
    for number, header in zip((1, 2), HEADERS, strict=True):
        name = f"Task_{number:04d}_0000.nii.gz"
        files[number] = f"./imagesTr/{name}"
        image = gaussian_filter(random.random(SHAPE), 1).astype(np.float32)
        labels = np.digitize(gaussian_filter(random.random(SHAPE), 2), [0.48, 0.52]).astype(np.uint8)
        labels[4:6, 4:6, 4:6] = 2 + number  # one that the other has not
        inner = (slice(3, -3),) * 3  # what touches the border is another matter: half a voxel more or less is inside
        labels = np.pad(labels[inner], 3)
        save(tmp_path / "imagesTr" / name, image, header)
        save(tmp_path / "labelsTr" / name, labels, header)
        save(tmp_path / "masksTr" / name, (labels > 0).astype(np.uint8), header)
        (tmp_path / "landmarksTr").mkdir(exist_ok=True)
        points = random.uniform(3, 12, (7, 3))
        np.savetxt(tmp_path / "landmarksTr" / name.replace(".nii.gz", ".csv"), points, delimiter=",")
    field = np.stack([gaussian_filter(random.normal(0, 12, SHAPE), 2) for _ in range(3)], axis=-1).astype(np.float32)
    save(tmp_path / "fields" / "disp_0001_0002.nii.gz", field, np.eye(4))
    content = {
        "eval_pairs": [{"fixed": files[1], "moving": files[2]}],
        "masked_evaluation": True,
        "evaluation_methods": [{"name": "DSC", "metric": "dice", "labels": [1, 2]}],
    }
    (tmp_path / "config.json").write_text(json.dumps(content))
    return tmp_path / "config.json", field


def test_the_numbers_are_those_of_its_rules(challenge: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, field = challenge
    cases = with_fields(read_cases(path), tmp_path / "fields")
    (score,) = last(score_cases(cases, tmp_path / "out"))
    loaded = {
        (folder, number): nib.load(tmp_path / folder / f"Task_{number:04d}_0000.nii.gz").get_fdata()
        for folder in ("labelsTr", "masksTr")
        for number in (1, 2)
    }
    fixed, moving = loaded["labelsTr", 1], loaded["labelsTr", 2]
    where = np.indices(SHAPE) + field.transpose(3, 0, 1, 2)
    warped = map_coordinates(moving, where, order=0, mode="constant", cval=0)
    assert sorted(score.labels) == [1, 2]
    for label in (1, 2):
        both = ((fixed == label) & (warped == label)).sum()
        exact = 2 * both / ((fixed == label).sum() + (warped == label).sum())
        assert score.labels[label].dice == pytest.approx(exact)

    points = [np.loadtxt(tmp_path / "landmarksTr" / f"Task_000{n}_0000.csv", delimiter=",") for n in (1, 2)]
    moved = points[0] + np.stack([map_coordinates(field[..., k], points[0].T, order=1) for k in range(3)], axis=1)
    exact_mm = np.linalg.norm((moved - points[1]) * (2, 1, 1), axis=1).mean()
    assert score.tre is not None
    assert score.tre.mean == pytest.approx(exact_mm, rel=1e-4)

    gradient = np.stack([np.stack(np.gradient(field[..., k])) for k in range(3)]) + np.eye(3)[:, :, None, None, None]
    determinant = np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)))[2:-2, 2:-2, 2:-2]
    logarithm = np.log((determinant + 3).clip(1e-9, 1e9))
    exact_spread = logarithm[loaded["masksTr", 1][2:-2, 2:-2, 2:-2] > 0].std()
    assert score.sdlogj == pytest.approx(exact_spread, rel=1e-4)


def test_pairs_of_a_data_set_and_the_command(challenge: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, _ = challenge
    pairs = json.loads(path.read_text())["eval_pairs"]
    (tmp_path / "dataset.json").write_text(json.dumps({"registration_val": pairs}))
    (case,) = read_cases(tmp_path / "dataset.json")
    assert case.name == "Task_0001_0000-Task_0002_0000"
    assert case.moving_labels == tmp_path / "labelsTr" / "Task_0002_0000.nii.gz"
    assert case.mask is None
    command = ["evaluate", str(tmp_path / "dataset.json"), "-o", str(tmp_path / "out"), "--quiet", "--paper"]
    assert main([*command, "--fields", str(tmp_path / "fields")]) == 0
    table = (tmp_path / "out" / "labels.csv").read_text()
    assert table.count("\n") == 3
    assert "paper_asd" in table


def test_fields_are_found_by_their_names(listed: Path) -> None:
    cases, folder = read_cases(listed), listed.parent / "fields"
    (folder / "found").mkdir(parents=True)
    (folder / "found" / "field.h5").touch()
    (folder / "disp_still.nii.gz").touch()
    named = [case.field for case in with_fields(cases, folder)]
    assert named == [folder / "found" / "field.h5", folder / "disp_still.nii.gz"]
    (folder / "disp_still.nii.gz").unlink()
    with pytest.raises(ran.InputError, match="no field for still"):
        with_fields(cases, folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("{}", "none of eval_pairs"),
        ('{"eval_pairs": [{"fixed": "a"}]}', "a pair is"),
        ('{"eval_pairs": [{"fixed": "imagesTr/a.nii.gz", "moving": "imagesTr/b.nii.gz"}]}', "2 files are missing"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ran.InputError, match=words):
        read_cases(tmp_path / "x.json")
