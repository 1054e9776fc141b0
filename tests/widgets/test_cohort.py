"""The Cohort widget in a real viewer, on pairs that were really registered."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_ran as ran
from napari_ran.cases import Case
from napari_ran.cohort import Outcome, register_case, write_summary
from napari_ran.io import save_image, save_labels
from napari_ran.widgets.cohort import CohortWidget

Made = tuple[Any, CohortWidget]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs that were registered and one that failed."""
    folder = tmp_path_factory.mktemp("study")
    made = ran.phantom_2d()
    quick = ran.RegistrationConfig(weights="none", affine="none", instance="none", device="cpu")
    outcomes = []
    for name, labels in (("ann", True), ("bob", False)):
        sides = ("fixed", "moving")
        files = {side: save_image(getattr(made, side), folder / f"{name}-{side}.nii.gz") for side in sides}
        if labels:
            for side in sides:
                map_ = getattr(made, f"{side}_labels")
                files[f"{side}_labels"] = save_labels(map_, folder / f"{name}-{side}-labels.nii.gz")
        outcomes.append(register_case(Case(name, **files), folder, quick))
    assert {one.status for one in outcomes} == {"done"}
    write_summary([*outcomes, Outcome(name="eve", status="failed", reason="it has <holes>")], folder)
    return folder


@pytest.fixture
def docked(dock: Callable[..., Made]) -> Made:
    return dock(CohortWidget)


def shown(viewer: Any) -> set[str]:
    return {layer.name for layer in viewer.layers}


def test_pairs_are_listed_and_stepped_through(docked: Made, cohort: Path, qtbot: Any) -> None:
    viewer, widget = docked
    assert not widget.next_button.isEnabled()
    with qtbot.waitSignal(widget.opener.finished, timeout=20_000):
        widget.open(cohort)
    assert "3 pairs, 1 failed" in widget.title.text()
    assert widget.status.text() == "ann, 1 of 3"
    heads = [widget.table.horizontalHeaderItem(column).text() for column in range(widget.table.columnCount())]
    assert re.fullmatch(r"\d+\.\d", widget.table.item(0, heads.index("Time (s)")).text())
    names = {"cohort fixed", "cohort warped", "cohort difference", "cohort fixed labels", "cohort warped labels"}
    assert shown(viewer) == names
    first = viewer.layers["cohort warped"]
    np.testing.assert_allclose(first.data, ran.phantom_2d().moving.array.T, rtol=1e-4, atol=0.5)
    with qtbot.waitSignal(widget.opener.finished, timeout=20_000):
        widget.next_button.click()
    assert widget.status.text() == "bob, 2 of 3"
    assert shown(viewer) == names - {"cohort fixed labels", "cohort warped labels"}
    assert viewer.layers["cohort warped"] is first  # what the user set of it stays
    widget.next_button.click()
    assert "eve failed: it has <holes>" in widget.status.text()
    widget.next_button.click()  # there is no other
    assert widget.table.currentRow() == 2


def test_layers_of_the_user_stay(docked: Made, cohort: Path, qtbot: Any) -> None:
    viewer, widget = docked
    viewer.add_image(np.ones((5, 5)), name="mine")
    with qtbot.waitSignal(widget.opener.finished, timeout=20_000):
        widget.open(cohort)
    assert "mine" in shown(viewer)


def test_what_cannot_be_opened_is_said(docked: Made, cohort: Path, qtbot: Any, tmp_path: Path) -> None:
    _, widget = docked
    widget.open(tmp_path)
    assert "cannot be read" in widget.message.text.text()
    copy = tmp_path / "copy"
    shutil.copytree(cohort, copy)
    (copy / "pairs" / "ann" / "warped.nii.gz").unlink()
    with qtbot.waitSignal(widget.opener.failed, timeout=20_000):
        widget.open(copy)
    assert "warped.nii.gz" in widget.message.text.text()
    assert widget.next_button.isEnabled()


def test_it_lets_go_of_the_viewer(docked: Made) -> None:
    viewer, widget = docked
    looks = []
    for theme in ("dark", "light"):
        viewer.theme = theme
        looks.append(widget.message.styleSheet())
    assert looks[0] != looks[1]
    viewer.window.remove_dock_widget(widget)
    viewer.theme = "dark"
    assert widget.message.styleSheet() == looks[1]
