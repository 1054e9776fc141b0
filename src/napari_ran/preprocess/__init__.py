"""Preparation of a pair: intensities, working grid and affine pre-alignment."""

from napari_ran.preprocess.affine import AffineResult, AffineStep, align
from napari_ran.preprocess.grids import VOXEL_BUDGET, overlap, working_grid
from napari_ran.preprocess.initial import Initial
from napari_ran.preprocess.intensity import CT_WINDOWS, IntensityChoice, Window, choose_intensity
from napari_ran.preprocess.metric import MutualInformation
from napari_ran.preprocess.pair import STEPS, PreparedPair, PrepareStep, check_pair, prepare_pair

__all__ = [
    "CT_WINDOWS",
    "STEPS",
    "VOXEL_BUDGET",
    "AffineResult",
    "AffineStep",
    "Initial",
    "IntensityChoice",
    "MutualInformation",
    "PrepareStep",
    "PreparedPair",
    "Window",
    "align",
    "check_pair",
    "choose_intensity",
    "overlap",
    "prepare_pair",
    "working_grid",
]
