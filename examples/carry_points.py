"""Carry points and labels from one image to the other, there and back.

Run it: ``python examples/carry_points.py``.
"""

import numpy as np

import napari_ran as ran

pair = ran.phantom_2d(seed=0)
registration = ran.register(pair.fixed, pair.moving, moving_labels=pair.moving_labels)

# Points drawn on the fixed image: where are they in the moving image?  Through the field.
on_fixed = pair.fixed.grid.centre + np.array([[0.0, 0.0], [5.0, -3.0]])  # mm
on_moving = registration.field.map_points(on_fixed)

# Points of the moving image come to the fixed one through the inverse.
back = registration.inverse_field.map_points(on_moving)
print("there and back, error in mm:", np.linalg.norm(back - on_fixed, axis=1).round(3))

# The moving labels on the fixed grid have been carried along.
print("labels on the fixed grid:", registration.warped_labels.ids)
