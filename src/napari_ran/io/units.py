"""Units of length, under the names that napari, OME and ImageJ have for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from napari_ran.errors import InputError

_NAMES = {
    1.0: "pixel px millimeter millimetre mm",
    1e-3: "micrometer micrometre micron um \u00b5m \u03bcm \\u00B5m",
    1e-6: "nanometer nanometre nm",
    1e-7: "angstrom \u00e5",
    1e-9: "picometer pm",
    10.0: "centimeter centimetre cm",
    100.0: "decimeter decimetre dm",
    1e3: "meter metre m",
    1e6: "kilometer km",
    25.4: "inch in",
}
_MILLIMETRES = {name: size for size, names in _NAMES.items() for name in names.split()}


def millimetres(units: Iterable[Any], name: str = "layer") -> list[float]:
    """Return how many mm one unit of each axis of a layer is; pixels count as mm, as everywhere without a scale.

    Raises
    ------
    InputError
        An axis is not a length.
    """
    found = []
    for unit in units:
        size = known_length(unit)
        if size is None:
            problem = f"an axis is measured in {unit}, which is no length that is known here"
            raise InputError(name, problem, "Set the layer's units to mm")
        found.append(size)
    return found


def known_length(unit: Any) -> float | None:
    """Return how many mm a unit of length is, or None where its name is not known."""
    text = str(unit).strip()
    word = text.lower()
    return _MILLIMETRES.get(text, _MILLIMETRES.get(word.removesuffix("s") if len(word) > 3 else word))
