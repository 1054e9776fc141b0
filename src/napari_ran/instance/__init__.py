"""Instance optimisation: fit the displacement field, or the network, to one pair."""

from napari_ran.instance.events import InstanceResult, InstanceStep
from napari_ran.instance.guide import Guide, LandmarkGuide
from napari_ran.instance.network import optimise_network
from napari_ran.instance.octaves import optimise_field
from napari_ran.instance.overlap import LabelGuide
from napari_ran.instance.rigid import RigidGuide, RigidMotion
from napari_ran.instance.similarity import choose_similarity

__all__ = [
    "Guide",
    "InstanceResult",
    "InstanceStep",
    "LabelGuide",
    "LandmarkGuide",
    "RigidGuide",
    "RigidMotion",
    "choose_similarity",
    "optimise_field",
    "optimise_network",
]
