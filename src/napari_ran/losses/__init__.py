"""What training and instance optimisation minimise, in 2-D and 3-D alike.

All terms are differentiable, finite for constant regions, and smaller is better. Images are (B, 1, *S) with intensities
in [0, 1]; fields are (B, D, *S) in voxels unless a spacing is given.
"""

from napari_ran.losses.boxes import box_mean
from napari_ran.losses.regularity import (
    edge_weight,
    folding_penalty,
    inverse_consistency,
    released_smoothness,
    smoothness,
)
from napari_ran.losses.similarity import (
    VARIANCE_FLOOR,
    foreground,
    local_ncc,
    local_ncc_map,
    locally_normalised,
    mind_loss,
    mind_ssc,
    mind_typical,
    mse,
)
from napari_ran.losses.supervision import dice_loss, field_error, landmark_loss, stage_one

__all__ = [
    "VARIANCE_FLOOR",
    "box_mean",
    "dice_loss",
    "edge_weight",
    "field_error",
    "folding_penalty",
    "foreground",
    "inverse_consistency",
    "landmark_loss",
    "local_ncc",
    "local_ncc_map",
    "locally_normalised",
    "mind_loss",
    "mind_ssc",
    "mind_typical",
    "mse",
    "released_smoothness",
    "smoothness",
    "stage_one",
]
