"""Files and napari layers in and out: the only place that knows other tools' coordinate conventions.

The names below are loaded when they are first used, so that modules which need only one part (the checkpoints, say)
do not import nibabel and SimpleITK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_ran.io.fields import load_field, save_field
    from napari_ran.io.images import load_image, load_labels, save_image, save_labels
    from napari_ran.io.landmarks import load_landmarks, save_landmarks
    from napari_ran.io.layers import (
        deformed_grid_layer,
        image_from_layer,
        jacobian_layer,
        labels_from_layer,
        landmarks_from_layer,
        magnitude_layer,
        to_layer_data,
        vectors_layer,
    )
    from napari_ran.io.surfaces import load_surface, save_surface
    from napari_ran.io.volumes import Volumes, load_volumes, save_volumes

_HOME = {
    "load_field": "fields",
    "save_field": "fields",
    "load_image": "images",
    "load_labels": "images",
    "save_image": "images",
    "save_labels": "images",
    "load_landmarks": "landmarks",
    "save_landmarks": "landmarks",
    "load_surface": "surfaces",
    "save_surface": "surfaces",
    "Volumes": "volumes",
    "load_volumes": "volumes",
    "save_volumes": "volumes",
    "deformed_grid_layer": "layers",
    "image_from_layer": "layers",
    "jacobian_layer": "layers",
    "labels_from_layer": "layers",
    "landmarks_from_layer": "layers",
    "magnitude_layer": "layers",
    "to_layer_data": "layers",
    "vectors_layer": "layers",
}

__all__ = [
    "Volumes",
    "deformed_grid_layer",
    "image_from_layer",
    "jacobian_layer",
    "labels_from_layer",
    "landmarks_from_layer",
    "load_field",
    "load_image",
    "load_labels",
    "load_landmarks",
    "load_surface",
    "load_volumes",
    "magnitude_layer",
    "save_field",
    "save_image",
    "save_labels",
    "save_landmarks",
    "save_surface",
    "save_volumes",
    "to_layer_data",
    "vectors_layer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
