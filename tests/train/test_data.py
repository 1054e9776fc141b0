from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_ran import InputError
from napari_ran.config import TrainConfig
from napari_ran.config.training import DataSettings
from napari_ran.data import Grid, Image, Labels, Landmarks
from napari_ran.io import save_image, save_labels, save_landmarks
from napari_ran.train import TrainNote, TrainPair, TrainStep, Validated, fit
from napari_ran.train.preparation import Preparation
from napari_ran.train.sources import Batches, CohortSource, GeneratedSource, find_sources
from napari_ran.train.subjects import find_cohort

Settings = Callable[..., TrainConfig]


def blob(
    shape: tuple[int, ...], shift: tuple[float, ...], name: str = "blob", spacing: float = 1.0, ids: int = 2
) -> tuple[Image, Labels]:
    """Concentric balls about a shifted centre, in HU-free intensities."""
    grid = Grid.from_spacing(shape, spacing)
    axes = np.meshgrid(*[np.arange(n) - (n - 1) / 2 - s for n, s in zip(shape, shift, strict=True)], indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes)) / (min(shape) / 2)
    labels = (radius < 0.8).astype(np.int32) + ((radius < 0.4) if ids > 1 else 0)
    values = 40 + 300 * np.exp(-3 * radius**2) + 3 * axes[0]
    return Image(values, grid, name), Labels(labels, grid, f"{name} labels")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five subjects of different shapes with labels, the last one without label 2."""
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for number in range(5):
        shape, shift = (20 + number, 30 - number), (1.0 * number, -2.0 * number)
        image, labels = blob(shape, shift, ids=1 if number == 4 else 2)
        save_image(image, tmp_path / "images" / f"sub-{number}.mha")
        save_labels(labels, tmp_path / "labels" / f"sub-{number}.mha")
    return tmp_path


def names(settings: DataSettings) -> list[str]:
    return [subject.name for subject in find_cohort(settings).subjects]


def folder_settings(folder: Path, **changes: Any) -> DataSettings:
    values = {"source": "folder", "path": str(folder / "images"), "labels": str(folder / "labels"), "shape": [16, 16]}
    return DataSettings(**(values | changes))


def test_subjects_are_chosen_by_name_and_number(folder: Path) -> None:
    assert names(folder_settings(folder)) == [f"sub-{i}" for i in range(5)]
    assert names(folder_settings(folder, exclude=["sub-1", "*-3"])) == ["sub-0", "sub-2", "sub-4"]
    assert names(folder_settings(folder, include=["sub-[123]"], first=2)) == ["sub-1", "sub-2"]
    with pytest.raises(InputError, match=r"data.include: leaves 1 of 5 images, and a pair needs two"):
        names(folder_settings(folder, include=["sub-1"]))
    with pytest.raises(InputError, match=r"data.path: the source 'folder' has no path"):
        names(DataSettings(source="folder"))
    with pytest.raises(InputError, match="there is no such file"):
        names(DataSettings(source="folder", path=str(folder / "nowhere")))
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"data.labels: no file of .* is called like an image"):
        names(folder_settings(folder, labels=str(folder / "empty")))


def test_every_two_subjects_form_a_pair(folder: Path) -> None:
    settings = folder_settings(folder)
    source = CohortSource(Preparation(find_cohort(settings), settings, 2), 0)
    seen = set()
    for index in range(200):
        pair = source.pair(index)
        assert pair.shape == (16, 16)
        assert float(pair.fixed.min()) >= 0
        assert float(pair.fixed.max()) <= 1
        seen.add((round(float(pair.fixed.mean()), 5), round(float(pair.moving.mean()), 5)))
    assert len(seen) == 20  # five times four
    assert all(one != two for one, two in seen)
    (note,) = source.notes
    assert "The label sets differ" in note
    assert "label 2" in note


@pytest.mark.parametrize("changes", [{"shape": [16, 24]}, {"shape": [24, 32], "spacing": 1.0}, {"shape": None}])
def test_middles_are_brought_together(folder: Path, changes: dict[str, Any]) -> None:
    settings = folder_settings(folder, **changes)
    pair = Preparation(find_cohort(settings), settings, 2).pair(0, 1)
    assert pair.fixed.shape == pair.moving.shape
    assert pair.shape == tuple(changes["shape"] or (20, 30))
    # the ball of the second subject is 1 and -2 mm from the middle, that of the first in it
    assert pair.moving_labels is not None
    assert pair.fixed_labels is not None
    centres = [torch.nonzero(labels[0, 0] > 0).float().mean(0) for labels in (pair.fixed_labels, pair.moving_labels)]
    apart = (centres[1] - centres[0]) * torch.tensor(pair.spacing)
    assert torch.allclose(apart, torch.tensor([1.0, -2.0]), atol=0.6)


def test_what_does_not_fit_into_memory_is_read_again(tmp_path: Path) -> None:
    for number in range(6):
        image, _ = blob((160, 160), (number, 0.0))
        save_image(image, tmp_path / f"{number}.mha")
    settings = DataSettings(source="folder", path=str(tmp_path), cache=1)
    preparation = Preparation(find_cohort(settings), settings, 2)
    image_bytes = 160 * 160 * 4
    assert 6 * 3 * image_bytes > 2**20
    first = {}
    for fixed in range(6):
        for moving in range(6):
            if fixed != moving:
                first[fixed, moving] = preparation.pair(fixed, moving)
                assert preparation.kept.bytes <= 2**20
    again = preparation.pair(0, 5)
    assert torch.equal(again.fixed, first[0, 5].fixed)
    assert torch.equal(again.moving, first[0, 5].moving)


def test_a_list_of_pairs_with_labels_and_landmarks(tmp_path: Path, settings: Settings) -> None:
    for name, shift in (("a", (0.0, 0.0)), ("b", (2.0, -1.0))):
        image, labels = blob((20, 24), shift, name)
        save_image(image, tmp_path / f"{name}.mha")
        save_labels(labels, tmp_path / f"{name}-labels.mha")
        points = Landmarks.from_voxels(np.array([[9.5, 11.5], [5.0, 8.0]]) + shift, image.grid)
        save_landmarks(points, tmp_path / f"{name}.csv")
    columns = "fixed,moving,fixed_labels,moving_labels,fixed_landmarks,moving_landmarks"
    (tmp_path / "pairs.csv").write_text(f"{columns}\na.mha,b.mha,a-labels.mha,b-labels.mha,a.csv,b.csv\n")
    data = {"source": "pairs", "path": str(tmp_path / "pairs.csv")}
    config = settings(
        data=data,
        objective={"field": 0.0, "dice": 1.0, "landmarks": 0.1, "compare": "mse"},
        optimiser={"rate": 2e-3, "average": 0.0},
        budget={"steps": 3},
    )
    events = list(fit(config, tmp_path / "run"))
    note = next(event for event in events if isinstance(event, TrainNote))
    assert note.message == "There is no validation data: the training pairs themselves are measured."
    identity = events[0].identity  # type: ignore[union-attr]
    assert identity.tre_mm == pytest.approx(5**0.5, rel=1e-3)
    assert identity.pairs == 1
    assert 0.5 < identity.dice < 1
    step = next(event for event in events if isinstance(event, TrainStep))
    assert {"similarity", "smooth", "dice", "landmarks"} == set(step.terms)
    (tmp_path / "bad.csv").write_text("fixed,movin\na.mha,b.mha\n")
    with pytest.raises(InputError, match=r"unknown column 'movin'. Use the columns name, fixed, moving"):
        find_cohort(DataSettings(source="pairs", path=str(tmp_path / "bad.csv")))


def test_pairs_in_memory_of_different_grids_are_aligned_affinely(settings: Settings) -> None:
    fixed, fixed_labels = blob((24, 28), (0.0, 0.0), "fixed")
    moving, moving_labels = blob((30, 30), (5.0, 4.0), "moving")
    pair = TrainPair(fixed, moving, fixed_labels, moving_labels)
    apart = find_sources(settings(data={"align": "world"}), 2, pairs=[pair]).validation[0]
    found = find_sources(settings(), 2, pairs=[pair])
    together = found.validation[0]
    assert together.shape == (24, 28)
    assert any("Affine" in note for note in found.notes)
    assert float((together.fixed - together.moving).abs().mean()) < float((apart.fixed - apart.moving).abs().mean())


def test_large_images_are_trained_on_a_coarser_grid(settings: Settings) -> None:
    pairs = [TrainPair(*(blob((120, 100), (shift, 0.0))[0] for shift in (0.0, 3.0))) for _ in range(2)]
    found = find_sources(settings(data={"voxels": 5000}), 2, pairs=pairs)
    pair = found.validation[0]
    assert 0.8 * 5000 < pair.fixed.numel() <= 5000
    assert pair.spacing == pytest.approx([120 / pair.shape[0], 100 / pair.shape[1]])
    said = [note for note in found.notes if "coarsened" in note]
    assert len(said) == 1
    assert "data.voxels" in said[0]
    for grid, expected in ({"shape": [120, 100]}, (120, 100)), ({"spacing": 2.0}, (60, 50)), ({}, (120, 100)):
        usual = find_sources(settings(data=grid), 2, pairs=pairs)
        assert usual.validation[0].shape == expected
        assert not any("coarsened" in note for note in usual.notes)


def test_learn2reg_and_bids(tmp_path: Path) -> None:
    for place in ("imagesTr", "labelsTr", "keypointsTr", "bids/sub-1/anat", "bids/sub-2/anat"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "bids/derivatives/seg/sub-1/anat").mkdir(parents=True)
    entries = []
    for number in (1, 2):
        image, labels = blob((20, 20), (float(number), 0.0))
        save_image(image, tmp_path / f"imagesTr/c_{number}.nii.gz")
        save_labels(labels, tmp_path / f"labelsTr/c_{number}.nii.gz")
        (tmp_path / f"keypointsTr/c_{number}.csv").write_text("3,4\n5,6\n")
        save_image(image, tmp_path / f"bids/sub-{number}/anat/sub-{number}_T1w.nii.gz")
        entries.append({key: f"./{place}/c_{number}.{end}" for key, (place, end) in _ENTRY.items()})
    save_labels(labels, tmp_path / "bids/derivatives/seg/sub-1/anat/sub-1_dseg.nii.gz")
    content = {
        "training": entries,
        "training_paired_images": [{"fixed": entries[1]["image"], "moving": entries[0]["image"]}],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    settings = DataSettings(source="dataset", path=str(tmp_path / "set.json"))
    cohort = find_cohort(settings)
    assert cohort.pairs == ((1, 0),)
    pair = Preparation(cohort, settings, 2).pair(1, 0)
    assert pair.fixed_labels is not None
    assert pair.fixed_points[0].tolist() == [[3, 4], [5, 6]]  # Learn2Reg counts voxels

    bids = DataSettings(source="dataset", path=str(tmp_path / "bids"))
    first, second = find_cohort(bids).subjects
    assert (first.name, second.name) == ("sub-1_T1w", "sub-2_T1w")
    assert first.labels is not None
    assert second.labels is None
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(InputError, match="there is no list 'training'"):
        find_cohort(DataSettings(source="dataset", path=str(tmp_path / "no.json")))


_ENTRY = {"image": ("imagesTr", "nii.gz"), "label": ("labelsTr", "nii.gz"), "keypoints": ("keypointsTr", "csv")}


def test_held_out_subjects_are_not_trained_on(folder: Path, settings: Settings) -> None:
    data = folder_settings(folder).to_dict()
    found = find_sources(settings(data=data, validation={"holdout": 2, "pairs": 3}), 2)
    assert isinstance(found.training, CohortSource)
    assert [subject.name for subject in found.training.preparation.cohort.subjects] == ["sub-0", "sub-1", "sub-2"]
    assert len(found.validation) == 3
    for holdout, words in ((4, "keeps 4 of 5 subjects"), (1, "one subject alone")):
        with pytest.raises(InputError, match=words):
            find_sources(settings(data=data, validation={"holdout": holdout}), 2)


def test_training_on_a_folder_and_validating_on_other_data(folder: Path, settings: Settings) -> None:
    config = settings(
        data=folder_settings(folder).to_dict(),
        objective={"field": 0.0, "dice": 0.5},
        validation={"data": {"source": "generated", "generated": {"shapes": [[16, 32]]}}, "pairs": 2},
        budget={"steps": 3},
    )
    events = list(fit(config, folder / "run"))
    (check,) = [event for event in events if isinstance(event, Validated)]
    assert check.validation.epe is not None
    with pytest.raises(InputError, match=r"objective.field: the data have no true field"):
        next(fit(config.replace(objective={"field": 1.0}), folder / "other"))
    with pytest.raises(InputError, match=r"data: sub-\d: is 2-D with 1 channel\(s\), and the network is 3-D"):
        find_sources(config, 3).training.pair(0)


def test_steps_see_the_same_pairs_whoever_takes_them(settings: Settings) -> None:
    config = settings(optimiser={"batch": 2, "accumulate": 2})
    source = GeneratedSource(config.data.generated, 0, 4)
    whole = Batches(source, config, first=5)
    try:
        found, waited = whole.next()
        assert waited >= 0
        assert [batch.size for batch in found] == [2, 2]
        again = whole.at(5)
        assert all(torch.equal(one.fixed, two.fixed) for one, two in zip(found, again, strict=True))
        assert not torch.equal(whole.next()[0][0].fixed, found[0].fixed)
    finally:
        whole.close()
    parts = [
        batch.fixed
        for rank in (0, 1)
        for batch in Batches.at(_Rank(source, config.replace(optimiser={"accumulate": 1}), rank), 5)  # type: ignore[arg-type]
    ]
    assert {float(image.sum()) for part in parts for image in part} == {
        float(image.sum()) for batch in found for image in batch.fixed
    }


class _Rank(Batches):
    """One of two processes, without the background thread."""

    def __init__(self, source: GeneratedSource, config: TrainConfig, rank: int) -> None:
        self.source, self.config, self.rank, self.world, self.pin = source, config, rank, 2, False


def test_an_error_in_the_background_reaches_the_training(folder: Path, settings: Settings) -> None:
    (folder / "images" / "sub-9.mha").write_bytes(b"ObjectType = Image\n")
    config = settings(data=folder_settings(folder).to_dict(), objective={"field": 0.0}, budget={"steps": 60})
    with pytest.raises(InputError, match=r"sub-9"):
        list(fit(config, folder / "run"))


def test_pairs_generated_from_label_maps(folder: Path, settings: Settings) -> None:
    generated = {"shapes": [[16, 32]], "still": 0.0}
    data = {"labels": str(folder / "labels"), "generated": generated}
    source = find_sources(settings(data=data, validation={"holdout": 2, "pairs": 2}), 2)
    assert isinstance(source.training, GeneratedSource)
    assert [tuple(found.shape[2:]) for found in source.training.label_maps] == [(20, 30), (21, 29), (22, 28)]
    pair = source.training.pair(0)
    assert pair.fixed_labels is not None
    assert torch.equal(pair.fixed, source.training.pair(0).fixed)
    made_up = find_sources(settings(data={"generated": generated}), 2).training.pair(0)
    assert not torch.equal(pair.fixed, made_up.fixed)
    half = find_sources(settings(data=data | {"spacing": 2.0, "first": 1}), 2).training
    assert isinstance(half, GeneratedSource)
    assert [tuple(found.shape[2:]) for found in half.label_maps] == [(10, 15)]
    with pytest.raises(InputError, match=r"validation.holdout: keeps 5 of 5 label maps"):
        find_sources(settings(data=data, validation={"holdout": 5}), 2)
