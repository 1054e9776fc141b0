"""Figures for papers, reports and the viewer's docks; matplotlib is imported when one is drawn, and never pyplot."""

from napari_ran.figures.comparison import box_plots
from napari_ran.figures.filmstrip import Frame, filmstrip, frames
from napari_ran.figures.heads import heads
from napari_ran.figures.probe import draw_contributions, draw_path, probe
from napari_ran.figures.separability import separability, separability_difference
from napari_ran.figures.summary import summary
from napari_ran.figures.theory import theory

__all__ = [
    "Frame",
    "box_plots",
    "draw_contributions",
    "draw_path",
    "filmstrip",
    "frames",
    "heads",
    "probe",
    "separability",
    "separability_difference",
    "summary",
    "theory",
]
