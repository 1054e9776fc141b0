"""Registration of 2-D and 3-D images with Residual Aligner Networks (arXiv 2203.04290).

Example
-------
>>> import napari_ran as ran
>>> result = ran.register("fixed.nii.gz", "moving.nii.gz")  # doctest: +SKIP
>>> result.save("result")  # doctest: +SKIP

Names are imported on first use, so that the network and its training need torch, numpy and pydantic only.
"""

import importlib
from typing import TYPE_CHECKING, Any

from napari_ran._version import __version__

if TYPE_CHECKING:
    from napari_ran.config import InstanceConfig, RANConfig, RegistrationConfig
    from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks, Surface
    from napari_ran.errors import InputError, RanError
    from napari_ran.events import Event
    from napari_ran.exchange import Transform
    from napari_ran.introspect.inspection import Inspection
    from napari_ran.io import load_image, load_labels, load_landmarks
    from napari_ran.io.checkpoints import available_weights, load_weights
    from napari_ran.models import create_model
    from napari_ran.registration import Run, register, start
    from napari_ran.results import Registration
    from napari_ran.synthetic import phantom_2d, sliding_phantom

__all__ = [
    "DisplacementField",
    "Event",
    "Grid",
    "Image",
    "InputError",
    "Inspection",
    "InstanceConfig",
    "Labels",
    "Landmarks",
    "RANConfig",
    "RanError",
    "Registration",
    "RegistrationConfig",
    "Run",
    "Surface",
    "Transform",
    "__version__",
    "available_weights",
    "create_model",
    "load_image",
    "load_labels",
    "load_landmarks",
    "load_weights",
    "phantom_2d",
    "register",
    "sliding_phantom",
    "start",
]

_HOME = {
    "DisplacementField": "napari_ran.data",
    "Event": "napari_ran.events",
    "Grid": "napari_ran.data",
    "Image": "napari_ran.data",
    "InputError": "napari_ran.errors",
    "Inspection": "napari_ran.introspect.inspection",
    "InstanceConfig": "napari_ran.config",
    "Labels": "napari_ran.data",
    "Landmarks": "napari_ran.data",
    "RANConfig": "napari_ran.config",
    "RanError": "napari_ran.errors",
    "Registration": "napari_ran.results",
    "RegistrationConfig": "napari_ran.config",
    "Run": "napari_ran.registration",
    "Surface": "napari_ran.data",
    "Transform": "napari_ran.exchange",
    "available_weights": "napari_ran.io.checkpoints",
    "create_model": "napari_ran.models",
    "load_image": "napari_ran.io",
    "load_labels": "napari_ran.io",
    "load_landmarks": "napari_ran.io",
    "load_weights": "napari_ran.io.checkpoints",
    "phantom_2d": "napari_ran.synthetic",
    "register": "napari_ran.registration",
    "sliding_phantom": "napari_ran.synthetic",
    "start": "napari_ran.registration",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'napari_ran' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
