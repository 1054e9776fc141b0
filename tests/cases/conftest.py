from __future__ import annotations

import csv
from pathlib import Path

import pytest

import napari_ran as ran
from napari_ran.io import save_field, save_image, save_labels, save_landmarks


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of the same pair twice: *found* comes with its exact field, *still* with one that does nothing."""
    made = ran.phantom_2d()
    files = {"fixed": "fixed.nii.gz", "moving": "moving.nii.gz"}
    save_image(made.fixed, tmp_path / files["fixed"])
    save_image(made.moving, tmp_path / files["moving"])
    for side in ("fixed", "moving"):
        files[f"{side}_labels"], files[f"{side}_landmarks"] = f"{side}-labels.nii.gz", f"{side}.csv"
        save_labels(getattr(made, f"{side}_labels"), tmp_path / files[f"{side}_labels"])
        save_landmarks(getattr(made, f"{side}_landmarks"), tmp_path / files[f"{side}_landmarks"])
    save_field(made.truth, tmp_path / "truth.h5")
    save_field(ran.DisplacementField.identity(made.fixed.grid), tmp_path / "still.h5")
    with (tmp_path / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["name", *files, "field"])
        writer.writeheader()
        writer.writerow({"name": "found", **files, "field": "truth.h5"})
        writer.writerow({"name": "still", **files, "field": "still.h5"})
    return tmp_path / "cases.csv"
