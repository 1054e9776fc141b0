"""The front door: a registration as stages, each with named quantities on their own grids."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from napari_ran import functional as F
from napari_ran.cache import Cache
from napari_ran.data import DisplacementField, Grid, Image, Labels, Landmarks
from napari_ran.errors import InputError
from napari_ran.introspect import storage
from napari_ran.introspect.metrics import stage_metrics
from napari_ran.introspect.quantities import (
    DIRECTIONS,
    QUANTITIES,
    Quantity,
    QuantityArray,
    Stage,
    StageMetrics,
    missing,
    own_and_other,
)
from napari_ran.introspect.sources import FieldSource, Source, TraceSource
from napari_ran.introspect.trace import NetworkTrace

if TYPE_CHECKING:
    from napari_ran.results import Registration

CACHE_BYTES = 512 * 2**20
"""How much of what was computed is kept; what the network left is not counted."""

_MANY_CHANNELS = frozenset({"heads", "masks", "features"})
"""Kinds that are handed out as the network left them: a copy would take longer than all that is made of it."""

NO_LEVELS = "The levels were not kept, so only the final field is shown: register again with keep_levels=True"
NO_NETWORK = "No network finished its pass in this run, so only the final field is shown"


class Inspection:
    """What a registration did, stage by stage.

    Quantities are computed when they are asked for and kept while there is room; any thread may ask.

    Parameters
    ----------
    source : Source
        Where the quantities come from; see the class methods for the usual ways in.
    name : str
        What to call it.
    note : str
        Why there is less than one might expect, in a sentence; may be empty.
    labels : (Labels, Labels), optional
        Of the fixed and of the moving image, in their original places.
    landmarks : (Landmarks, Landmarks), optional
        Likewise.
    cache_bytes : int
        How much of what was computed is kept.

    Attributes
    ----------
    details : dict
        What is recorded of how the registration was made, by heading; its report and settings from `from_registration`.
    """

    def __init__(
        self,
        source: Source,
        name: str = "registration",
        note: str = "",
        labels: tuple[Labels, Labels] | None = None,
        landmarks: tuple[Landmarks, Landmarks] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.source, self.name, self.note = source, name, note
        self.labels, self.landmarks = labels, landmarks
        self.details: dict[str, Any] = {}
        self._cache = Cache(cache_bytes)

    @classmethod
    def from_registration(cls, registration: Registration) -> Self:
        """Inspect a registration; without levels only its field is offered, and `note` says why.

        Parameters
        ----------
        registration : Registration
            The result, with levels if it was made with ``keep_levels``.
        """
        reg = registration
        labels = _pair(reg.fixed_labels, reg.moving_labels)
        landmarks = _pair(reg.fixed_landmarks, reg.moving_landmarks)
        name = f"{reg.moving.name} to {reg.fixed.name}"
        if reg.trace is not None:
            found = cls(TraceSource(reg.trace), name, "", labels, landmarks)
        else:
            source = FieldSource(reg.field, reg.inverse_field, reg.fixed, reg.moving, reg.warped)
            without = reg.config.keep_levels or (reg.config.weights == "none" and reg.config.instance.mode != "network")
            found = cls(source, name, NO_NETWORK if without else NO_LEVELS, labels, landmarks)
        found.details = {"Report of the registration": reg.report.to_dict(), "Settings": reg.config.to_dict()}
        return found

    @classmethod
    def from_trace(cls, trace: NetworkTrace, name: str = "network", **parts: Any) -> Self:
        """Inspect a trace; `parts` are further arguments of the class.

        Parameters
        ----------
        trace : NetworkTrace
            One pass of a network with everything that it computed.
        name : str
            What to call it.
        **parts
            Further arguments of the class.
        """
        return cls(TraceSource(trace), name, **parts)

    @classmethod
    def from_field(cls, field: DisplacementField, fixed: Image | None = None, moving: Image | None = None) -> Self:
        """Inspect any tool's field.

        Parameters
        ----------
        field : DisplacementField
            Fixed point to moving point, alignment included.
        fixed, moving : Image, optional
            The pair; what needs an image is not offered without.

        Raises
        ------
        InputError
            The images have another dimension than the field.
        """
        for argument, image in (("fixed", fixed), ("moving", moving)):
            if image is not None and image.grid.ndim != field.grid.ndim:
                raise InputError(
                    argument,
                    f"the image has {image.grid.ndim} dimensions, the field {field.grid.ndim}",
                    "Give the images that this field was made for",
                )
        name = f"{moving.name} to {fixed.name}" if fixed is not None and moving is not None else "field"
        return cls(FieldSource(field, None, fixed, moving), name, storage.FOREIGN)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `Registration.save` or `save` wrote, or any tool's field from a file.

        See `napari_ran.introspect.storage.load` for the errors.

        Parameters
        ----------
        folder : path
            The folder, or the file of a field.
        """
        return cls(**storage.load(folder))

    def save(self, folder: str | Path) -> Path:
        """Write everything that `load` needs into a folder; see `napari_ran.introspect.storage.save`.

        Parameters
        ----------
        folder : path
            Where to write; made if missing.
        """
        return storage.save(self, folder)

    @property
    def trace(self) -> NetworkTrace | None:
        """The network's trace; None where there is only a field."""
        return self.source.trace if isinstance(self.source, TraceSource) else None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in their order."""
        return self.source.stages

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that exist: "forward", and "inverse" where there is one."""
        return self.source.directions

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """All quantities that exist in some stage and direction."""
        found = {name for stage in self.stages for way in self.directions for name in self.available(stage.index, way)}
        return tuple(quantity for name, quantity in QUANTITIES.items() if name in found)

    @cached_property
    def before(self) -> Inspection | None:
        """The network as it was before it was fitted to this pair; None for other modes."""
        earlier = None if self.trace is None else self.trace.as_it_was
        if earlier is None:
            return None
        return Inspection(TraceSource(earlier), f"{self.name}, before the fit", "", self.labels, self.landmarks)

    def image(self, direction: str = "forward") -> Image | None:
        """Return the image that the direction's field lives on, intensities in [0, 1]; None where it is not known.

        With a trace it is what the network saw: the fixed image, or the moving one after the pre-alignment and as its
        looks at coarser grids had warped it.

        Parameters
        ----------
        direction : {"forward", "inverse"}
            Which field: the fixed grid's, or the moving grid's.
        """
        if direction not in self.directions:
            return None

        def make() -> Image | None:
            return self.source.own_image(direction)

        return self._cache.get(
            ("image", direction), make, lambda found: 0 if found is None else self._size(found.tensor)
        )

    def available(self, stage: int, direction: str = "forward") -> tuple[str, ...]:
        """Return the names of the quantities of a stage.

        Parameters
        ----------
        stage : int
            Position of the stage in `stages`.
        direction : {"forward", "inverse"}
            Which field: the fixed grid's, or the moving grid's.
        """
        return tuple(name for name in QUANTITIES if not self.why_not(name, stage, direction))

    def why_not(self, quantity: str, stage: int, direction: str = "forward") -> str:
        """Return why a stage does not have a quantity, in a sentence without a final full stop; empty where it has.

        Parameters
        ----------
        quantity : str
            Its name, a key of `napari_ran.introspect.quantities.QUANTITIES`.
        stage : int
            Position of the stage in `stages`.
        direction : {"forward", "inverse"}
            Which field: the fixed grid's, or the moving grid's.

        Raises
        ------
        InputError
            No quantity, stage or direction at all has this name or number.
        """
        if quantity not in QUANTITIES:
            raise InputError("quantity", f"there is none called '{quantity}'", f"Use one of {', '.join(QUANTITIES)}")
        if direction not in DIRECTIONS:
            raise InputError("direction", f"there is none called '{direction}'", "Use 'forward' or 'inverse'")
        there = self._stage(stage)
        if direction not in self.directions:
            return "Only the forward direction was computed"
        return self.source.why_not(quantity, there, direction)

    def get(self, quantity: str, stage: int, direction: str = "forward") -> QuantityArray:
        """Return a quantity of a stage.

        Parameters
        ----------
        quantity : str
            Its name, a key of `napari_ran.introspect.quantities.QUANTITIES`.
        stage : int
            Position of the stage in `stages`.
        direction : {"forward", "inverse"}
            Which field: the fixed grid's, or the moving grid's.

        Raises
        ------
        InputError
            The stage has no such quantity; the message says why.
        """
        reason = self.why_not(quantity, stage, direction)
        if reason:
            raise missing(quantity, reason)
        there = self._stage(stage)

        def make() -> QuantityArray:
            return self._make(quantity, there, direction)

        return self._cache.get((quantity, there.index, direction), make, lambda found: self._size(found.data))

    def metrics(self, stage: int, direction: str = "forward") -> StageMetrics:
        """Return how good the field is after a stage.

        Dice is measured on the network's grid, or on the field's own where there is no network.

        Parameters
        ----------
        stage : int
            Position of the stage in `stages`.
        direction : {"forward", "inverse"}
            Which field: the fixed grid's, or the moving grid's.

        Raises
        ------
        InputError
            The stage does not exist in this direction; the message says why.
        """
        if reason := self.why_not("field", stage, direction):
            raise missing("field", reason)
        there = self._stage(stage)
        needed = [name for name in ("field", "jacobian", "warped") if not self.why_not(name, stage, direction)]

        def measure() -> StageMetrics:
            arrays = {name: self.get(name, stage, direction) for name in needed}
            labels = None if self.labels is None else own_and_other(self.labels, direction)
            landmarks = None if self.landmarks is None else own_and_other(self.landmarks, direction)
            return stage_metrics(self.source, there, direction, arrays, labels, landmarks)

        return self._cache.get(("metrics", there.index, direction), measure, lambda _: 0)

    def _stage(self, stage: int) -> Stage:
        if not 0 <= stage < len(self.stages):
            raise InputError("stage", f"there are stages 0 to {len(self.stages) - 1}, got {stage}", "Choose one")
        return self.stages[stage]

    @torch.no_grad()
    def _make(self, quantity: str, stage: Stage, direction: str) -> QuantityArray:
        data, grid = self._values(quantity, stage, direction)
        if QUANTITIES[quantity].kind not in _MANY_CHANNELS:
            data = data.contiguous()
        return QuantityArray(quantity, stage, direction, data, grid, QUANTITIES[quantity].unit)

    def _values(self, quantity: str, stage: Stage, direction: str) -> tuple[Tensor, Grid]:
        if quantity == "jacobian":
            field = self.get("field", stage.index, direction)
            return DisplacementField(field.data, field.grid).jacobian_determinant[None], field.grid
        if quantity == "difference":
            warped, own = self.get("warped", stage.index, direction), self.image(direction)
            if own is None:
                raise RuntimeError("a difference without an image: why_not should have said so")
            return warped.data - own.tensor, warped.grid
        return self.source.array(quantity, stage, direction)

    @cached_property
    def _kept_anyway(self) -> frozenset[int]:
        """Addresses of the memory that the trace holds whatever is cached."""
        found: set[int] = set()

        def note(tensor: Tensor) -> Tensor:
            found.add(tensor.untyped_storage().data_ptr())
            return tensor

        if self.trace is not None:
            self.trace.output.map(note)
            note(self.trace.fixed)
            note(self.trace.moving)
            note(self.trace.seen)
        return frozenset(found)

    def _size(self, values: Tensor) -> int:
        """Return the bytes that keeping these values takes beside the trace."""
        return 0 if values.untyped_storage().data_ptr() in self._kept_anyway else values.nbytes


