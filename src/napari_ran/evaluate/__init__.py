"""How good a registration is, and how sure one can be of it."""

from napari_ran.evaluate.measures import (
    check_labels,
    check_landmarks,
    dice,
    end_point_error,
    evaluate,
    inverse_consistency,
    jacobian_summary,
    similarity,
    target_registration_error,
)
from napari_ran.evaluate.paper import PaperScore, paper_folding, paper_score
from napari_ran.evaluate.statistics import Comparison, Interval, bootstrap_mean, compare_paired, holm
from napari_ran.evaluate.surface import SurfaceDistances, surface_distances
from napari_ran.measure import StageRecord
from napari_ran.report import JacobianSummary, Report, Spread

__all__ = [
    "Comparison",
    "Interval",
    "JacobianSummary",
    "PaperScore",
    "Report",
    "Spread",
    "StageRecord",
    "SurfaceDistances",
    "bootstrap_mean",
    "check_labels",
    "check_landmarks",
    "compare_paired",
    "dice",
    "end_point_error",
    "evaluate",
    "holm",
    "inverse_consistency",
    "jacobian_summary",
    "paper_folding",
    "paper_score",
    "similarity",
    "surface_distances",
    "target_registration_error",
]
