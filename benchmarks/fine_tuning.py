"""Print what two minutes of fine-tuning in the viewer do: ``python benchmarks/fine_tuning.py --pair PAIR --number N``.

A pair is loaded into a real viewer, the Train widget's own settings are kept but for the budget, and *Train* is
pressed: the training runs in its child process as it does for a user. Each line is a validation on that pair by the
averaged weights, the first one that of doing nothing, the second one that of the general model as it is; *similarity*
is the dissimilarity that is minimised, lower is better. The last line is the rank correlation of step and likeness from
the second line on (1: it gets better all the time).
``--number`` says which of the hippocampus pairs that settings may be tuned on, read from the folder named by
NAPARI_RAN_DATA, or the seed of the phantom.
On a machine without a screen: ``xvfb-run -a -s '-screen 0 1600x1000x24' python benchmarks/fine_tuning.py``.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path

import napari
from napari._qt.qt_event_loop import get_qapp
from scipy.stats import spearmanr
from volumes import hippocampus_files, hippocampus_pairs

import napari_ran as ran
from napari_ran.io.layers import to_layer_data


def layers(pair: str, number: int) -> list[ran.Image | ran.Labels]:
    """Return fixed and moving image, each followed by its labels."""
    if pair == "phantom":
        made = ran.sliding_phantom(seed=number)
        return [made.fixed, made.fixed_labels, made.moving, made.moving_labels]
    folder = Path(os.environ["NAPARI_RAN_DATA"])
    found: list[ran.Image | ran.Labels] = []
    files = hippocampus_files(folder, hippocampus_pairs(folder, development=True)[number])
    for role, image_file, labels_file in zip(("fixed", "moving"), files[:2], files[2:], strict=True):
        image, labels = ran.load_image(image_file), ran.load_labels(labels_file)
        found += [ran.Image(image.tensor, image.grid, role), ran.Labels(labels.tensor, labels.grid, f"{role} labels")]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", choices=("phantom", "hippocampus"), default="phantom")
    parser.add_argument("--number", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=2.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder  # neither models nor trainings of the user
        rows = tuned(arguments.pair, arguments.number, arguments.minutes)
    print(f"{'step':>6s} {'seconds':>8s} {'similarity':>11s} {'Dice':>7s} {'folding %':>10s}")
    for row in rows:
        numbers = (float(row[name]) for name in ("seconds", "similarity", "dice", "folding_percent"))
        print("{:>6s} {:8.1f} {:11.4f} {:7.4f} {:10.4f}".format(row["step"], *numbers))
    tuned_rows = rows[1:]
    steps = [int(row["step"]) for row in tuned_rows]
    rising = spearmanr(steps, [-float(row["similarity"]) for row in tuned_rows]).statistic
    print(f"rank correlation of step and likeness {rising:.3f}")


def tuned(pair: str, number: int, minutes: float) -> list[dict[str, str]]:
    """Fine-tune on a pair in the viewer; return the rows of its validations, doing nothing first."""
    from napari_ran.widgets.train import TrainWidget

    viewer = napari.Viewer(show=False)
    widget = TrainWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Train (RAN)", area="right")
    for value in layers(pair, number):
        data, kwargs, kind = to_layer_data(value)
        getattr(viewer, f"add_{kind}")(data, **kwargs)
    setup = widget.setup
    setup.source.setCurrentIndex(setup.source.findData("layers"))
    setup.form.editors["budget.minutes"].setValue(minutes)
    widget.start()
    application = get_qapp()
    while not widget.start_button.isEnabled():
        application.processEvents()
        time.sleep(0.02)
    if widget.message.isVisible():
        print(widget.message.text.text())
    assert widget.page.folder is not None
    with (widget.page.folder / "validation.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    widget.shut()
    viewer.close()
    return rows


if __name__ == "__main__":
    main()
