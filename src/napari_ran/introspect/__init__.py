"""See why: what every level of a network did with a pair, as named arrays on their own grids.

The names below are loaded when they are first used; functions that are called like their module (`probe`) are imported
from it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_ran.introspect.attribution import attribute, attribute_output, attribution_map
    from napari_ran.introspect.inspection import Inspection, total_of_increments
    from napari_ran.introspect.probe import Contribution, Probe, StageProbe
    from napari_ran.introspect.quantities import QUANTITIES, Quantity, QuantityArray, Stage, StageMetrics
    from napari_ran.introspect.trace import NetworkTrace, level_grid

_HOME = {
    "QUANTITIES": "quantities",
    "Contribution": "probe",
    "Inspection": "inspection",
    "NetworkTrace": "trace",
    "Probe": "probe",
    "Quantity": "quantities",
    "QuantityArray": "quantities",
    "Stage": "quantities",
    "StageMetrics": "quantities",
    "StageProbe": "probe",
    "attribute": "attribution",
    "attribute_output": "attribution",
    "attribution_map": "attribution",
    "level_grid": "trace",
    "total_of_increments": "inspection",
}

__all__ = [
    "QUANTITIES",
    "Contribution",
    "Inspection",
    "NetworkTrace",
    "Probe",
    "Quantity",
    "QuantityArray",
    "Stage",
    "StageMetrics",
    "StageProbe",
    "attribute",
    "attribute_output",
    "attribution_map",
    "level_grid",
    "total_of_increments",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
