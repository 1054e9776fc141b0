"""Figures for papers, reports and the viewer's docks; matplotlib is imported when one is drawn, and never pyplot."""

from napari_ran.figures.summary import summary

__all__ = ["summary"]
