"""What is given beside the images, from the command line to the refinement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import napari_ran as ran
from napari_ran.cli import main
from napari_ran.data import Labels
from napari_ran.io import save_image, save_labels

QUICK = ["--quiet", "--weights", "none", "--affine", "none", "--set", "instance.steps=4"]


def test_rigid_regions_labels_and_a_start_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ran.phantom_2d(shape=(48, 40))
    names = {}
    for side in ("fixed", "moving"):
        names[side] = str(save_image(getattr(made, side), tmp_path / f"{side}.nii.gz"))
        names[f"{side}_labels"] = str(save_labels(getattr(made, f"{side}_labels"), tmp_path / f"{side}-labels.nii.gz"))
    given = ["register", names["fixed"], names["moving"], *QUICK]
    labels = ["--fixed-labels", names["fixed_labels"], "--moving-labels", names["moving_labels"]]
    first = [*given, *labels, "--set", "instance.labels=1", "--rigid-regions", names["fixed_labels"]]
    assert main([*first, "-o", str(tmp_path / "first")]) == 0
    report = (tmp_path / "first" / "report.json").read_text(encoding="utf-8")
    assert "labels lead the fit" in report
    assert "regions move rigidly" in report
    assert main([*given, "--initial", str(tmp_path / "first"), "-o", str(tmp_path / "second")]) == 0
    assert "the initial transform takes its place" in (tmp_path / "second" / "report.json").read_text(encoding="utf-8")
    assert main([*given, "--initial", str(tmp_path / "nowhere"), "-o", str(tmp_path / "third")]) == 2
    assert "initial" in capsys.readouterr().err
    assert not (tmp_path / "third").exists()


def test_a_region_that_the_working_grid_cannot_show_is_told() -> None:
    made = ran.phantom_2d()
    values = np.zeros(made.fixed.grid.shape, np.int32)
    values[20:40, 20:40], values[60, 60] = 1, 2
    regions = Labels(values, made.fixed.grid)
    settings = {"weights": "none", "affine": "none", "spacing": 6.0, "instance": {"steps": 3, "similarity": "mse"}}
    result = ran.register(made.fixed, made.moving, rigid_regions=regions, **settings)
    assert any("too small for the working grid" in message for message in result.report.messages)
