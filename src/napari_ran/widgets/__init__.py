"""The napari widgets: the only part of the package that knows Qt and napari."""
