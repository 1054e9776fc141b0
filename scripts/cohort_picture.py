"""Photograph the Cohort widget with a small cohort of phantoms, for ``docs/cohorts.md``.

On a machine without a screen: ``xvfb-run -a -s '-screen 0 1600x1000x24' python scripts/cohort_picture.py``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from photography import open_viewer, picture_arguments, save_window, wait

import napari_ran as ran
from napari_ran.cases import Case
from napari_ran.cohort import Outcome, register_case, write_summary
from napari_ran.io import save_image, save_labels, save_landmarks
from napari_ran.widgets.cohort import CohortWidget

NAMES = ("ann", "ben", "cleo", "dov", "esra")


def make(folder: Path) -> None:
    outcomes = []
    for seed, name in enumerate(NAMES):
        pair, files = ran.phantom_2d(seed=seed), {}
        for side in ("fixed", "moving"):
            files[side] = save_image(getattr(pair, side), folder / f"{name}-{side}.nii.gz")
            for kind, save, suffix in (("labels", save_labels, "nii.gz"), ("landmarks", save_landmarks, "csv")):
                files[f"{side}_{kind}"] = save(
                    getattr(pair, f"{side}_{kind}"), folder / f"{name}-{side}-{kind}.{suffix}"
                )
        config = ran.RegistrationConfig(affine="none", device="cpu")
        outcomes.append(register_case(Case(name, **files), folder, config))
    failed = Outcome(name="finn", status="failed", reason="finn-moving.nii.gz: the file cannot be read")
    write_summary([*outcomes, failed], folder)


def main() -> None:
    chosen = picture_arguments(__doc__, "docs/images/cohort.png")
    viewer = open_viewer(chosen.size, chosen.theme)
    widget = CohortWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Cohort (RAN)", area="right")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "study"
        folder.mkdir()
        make(folder)
        widget.open(folder)
        wait(60, lambda: len(viewer.layers) >= 5)
    viewer.reset_view()
    wait(1)
    save_window(viewer, chosen.path)


if __name__ == "__main__":
    main()
