"""Images, labels, landmarks, surfaces and displacement fields, each with its place in the world."""

from napari_ran.data.field import DisplacementField
from napari_ran.data.grid import Grid
from napari_ran.data.image import Image, Labels, Landmarks
from napari_ran.data.surface import Surface

__all__ = ["DisplacementField", "Grid", "Image", "Labels", "Landmarks", "Surface"]