def total_of_increments(inspection: Inspection, direction: str = "forward") -> Tensor:
    """Return the sum of all increments up to the network's output, (D, *S) in voxels of its images.

    It equals the field of the network's last look up to rounding: each increment is measured against the field before
    it as the network brought it to the next grid (repeated, and doubled with the voxel size).

    Parameters
    ----------
    inspection : Inspection
        With levels.
    direction : {"forward", "inverse"}
        Which field: the fixed grid's, or the moving grid's.

    Raises
    ------
    InputError
        There are no levels.
    """
    if inspection.trace is None:
        raise InputError("inspection", "it has no levels to sum", "Register with keep_levels=True")
    total: Tensor | None = None
    pool = 1
    for stage in inspection.stages:
        if stage.kind == "start":
            continue
        if stage.kind == "instance":
            break
        increment = inspection.get("increment", stage.index, direction).data
        if total is None:
            total, pool = increment, stage.pool_size
            continue
        if pool > stage.pool_size:
            total = F.upsample_field(total[None], pool // stage.pool_size)[0]
        cut = tuple(slice(0, n) for n in increment.shape[1:])
        total, pool = total[(slice(None), *cut)] + increment, stage.pool_size
    if total is None:
        raise RuntimeError("a trace without stages")
    return total


def _pair(one: Any, other: Any) -> Any:
    return None if one is None or other is None else (one, other)
