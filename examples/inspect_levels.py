"""See what each level of the network did with a 2-D pair, and write it as one HTML page.

Run it: ``python examples/inspect_levels.py [folder]``.
"""

import sys

import numpy as np

import napari_ran as ran
from napari_ran import webpage
from napari_ran.introspect.probe import probe

pair = ran.phantom_2d(seed=0)
registration = ran.register(
    pair.fixed,
    pair.moving,
    keep_levels=True,
    fixed_labels=pair.fixed_labels,
    moving_labels=pair.moving_labels,
)
inspection = ran.Inspection.from_registration(registration)

for stage in inspection.stages:
    found = inspection.metrics(stage.index)
    print(f"{stage.title:24} {found.mean_mm:6.2f} mm  similarity {found.similarity:.3f}  Dice {found.dice_mean:.3f}")

# What is the displacement of one point made of?  The parts sum to it exactly.
point = probe(inspection, pair.fixed_landmarks.points[0])
level = next(found for found in point.stages if found.stage.level == 4)
for part in level.contributions:
    print(f"{part.title:24} {np.linalg.norm(part.mm):6.3f} mm")
print("error of their sum in mm:", f"{level.incompleteness:.1e}")

folder = sys.argv[1] if len(sys.argv) > 1 else "out/inspect_levels"
print("page:", webpage.write_report(inspection, folder, formats=["npz"]))
